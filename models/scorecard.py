"""Health: a churn probability on a scale that people read, in points that add up."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from models.arrays import FloatArray
from models.errors import ScorecardError
from models.inference.calibration import Calibration, logit

HIGHEST_PDO = 10.0
LARGEST_CLAMPED_SHARE = 0.02


class Band(StrEnum):
    """What a health score means at a glance."""

    RED = "red"
    YELLOW = "yellow"
    GREEN = "green"
    INSUFFICIENT_DATA = "insufficient_data"
    """No colour: too little is known of the customer."""


COLOURS = (Band.RED, Band.YELLOW, Band.GREEN)
"""The bands that a score alone can have, from bad to good."""


@dataclass(frozen=True, slots=True)
class Scorecard:
    """What freezes the meaning of health: the same risk is the same health under every model.

    `H = clamp(50 + s·[logit(p_ref) − logit(p)], 0, 100)` with `s = pdo / ln 2`: 50 is a customer at the reference risk,
    and every `pdo` points double the odds of staying. Bands: red < `red` ≤ yellow < `green` ≤ green.

    Source: Siddiqi (2006), Credit Risk Scorecards, chapter 6 (scaling by points to double the odds).
    """

    version: str
    p_ref: float
    pdo: float = HIGHEST_PDO
    red: float = 40.0
    green: float = 60.0

    def __post_init__(self) -> None:
        if not 0.0 < self.p_ref < 1.0:
            raise ScorecardError(f"p_ref is {self.p_ref}, but a reference churn rate lies strictly between 0 and 1.")
        if not (math.isfinite(self.pdo) and self.pdo > 0.0):
            raise ScorecardError(f"pdo is {self.pdo}, but the points that double the odds must be above 0.")
        if not 0.0 <= self.red <= self.green <= 100.0:
            raise ScorecardError(
                f"The bands are red {self.red} and green {self.green}, but must be in order between 0 and 100."
            )

    @property
    def scale(self) -> float:
        """Points of health per unit of log-odds, `s = pdo / ln 2`."""
        return self.pdo / math.log(2.0)

    def unclamped(self, log_odds: ArrayLike) -> FloatArray:
        """Health before the clamp, of calibrated log-odds of churn."""
        return 50.0 + self.scale * (float(logit(self.p_ref)) - np.asarray(log_odds, dtype=np.float64))

    def score(self, p: ArrayLike) -> FloatArray:
        """Health, 0 to 100, of churn probabilities; any shape.

        Raises:
            ScorecardError: a probability is missing or outside 0 to 1.
        """
        p = np.asarray(p, dtype=np.float64)
        if not ((p >= 0.0) & (p <= 1.0)).all():
            raise ScorecardError("Health needs churn probabilities between 0 and 1, and one of them is missing or not.")
        return np.clip(self.unclamped(logit(p)), 0.0, 100.0)

    def band(self, score: float) -> Band:
        """The colour of one health score."""
        if math.isnan(score):
            raise ScorecardError("A health score that is missing has no band.")
        if score < self.red:
            return Band.RED
        return Band.YELLOW if score < self.green else Band.GREEN

    def points(self, contributions: ArrayLike, calibration: Calibration) -> FloatArray:
        """Points of health of SHAP contributions: `−s·A·φ`.

        Args:
            contributions: φ in log-odds of the booster, any shape, without the base value φ₀.
        """
        return -self.scale * calibration.slope * np.asarray(contributions, dtype=np.float64)

    def base(self, base_value: float, calibration: Calibration) -> float:
        """The health of a customer about whom nothing stands out: `50 + s·[logit(p_ref) − B − A·φ₀]`.

        Args:
            base_value: φ₀, the last column of `Explainer.contributions`; the same for every row of a model.
        """
        return float(self.unclamped(calibration.log_odds(base_value)))

    def renamed(self, version: str) -> Scorecard:
        """The same scale under another version."""
        return replace(self, version=version)

    def to_json(self) -> str:
        """This scorecard as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Scorecard:
        """The scorecard that `to_json` wrote.

        Raises:
            ScorecardError: it is not one.
        """
        try:
            fields: Mapping[str, Any] = json.loads(text)
            return cls(
                version=str(fields["version"]),
                p_ref=float(fields["p_ref"]),
                pdo=float(fields["pdo"]),
                red=float(fields["red"]),
                green=float(fields["green"]),
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ScorecardError(f"The stored scorecard cannot be read ({error!r}): {text[:200]}") from error


def propose(
    log_odds: ArrayLike,
    p_ref: float,
    *,
    version: str,
    pdo: float | None = None,
    red: float = 40.0,
    green: float = 60.0,
) -> Scorecard:
    """A scorecard for a new scale: the largest PDO up to 10 that clamps at most 2 % of the reference population.

    Args:
        log_odds: (n,) calibrated log-odds of churn of the reference population, out of fold.
        p_ref: the reference churn rate, by default the rate of the newest labelled window.
        pdo: taken as it is when given.

    Raises:
        ScorecardError: no PDO is given and there is no finite figure to find one from, or the parameters make no sense.
    """
    if pdo is not None:
        return Scorecard(version=version, p_ref=p_ref, pdo=pdo, red=red, green=green)
    highest = Scorecard(version=version, p_ref=p_ref, pdo=HIGHEST_PDO, red=red, green=green)
    population = np.asarray(log_odds, dtype=np.float64).ravel()
    if population.size == 0 or not np.isfinite(population).all():
        raise ScorecardError("A scorecard needs the finite out-of-fold log-odds of at least one customer.")
    allowed = math.floor(LARGEST_CLAMPED_SHARE * population.size)
    distance = np.sort(np.abs(population - float(logit(p_ref))))[::-1]
    # The farthest customer who must still fit in 0 to 100 decides.
    farthest = float(distance[allowed]) if allowed < population.size else 0.0
    largest = 50.0 * math.log(2.0) / farthest if farthest > 0.0 else math.inf
    if largest >= HIGHEST_PDO:
        return highest
    card = replace(highest, pdo=largest)
    # Rounding can push the deciding customer an ulp over the edge.
    while _clamped(card, population) > allowed:
        card = replace(card, pdo=math.nextafter(card.pdo, 0.0))
    return card


def _clamped(card: Scorecard, log_odds: FloatArray) -> int:
    """How many customers' health lies outside 0 to 100 before the clamp."""
    unclamped = card.unclamped(log_odds)
    return int(((unclamped < 0.0) | (unclamped > 100.0)).sum())
