"""What a challenger gave on live traffic, beside what the champion answered: the files that serving's shadow writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from features.home import Home
from training.comparison.aligned_predictions import Contestant

FEWEST = 20


@dataclass(frozen=True, slots=True)
class Shadowed:
    """Two models on the customers that were asked about: each customer's last score by both."""

    champion: str
    challenger: str
    customers: int
    mean_champion: float
    mean_challenger: float
    rank_correlation: float
    apart: float
    """The mean absolute difference of their probabilities."""
    top_shared: float
    """The share of the champion's top tenth that is in the challenger's too."""

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """What a person reads."""
        return (
            f"On live traffic, {self.customers:,} customers were scored by version {self.champion} and, in the shadow, by "
            f"version {self.challenger}: on average {self.mean_champion:.1%} and {self.mean_challenger:.1%}, apart by "
            f"{self.apart:.3f} each; rank correlation {self.rank_correlation:.3f}; {self.top_shared:.0%} of the first's top "
            f"tenth are in the second's."
        )


def shadow_folder(home: Home) -> Path:
    """Where serving's workers write, each a file a day."""
    return home.path / "shadow"


def shadowed(home: Home, contestants: Sequence[Contestant]) -> tuple[Shadowed, ...]:
    """Every pair of contestants that live traffic was scored by, as champion and challenger."""
    wanted = {contestant.run_id for contestant in contestants}
    last: dict[tuple[str, str], dict[str, tuple[str, float, float]]] = {}
    for path in sorted(shadow_folder(home).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
                pair = (str(row["champion"]), str(row["challenger"]))
                if not {row["champion_run"], row["challenger_run"]} <= wanted:
                    continue
                found = (str(row["at"]), float(row["p_champion"]), float(row["p_challenger"]))
            except (ValueError, KeyError, TypeError):
                continue  # the last line of a server that was killed
            scores = last.setdefault(pair, {})
            if row["customer_id"] not in scores or scores[row["customer_id"]] < found:
                scores[row["customer_id"]] = found
    return tuple(
        _measured(*pair, np.array([one[1:] for one in scores.values()]))
        for pair, scores in sorted(last.items())
        if len(scores) >= FEWEST
    )


def _measured(champion: str, challenger: str, p: npt.NDArray[np.float64]) -> Shadowed:
    from scipy.stats import spearmanr

    first, second = p.T
    flat = np.ptp(first) == 0 or np.ptp(second) == 0
    top = max(1, round(0.1 * len(p)))
    tops = [set(np.argsort(-one, kind="stable")[:top].tolist()) for one in (first, second)]
    return Shadowed(
        champion=champion,
        challenger=challenger,
        customers=len(p),
        mean_champion=float(first.mean()),
        mean_challenger=float(second.mean()),
        rank_correlation=0.0 if flat else float(spearmanr(first, second).statistic),
        apart=float(np.abs(first - second).mean()),
        top_shared=len(tops[0] & tops[1]) / top,
    )
