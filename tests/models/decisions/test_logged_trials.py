"""Trials and the lines fitted to them: folds keep customers whole, scores are unbiased, lines find what is there."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import FloatArray
from models.decisions.logged_trials import Trials, doubly_robust
from models.decisions.ridge import ALIKE, choose_penalty, fit_lines
from models.errors import EffectError


def trials(n: int = 4000, seed: int = 0, *, binary: bool = True) -> tuple[Trials, FloatArray]:
    """Trials of two actions with unequal propensities, and the true mean reward of every action (n, 3)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    margins = np.column_stack([-1 + 0.5 * X[:, 0], -0.5 + 0.5 * X[:, 0] + 0.8 * X[:, 1], -1.2 + 0.5 * X[:, 0]])
    means = 1 / (1 + np.exp(-margins)) if binary else margins
    p = np.array([0.5, 0.3, 0.2])
    action = rng.choice(3, size=n, p=p)
    mine = means[np.arange(n), action]
    y = (rng.random(n) < mine).astype(np.float64) if binary else mine + rng.normal(size=n)
    eligible = np.ones((n, 3), dtype=np.bool_)
    return Trials(X, action, y, p[action], eligible, np.arange(n) // 2), means


def test_folds_keep_a_customers_rows_together_and_spread_the_rest() -> None:
    data, _ = trials()
    fold = data.fold_numbers(5, seed=1)
    assert (fold[0::2] == fold[1::2]).all()
    shares = [(data.action[fold == number] == 2).mean() for number in range(5)]
    assert max(shares) - min(shares) < 0.06
    assert np.bincount(fold).min() > 700
    assert (data.fold_numbers(5, seed=1) == fold).all()
    covered = np.concatenate([held_out for _, held_out in data.folds(5, seed=1)])
    assert sorted(covered.tolist()) == list(range(len(data)))


@pytest.mark.parametrize("bias", [0.0, 0.4])
def test_doubly_robust_scores_average_to_the_truth_whatever_the_model(bias: float) -> None:
    data, means = trials(40_000)
    scores = doubly_robust(data, means + bias)
    error = scores.std(axis=0) / np.sqrt(len(data))
    assert (np.abs(scores.mean(axis=0) - means.mean(axis=0)) < 4 * error).all()
    rough = doubly_robust(data, np.zeros_like(means))
    assert (rough.std(axis=0) > doubly_robust(data, means).std(axis=0)).all()


@pytest.mark.parametrize("binary", [True, False])
def test_lines_find_the_truth(binary: bool) -> None:
    data, means = trials(30_000, binary=binary)
    found = fit_lines(data.X.astype(np.float64), data, 1.0)
    assert found.binary is binary
    np.testing.assert_allclose(found.means(data.X.astype(np.float64)), means, atol=0.06 if binary else 0.12)


def test_alike_lines_differ_by_their_intercept_only() -> None:
    data, _ = trials()
    found = fit_lines(data.X.astype(np.float64), data, ALIKE)
    assert np.ptp(found.coefficients, axis=0).max() < 1e-3
    assert np.ptp(found.intercepts) > 0.1


def test_the_penalty_is_large_where_actions_do_the_same() -> None:
    data, _ = trials(3000)
    rng = np.random.default_rng(5)
    same = Trials(
        data.X, data.action, (rng.random(len(data)) < 0.3).astype(float), data.pscore, data.eligible, data.group
    )
    Z = data.X.astype(np.float64)
    assert choose_penalty(Z, same, 3, 1) > choose_penalty(Z, data, 3, 1)


def test_trials_that_make_no_sense_are_refused() -> None:
    data, _ = trials(10)
    with pytest.raises(EffectError, match="propensity"):
        Trials(data.X, data.action, data.y, np.zeros(10), data.eligible, data.group)
    with pytest.raises(EffectError, match="finite reward"):
        Trials(data.X, data.action, data.y * np.nan, data.pscore, data.eligible, data.group)
    with pytest.raises(EffectError, match="not to have been eligible"):
        Trials(data.X, data.action, data.y, data.pscore, ~data.eligible, data.group)
    with pytest.raises(EffectError, match="as many"):
        Trials(data.X, data.action[:5], data.y, data.pscore, data.eligible, data.group)
    with pytest.raises(EffectError, match="no trials"):
        data.take(np.array([], dtype=np.int64))
