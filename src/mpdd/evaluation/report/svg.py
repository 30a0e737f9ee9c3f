"""Just enough SVG for a report: scales, ticks, lines, marks and text, as deterministic inline markup.

Colours come from the page: every mark takes `currentColor` of its group's class, so light, dark and print work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

Point = tuple[float, float]
_MARKS = {
    "circle": "M{l} {y}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0 -{d} 0z",
    "square": "M{l} {t}h{d}v{d}h-{d}z",
    "triangle": "M{x} {t}L{e} {b}H{l}z",
    "diamond": "M{x} {t}L{e} {y}L{x} {b}L{l} {y}z",
    "wedge": "M{x} {b}L{l} {t}H{e}z",
    "hourglass": "M{l} {t}H{e}L{l} {b}H{e}z",
}
_SIZES = {"circle": 4.0, "square": 3.6, "triangle": 4.4, "diamond": 4.8, "wedge": 4.4, "hourglass": 4.2}


@dataclass(frozen=True)
class Scale:
    """A straight map from data (`low` to `high`) to the page (`start` to `end`)."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of a value on the page."""
        span = self.high - self.low
        return self.start + (self.end - self.start) * ((value - self.low) / span if span else 0.5)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Return round numbers (steps of 1, 2 or 5) inside the range, about as many as wanted."""
    if not high > low:
        return [low]
    rough = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def number(value: float) -> str:
    """Write a coordinate, to a tenth."""
    text = f"{value:.1f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def tick_label(value: float) -> str:
    """Write a tick's value with no more digits than it has."""
    return f"{value:.6g}"


def line(start: Point, end: Point, kind: str) -> Markup:
    """Return a straight line; `kind` is a class of the page's style sheet."""
    (x1, y1), (x2, y2) = start, end
    places = (number(place) for place in (x1, y1, x2, y2))
    return Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>').format(*places, kind)


def polyline(points: Sequence[Point], kind: str, dashes: str = "", title: str = "") -> Markup:
    """Return a line through points, with `stroke-dasharray` dashes and a title shown on hovering."""
    path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
    dashed = Markup(' stroke-dasharray="{}"').format(dashes) if dashes else ""
    return Markup('<polyline points="{}" class="{}"{}>{}</polyline>').format(path, kind, dashed, _title(title))


def _title(title: str) -> Markup:
    return Markup("<title>{}</title>").format(title) if title else Markup("")


def mark(shape: str, at: Point, title: str = "") -> Markup:
    """Return a filled mark (a key of `_MARKS`), with a title shown on hovering."""
    x, y = at
    r = _SIZES[shape]
    values = {"x": x, "y": y, "r": r, "d": 2 * r, "l": x - r, "e": x + r, "t": y - r, "b": y + r}
    path = _MARKS[shape].format(**{name: number(value) for name, value in values.items()})
    return Markup('<path d="{}" class="mark">{}</path>').format(path, _title(title))


def text(at: Point, content: str, kind: str = "") -> Markup:
    """Return a line of text on the baseline `at`; `kind` is one or more classes (`end`, `middle`, `muted`)."""
    x, y = at
    return Markup('<text x="{}" y="{}" class="{}">{}</text>').format(number(x), number(y), kind, content)


def group(parts: Iterable[Markup], kind: str) -> Markup:
    """Return the parts as one group of a class; a method's class is its colour."""
    return Markup('<g class="{}">{}</g>').format(kind, Markup("").join(parts))


def figure(parts: Iterable[Markup], size: tuple[float, float], label: str) -> Markup:
    """Return a whole picture that scales with the page, with a text for those who cannot see it."""
    width, height = (number(side) for side in size)
    return Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        width, height, label, Markup("").join(parts)
    )


def clipped(identity: str, box: tuple[float, float, float, float], parts: Iterable[Markup]) -> Markup:
    """Return the parts, cut off at a box (x, y, width, height); `identity` is unique on the page."""
    names = ("x", "y", "width", "height")
    sides = Markup(" ").join(Markup('{}="{}"').format(name, number(side)) for name, side in zip(names, box, strict=True))
    frame = Markup('<clipPath id="{}"><rect {}/></clipPath>').format(identity, sides)
    return frame + Markup('<g clip-path="url(#{})">{}</g>').format(identity, Markup("").join(parts))
