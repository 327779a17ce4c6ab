"""What would bring a customer to green: the fewest, smallest changes of figures that people can act on, by the real model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.schema import DType, Feature
from models.inference.calibration import expit
from serving.releases.reasons import shortest
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore

PILLARS = ("adoption", "engagement", "sentiment", "support", "commercial")
"""Whose figures people can act on; how long a customer has been one, they can't."""
MOST_CHANGES = 4
_BEAM = 6
_LEAST_GAIN = 0.2
_WINDOW = re.compile(r"(.+)_(\d+)d\Z")
_BEYOND = frozenset({"mrr", "spend_total", "purchase_days", "renewals"})
"""Figures of a whole life or a contract, which nobody changes by next month."""


@dataclass(frozen=True, slots=True)
class Step:
    """One figure that would be another; `text` says the new one as a sentence."""

    feature: str
    pillar: str
    before: str
    text: str


@dataclass(frozen=True, slots=True)
class Path:
    """Changes that together lead to `score`; `reaches_green` says whether that is enough."""

    steps: tuple[Step, ...]
    score: float
    probability: float
    reaches_green: bool


@dataclass(frozen=True, slots=True)
class _Move:
    column: int
    value: float
    size: float
    """How far, in steps between the quantiles that others have."""


@dataclass(frozen=True, slots=True)
class _Plan:
    moves: tuple[_Move, ...]
    row: NDArray[np.float32]
    score: float

    @property
    def size(self) -> float:
        return sum(move.size for move in self.moves)


def path_to_green(
    release: Release, score: CustomerScore, row: NDArray[np.float32], quantiles: Mapping[str, Sequence[float]]
) -> Path | None:
    """The path of fewest changes, and of those the smallest, that the search finds; None where nothing to act on helps.

    A beam search: each round changes one more figure to what other customers have, in the direction that goes with
    staying, and keeps the most promising few. Figures of one count over several windows stay consistent: ten sessions
    in a week are at least ten in a month.

    Args:
        row: (d,) the customer's features as the model reads them.
        quantiles: of the numeric features, at `edition.QUANTILES`.
    """
    moves = _moves(release, row, quantiles)
    columns = {feature.name: column for column, feature in enumerate(release.schema)}
    beam = [_Plan((), row, score.score)]
    best = beam[0]
    for _ in range(MOST_CHANGES):
        grown = [
            (plan, move)
            for plan in beam
            for move in moves
            if all(not _related(release, move.column, made.column) for made in plan.moves)
        ]
        if not grown:
            break
        rows = np.stack([_changed(plan.row, move, release.schema.features, columns) for plan, move in grown])
        scores = _scores(release, rows)
        plans = [
            _Plan((*plan.moves, move), rows[place], float(scores[place])) for place, (plan, move) in enumerate(grown)
        ]
        green = [plan for plan in plans if plan.score >= release.scorecard.green]
        if green:
            best = min(green, key=lambda plan: (plan.size, -plan.score))
            break
        beam = sorted(plans, key=lambda plan: (-plan.score, plan.size))[:_BEAM]
        if beam[0].score < best.score + _LEAST_GAIN:
            break
        best = beam[0]
    return _told(release, row, best) if best.moves else None


def _moves(release: Release, row: NDArray[np.float32], quantiles: Mapping[str, Sequence[float]]) -> list[_Move]:
    found = []
    for column, feature in enumerate(release.schema):
        levels = quantiles.get(feature.name)
        if levels is None or not _is_actionable(feature) or np.isnan(row[column]):
            continue
        now = float(row[column])
        better = [
            (place, _whole(level, feature))
            for place, level in enumerate(levels)
            if (level - now) * feature.direction < 0.0
        ]
        place_now = float(
            np.searchsorted(levels, now) if feature.direction < 0 else np.searchsorted(levels, now, "right")
        )
        seen: set[float] = set()
        for place, level in better:
            if level not in seen and level != now:
                seen.add(level)
                found.append(_Move(column, level, abs(place - place_now) + 1.0))
    return found


def _is_actionable(feature: Feature) -> bool:
    return (
        feature.dtype is DType.FLOAT
        and feature.direction != 0
        and feature.pillar in PILLARS
        and feature.name not in _BEYOND
        and not feature.name.endswith("_age_days")
    )


def _whole(level: float, feature: Feature) -> float:
    """A count is a whole number."""
    return float(round(level)) if feature.unit in ("count", "days", "sessions", "tickets") else level


def _related(release: Release, one: int, other: int) -> bool:
    """Whether two figures are one count over two windows, so that a person would not change both."""
    a, b = release.schema.features[one].name, release.schema.features[other].name
    return a == b or _stem(a) == _stem(b)


def _stem(name: str) -> str:
    matched = _WINDOW.fullmatch(name)
    return name if matched is None else matched[1]


def _changed(
    row: NDArray[np.float32], move: _Move, features: Sequence[Feature], columns: Mapping[str, int]
) -> NDArray[np.float32]:
    """The row with one figure changed, and the other windows of the same count brought in line."""
    changed = row.copy()
    changed[move.column] = move.value
    matched = _WINDOW.fullmatch(features[move.column].name)
    if matched is None or features[move.column].unit not in ("count", "days", "sessions", "tickets"):
        return changed
    days = int(matched[2])
    for name, column in columns.items():
        other = _WINDOW.fullmatch(name)
        if other is None or other[1] != matched[1] or column == move.column or np.isnan(changed[column]):
            continue
        if int(other[2]) > days:
            changed[column] = max(float(changed[column]), move.value)
        else:
            changed[column] = min(float(changed[column]), move.value)
    return changed


def _scores(release: Release, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    contributions = release.explainer.contributions(rows)
    points = release.scorecard.points(contributions[:, :-1], release.bundle.calibration)
    return np.asarray(np.clip(release.base + points.sum(axis=1), 0.0, 100.0))


def _told(release: Release, row: NDArray[np.float32], plan: _Plan) -> Path:
    steps = []
    for move in plan.moves:
        feature = release.schema.features[move.column]
        steps.append(
            Step(
                feature=feature.name,
                pillar=feature.pillar,
                before=feature.say(shortest(float(row[move.column]))),
                text=feature.say(shortest(float(np.float32(move.value)))),
            )
        )
    contributions = release.explainer.contributions(plan.row[np.newaxis, :])
    probability = float(expit(release.bundle.calibration.log_odds(contributions.sum(axis=1)))[0])
    return Path(tuple(steps), plan.score, probability, plan.score >= release.scorecard.green)
