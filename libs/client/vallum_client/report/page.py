"""From evidence to a page: what was decided, each check with its figures, the scan, and all of it once more as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from vallum_client.report.figures import figures
from vallum_client.report.plots import shown
from vallum_common.errors import Invalid

_TITLES: Final = {
    "adversarial_robustness": "Adversarial robustness",
    "data_privacy": "Data privacy",
    "bias_fairness": "Bias and fairness",
    "transparency": "Transparency",
}

_FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the page tells.

    Args:
        name: of the model, e.g. `adult-income@1.2.0`.
        facts: label to value for the head of the page, e.g. digest, tier, verdict.
        checks: each as `--json` shows it.
        scan: as `--json` shows it; `None` where nothing was scanned.
    """

    name: str
    facts: Mapping[str, str]
    checks: Sequence[Mapping[str, Any]]
    scan: Mapping[str, Any] | None = None


def render(evidence: Evidence) -> str:
    """The page as HTML: one file, without script, style sheet or picture from elsewhere."""
    sections = [(_title(check), check, figures(check)) for check in evidence.checks]
    files = (evidence.scan or {}).get("files", [])
    document = {"checks": evidence.checks, "scan": evidence.scan}
    return _template().render(
        evidence=evidence,
        sections=sections,
        findings=[(file, finding) for file in files for finding in file["findings"]],
        raw=json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False),
        number=shown,
        style=Markup((_FOLDER / "page.css").read_text()),  # noqa: S704 (our own file)
    )


def prepare(path: Path) -> None:
    """Make the file and its folder, so that whoever measures for a minute knows before that it can be written.

    Raises:
        Invalid: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise Invalid(f"the report cannot be written to {str(path)!r}: {error.strerror}") from error


def write(path: Path, evidence: Evidence) -> Path:
    """Write the page to a file; the same evidence gives the same bytes.

    Raises:
        Invalid: the file cannot be written.
    """
    prepare(path)
    path.write_text(render(evidence), encoding="utf-8", errors="backslashreplace")
    return path


def _title(check: Mapping[str, Any]) -> str:
    name = str(check["name"])
    return _TITLES.get(name, name)


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html")
