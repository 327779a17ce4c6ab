"""Qini and AUUC: how well effects order customers, against an order by chance.

Definition. Customers are ordered by their foretold effect, the largest first. For each share x of them, U(x) is x times
the difference between the mean rewards of the treated and of the untreated among those first, each mean weighted by 1 /
pscore: what the whole base would gain a head if the action were used on that share alone. Customers of equal effect
have no order, so U is straight between them. AUUC is the area under U from 0 to 1, and Qini is AUUC − U(1) / 2, the area
between U and the straight line that an order by chance gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, Rows
from models.inference.interval import Estimate

RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class UpliftCurve:
    """Areas with their bootstrap intervals (95 %), and the effect on everybody."""

    qini: Estimate
    auuc: Estimate
    average: float


def uplift_curve(
    effect: FloatArray,
    treated: NDArray[np.bool_],
    y: FloatArray,
    pscore: FloatArray,
    group: Rows,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> UpliftCurve:
    """The areas of an order by `effect`.

    Args:
        effect: foretold for each customer, (n,), as are the others.
        treated: who got the action; the others got nothing.
        pscore: the probability of what each of them got.
        group: equal for the rows of one customer; customers are resampled whole.
        rng: of the bootstrap; Efron and Tibshirani (1993), percentile intervals.
    """
    order = np.argsort(-effect, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(effect[order])), len(order) - 1)
    share = (ends + 1) / len(order)
    sides = [
        (np.where(side, 1.0 / pscore, 0.0)[order], np.where(side, y / pscore, 0.0)[order])
        for side in (treated, ~treated)
    ]
    members = np.unique(group, return_inverse=True)[1][order]
    n_groups = int(members.max()) + 1
    qini, auuc, average = _areas(sides, ends, share, None)
    drawn = np.empty((resamples, 2))
    for number in range(resamples):
        times = np.bincount(rng.integers(0, n_groups, n_groups), minlength=n_groups)[members]
        drawn[number] = _areas(sides, ends, share, times.astype(np.float64))[:2]
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0) if resamples else np.full((2, 2), np.nan)
    return UpliftCurve(
        Estimate(qini, float(low[0]), float(high[0])), Estimate(auuc, float(low[1]), float(high[1])), average
    )


def _areas(
    sides: list[tuple[FloatArray, FloatArray]], ends: NDArray[np.int64], share: FloatArray, times: FloatArray | None
) -> tuple[float, float, float]:
    means = []
    for weight, weighted in sides:
        w, wy = (weight, weighted) if times is None else (weight * times, weighted * times)
        total = np.cumsum(w)[ends]
        means.append(np.divide(np.cumsum(wy)[ends], total, out=np.zeros(len(ends)), where=total > 0))
    if times is not None:
        share = np.cumsum(times)[ends] / times.sum()
    gained = share * (means[0] - means[1])
    area = float(np.trapezoid(np.append(0.0, gained), np.append(0.0, share)))
    last = float(gained[-1])
    return area - last / 2.0, area, last
