"""A figure beside its peer's: interleaved rounds, the median of their ratios, and a bootstrap interval around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PEERS_SHARE = 10
"""Where a peer's cost is each row's own, it does one row in so many."""
_RESAMPLES = 10_000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: speeds of ours and of the peer, a pair a round; more is faster."""

    number: str
    what: str
    peer: str
    unit: str
    goal: float
    """The least ratio, held against the lower bound of the interval."""
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    notes: Mapping[str, object]

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Ours by the peer's, a round each."""
        return np.asarray(np.array(self.ours) / np.array(self.theirs), dtype=np.float64)

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios."""
        return float(np.median(self.ratios))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of the median ratio."""
        rng = np.random.default_rng(0)
        drawn = np.median(rng.choice(self.ratios, (_RESAMPLES, len(self.ours))), axis=1)
        low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        return float(low), float(high)

    @property
    def met(self) -> bool:
        """Whether the lower bound reaches the goal."""
        return self.interval[0] >= self.goal

    def to_json(self) -> dict[str, object]:
        """The row as bench.json holds it."""
        low, high = self.interval
        return {
            "row": self.number,
            "what": self.what,
            "peer": self.peer,
            "unit": self.unit,
            "ours": list(self.ours),
            "theirs": list(self.theirs),
            "ratio": self.ratio,
            "interval": [low, high],
            "goal": self.goal,
            "met": self.met,
            "notes": dict(self.notes),
        }


def interleaved(
    rounds: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Speeds of both, in rounds that take turns at who goes first."""
    mine, peers = [], []
    for number in range(rounds):
        if number % 2:
            peers.append(theirs())
            mine.append(ours())
        else:
            mine.append(ours())
            peers.append(theirs())
    return tuple(mine), tuple(peers)
