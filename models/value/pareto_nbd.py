"""When customers buy again: the Pareto/NBD process, fitted to nothing but when they bought.

While alive a customer buys at random at a rate of their own, λ ~ Gamma(r, α), and dies at a rate of their own,
μ ~ Gamma(s, β), which nobody sees. Source: Schmittlein, Morrison & Colombo (1987), Counting your customers. Their
hypergeometric functions are integrated here instead, which is as exact and overflows nowhere. All times are in days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import FloatArray
from models.errors import ModelsError

FEWEST_CUSTOMERS = 50
"""With fewer customers, or fewer who came back, there is nothing to fit."""
FEWEST_RETURNED = 10

# Twenty nodes leave an error below 1e-6 wherever the parameters are, and below 1e-9 where they usually are.
_NODES, _WEIGHTS = (half / 2.0 for half in np.polynomial.legendre.leggauss(20))
_NODES = _NODES + 0.5
_PRIOR_SD = 2.0
"""Of the parameters' logarithms, around a customer who buys and dies once in the mean time that customers are known."""
_FURTHEST = 12.0


@dataclass(frozen=True, slots=True)
class PurchaseHistories:
    """When n customers bought and what it brought, seen from one moment each; all shapes (n,).

    `count` are the days with a purchase (1 or more), `first` and `last` the days since the first and the last of them,
    `mean` is the money that such a day brought on average, NaN where that is not known.
    """

    count: FloatArray
    first: FloatArray
    last: FloatArray
    mean: FloatArray

    def __len__(self) -> int:
        return len(self.count)

    @classmethod
    def of(cls, count: ArrayLike, first: ArrayLike, last: ArrayLike, mean: ArrayLike) -> Self:
        """Histories of figures that may have been rounded: nobody's last purchase is before the first."""
        n, since, recent, money = (np.asarray(column, dtype=np.float64) for column in (count, first, last, mean))
        since = np.maximum(since, 0.0)
        return cls(n, since, np.where(n > 1.0, np.clip(recent, 0.0, since), since), money)

    def of_rows(self, rows: NDArray[np.int64]) -> PurchaseHistories:
        """The histories of some customers, by their place."""
        return PurchaseHistories(self.count[rows], self.first[rows], self.last[rows], self.mean[rows])

    @property
    def repeats(self) -> FloatArray:
        """Days with a purchase after the first."""
        return self.count - 1.0


@dataclass(frozen=True, slots=True)
class PurchaseProcess:
    """How customers of one business come and go: shape and rate of how often they buy, and of how soon they die."""

    r: float
    alpha: float
    s: float
    beta: float

    @classmethod
    def fit(cls, histories: PurchaseHistories) -> PurchaseProcess:
        """The parameters under which the histories are most likely, with a weak prior that decides where they say little.

        Raises:
            ModelsError: too few customers, or too few of them bought twice.
        """
        returned = int((histories.repeats > 0.0).sum())
        if len(histories) < FEWEST_CUSTOMERS or returned < FEWEST_RETURNED:
            raise ModelsError(
                f"{len(histories)} customers bought, {returned} of them on more than one day: at least {FEWEST_CUSTOMERS} and "
                f"{FEWEST_RETURNED} are needed to say when they buy again."
            )
        from scipy.optimize import minimize  # here, so that serving does not load it

        # Many histories are alike: each is looked at once.
        alike = np.stack([histories.repeats, histories.first, histories.last], axis=1)
        alike, weight = np.unique(alike, axis=0, return_counts=True)
        kinds = PurchaseHistories(alike[:, 0] + 1.0, alike[:, 1], alike[:, 2], np.full(len(alike), np.nan))
        centre = np.log([1.0, max(histories.first.mean(), 1.0), 1.0, max(histories.first.mean(), 1.0)])
        total = float(weight.sum())

        def cost(theta: FloatArray) -> float:
            fitted = cls(*np.exp(theta).tolist())
            prior = 0.5 * float((((theta - centre) / _PRIOR_SD) ** 2).sum())
            return (prior - float(weight @ fitted.log_likelihood(kinds))) / total

        bounds = list(zip(centre - _FURTHEST, centre + _FURTHEST, strict=True))
        found = minimize(cost, centre, method="L-BFGS-B", bounds=bounds)
        return cls(*np.exp(found.x).tolist())

    def log_likelihood(self, histories: PurchaseHistories) -> FloatArray:
        """Of each history (n,), given when its first purchase was."""
        from scipy.special import gammaln

        r, x, first = self.r, histories.repeats, histories.first
        until = first - histories.last
        still, died = self._silent(r + x, self.alpha + until, self.beta + until, histories.last)
        return np.asarray(
            gammaln(r + x)
            - gammaln(r)
            + r * np.log(self.alpha)
            + self.s * np.log(self.beta)
            - (r + x) * np.log(self.alpha + until)
            - self.s * np.log(self.beta + until)
            + np.log(still + died)
        )

    def alive(self, histories: PurchaseHistories) -> FloatArray:
        """The probability (n,) that a customer is still one. It is no churn score: who bought once is all but sure to be."""
        until = histories.first - histories.last
        shape = self.r + histories.repeats
        still, died = self._silent(shape, self.alpha + until, self.beta + until, histories.last)
        return np.asarray(still / (still + died))

    def any_purchase(self, histories: PurchaseHistories, days: float) -> FloatArray:
        """The probability (n,) of at least one purchase in the next `days`."""
        shape, alpha, beta = self._now(histories)
        still, died = self._silent(shape, alpha, beta, np.full(len(histories), float(days)))
        return np.asarray(self.alive(histories) * (1.0 - np.minimum(still + died, 1.0)))

    def expected_purchases(self, histories: PurchaseHistories, days: float) -> FloatArray:
        """How many days with a purchase (n,) to expect of the next `days`."""
        shape, alpha, beta = self._now(histories)
        # The expected days that a living customer has left, of those.
        growth, order = np.log1p(days / beta), self.s - 1.0
        left = beta * (growth if abs(order) < 1e-9 else -np.expm1(-order * growth) / order)
        return np.asarray(self.alive(histories) * shape / alpha * left)

    def _now(self, histories: PurchaseHistories) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What is believed of a living customer's rates: the shape and rate of λ, and the rate of μ."""
        return self.r + histories.repeats, self.alpha + histories.first, self.beta + histories.first

    def _silent(
        self, shape: FloatArray, alpha: FloatArray, beta: FloatArray, days: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """The probabilities of no purchase within `days`, alive at the end of them, and dead: both (n,).

        The latter is ∫ s/(β+y) (β/(β+y))^s (α/(α+y))^shape dy over the days, in a variable in which it is smooth.
        """
        s = self.s
        still = np.exp(-shape * np.log1p(days / alpha) - s * np.log1p(days / beta))
        scale = 1.0 / (shape / alpha + (s + 1.0) / beta)
        span = np.log1p(days / scale)
        y = scale[:, None] * np.expm1(span[:, None] * _NODES)
        alpha, beta, scale = alpha[:, None], beta[:, None], scale[:, None]
        density = np.exp(-s * np.log1p(y / beta) - shape[:, None] * np.log1p(y / alpha)) * (
            s * (scale + y) / (beta + y)
        )
        return still, span * (density @ _WEIGHTS)

    def to_json(self) -> dict[str, float]:
        """The parameters."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> PurchaseProcess:
        """What `to_json` gave."""
        return cls(**{name: float(content[name]) for name in ("r", "alpha", "s", "beta")})


@dataclass(frozen=True, slots=True)
class PurchaseSpend:
    """What a day with a purchase brings: Gamma-Gamma, in which a customer's mean is drawn towards everybody's.

    Source: Fader, Hardie & Lee (2005), RFM and CLV: using iso-value curves for customer base analysis. A day's spend is
    Gamma(p, ν) with ν ~ Gamma(q, γ), and q above 1.
    """

    p: float
    q: float
    gamma: float

    @classmethod
    def fit(cls, histories: PurchaseHistories) -> PurchaseSpend:
        """The most likely parameters, given what those brought who came back; if these are few, given all.

        Raises:
            ModelsError: hardly any purchase brought money.
        """
        paid = histories.mean > 0.0
        came_back = paid & (histories.repeats > 0.0)
        chosen = came_back if int(came_back.sum()) >= FEWEST_CUSTOMERS else paid
        count, mean = histories.count[chosen], histories.mean[chosen]
        if len(mean) < FEWEST_CUSTOMERS:
            raise ModelsError(
                f"The purchases of {len(mean)} customers brought money, but at least {FEWEST_CUSTOMERS} are needed to say "
                f"what one brings."
            )
        from scipy.optimize import minimize
        from scipy.special import gammaln

        centre = np.log([4.0, 3.0, max(float(np.average(mean, weights=count)), 1e-9)])

        def cost(theta: FloatArray) -> float:
            p, q, gamma = np.exp(theta[0]), 1.0 + np.exp(theta[1]), np.exp(theta[2])
            total = p * count
            likelihood = (
                gammaln(total + q)
                - gammaln(total)
                - gammaln(q)
                + q * np.log(gamma)
                + (total - 1.0) * np.log(mean)
                + total * np.log(count)
                - (total + q) * np.log(gamma + count * mean)
            )
            prior = 0.5 * float((((theta - centre) / _PRIOR_SD) ** 2).sum())
            return (prior - float(likelihood.sum())) / len(mean)

        bounds = list(zip(centre - _FURTHEST, centre + _FURTHEST, strict=True))
        found = minimize(cost, centre, method="L-BFGS-B", bounds=bounds).x
        return cls(float(np.exp(found[0])), float(1.0 + np.exp(found[1])), float(np.exp(found[2])))

    def expected(self, histories: PurchaseHistories) -> FloatArray:
        """What a customer's next day with a purchase brings (n,); everybody's mean where nothing is known of it."""
        known = histories.mean > 0.0
        total = np.where(known, self.p * histories.count, 0.0)
        paid = np.where(known, histories.mean, 0.0)
        return np.asarray((self.gamma * self.p + total * paid) / (total + self.q - 1.0))

    def to_json(self) -> dict[str, float]:
        """The parameters."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> PurchaseSpend:
        """What `to_json` gave."""
        return cls(**{name: float(content[name]) for name in ("p", "q", "gamma")})
