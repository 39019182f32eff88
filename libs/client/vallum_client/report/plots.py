"""Two kinds of figure as SVG: curves over two axes, and values with their intervals in rows.

Every text is escaped, every number finite, colours come from the page's style sheet, and each figure says in a title
what it shows, for whoever cannot see it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 14, 46
_ROW: Final = 26
_LABEL: Final = 226
_NOTE: Final = 96
_SHORT: Final = 32
_TICKS: Final = 5
_LEGEND_STEP: Final = 18


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale.

    Args:
        title: with the unit.
        low: first value.
        high: last value, above `low`.
        log: whether equal steps are equal factors; then `low` is above zero.
    """

    title: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high end; values beyond an end lie on it."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round values to label: powers of ten, or about five steps of 1, 2 or 5 times a power of ten."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            return [10.0**power for power in range(first, last + 1)]
        raw = (self.high - self.low) / _TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through points.

    Args:
        name: for the legend.
        points: (x, y), in the order they are joined.
        band: (x, low, high) of an area behind the line; empty for none.
        faint: whether it is there to compare with only.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    faint: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A value with its interval.

    Args:
        name: at the left.
        value: the point; `None` where nothing could be measured.
        low: of the interval; `None` for none.
        high: of the interval, `None` where it has no end.
        note: at the right end, e.g. a number of rows.
        bad: whether it is marked as the one that decides against the model.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    note: str = ""
    bad: bool = False


def shown(value: float | None) -> str:
    """A number as the page prints it: at most three digits behind the point, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value and abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.3f}".rstrip("0").rstrip(".")


def curves(title: str, series: Sequence[Curve], x: Axis, y: Axis) -> Markup:
    """Curves over two axes, with a legend below.

    Args:
        title: what the figure shows, in words.
        series: at least one; the order gives the colours.
        x: the horizontal axis.
        y: the vertical axis.
    """
    plot = _Canvas(x, y)
    parts = [plot.frame()]
    for number, curve in enumerate(series):
        parts.append(plot.band(curve, number))
    for number, curve in enumerate(series):
        parts.append(plot.line(curve, number))
    legend = [
        Markup(
            '<g class="{}"><line x1="{}" x2="{}" y1="{}" y2="{}" class="line"/><text x="{}" y="{}">{}</text></g>'
        ).format(_colour(number, curve), _LEFT, _LEFT + 22, height, height, _LEFT + 30, height + 4, curve.name)
        for number, curve in enumerate(series)
        for height in [_HEIGHT + _LEGEND_STEP * number + 8]
    ]
    return _svg(title, _WIDTH, _HEIGHT + _LEGEND_STEP * len(series) + 6, [*parts, *legend])


def intervals(title: str, rows: Sequence[Row], axis: Axis, marks: Iterable[tuple[float, str]] = ()) -> Markup:
    """One row for each value: its name, a dot, and a bar for its interval.

    Args:
        title: what the figure shows, in words.
        rows: from top to bottom.
        axis: of the values.
        marks: values with a name, drawn as vertical lines, e.g. the limit of policy.
    """
    height = _ROW * len(rows) + 12
    span = _WIDTH - _LABEL - _NOTE - 8

    def across(value: float) -> float:
        return _LABEL + axis.place(value) * span

    parts = [
        Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="4" y2="{1}"/>').format(across(tick), height)
        + Markup('<text class="tick" text-anchor="middle" x="{:.1f}" y="{}">{}</text>').format(
            across(tick), height + 15, shown(tick)
        )
        for tick in axis.ticks()
    ]
    for value, name in marks:
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="0" y2="{1}"><title>{2}</title></line>').format(
                across(value), height, name
            )
        )
    parts += [_row(row, _ROW * number + 16, across) for number, row in enumerate(rows)]
    parts.append(
        Markup('<text class="axis" text-anchor="middle" x="{}" y="{}">{}</text>').format(
            _LABEL + span / 2, height + 33, axis.title
        )
    )
    return _svg(title, _WIDTH, height + 40, parts)


class _Canvas:
    """The area between two axes."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + self._x.place(x) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - self._y.place(y) * (_HEIGHT - _TOP - _BOTTOM),
        )

    def frame(self) -> Markup:
        """Grid, ticks and titles."""
        parts = []
        for tick in self._x.ticks():
            place, bottom = self._at(tick, self._y.low)
            parts.append(_grid(place, place, _TOP, bottom) + _tick(place, bottom + 17, "middle", tick))
        for tick in self._y.ticks():
            left, place = self._at(self._x.low, tick)
            parts.append(_grid(left, _WIDTH - _RIGHT, place, place) + _tick(left - 7, place + 4, "end", tick))
        middle, centre = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            Markup('<text class="axis" text-anchor="middle" x="{}" y="{}">{}</text>').format(
                middle, _HEIGHT - 10, self._x.title
            )
            + Markup(
                '<text class="axis" text-anchor="middle" transform="translate(14 {}) rotate(-90)">{}</text>'
            ).format(centre, self._y.title)
        )
        return Markup("").join(parts)

    def band(self, curve: Curve, number: int) -> Markup:
        """The area between the ends of a curve's intervals."""
        if not curve.band:
            return Markup("")
        ends = [(x, high) for x, _, high in curve.band] + [(x, low) for x, low, _ in reversed(curve.band)]
        return Markup('<polygon class="band {}" points="{}"/>').format(_colour(number, curve), self._joined(ends))

    def line(self, curve: Curve, number: int) -> Markup:
        """The curve itself, with a dot at each point unless it is faint."""
        drawn = Markup('<polyline class="line" points="{}"/>').format(self._joined(curve.points))
        dots = [] if curve.faint else [self._at(*point) for point in curve.points]
        circles = [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="2.5"/>').format(*dot) for dot in dots]
        return Markup('<g class="{}">{}</g>').format(_colour(number, curve), drawn + Markup("").join(circles))

    def _joined(self, points: Iterable[tuple[float, float]]) -> str:
        return " ".join("{:.1f},{:.1f}".format(*self._at(*point)) for point in points)


def _row(row: Row, middle: int, across: Callable[[float], float]) -> Markup:
    kind = "bad" if row.bad else "good"
    name = row.name if len(row.name) <= _SHORT else row.name[: _SHORT - 1] + "…"
    parts = [
        Markup('<text text-anchor="end" x="{}" y="{}">{}<title>{}</title></text>').format(
            _LABEL - 10, middle + 4, name, row.name
        )
    ]
    if row.low is not None:
        end = across(math.inf if row.high is None else row.high)
        parts.append(
            Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{}" y2="{}"/>').format(
                across(row.low), end, middle, middle
            )
        )
    if row.value is not None:
        parts.append(Markup('<circle cx="{:.1f}" cy="{}" r="4"/>').format(across(row.value), middle))
    parts.append(Markup('<text class="note" x="{}" y="{}">{}</text>').format(_WIDTH - _NOTE, middle + 4, row.note))
    return Markup('<g class="{}">{}</g>').format(kind, Markup("").join(parts))


def _legend(colour: str, name: str, number: int) -> Markup:
    height = _HEIGHT + _LEGEND_STEP * number + 8
    line = Markup('<line x1="{0}" x2="{1}" y1="{2}" y2="{2}" class="line"/>').format(_LEFT, _LEFT + 22, height)
    text = Markup('<text x="{}" y="{}">{}</text>').format(_LEFT + 30, height + 4, name)
    return Markup('<g class="{}">{}{}</g>').format(colour, line, text)


def _colour(number: int, curve: Curve) -> str:
    return "faint" if curve.faint else f"c{number % 6}"


def _grid(x1: float, x2: float, y1: float, y2: float) -> Markup:
    return Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(x1, x2, y1, y2)


def _tick(x: float, y: float, anchor: str, value: float) -> Markup:
    return Markup('<text class="tick" text-anchor="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(
        anchor, x, y, shown(value)
    )


def _svg(title: str, width: int, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup('<svg role="img" viewBox="0 0 {} {}"><title>{}</title>{}</svg>').format(
        width, height, title, Markup("").join(parts)
    )
