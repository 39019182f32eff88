"""Which figures the evidence of a check gives: what is not there gives none, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from vallum_client.report.plots import Axis, Curve, Row, curves, intervals, shown

_MOST_FAMILIES: Final = 8
_MOST_ROWS: Final = 20
_LOWEST_RATE: Final = 1e-3
_TWO_SIDED: Final = 1.96
"""Standard errors to either side of a mean that make a 95 % interval."""


_OUTCOMES: Final = ("FAIL", "INCONCLUSIVE", "PASS")
_ZERO: Final = ((0.0, "nothing"),)


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture and what it says.

    Args:
        heading: above it.
        picture: SVG.
        caption: below it, one or two sentences.
    """

    heading: str
    picture: Markup
    caption: str


def figures(check: Mapping[str, Any]) -> list[Figure]:
    """The figures of a check as `--json` shows it."""
    makers: Mapping[str, Sequence[Callable[[Mapping[str, Any]], Iterator[Figure]]]] = {
        "adversarial_robustness": (_robustness, _hardening),
        "data_privacy": (_receiver, _hardening),
        "bias_fairness": (_groups, _calibration),
        "transparency": (_importance, _decisions, _metrics),
    }
    details = check.get("details") or {}
    return [figure for maker in makers.get(str(check.get("name")), ()) for figure in maker(details)]


def _robustness(details: Mapping[str, Any]) -> Iterator[Figure]:
    feasible = details.get("curve") or {}
    boundary = details.get("boundary") or {}
    unit, linf, l2 = boundary.get("unit", "spans"), boundary.get("linf") or {}, boundary.get("l2") or {}
    why = details.get("not_certified") or "not every answer could be proved or flipped"
    for heading, axis, told, points, count in (
        ("changes that could happen", "radius, share of each feature's span", "Only what the manifest lets move.",
         feasible.get("points"), feasible.get("rows")),
        ("L∞", f"largest change of one feature, in {unit}", "Any feature may move.",
         linf.get("curve"), linf.get("rows")),
        ("L2", f"length of the change, in {unit}", "Any feature may move.",
         l2.get("curve"), l2.get("rows")),
    ):  # fmt: skip
        figure = _bounds(f"Robustness, {heading}", axis, points or [])
        if figure is not None:
            picture, bounded = figure
            between = " The truth lies between the curves." if bounded else f" No bound from above: {why}."
            yield Figure(f"Robustness, {heading}", picture, f"{told}{between} {count or 0:g} rows.")


def _bounds(title: str, axis: str, points: Sequence[Mapping[str, Any]]) -> tuple[Markup, bool] | None:
    """The share of flipped rows from below and, where answers were proved, from above; and whether they were."""
    attacked = [(each["radius"], each["attacked"]) for each in points if each.get("attacked") is not None]
    # What is not proved to stay is the most that can be flipped.
    most = [(each["radius"], 1 - each["certified"]) for each in points if each.get("certified") is not None]
    if len(attacked) < 2:
        return None
    series = [Curve("flipped by an attack (at least so many)", attacked)]
    if most:
        series.append(Curve("not proved to stay (at most so many)", most))
    x = Axis(axis, 0.0, max(radius for radius, _ in attacked))
    return curves(f"share of right answers flipped: {title}", series, x, Axis("share", 0.0, 1.0)), bool(most)


def _hardening(details: Mapping[str, Any]) -> Iterator[Figure]:
    trials = details.get("hardening") or []
    if not trials:
        return
    rows = [Row("as submitted", trials[0].get("before"), bad=True)]
    rows += [
        Row(
            str(each["measure"]),
            each["after"],
            each.get("low"),
            each.get("high"),
            note=f"acc. {shown(each.get('accuracy_after'))}",
        )
        for each in trials
    ]
    cost = "; ".join(
        f"{each['measure']}: accuracy {shown(each.get('accuracy_before'))} → {shown(each.get('accuracy_after'))}"
        for each in trials
    )
    top = max([0.05, *(row.high or row.value or 0 for row in rows)])
    yield Figure(
        "Hardening, measured",
        intervals("the measurement before and after each way to harden the model", rows, Axis("measured", 0.0, top)),
        f"Recommendations with what they cost. {cost}.",
    )


def _receiver(details: Mapping[str, Any]) -> Iterator[Figure]:
    points = [each for each in details.get("roc") or [] if each.get("fpr", 0) > 0]
    if len(points) < 2:
        return
    line = [(each["fpr"], max(each["tpr"], _LOWEST_RATE)) for each in points]
    bounded = [each for each in points if each.get("low") is not None and each.get("high") is not None]
    band = [(each["fpr"], max(each["low"], _LOWEST_RATE), max(each["high"], _LOWEST_RATE)) for each in bounded]
    low = min(_LOWEST_RATE, *(each["fpr"] for each in points))
    chance = Curve("chance", [(low, max(low, _LOWEST_RATE)), (1.0, 1.0)], faint=True)
    worst = str(details.get("worst_attack", "the worst attack"))
    yield Figure(
        "Membership inference, both axes logarithmic",
        curves(
            "rate of training rows recognised against the rate of false alarms",
            [Curve(f"attack {worst!r}", line, band=band), chance],
            Axis("false alarms: rows called members that are none", low, 1.0, log=True),
            Axis("members recognised", _LOWEST_RATE, 1.0, log=True),
        ),
        f"What lies above the line of chance at few false alarms leaks. Lower bound of epsilon: "
        f"{shown(details.get('epsilon_at_least'))}.",
    )


def _groups(details: Mapping[str, Any]) -> Iterator[Figure]:
    limit = (details.get("threshold") or {}).get("disparate_impact")
    families, left_out = _most_telling(details)
    for family in families:
        groups = sorted(family["groups"], key=lambda group: _impact(group)["ratio"] or 0.0)[:_MOST_ROWS]
        rows = [_group_row(group, limit) for group in groups]
        top = max(1.25, *(row.value or 0.0 for row in rows))
        name = " × ".join(map(str, family["columns"]))
        yield Figure(
            f"{name}: who gets {family['answer']!r}",
            intervals(
                f"selection rate of each group of {name} relative to {family['reference']}",
                rows,
                Axis(f"selection rate relative to {family['reference']!r}", 0.0, top),
                [] if limit is None else [(limit, f"policy asks for at least {limit:g}")],
            ),
            f"{family['outcome']}. Intervals hold for all groups together. {_gaps(family)}"
            f"{_without_figure(len(family['groups']) - len(groups), 'groups with higher rates')}"
            f"{_without_figure(left_out, 'comparisons') if family is families[-1] else ''}",
        )


def _most_telling(details: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], int]:
    """The families that are drawn, what failed before what passed, and how many are not."""
    families = sorted(details.get("families") or [], key=lambda family: _OUTCOMES.index(family["outcome"]))
    # Evidence that was too large has comparisons without their groups.
    drawn = [family for family in families if family["groups"]][:_MOST_FAMILIES]
    return drawn, len(families) - len(drawn)


def _without_figure(count: int, of_what: str) -> str:
    return f" {count} more {of_what} are in the evidence below." if count else ""


def _impact(group: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = group.get("impact") or {"ratio": None, "low": None, "high": None}
    return found


def _group_row(group: Mapping[str, Any], limit: float | None) -> Row:
    impact = _impact(group)
    below = limit is not None and impact.get("high") is not None and impact["high"] < limit
    note = f"{group['rows']:g} rows" + (", pooled" if group.get("pooled") else "")
    return Row(str(group["name"]), impact["ratio"], impact.get("low"), impact.get("high"), note=note, bad=below)


def _gaps(family: Mapping[str, Any]) -> str:
    told = (
        f"{name.replace('_', ' ').capitalize()}s differ by up to {shown(found['value'])} "
        f"({shown(found['low'])} to {shown(found['high'])})."
        for name, found in (family.get("gaps") or {}).items()
        if found
    )
    return " ".join(told)


def _calibration(details: Mapping[str, Any]) -> Iterator[Figure]:
    for family in _most_telling(details)[0]:
        groups = [group for group in family["groups"] if group.get("calibration")][:_MOST_ROWS]
        if not groups:
            continue
        name = " × ".join(map(str, family["columns"]))
        rows = [
            Row(
                str(group["name"]),
                found["gap"],
                found["low"],
                found["high"],
                note=f"ECE {shown(found['expected_error'])}",
            )
            for group in groups
            for found in [group["calibration"]]
        ]
        reach = max([0.1, *(abs(each) for row in rows for each in (row.value, row.low, row.high) if each is not None)])
        yield Figure(
            f"{name}: promised against come true",
            intervals(
                f"mean promised probability of {family['answer']!r} minus the share in which it came true",
                rows,
                Axis(f"promised minus come true, {family['answer']!r}", -min(reach, 1.0), min(reach, 1.0)),
                [(0.0, "calibrated")],
            ),
            "Left of the line the group is promised too little, right of it too much. ECE: expected calibration error.",
        )


def _importance(details: Mapping[str, Any]) -> Iterator[Figure]:
    found = (details.get("importance") or [])[:_MOST_ROWS]
    if not found:
        return
    rows = [_with_error(str(each["feature"]), each["loss"], each["standard_error"]) for each in found]
    tree = details.get("surrogate_tree")
    imitated = (
        f" A tree of depth {tree['depth']:g} gives the model's answer in {tree['fidelity']:.1%} of rows "
        f"({tree['low']:.1%} to {tree['high']:.1%}; always the most frequent one: {tree['majority']:.1%})."
        if tree
        else ""
    )
    yield Figure(
        "What the model relies on",
        intervals(
            "increase of the loss when a feature is shuffled", rows, _around(rows, "increase of the loss when shuffled")
        ),
        f"Permutation importance, 95 % intervals over rows.{imitated}",
    )


def _decisions(details: Mapping[str, Any]) -> Iterator[Figure]:
    for each in details.get("explained_decisions") or []:
        rows = [_with_error(str(part["feature"]), part["share"], part["standard_error"]) for part in each["shares"]]
        if rows:
            yield Figure(
                f"Why row {each['row']:g} got {each['answer']!r} ({each['score']:.2f})",
                intervals(
                    "what each feature adds to the score", rows, _around(rows, "Shapley share of the score"), _ZERO
                ),
                f"Begins at {each['base']:.2f}, the mean of random rows; all shares add up to {each['score']:.2f}.",
            )


def _metrics(details: Mapping[str, Any]) -> Iterator[Figure]:
    claims = [each for each in details.get("declared_metrics") or [] if each.get("reproduced") is not None][:_MOST_ROWS]
    if not claims:
        return
    rows = [
        Row(
            str(each["name"]),
            each["reproduced"],
            each["low"],
            each["high"],
            note=f"card {shown(each['declared'])}",
            bad=not each["holds"],
        )
        for each in claims
    ]
    top = max([1.0, *(row.high or 0.0 for row in rows)])
    yield Figure(
        "What the card declares, reproduced",
        intervals("reproduced metrics with the declared values beside them", rows, Axis("reproduced", 0.0, top)),
        "Measured on the evaluation rows; at the right what the card says.",
    )


def _with_error(name: str, mean: float, error: float) -> Row:
    reach = _TWO_SIDED * error
    return Row(name, mean, mean - reach, mean + reach, note=shown(mean))


def _around(rows: Sequence[Row], title: str) -> Axis:
    """A linear axis that holds every interval and zero."""
    ends = [0.0, *(end for row in rows for end in (row.low, row.high) if end is not None)]
    low, high = min(ends), max(ends)
    room = 0.05 * (high - low) or 0.01
    return Axis(title, low - room, high + room)
