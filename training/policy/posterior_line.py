"""A line over a design as noisy figures let one believe it: each column matters a little, or one of them alone does."""

from __future__ import annotations

import numpy as np

from models.arrays import FloatArray

_SPREADS = 200


def posterior_line(Z: FloatArray, y: FloatArray) -> tuple[FloatArray, float]:
    """The posterior means of the coefficients (p,) and of the intercept of figures y (n,) over a design Z (n, p).

    Beforehand it is as likely that every column matters as that one alone does, whichever. Coefficients that matter are
    normal around 0 with a common spread, up to the noise of one row; means are taken over every spread, all equally
    likely, over the noise, and over which columns matter. So no column is chosen: a difference of two or three standard
    errors is kept in part, and the one of many that chance favours most is kept hardly.
    Sources: Liang, Paulo, Molina, Clyde and Berger (2008), "Mixtures of g priors for Bayesian variable selection", for
    means over the spread; Hoeting, Madigan, Raftery and Volinsky (1999), "Bayesian model averaging".
    """
    n, p = Z.shape
    centre, mean = Z.mean(axis=0), float(y.mean())
    inner, rest = Z - centre, y - mean
    total = float(rest @ rest)
    if p == 0 or total == 0.0:
        return np.zeros(p), mean
    gram, toward = inner.T @ inner, inner.T @ rest
    sizes, axes = np.linalg.eigh(gram)
    every, log = _averaged(np.maximum(sizes, 0.0), axes.T @ toward, total, n)
    alone = [_averaged(gram[[j], [j]], toward[[j]], total, n) for j in range(p)]
    logs = np.array([log + np.log(p), *(log for _, log in alone)])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    coefficients = weights[0] * (axes @ every) + weights[1:] * np.concatenate([own for own, _ in alone])
    return coefficients, mean - float(centre @ coefficients)


def _averaged(sizes: FloatArray, along: FloatArray, total: float, n: int) -> tuple[FloatArray, float]:
    """The posterior mean along orthogonal axes (p,) over every spread and noise, and the logarithm of the evidence.

    Args:
        sizes: the sum of squares along each axis (p,).
        along: its inner product with the figures (p,), whose sum of squares is `total`.
    """
    # Denser towards 0; each stands for as much of the prior as it is wide.
    places = (np.arange(_SPREADS) + 0.5) / _SPREADS
    ratio = places[:, None] ** 4
    grown = 1.0 + ratio * sizes
    explained = (ratio * np.square(along) / grown).sum(axis=1)
    likelihood = (
        np.log(places)
        - 0.5 * np.log(grown).sum(axis=1)
        - 0.5 * (n - 1) * np.log1p(-np.minimum(explained / total, 1 - 1e-12))
    )
    weight = np.exp(likelihood - likelihood.max())
    return weight @ (ratio * along / grown) / weight.sum(), float(likelihood.max() + np.log(weight.sum()))
