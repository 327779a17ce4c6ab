"""What a challenger gave on live traffic, beside what the champion answered: the files that serving's shadow writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from features.home import Home
from models.inference_log import SHADOW_SCORES, ShadowScore
from training.comparison.aligned_predictions import Contestant

FEWEST = 20


@dataclass(frozen=True, slots=True)
class ShadowComparison:
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


def compare_shadows(home: Home, contestants: Sequence[Contestant]) -> tuple[ShadowComparison, ...]:
    """Every pair of contestants that live traffic was scored by, as champion and challenger."""
    wanted = {contestant.run_id for contestant in contestants}
    last: dict[tuple[str, str], dict[str, tuple[str, float, float]]] = {}
    for path in sorted((home.path / SHADOW_SCORES).glob("*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                score = ShadowScore.from_json(line)
            except ValueError:
                continue  # the last line of a server that was killed
            if not {score.champion_run, score.challenger_run} <= wanted:
                continue
            scores = last.setdefault((score.champion, score.challenger), {})
            found = (score.at, score.p_champion, score.p_challenger)
            if score.customer_id not in scores or scores[score.customer_id] < found:
                scores[score.customer_id] = found
    return tuple(
        _measured(*pair, np.array([one[1:] for one in scores.values()]))
        for pair, scores in sorted(last.items())
        if len(scores) >= FEWEST
    )


def _measured(champion: str, challenger: str, p: npt.NDArray[np.float64]) -> ShadowComparison:
    from scipy.stats import spearmanr

    first, second = p.T
    flat = np.ptp(first) == 0 or np.ptp(second) == 0
    top = max(1, round(0.1 * len(p)))
    tops = [set(np.argsort(-one, kind="stable")[:top].tolist()) for one in (first, second)]
    return ShadowComparison(
        champion=champion,
        challenger=challenger,
        customers=len(p),
        mean_champion=float(first.mean()),
        mean_challenger=float(second.mean()),
        rank_correlation=0.0 if flat else float(spearmanr(first, second).statistic),
        apart=float(np.abs(first - second).mean()),
        top_shared=len(tops[0] & tops[1]) / top,
    )
