"""Effects as a server loads them: figures by hand, in and out of JSON, and what is unknown stays unknown."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decisions.design_matrix import Design
from models.decisions.effect_model import (
    CHURN_PROBABILITY,
    LEARNED,
    LINEAR,
    MEANS,
    PRIOR,
    REWARD,
    TREES,
    ActionEffect,
    EffectModel,
    Member,
)
from models.errors import BundleError, EffectError
from models.registry.policy_bundle import PolicyBundle

rng = np.random.default_rng(3)
X = np.column_stack(
    [rng.normal(size=300), np.exp(3 * rng.normal(size=300)), rng.integers(0, 3, 300)],
).astype(np.float32)
X[::7, 0] = np.nan
X[::11, 2] = np.nan
DESIGN = Design.fit(X, {2: 3})
CALL = ActionEffect("call", LEARNED, 0.2, 900, 0.05, 0.0001, 0.01, 0.8, 0.04, 0.0005)
TOUR = ActionEffect("tour", LEARNED, 0.1, 900, -0.02, 0.0001, 0.0, 0.0, 0.0, 0.0)
GIFT = ActionEffect("gift", PRIOR, 0.25, 12)


def model(*members: Member, unit: Literal["churn_probability", "reward"] = CHURN_PROBABILITY) -> EffectModel:
    return EffectModel(
        unit=unit,
        schema={"features": []},
        feature_names=("a", "b", "c"),
        categories={"c": ("x", "y", "z")},
        actions=(CALL, GIFT, TOUR),
        design=DESIGN,
        members=members,
    )


def linear(weight: float = 1.0) -> Member:
    coefficients = np.linspace(-0.1, 0.1, 2 * len(DESIGN)).reshape(2, -1)
    return Member(LINEAR, weight, np.array([0.01, 0.02]), coefficients)


def means() -> Member:
    coefficients = np.linspace(-0.5, 0.5, 3 * len(DESIGN)).reshape(3, -1)
    return Member(MEANS, 0.5, np.array([-2.0, -2.2, -1.9]), coefficients, binary=True)


def test_the_design_has_no_null_and_one_scale() -> None:
    Z = DESIGN.transform(X)
    assert np.isfinite(Z).all()
    assert np.abs(Z).max() <= 3.0
    assert np.abs(Z.mean(axis=0)).max() < 0.1
    kinds = [column.kind for column in DESIGN.columns]
    assert kinds == ["number", "missing", "log", "category", "category", "category", "category"]


def test_a_row_gets_the_same_design_alone_as_among_others() -> None:
    together = DESIGN.transform(X)
    assert all((DESIGN.transform(X[i : i + 1]) == together[i]).all() for i in range(20))


def test_an_effect_is_the_average_and_the_slope_times_the_score() -> None:
    found = model(linear()).predict(X)
    Z = DESIGN.transform(X)
    score = Z @ linear().coefficients[0] + 0.01  # type: ignore[index]
    np.testing.assert_allclose(found.effect[:, 0], 0.05 + 0.8 * (score - 0.01), atol=1e-12)
    variance = 0.0001 + 2 * 0.0005 * (score - 0.01) + 0.04 * (score - 0.01) ** 2
    np.testing.assert_allclose(found.standard_error[:, 0], np.sqrt(variance), atol=1e-12)
    np.testing.assert_allclose(found.effect[:, 0] - found.lower[:, 0], 1.959964 * np.sqrt(variance), atol=1e-6)
    # A slope of 0 is the average for everybody.
    np.testing.assert_allclose(found.effect[:, 2], -0.02)


def test_the_members_add_up_by_weight() -> None:
    both = model(linear(0.5), means())
    Z = DESIGN.transform(X)
    margins = Z @ means().coefficients.T + means().intercepts  # type: ignore[union-attr]
    p = 1 / (1 + np.exp(-margins))
    expected = 0.5 * (model(linear()).score(X)) + 0.5 * (p[:, 1:] - p[:, :1])
    np.testing.assert_allclose(both.score(X), expected, atol=1e-12)


def test_a_prior_is_a_share_of_the_churn_probability_and_has_no_interval() -> None:
    p = np.linspace(0, 1, len(X))
    found = model(linear()).predict(X, churn_probability=p)
    assert found.sources == (LEARNED, PRIOR, LEARNED)
    np.testing.assert_allclose(found.effect[:, 1], 0.25 * p)
    assert np.isnan(found.lower[:, 1]).all()
    assert np.isnan(found.upper[:, 1]).all()
    assert np.isnan(model(linear()).predict(X).effect[:, 1]).all()


@settings(max_examples=50, deadline=None)
@given(st.floats(0.5, 0.999), st.floats(0.0, 0.499))
def test_more_confidence_is_a_wider_interval(high: float, low: float) -> None:
    rows = X[:20]
    wide, narrow = model(linear()).predict(rows, confidence=high), model(linear()).predict(rows, confidence=low)
    learned = [0, 2]
    assert (wide.lower[:, learned] <= narrow.lower[:, learned]).all()
    assert (narrow.lower[:, learned] <= narrow.effect[:, learned]).all()
    assert (narrow.effect[:, learned] <= wide.upper[:, learned]).all()


def test_only_a_probability_is_bounded() -> None:
    huge = replace(CALL, average=7.0)
    probability = replace(model(linear()), actions=(huge, GIFT, TOUR))
    reward = replace(probability, unit=REWARD)
    assert probability.predict(X).effect[:, 0].max() == 1.0
    assert reward.predict(X).effect[:, 0].max() > 6.0


def test_json_and_back_is_the_same_model() -> None:
    before = model(linear(0.5), means())
    after = EffectModel.from_json(json.loads(json.dumps(before.to_json())))
    np.testing.assert_array_equal(after.predict(X).effect, before.predict(X).effect)
    assert after.to_json() == before.to_json()


@pytest.mark.parametrize(
    "change",
    [{"members": [{"kind": "linear"}]}, {"actions": [{"name": "call"}]}, {"design": [["a"]]}],
)
def test_mangled_json_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(EffectError, match="lacks or mangles"):
        EffectModel.from_json({**model(linear()).to_json(), **change})


def test_members_must_fit_the_actions() -> None:
    with pytest.raises(EffectError, match="does not fit 2 learned"):
        model(Member(TREES, 1.0, np.zeros(2), graphs=(b"one",)))
    with pytest.raises(EffectError, match="does not fit 2 learned"):
        model(Member(LINEAR, 1.0, np.zeros(3), np.zeros((3, len(DESIGN)))))
    with pytest.raises(EffectError, match="every action once"):
        replace(model(linear()), actions=(CALL, CALL))


def test_other_features_are_refused() -> None:
    with pytest.raises(EffectError, match="3 features"):
        model(linear()).predict(X[:, :2])


def policy() -> PolicyBundle:
    return PolicyBundle(
        "shop", model(linear(), means()), "call", {"value": 0.1}, {}, "abc", datetime(2026, 1, 1, tzinfo=UTC)
    )


def test_a_policy_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    policy().save(tmp_path / "policy")
    loaded = PolicyBundle.load(tmp_path / "policy")
    assert loaded.hash == policy().hash
    assert loaded.constant_action == "call"
    np.testing.assert_array_equal(loaded.effects.predict(X).effect, policy().effects.predict(X).effect)


def test_a_changed_policy_is_refused(tmp_path: Path) -> None:
    policy().save(tmp_path / "policy")
    path = tmp_path / "policy" / "policy.json"
    path.write_text(path.read_text().replace('"constant_action": "call"', '"constant_action": "tour"'))
    with pytest.raises(BundleError, match="changed after training"):
        PolicyBundle.load(tmp_path / "policy")
    path.write_text("{")
    with pytest.raises(BundleError, match="damaged"):
        PolicyBundle.load(tmp_path / "policy")
    with pytest.raises(BundleError, match="no whole policy"):
        PolicyBundle.load(tmp_path / "nothing")


def test_what_a_server_loads_needs_no_training_library() -> None:
    code = (
        "import sys, models.registry.policy_bundle\n"
        "assert not {'sklearn', 'lightgbm', 'pandas', 'mlflow', 'scipy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
