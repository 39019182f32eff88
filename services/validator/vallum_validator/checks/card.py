"""Reading a model card: its front matter, its sections, what it declares, and which required items it tells.

The card is text from a stranger. YAML aliases are refused (they multiply), nothing is executed or rendered, and the
placeholder of an unfilled template counts as nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import yaml

from vallum_validator.checks.thresholds import CardItem

MAX_CARD_CHARACTERS = 1_000_000
"""A card is read by people; what lies beyond is not looked at."""

_FRONT_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6})[ \t]+(.+?)[ \t#]*$")
_UNDERLINE = re.compile(r"^(=+|-{3,})[ \t]*$")
_BOLD = re.compile(r"^[ \t]*[-*]?[ \t]*\*\*(.+?):?\*\*:?[ \t]*(.*)$")
_PLACEHOLDER = re.compile(
    r"\[?more information needed\]?|\{\{.*?\}\}|<!--.*?-->|\bTODO\b|\bTBD\b", re.IGNORECASE | re.DOTALL
)
_WORD = re.compile(r"\w+")
_BOLD_LEVEL = 7


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the number of words below it, those of its subsections included."""

    heading: str
    words: int


@dataclass(frozen=True, slots=True)
class DeclaredMetric:
    """A figure the card claims, from the front matter's `model-index`."""

    name: str
    value: float


@dataclass(frozen=True, slots=True)
class Card:
    """A model card.

    Args:
        front_matter: its metadata; empty where there is none.
        problem: one line why the front matter could not be read, empty where it could.
        sections: of the text, in order.
    """

    front_matter: Mapping[str, Any]
    problem: str
    sections: tuple[Section, ...]

    @property
    def metrics(self) -> tuple[DeclaredMetric, ...]:
        """Every figure of `model-index`, in order; entries without a name or a finite number are left out."""
        found = []
        for result in _dicts(self.front_matter.get("model-index")):
            for entry in _dicts(result.get("results")):
                for metric in _dicts(entry.get("metrics")):
                    value, name = metric.get("value"), metric.get("type") or metric.get("name")
                    if _is_number(value) and isinstance(name, str):
                        found.append(DeclaredMetric(name, float(value)))
        return tuple(found)


def parse_card(text: str) -> Card:
    """Read a card; whatever is wrong with it is told in `problem`, never raised."""
    text = text[:MAX_CARD_CHARACTERS]
    match = _FRONT_MATTER.match(text)
    if not match:
        return Card({}, "", _sections(text))
    try:
        # A SafeLoader that refuses aliases.
        metadata = yaml.load(match.group(1), Loader=_Loader)  # noqa: S506
        problem = "" if isinstance(metadata, dict) else "the front matter is not a mapping"
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        metadata, problem = None, f"the front matter is not YAML: {' '.join(str(error).split())[:200]}"
    return Card(metadata if isinstance(metadata, dict) else {}, problem, _sections(text[match.end() :]))


def told(card: Card, item: CardItem, manifest: Mapping[str, Any], least_words: int) -> bool:
    """Whether a card, or the manifest beside it, tells an item.

    Args:
        card: parsed.
        item: what is asked for.
        manifest: `Manifest.model_dump()`.
        least_words: words below a heading that count.
    """
    if any(_filled(_lookup(card.front_matter, key)) for key in item.front_matter):
        return True
    if any(_filled(_lookup(manifest, key)) for key in item.manifest):
        return True
    return any(
        section.words >= least_words and any(word in section.heading for word in item.headings)
        for section in card.sections
    )


def _sections(text: str) -> tuple[Section, ...]:
    lines = _PLACEHOLDER.sub(" ", text).splitlines()
    open_sections: list[list[Any]] = []  # level, heading, words
    closed: list[list[Any]] = []
    fenced = False
    for place, line in enumerate(lines):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        level, heading, body = _heading(line, lines[place + 1] if place + 1 < len(lines) else "", fenced)
        if heading:
            open_sections = [section for section in open_sections if section[0] < level]
            opened: list[Any] = [level, heading.lower(), 0]
            open_sections.append(opened)
            closed.append(opened)
        words = len(_WORD.findall(body))
        for section in open_sections:
            section[2] += words
    return tuple(Section(heading, words) for _, heading, words in closed)


def _heading(line: str, following: str, fenced: bool) -> tuple[int, str, str]:
    """Return level, heading and the text of a line; the heading is empty for ordinary text."""
    if fenced:
        return 0, "", line
    if match := _HEADING.match(line):
        return len(match.group(1)), match.group(2), ""
    if line.strip() and (under := _UNDERLINE.match(following)):
        return 1 if under.group(1).startswith("=") else 2, line.strip(), ""
    if match := _BOLD.match(line):
        return _BOLD_LEVEL, match.group(1), match.group(2)
    return 0, "", line


def _lookup(document: Any, key: str) -> Any:
    for step in key.split("."):
        document = document.get(step) if isinstance(document, Mapping) else None
    return document


def _filled(value: Any) -> bool:
    if isinstance(value, str):
        return bool(_PLACEHOLDER.sub("", value).strip())
    if isinstance(value, Mapping | Sequence):
        return len(value) > 0
    return value is not None


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _dicts(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
