"""Averages that shrink to what they have in common, against truths that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.policy.pooling import pooled


def test_averages_far_above_their_noise_stay_and_two_are_never_pooled() -> None:
    averages = np.array([0.1, 0.2, 0.4, 0.8])
    shrunk, variance = pooled(averages, np.full(4, 1e-8))
    np.testing.assert_allclose(shrunk, averages, atol=1e-6)
    np.testing.assert_allclose(variance, 1e-8, rtol=0.01)
    two = np.array([0.1, 0.5])
    assert pooled(two, np.full(2, 0.3))[0] is two


def test_noise_alone_makes_averages_nearly_one_but_never_certain() -> None:
    rng = np.random.default_rng(1)
    averages = rng.normal(0.02, 0.01, 34)
    shrunk, variance = pooled(averages, np.full(34, 1e-4))
    assert shrunk.std() < 0.35 * averages.std()
    assert shrunk.mean() == pytest.approx(averages.mean(), abs=1e-9)
    assert (variance > 1e-4 / 34).all()
    assert (variance < 1e-4).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 12), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_pooling_stays_between_and_knows_no_units(k: int, seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    averages, noise = rng.normal(size=k), rng.uniform(0.1, 2.0, k)
    shrunk, variance = pooled(averages, noise)
    assert averages.min() <= shrunk.min() <= shrunk.max() <= averages.max()
    scaled, wider = pooled(unit * averages, unit**2 * noise)
    np.testing.assert_allclose(scaled, unit * shrunk, rtol=1e-6, atol=1e-9 * unit)
    np.testing.assert_allclose(wider, unit**2 * variance, rtol=1e-6)


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_intervals_cover_and_errors_are_smaller_than_without_pooling(spread: float) -> None:
    """Sixty worlds of twelve actions of unequal noise, whose truth lies as far apart as the parameter says."""
    rng = np.random.default_rng(int(10 * spread))
    covered, errors, alone = [], [], []
    for _ in range(60):
        truth = 1.0 + spread * rng.normal(size=12)
        noise = rng.uniform(0.5, 2.0, 12)
        averages = truth + np.sqrt(noise) * rng.normal(size=12)
        shrunk, variance = pooled(averages, noise)
        covered.append(np.abs(shrunk - truth) <= 1.96 * np.sqrt(variance))
        errors.append((shrunk - truth) ** 2)
        alone.append((averages - truth) ** 2)
    assert 0.92 <= np.mean(covered) <= 1.0, np.mean(covered)
    assert np.mean(errors) < np.mean(alone)
