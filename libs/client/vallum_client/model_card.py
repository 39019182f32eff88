"""The model card of a bill of materials: what was declared, and what the four checks measured, with its intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

Document = Mapping[str, Any]

_MOST_CHARACTERS: Final = 4000
_MOST_SLICES: Final = 200
"""Groups and their intersections can be many; the report has all of them."""


def model_card(model: Document, checks: Sequence[Document], card: Document, data: Sequence[str]) -> Document:
    """The card as CycloneDX 1.6 has it.

    Args:
        model: of the registry.
        checks: as `vallum models show --json` tells them.
        card: front matter of the bundle's own card.
        data: references of the data sets.
    """
    named = {check["name"]: check for check in checks}
    document: dict[str, Any] = {"modelParameters": _parameters(model, named, card, data)}
    if metrics := list(_metrics(checks)):
        document["quantitativeAnalysis"] = {"performanceMetrics": metrics[:_MOST_SLICES]}
    considerations = {
        "useCases": [model["intended_use"][:_MOST_CHARACTERS]] if model["intended_use"] else [],
        "technicalLimitations": list(_limitations(checks)),
        "ethicalConsiderations": list(_ethical(named)),
        "fairnessAssessments": list(_fairness(named))[:_MOST_SLICES],
    }
    told = {name: value for name, value in considerations.items() if value}
    return {**document, "considerations": told} if told else document


def _parameters(model: Document, named: Mapping[str, Document], card: Document, data: Sequence[str]) -> Document:
    """Classification and regression, the tasks a manifest can name, are both learnt from labelled rows."""
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": model["task"],
        "datasets": [{"ref": ref} for ref in data],
        "outputs": [{"format": "class label" if model["task"] == "classification" else "number"}],
    }
    features = _list(_details(named, "transparency").get("importance"))
    if inputs := sorted(str(one["feature"]) for one in features if "feature" in one):
        parameters["inputs"] = [{"format": f"column {name!r}"} for name in inputs]
    if isinstance(card.get("library_name"), str):
        parameters["architectureFamily"] = card["library_name"][:_MOST_CHARACTERS]
    return parameters


def _metrics(checks: Sequence[Document]) -> Iterator[Document]:
    """The headline of each check, then the figures that were reproduced, then each group of people."""
    for check in checks:
        if check["value"] is not None:
            yield _metric(f"{check['name']}: {check['method']}", check["value"], check["interval"])
    for check in checks:
        for metric in _list(check["details"].get("declared_metrics")):
            if _is_number(metric.get("reproduced")):
                interval = [metric.get("low"), metric.get("high")]
                yield _metric(str(metric.get("name")), metric["reproduced"], interval, "the evaluation rows")
        for label, group in _groups(check):
            impact = group.get("impact")
            if isinstance(impact, dict) and _is_number(impact.get("ratio")):
                interval = [impact.get("low"), impact.get("high")]
                yield _metric("selection rate, as a ratio to the reference group", impact["ratio"], interval, label)
            if _is_number(group.get("accuracy")):
                yield _metric("accuracy", group["accuracy"], None, label)


def _metric(kind: str, value: float, interval: Sequence[Any] | None, part: str = "") -> Document:
    metric: dict[str, Any] = {"type": kind[:_MOST_CHARACTERS], "value": _number(value)}
    if part:
        metric["slice"] = part[:_MOST_CHARACTERS]
    if interval and all(map(_is_number, interval)):
        metric["confidenceInterval"] = {"lowerBound": _number(interval[0]), "upperBound": _number(interval[1])}
    return metric


def _limitations(checks: Sequence[Document]) -> Iterator[str]:
    """What a check failed, and what none could tell."""
    for check in checks:
        if check["outcome"] != "PASS":
            yield f"{check['name']} {check['outcome']}: {check['reason']}"[:_MOST_CHARACTERS]


def _ethical(named: Mapping[str, Document]) -> Iterator[Document]:
    for name in ("data_privacy", "bias_fairness"):
        if name in named:
            check = named[name]
            yield {"name": f"{name} {check['outcome']}: {check['reason']}"[:_MOST_CHARACTERS]}


def _fairness(named: Mapping[str, Document]) -> Iterator[Document]:
    """Each group that is selected less often than the reference group, by how much."""
    if "bias_fairness" not in named:
        return
    for label, group in _groups(named["bias_fairness"]):
        impact = group.get("impact")
        if isinstance(impact, dict) and _is_number(impact.get("ratio")) and impact["ratio"] < 1:
            harms = f"selected {_number(impact['ratio'])} times as often as the reference group"
            yield {"groupAtRisk": label[:_MOST_CHARACTERS], "harms": harms}


def _groups(check: Document) -> Iterator[tuple[str, Document]]:
    """The groups of a fairness check, each with a name such as `sex = Female`."""
    for family in _list(check["details"].get("families")):
        columns = " × ".join(map(str, family.get("columns") or ()))
        yield from ((f"{columns} = {group.get('name')}", group) for group in _list(family.get("groups")))


def _details(named: Mapping[str, Document], name: str) -> Document:
    details = named.get(name, {}).get("details")
    return details if isinstance(details, dict) else {}


def _list(value: Any) -> list[Document]:
    """Details are the checks' own and may change their shape; what is not as expected is left out."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    return f"{value:.6g}"
