"""BG/NBD, for comparison: a customer may leave after each purchase, where Pareto/NBD lets them leave at any moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import gammaln, hyp2f1

from models.arrays import FloatArray
from models.value.pareto_nbd import PurchaseHistories


@dataclass(frozen=True, slots=True)
class BgNbd:
    """Purchases at a rate Gamma(r, α), and death after each of them with a probability Beta(a, b).

    Source: Fader, Hardie & Lee (2005), "Counting your customers" the easy way: an alternative to the Pareto/NBD model.
    """

    r: float
    alpha: float
    a: float
    b: float

    @classmethod
    def fit(cls, histories: PurchaseHistories) -> BgNbd:
        """The most likely parameters."""
        centre = np.log([1.0, max(float(histories.first.mean()), 1.0), 1.0, 2.0])

        def cost(theta: FloatArray) -> float:
            return -float(cls(*np.exp(theta).tolist()).log_likelihood(histories).mean())

        bounds = list(zip(centre - 12.0, centre + 12.0, strict=True))
        return cls(*np.exp(minimize(cost, centre, method="L-BFGS-B", bounds=bounds).x).tolist())

    def log_likelihood(self, histories: PurchaseHistories) -> FloatArray:
        """Of each history, (n,)."""
        r, alpha, a, b, x = self.r, self.alpha, self.a, self.b, histories.repeats
        until = histories.first - histories.last
        died = np.where(x > 0.0, a / np.maximum(b + x - 1.0, 1e-12), 0.0)
        # The death's term over the life's, so that neither power runs out of floats.
        ratio = died * np.exp((r + x) * (np.log(alpha + histories.first) - np.log(alpha + until)))
        return np.asarray(
            gammaln(r + x) - gammaln(r) + r * np.log(alpha) - (r + x) * np.log(alpha + histories.first)
            + gammaln(a + b) + gammaln(b + x) - gammaln(b) - gammaln(a + b + x) + np.log1p(ratio)
        )  # fmt: skip

    def expected_purchases(self, histories: PurchaseHistories, days: float) -> FloatArray:
        """How many days with a purchase to expect of the next `days`, (n,)."""
        r, alpha, a, b, x = self.r, self.alpha, self.a, self.b, histories.repeats
        now, until = alpha + histories.first, alpha + histories.first - histories.last
        died = np.where(x > 0.0, a / np.maximum(b + x - 1.0, 1e-12), 0.0) * (now / until) ** (r + x)
        series = hyp2f1(r + x, b + x, a + b + x - 1.0, days / (now + days))
        return np.asarray(
            (a + b + x - 1.0) / (a - 1.0) * (1.0 - (now / (now + days)) ** (r + x) * series) / (1.0 + died)
        )
