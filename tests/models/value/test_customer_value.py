"""What customers are worth: survival, purchases with and without trees, one by one as all together."""

from __future__ import annotations

import json

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.value.customer_value import METHODS, Method, PurchaseValue, ValueModel, Valuer, at_risk, surviving_share
from models.value.pareto_nbd import PurchaseHistories, PurchaseProcess, PurchaseSpend
from training.churn.onnx_export import margin_graph

PROCESS, SPEND = PurchaseProcess(0.6, 87.0, 0.4, 45.0), PurchaseSpend(5.4, 3.8, 18.7)


@pytest.fixture(scope="module")
def trees() -> bytes:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(600, 3)).astype(np.float32)
    booster = lightgbm.train(
        {"objective": "tweedie", "num_leaves": 6, "num_threads": 1, "verbose": -1, "seed": 1, "deterministic": True},
        lightgbm.Dataset(X, np.exp(0.3 * X[:, 0])),
        20,
    )
    return margin_graph(booster)


def some_histories(n: int = 200) -> PurchaseHistories:
    rng = np.random.default_rng(2)
    first = rng.integers(10, 400, n).astype(np.float64)
    count = rng.integers(1, 9, n).astype(np.float64)
    return PurchaseHistories.of(count, first, first * rng.random(n), rng.gamma(3, 10, n))


@given(st.floats(0, 1), st.integers(1, 400))
def test_survival_is_a_share_that_falls_with_the_risk(p: float, horizon: int) -> None:
    share = float(surviving_share(p, horizon))

    assert 0.0 < share <= 1.0
    assert float(surviving_share(min(1.0, p + 0.05), horizon)) <= share


def test_survival_is_the_mean_over_the_year() -> None:
    days = np.linspace(0.0, 365.0, 100_001)

    assert float(surviving_share(0.2, 90)) == pytest.approx(float((0.8 ** (days / 90)).mean()), rel=1e-4)
    assert float(surviving_share(0.0, 90)) == 1.0


def test_a_price_is_worth_what_survives() -> None:
    worth = Valuer(ValueModel(Method.PRICE)).of_price([1200.0, np.nan], [0.2, 0.2], 90)

    assert worth[0] == pytest.approx(1200 * float(surviving_share(0.2, 90)))
    assert np.isnan(worth[1])
    assert at_risk(worth[:1], np.array([0.2]))[0] == pytest.approx(0.2 * worth[0])


@pytest.mark.parametrize("method", [Method.PURCHASES, Method.PURCHASES_AND_TREES, Method.TREES])
def test_purchases_one_by_one_as_all_together(method: Method, trees: bytes) -> None:
    purchases = PurchaseValue(
        PROCESS,
        SPEND,
        90,
        None if method is Method.PURCHASES else trees,
        corrects=method is not Method.TREES,
        factor=0.9,
    )
    model = ValueModel(method, purchases)
    again = ValueModel.of_json(json.loads(json.dumps(model.to_json())))
    valuer, histories = Valuer(again), some_histories()
    X = np.random.default_rng(3).normal(size=(len(histories), 3)).astype(np.float32)

    soon, year = valuer.of_purchases(histories, X)

    assert again == model
    assert purchases.method is method
    assert np.all((soon > 0) & (year > soon))
    for row in range(0, len(histories), 17):
        one = PurchaseHistories(*(getattr(histories, name)[[row]] for name in ("count", "first", "last", "mean")))
        alone = valuer.of_purchases(one, X[[row]])
        figures = [float(column[0]) for column in (one.count, one.first, one.last, one.mean)]
        quick = valuer.of_one(figures[0], figures[1], figures[2], figures[3], X[[row]])
        assert quick == pytest.approx(year[row], rel=1e-9)
        assert alone[0][0] == pytest.approx(soon[row], rel=1e-12)
        assert alone[1][0] == pytest.approx(year[row], rel=1e-12)


def test_trees_correct_by_a_factor(trees: bytes) -> None:
    histories = some_histories()
    X = np.random.default_rng(3).normal(size=(len(histories), 3)).astype(np.float32)
    plain = Valuer(ValueModel(Method.PURCHASES, PurchaseValue(PROCESS, SPEND, 90)))
    corrected = PurchaseValue(PROCESS, SPEND, 90, trees, factor=2.0)
    twice = PurchaseValue(PROCESS, SPEND, 90, trees, factor=1.0)

    by_two = Valuer(ValueModel(corrected.method, corrected)).of_purchases(histories, X)[1]
    by_one = Valuer(ValueModel(twice.method, twice)).of_purchases(histories, X)[1]

    assert by_two == pytest.approx(2.0 * by_one)
    assert not np.allclose(by_one, plain.of_purchases(histories, X)[1])


def test_parts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        ValueModel(Method.PURCHASES)
    with pytest.raises(ValueError, match="does not fit"):
        ValueModel(Method.PRICE, PurchaseValue(PROCESS, SPEND, 90))
    assert set(METHODS) == set(Method)
