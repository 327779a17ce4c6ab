"""Lines of which each column matters a little, or one of them alone does."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import FloatArray
from training.policy.posterior_line import posterior_line

N, P = 1000, 12


def figures(seed: int, errors: float, n: int = N, p: int = P) -> tuple[FloatArray, FloatArray]:
    """A design, and figures in which the first column has so many standard errors, the others none."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, p))
    y = rng.normal(size=n)
    # The planted coefficient is exactly what the rows say.
    own = Z[:, 0] - Z[:, 0].mean()
    y += (errors * n**-0.5 - float(own @ y) / float(own @ own)) * own
    return Z, y


def test_a_column_that_noise_might_have_made_is_kept_in_part_and_a_clear_one_whole() -> None:
    kept = {
        errors: float(np.mean([posterior_line(*figures(seed, errors))[0][0] for seed in range(40)])) * N**0.5 / errors
        for errors in (1.0, 2.5, 6.0)
    }
    assert 0.0 < kept[1.0] < 0.25
    assert 0.3 < kept[2.5] < 0.7
    assert kept[6.0] > 0.9


def test_noise_alone_is_hardly_kept() -> None:
    rng = np.random.default_rng(3)
    found = [posterior_line(rng.normal(size=(N, P)), rng.normal(size=N))[0] for _ in range(40)]
    assert np.sqrt(np.mean(np.square(found))) < 0.4 * N**-0.5


def test_where_every_column_matters_all_are_kept() -> None:
    rng = np.random.default_rng(4)
    Z, truth = rng.normal(size=(N, P)), 0.15 * rng.normal(size=P)
    coefficients, intercept = posterior_line(Z, 5.0 + Z @ truth + rng.normal(size=N))
    assert np.sqrt(np.mean((coefficients - truth) ** 2)) < 1.2 * N**-0.5
    assert intercept == pytest.approx(5.0, abs=0.15)


def test_units_and_more_columns_than_rows_change_nothing() -> None:
    Z, y = figures(1, 3.0)
    np.testing.assert_allclose(posterior_line(Z, 1e6 * y)[0], 1e6 * posterior_line(Z, y)[0], rtol=1e-6)
    twice = posterior_line(np.column_stack([Z, Z]), y)[0]
    assert (twice[:P] + twice[P:])[0] == pytest.approx(posterior_line(Z, y)[0][0], rel=0.3)
    coefficients, _ = posterior_line(*figures(2, 3.0, n=60, p=150))
    assert np.isfinite(coefficients).all()


def test_figures_that_never_differ_and_columns_that_say_it_all() -> None:
    Z, _ = figures(1, 0.0)
    coefficients, intercept = posterior_line(Z, np.full(N, 3.5))
    assert not coefficients.any()
    assert intercept == 3.5
    assert posterior_line(Z, Z[:, 2])[0][2] == pytest.approx(1.0, abs=0.01)
    assert posterior_line(Z[:, :0], Z[:, 0])[1] == pytest.approx(Z[:, 0].mean())
    assert not posterior_line(np.zeros((N, 2)), Z[:, 0])[0].any()
