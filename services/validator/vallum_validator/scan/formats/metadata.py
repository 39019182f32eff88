"""What a model says of itself: its licence and what it was made from. Both are told as findings that judge nothing.

The bill of materials takes them from there, with `value_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vallum_validator.domain.findings import Finding
from vallum_validator.scan.context import Context
from vallum_validator.scan.expressions import later

LICENCE: Final = "metadata.licence"
BASE_MODEL: Final = "metadata.base-model"
_KEYS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("license", "licence", "general.license", "modelspec.license", "license_name"), LICENCE),
    **dict.fromkeys(
        ("base_model", "base_model_name_or_path", "general.base_model.0.name", "general.base_model.0.repo_url",
         "ss_base_model_version", "ss_sd_model_name", ),
        BASE_MODEL,
    ),
}  # fmt: skip
"""Keys in the metadata of GGUF, safetensors and ONNX, in configurations and front matter, to their rules."""
_WORDS: Final[Mapping[str, str]] = {LICENCE: "declares the licence: ", BASE_MODEL: "declares the base model: "}
_MAX_VALUE: Final = 200
_MAX_FRONT_MATTER: Final = 64 * 1024
_LINE: Final = later(r"^([A-Za-z_]+):[ \t]*(.*)$|^[ \t]*-[ \t]+(.+)$")


def declare(metadata: Mapping[Any, Any], context: Context) -> None:
    """Report licence and base model where the metadata names them."""
    for key, value in metadata.items():
        rule = _KEYS.get(key) if isinstance(key, str) else None
        for one in value if isinstance(value, list) else [value]:
            if rule and isinstance(one, str) and one.strip():
                context.report(rule, _WORDS[rule] + _printable(one))


def declare_front_matter(text: str, context: Context) -> None:
    """Report what the front matter of a model card names; it is read by lines, for no more than these keys."""
    if not text.startswith("---"):
        return
    key, found = "", dict[str, list[str]]()
    for line in text[3:_MAX_FRONT_MATTER].splitlines():
        if line.startswith("---"):
            break
        match = _LINE.match(line)
        if match is None:
            continue
        key = match[1] or key
        value = (match[2] if match[1] else match[3]).partition(" #")[0].strip().strip("'\"[]")
        if value and key in _KEYS:
            found.setdefault(key, []).append(value)
    declare(found, context)


def value_of(finding: Finding) -> str | None:
    """The licence or base model that a finding tells; `None` where it tells something else."""
    words = _WORDS.get(finding.rule)
    return finding.message.removeprefix(words) if words else None


def _printable(value: str) -> str:
    one_line = " ".join(value.split())
    return "".join(character for character in one_line if character.isprintable())[:_MAX_VALUE]
