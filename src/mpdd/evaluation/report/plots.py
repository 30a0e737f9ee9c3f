"""The report's pictures: scores with intervals, mean score against size, and training curves, as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mpdd.evaluation.report import svg, wording
from mpdd.evaluation.report.curves import Curve, Panel
from mpdd.evaluation.report.svg import Scale
from mpdd.evaluation.results import Cell, Column, Line, Table
from mpdd.methods.registry import METHODS


@dataclass(frozen=True)
class Style:
    """How a method looks: its family is a colour, its mark and dashes tell it from its relatives."""

    family: str
    shape: str
    dashes: str


_SHAPES = (
    ("circle", ""), ("square", "6 3"), ("triangle", "1.5 3"), ("diamond", "7 3 1.5 3"), ("wedge", "2 2"), ("hourglass", "10 4"),
)  # fmt: skip
_FAMILIES = {
    method.family: [name for name, other in METHODS.items() if other.family == method.family] for method in METHODS.values()
}
STYLES = {
    method: Style(family, shape, dashes)
    for family, methods in _FAMILIES.items()
    for method, (shape, dashes) in zip(methods, _SHAPES, strict=False)
}


def style(method: str) -> Style:
    """Return a method's look; a name without one (a teacher, say) is drawn like a plain prompt."""
    return STYLES.get(method, STYLES["prompt-tuning"])


def legend_mark(method: str) -> Markup:
    """Return the small picture of a method for a legend: its mark on its line."""
    look = style(method)
    parts = [svg.polyline([(1, 7), (29, 7)], "curve", look.dashes), svg.mark(look.shape, (15, 7))]
    return Markup('<svg class="key {}" viewBox="0 0 30 14" aria-hidden="true">{}</svg>').format(
        look.family, Markup("").join(parts)
    )


# Scores of all methods on one target

_ROW, _NAMES, _WIDTH = 20.0, 116.0, 340.0


def score_plot(table: Table, column: Column) -> Markup:
    """Draw each method's score on one target, with its interval and the chance level as a line."""
    index = table.columns.index(column)
    scored = [(line.method, cell) for line in table.lines if (cell := line.cells[index])]
    bottom = 18 + _ROW * len(scored)
    ends = [column.chance, *(cell.low for _, cell in scored), *(cell.high for _, cell in scored)]
    scale = _padded(ends, _NAMES + 10, _WIDTH - 44)
    parts = [*_x_axis(scale, 18, bottom), *_chance(scale, column.chance, bottom)]
    for place, (method, cell) in enumerate(scored):
        parts += _score_row(method, cell, scale, 18 + _ROW * (place + 0.5))
    return svg.figure(parts, (_WIDTH, bottom + 22), _score_label(column, scored))


def _score_label(column: Column, scored: Sequence[tuple[str, Cell]]) -> str:
    values = ", ".join(f"{method} {_with_interval(cell)}" for method, cell in scored)
    name = f"{column.target}, {wording.metric_name(column.metric)}"
    return f"{name}: {values}; chance {wording.score(column.chance)}"


def _with_interval(cell: Cell) -> str:
    return f"{wording.score(cell.value)} ({wording.score(cell.low)} to {wording.score(cell.high)})"


def _padded(values: Sequence[float], start: float, end: float, share: float = 0.05) -> Scale:
    low, high = min(values), max(values)
    space = (high - low) * share or 1.0
    return Scale(low - space, high + space, start, end)


def _x_axis(scale: Scale, top: float, bottom: float) -> Iterator[Markup]:
    for tick in svg.ticks(scale.low, scale.high):
        if tick >= 0:
            yield svg.line((scale(tick), top), (scale(tick), bottom), "grid")
            yield svg.text((scale(tick), bottom + 15), svg.tick_label(tick), "middle muted")
    yield svg.line((scale.start, bottom), (scale.end, bottom), "axis")


def _chance(scale: Scale, chance: float, bottom: float) -> Iterator[Markup]:
    x = scale(chance)
    side = "" if x < (scale.start + scale.end) / 2 else "end "
    yield svg.line((x, 4), (x, bottom), "chance")
    yield svg.text((x + (-4 if side else 4), 12), f"chance {wording.score(chance)}", side + "muted small")


def _score_row(method: str, cell: Cell, scale: Scale, y: float) -> Iterator[Markup]:
    look = style(method)
    yield svg.text((_NAMES, y + 4), method, "end")
    interval = svg.line((scale(cell.low), y), (scale(cell.high), y), "interval")
    dot = svg.mark(look.shape, (scale(cell.value), y), f"{method}: {_with_interval(cell)}")
    yield svg.group([interval, dot], look.family)
    yield svg.text((_WIDTH - 2, y + 4), wording.score(cell.value), "end number")


# Mean score against the number of trainable parameters

_COST_WIDTH, _COST_HEIGHT, _COST_LEFT, _COST_RIGHT, _COST_BOTTOM = 404.0, 330.0, 34.0, 274.0, 288.0


def cost_plot(table: Table) -> Markup | None:
    """Draw the mean score against trainable parameters (log scale, with a place for none); `None` for one method."""
    points = [(line, line.mean) for line in table.lines if line.mean]
    if len(points) < 2:
        return None
    ends = [table.chance, *(mean.low for _, mean in points), *(mean.high for _, mean in points)]
    y = _padded(ends, _COST_BOTTOM, 12)
    x, decades = _sizes([line.trainable_parameters for line, _ in points])
    places = {line.method: (x(_exponent(line, decades)), y(mean.value)) for line, mean in points}
    parts = [*_y_axis(y, _COST_LEFT, _COST_RIGHT), *_size_axis(x, decades, any(_free(line) for line, _ in points))]
    parts.append(svg.line((_COST_LEFT, y(table.chance)), (_COST_RIGHT, y(table.chance)), "chance"))
    parts.append(svg.text((_COST_RIGHT, y(table.chance) - 4), "chance", "end muted small"))
    parts += _leaders(places)
    for line, mean in points:
        parts.append(_cost_point(line, mean, places[line.method][0], y))
    values = ", ".join(f"{line.method} {_with_interval(mean)} at {line.trainable_parameters}" for line, mean in points)
    return svg.figure(parts, (_COST_WIDTH, _COST_HEIGHT), f"Mean score against trainable parameters: {values}")


def _free(line: Line) -> bool:
    return line.trainable_parameters == 0


def _exponent(line: Line, decades: range) -> float:
    return decades.start - 1 if _free(line) else math.log10(line.trainable_parameters)


def _sizes(parameters: Sequence[int]) -> tuple[Scale, range]:
    """Return the scale of exponents of ten, and the decades it shows."""
    exponents = [math.log10(count) for count in parameters if count] or [0.0]
    low, high = math.floor(min(exponents)), math.ceil(max(exponents))
    left = low - 1.5 if 0 in parameters else low - 0.1
    return Scale(left, max(high, low + 1) + 0.1, _COST_LEFT, _COST_RIGHT), range(low, max(high, low + 1) + 1)


def _y_axis(scale: Scale, left: float, right: float) -> Iterator[Markup]:
    for tick in svg.ticks(scale.low, scale.high):
        if tick >= 0:
            yield svg.line((left, scale(tick)), (right, scale(tick)), "grid")
            yield svg.text((left - 6, scale(tick) + 4), svg.tick_label(tick), "end muted")


def _size_axis(scale: Scale, decades: range, free: bool) -> Iterator[Markup]:
    yield svg.line((_COST_LEFT, _COST_BOTTOM), (_COST_RIGHT, _COST_BOTTOM), "axis")
    labels = {float(decade): wording.short(10.0**decade) for decade in decades[:: math.ceil(len(decades) / 5)]}
    if free:
        labels[decades.start - 1] = "none"
        yield svg.line((scale(decades.start - 0.5), 12), (scale(decades.start - 0.5), _COST_BOTTOM), "grid")
    for exponent, label in labels.items():
        yield svg.line((scale(exponent), _COST_BOTTOM), (scale(exponent), _COST_BOTTOM + 4), "axis")
        yield svg.text((scale(exponent), _COST_BOTTOM + 18), label, "middle muted")
    middle = (_COST_LEFT + _COST_RIGHT) / 2
    yield svg.text((middle, _COST_BOTTOM + 36), "trainable parameters (log scale)", "middle muted")


def _cost_point(line: Line, mean: Cell, x: float, y: Scale) -> Markup:
    title = f"{line.method}: {_with_interval(mean)} with {wording.whole(line.trainable_parameters)} parameters"
    interval = svg.line((x, y(mean.low)), (x, y(mean.high)), "interval")
    return svg.group([interval, svg.mark(style(line.method).shape, (x, y(mean.value)), title)], style(line.method).family)


def _leaders(places: dict[str, tuple[float, float]]) -> Iterator[Markup]:
    """Name the points in a column on the right, each tied to its point."""
    for method, height in _labels(places).items():
        tie = svg.line(places[method], (_COST_RIGHT + 10, height - 4), "leader")
        yield svg.group([tie, svg.text((_COST_RIGHT + 14, height), method)], style(method).family)


def _labels(places: dict[str, tuple[float, float]], gap: float = 15.0) -> dict[str, float]:
    """Return baselines near the points' heights, in their order, that keep a gap and stay above the axis."""
    order = sorted(places, key=lambda method: (places[method][1], method))
    heights = [places[method][1] + 4 for method in order]
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + gap)
    heights[-1] = min(heights[-1], _COST_BOTTOM)
    for place in range(len(heights) - 2, -1, -1):
        heights[place] = min(heights[place], heights[place + 1] - gap)
    return dict(zip(order, heights, strict=True))


# Training curves

_CURVE_WIDTH, _CURVE_HEIGHT, _CURVE_LEFT, _CURVE_BOTTOM = 300.0, 180.0, 40.0, 142.0


def curve_plot(panel: Panel, identity: str) -> Markup:
    """Draw a panel's curves, the best run of each method strong; `identity` is unique on the page.

    The frame holds the best runs, of dev losses only what follows the first tenth of the steps.
    """
    best = panel.best()
    steps = [step for curve in panel.curves for step, _ in curve.points]
    settled = min(steps) + 0.1 * (max(steps) - min(steps)) if panel.dev else min(steps)
    losses = [loss for curve in best for step, loss in curve.points if step >= settled or len(curve.points) == 1]
    x = _padded(steps, _CURVE_LEFT, _CURVE_WIDTH - 6, 0.02)
    y = _padded(losses or [curve.lowest for curve in best], _CURVE_BOTTOM, 8)
    curves = [_curve(curve, x, y, "curve faint") for curve in panel.curves if curve not in best]
    curves += [_curve(curve, x, y, "curve") for curve in best]
    box = (_CURVE_LEFT, 4.0, _CURVE_WIDTH - _CURVE_LEFT, _CURVE_BOTTOM - 4)
    parts = [*_y_axis(y, _CURVE_LEFT, _CURVE_WIDTH - 6), *_step_axis(x), svg.clipped(identity, box, curves)]
    return svg.figure(parts, (_CURVE_WIDTH, _CURVE_HEIGHT), _curve_label(panel, best))


def _curve_label(panel: Panel, best: Sequence[Curve]) -> str:
    kind = "dev loss" if panel.dev else "training loss"
    lowest = ", ".join(f"{curve.run} {curve.lowest:.3g}" for curve in best[:12])
    return f"{panel.title}: {kind} against step for {len(panel.curves)} runs; lowest: {lowest}"


def _curve(curve: Curve, x: Scale, y: Scale, kind: str) -> Markup:
    look = style(curve.method)
    points = [(x(step), y(loss)) for step, loss in _within(curve.points, y)]
    title = f"{curve.run}: lowest {curve.lowest:.3g}"
    shown = [svg.polyline(points, kind, look.dashes, title)] if len(points) > 1 else []
    lone = [svg.mark("circle", points[0], title)] if len(points) == 1 else []
    return svg.group([*shown, *lone], look.family)


def _within(points: Sequence[tuple[float, float]], y: Scale) -> list[tuple[float, float]]:
    """Keep a diverged loss from being written with a hundred digits: it leaves the frame either way."""
    far = 20 * (y.high - y.low)
    return [(step, min(max(loss, y.low - far), y.high + far)) for step, loss in points]


def _step_axis(scale: Scale) -> Iterator[Markup]:
    yield svg.line((scale.start, _CURVE_BOTTOM), (scale.end, _CURVE_BOTTOM), "axis")
    shown = [tick for tick in svg.ticks(scale.low, scale.high) if tick >= 0]
    for tick in shown:
        yield svg.text((scale(tick), _CURVE_BOTTOM + 16), wording.short(tick), "middle muted")
    yield svg.text(((scale.start + scale.end) / 2, _CURVE_BOTTOM + 33), "step", "middle muted")


# Mean score against training examples

_BESIDE = 5.0  # from the mark of one method to that of the next


def shots_plot(tables: Sequence[Table]) -> Markup | None:
    """Draw each method's mean score and its interval against the number of training examples, methods a little beside each
    other; `None` for fewer than two numbers.
    """
    ordered = sorted((table for table in tables if table.shots != 0), key=lambda table: _shots_key(table.shots))
    means = {
        method: [(place, line.mean) for place, table in enumerate(ordered) for line in table.lines
                 if line.method == method and line.mean]
        for method in dict.fromkeys(line.method for table in ordered for line in table.lines)
    }  # fmt: skip
    drawn = {method: points for method, points in means.items() if len(points) > 1}
    if len(ordered) < 2 or not drawn:
        return None
    values = [end for points in drawn.values() for _, mean in points for end in (mean.low, mean.high)]
    y = _padded(values, _COST_BOTTOM, 12)
    x = Scale(-0.15, len(ordered) - 0.85, _COST_LEFT, _COST_RIGHT)
    beside = {method: _BESIDE * (place - (len(drawn) - 1) / 2) for place, method in enumerate(drawn)}
    last = {method: (x(points[-1][0]) + beside[method], y(points[-1][1].value)) for method, points in drawn.items()}
    parts = [*_y_axis(y, _COST_LEFT, _COST_RIGHT), *_shots_axis(x, ordered)]
    parts += [_shots_line(method, points, x, y, beside[method]) for method, points in drawn.items()]
    parts += _leaders(last)
    texts = "; ".join(f"{m} {', '.join(wording.score(mean.value) for _, mean in p)}" for m, p in drawn.items())
    return svg.figure(parts, (_COST_WIDTH, _COST_HEIGHT), f"Mean score against training examples: {texts}")


def _shots_key(shots: int | str) -> float:
    return math.inf if isinstance(shots, str) else shots


def _shots_axis(scale: Scale, tables: Sequence[Table]) -> Iterator[Markup]:
    yield svg.line((_COST_LEFT, _COST_BOTTOM), (_COST_RIGHT, _COST_BOTTOM), "axis")
    for place, table in enumerate(tables):
        yield svg.text((scale(place), _COST_BOTTOM + 18), str(table.shots), "middle muted")
    middle = (_COST_LEFT + _COST_RIGHT) / 2
    yield svg.text((middle, _COST_BOTTOM + 36), "training examples of the target", "middle muted")


def _shots_line(method: str, points: Sequence[tuple[int, Cell]], x: Scale, y: Scale, beside: float) -> Markup:
    look = style(method)
    placed = [(x(place) + beside, mean) for place, mean in points]
    parts = [svg.polyline([(at, y(mean.value)) for at, mean in placed], "curve", look.dashes)]
    for at, mean in placed:
        parts.append(svg.line((at, y(mean.low)), (at, y(mean.high)), "interval"))
        parts.append(svg.mark(look.shape, (at, y(mean.value)), f"{method}: {_with_interval(mean)}"))
    return svg.group(parts, look.family)
