"""The geometry of what is drawn on the server: sparklines, and waterfalls whose bars add up as they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from serving.web.formatting import adding_up

WIDTH, HEIGHT = 112.0, 28.0
_PAD = 3.0
_LEAST_SPAN = 24.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A trend as the `points` of an SVG polyline, its last point, and the scores between which it runs."""

    points: str
    x: float
    y: float
    first: float
    last: float


def sparkline(trend: Sequence[float | None], now: float) -> Sparkline | None:
    """The line from the first known score to now; None where nothing earlier is known."""
    steps = [*trend, now]
    known = [(place, score) for place, score in enumerate(steps) if score is not None]
    if len(known) < 2:
        return None
    lowest, highest = min(score for _, score in known), max(score for _, score in known)
    middle, span = (lowest + highest) / 2, max(_LEAST_SPAN, highest - lowest)

    def x(place: int) -> float:
        return round(_PAD + (WIDTH - 2 * _PAD) * place / (len(steps) - 1), 1)

    def y(score: float) -> float:
        return round(_PAD + (HEIGHT - 2 * _PAD) * (0.5 - (score - middle) / span), 1)

    points = " ".join(f"{x(place)},{y(score)}" for place, score in known)
    return Sparkline(points, x(known[-1][0]), y(known[-1][1]), known[0][1], known[-1][1])


@dataclass(frozen=True, slots=True)
class Bar:
    """One step of a waterfall in tenths of a point: where it starts and ends; `kind` is total, up, down or none."""

    label: str
    points: float
    start: float
    end: float
    kind: str

    @property
    def left(self) -> float:
        """Where the bar begins, on the scale from 0 to 100."""
        return min(100.0, max(0.0, min(self.start, self.end)))

    @property
    def width(self) -> float:
        """How long the bar is, on the scale from 0 to 100."""
        return round(min(100.0, max(0.0, max(self.start, self.end))) - self.left, 1)


def waterfall(first: tuple[str, float], steps: Sequence[tuple[str, float]], last: tuple[str, float]) -> tuple[Bar, ...]:
    """Bars from one figure to another over steps, every figure in tenths so that those shown add up to the last."""
    total = round(last[1], 1)
    start = round(first[1], 1)
    shown = adding_up([points for _, points in steps], total - start)
    bars = [Bar(first[0], start, 0.0, start, "total")]
    level = start
    for (label, _), points in zip(steps, shown, strict=True):
        end = round(level + points, 1)
        bars.append(Bar(label, points, level, end, "up" if points > 0 else "down" if points < 0 else "none"))
        level = end
    return (*bars, Bar(last[0], total, 0.0, total, "total"))
