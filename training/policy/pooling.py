"""Pooling: what each action's average is believed to be, once all actions' averages are seen beside each other."""

from __future__ import annotations

import numpy as np

from models.arrays import FloatArray

FEWEST_POOLED = 3
"""Of fewer averages, nobody can tell how far they lie apart."""
_SPREADS = 400


def pooled(averages: FloatArray, noise: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Averages (k,) shrunk to what they have in common, and their variances (k,).

    An average is believed to be normal around a common mean, with a spread that is not known: posterior means and
    variances are taken over every spread from 0 on, all equally likely beforehand. So where noise alone could tell the
    averages apart they become nearly one, but their variances never 0; far above the noise they stay as they are.
    Sources: Rubin (1981), "Estimation in parallel randomized experiments"; Gelman (2006), "Prior distributions for
    variance parameters in hierarchical models", for the prior of the spread.

    Args:
        noise: the variance of each average (k,), independent of the others'.
    """
    if len(averages) < FEWEST_POOLED or not (noise > 0.0).all():
        return averages, noise
    widest = 10.0 * max(float(np.ptp(averages)), float(np.sqrt(noise.max())))
    # Denser towards 0; each stands for as much of the prior as it is wide.
    places = (np.arange(_SPREADS) + 0.5) / _SPREADS
    spread = widest * places**2
    total = noise + np.square(spread)[:, None]
    precision = 1.0 / total
    known = precision.sum(axis=1)
    mean = (precision @ averages) / known
    likelihood = -0.5 * (
        np.log(total).sum(axis=1) + np.log(known) + (precision * np.square(averages - mean[:, None])).sum(axis=1)
    ) + np.log(places)
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    own = np.square(spread)[:, None] * precision
    centres = own * averages + (1.0 - own) * mean[:, None]
    variances = own * noise + np.square(1.0 - own) / known[:, None]
    shrunk = weight @ centres
    return shrunk, np.asarray(weight @ (variances + np.square(centres - shrunk)))
