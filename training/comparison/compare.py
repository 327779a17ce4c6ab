"""Models side by side on rows that none of them was fitted on: each figure, and whether a difference is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from features.home import Home
from models.inference.interval import Z95, Interval
from models.registry.model_bundle import GateResult
from models.registry.registered_model import RegisteredModel
from models.registry.registry import Registry
from training.comparison.aligned_predictions import AlignedPredictions, Contestant, align_predictions
from training.errors import NotComparable
from training.evaluation.bootstrap import (
    AT_K,
    FIGURES,
    LOWER_IS_BETTER,
    Difference,
    Ranked,
    difference,
    figures_of,
    intervals,
    resampled,
)
from training.tracking.runs import Tracker

LOG_LOSS = FIGURES.index("log_loss")
DEFAULT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Standing:
    """One contestant's figures, their intervals, and how far each is from the first contestant's."""

    contestant: Contestant
    figures: Mapping[str, float | None]
    intervals: Mapping[str, Interval | None]
    differences: Mapping[str, Difference | None]
    """Empty for the first."""

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "name": self.contestant.name,
            "run_id": self.contestant.run_id,
            "figures": dict(self.figures),
            "intervals": {name: None if one is None else one.to_json() for name, one in self.intervals.items()},
            "differences": {name: None if one is None else one.to_json() for name, one in self.differences.items()},
        }


@dataclass(frozen=True, slots=True)
class SideBySide:
    """All contestants on the same `n` rows, the top `k` of them called."""

    n: int
    k: int
    rows_of: str
    standings: tuple[Standing, ...]
    warnings: tuple[str, ...] = ()

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Of every contestant but the first: whether it is really better, by log-loss, and what else is proven."""
        return tuple(_verdict(one, self.standings[0].contestant.name) for one in self.standings[1:])

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "n": self.n,
            "k": self.k,
            "rows_of": self.rows_of,
            "models": [standing.to_json() for standing in self.standings],
            "verdicts": list(self.verdicts),
            "warnings": list(self.warnings),
        }


def side_by_side(rows: AlignedPredictions, contestants: Sequence[Contestant], share: float | None = None) -> SideBySide:
    """Measure all on the same rows, and the differences in the same resampled customers (paired bootstrap).

    Args:
        share: of the rows, those that a team can call; by default what the run whose rows they are was told.
    """
    k = max(1, round((share or rows.called or DEFAULT_SHARE) * len(rows.y)))
    ranked = {str(place): Ranked(rows.y, p, k) for place, p in enumerate(rows.p)}
    drawn = resampled(ranked, rows.customers)
    own = [figures_of(rows.y, p, k) for p in rows.p]
    standings = []
    for place, contestant in enumerate(contestants):
        draws = drawn[str(place)]
        apart: dict[str, Difference | None] = {}
        for column, name in enumerate(FIGURES if place else ()):
            mine, first = own[place][name], own[0][name]
            if mine is None or first is None:
                apart[name] = None
                continue
            between = difference(name, mine, first, draws[:, column], drawn["0"][:, column])
            # Of a slope, neither more nor less is better: 1 is.
            apart[name] = replace(between, better=None) if name == "calibration_slope" else between
        standings.append(Standing(contestant, own[place], intervals(rows.y, rows.p[place], draws, k), apart))
    return SideBySide(len(rows.y), k, rows.rows_of, tuple(standings))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Challenger against champion on rows that neither was fitted on; or why they cannot be compared."""

    gate: GateResult | None
    warning: str | None
    difference: Difference | None = None
    """Of the log-loss, challenger's minus champion's."""


def compare(home: Home, registry: Registry, challenger: RegisteredModel, champion: RegisteredModel) -> Comparison:
    """Judge both by log-loss on rows that neither was fitted on.

    The gate is passed where the challenger's log-loss is below the champion's, or above it by no more than a paired
    bootstrap of customers takes for noise: the reach of a 95 % interval of the difference (Efron and Tibshirani 1993).
    """
    both = (
        Contestant(f"version {challenger.version}", challenger.run_id),
        Contestant(f"version {champion.version}", champion.run_id),
    )
    try:
        rows = align_predictions(Tracker(home, registry.model_name), both)
    except NotComparable as error:
        return Comparison(
            None, f"Not compared with the champion, version {champion.version}: {error.name}: {error.why}."
        )
    ranked = {str(place): Ranked(rows.y, p, 1, slope=False) for place, p in enumerate(rows.p)}
    drawn = resampled(ranked, rows.customers)
    mine, theirs = (float(one.measure(np.ones(len(rows.y)))[LOG_LOSS]) for one in ranked.values())
    draws, draws_of_champion = drawn["0"][:, LOG_LOSS], drawn["1"][:, LOG_LOSS]
    limit = theirs + Z95 * float(np.nanstd(draws - draws_of_champion))
    return Comparison(
        GateResult(mine <= limit, mine, limit), None, difference("log_loss", mine, theirs, draws, draws_of_champion)
    )


def _verdict(standing: Standing, first: str) -> str:
    name, loss = standing.contestant.name, standing.differences["log_loss"]
    assert loss is not None
    how = f"log-loss {loss.figure:+.5f}, 95 %: {loss.interval.low:+.5f} to {loss.interval.high:+.5f}"
    if loss.better is None:
        said = f"{name} is not proven to be better or worse than {first} ({how})"
    else:
        said = f"{name} is {'better' if loss.better else 'worse'} than {first} ({how})"
    for figure, what in (("auc", "AUC"), ("ece", "ECE"), (AT_K, "precision at the top")):
        apart = standing.differences[figure]
        if apart is not None and apart.better is not None:
            higher = apart.better != (figure in LOWER_IS_BETTER)
            said += f"; its {what} is {'higher' if higher else 'lower'} by {abs(apart.figure):.4f}"
    return said + "."
