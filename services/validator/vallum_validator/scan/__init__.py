"""The static scan: bytes in, a three-valued verdict with evidence out. Nothing of a file is run, imported or unpickled.

Default-deny: CLEAN means every byte was explained and everything a file names is on an allow-list. It knows nothing of
transport. Its verdict depends on the bytes and on `rules_digest()` alone; what is CLEAN so far may then be read once
more, by the parser that belongs to its format, which can only close the gate: see `reference`.
"""

from vallum_validator.scan.context import Limits
from vallum_validator.scan.files import rules_digest, scan_file, scan_paths

__all__ = ["Limits", "rules_digest", "scan_file", "scan_paths"]
