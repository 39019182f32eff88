"""The static scan: bytes in, a three-valued verdict with evidence out. Nothing of a file is run, imported or unpickled.

Default-deny: CLEAN means every byte was explained and everything a file names is on an allow-list. It knows nothing of
transport, and its verdict depends on the bytes and on `rules_digest()` alone, never on what is installed.
"""

from vallum_validator.scan.context import Limits
from vallum_validator.scan.files import rules_digest, scan_file, scan_paths

__all__ = ["Limits", "rules_digest", "scan_file", "scan_paths"]
