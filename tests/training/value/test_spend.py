"""What customers are worth, learned: candidates in the test window, prices, and what the TOML says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.build import build
from features.config.business import Business
from features.config.search_budget import Budget
from features.generation import Generation
from features.home import Home
from models.arrays import FloatArray
from models.value.customer_value import Method
from training.churn.fit import FittedModel, fit
from training.churn.tuning import Tuner
from training.dataset.prepare import Prepared, current_generation, prepare
from training.value import spend
from training.value.spend import Foretold, LearnedValue, learned_value

pytestmark = [
    # Libraries' notes to programmers.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]
CDNOW = Path(__file__).parents[3] / "experiments/cdnow.toml"


def valued(business: Business, home: Home) -> LearnedValue | None:
    """What a business that was built teaches of value."""
    return learned_value(*learned(business, home))[0]


def learned(business: Business, home: Home) -> tuple[Generation, Business, Prepared, FittedModel]:
    """What value is learned from: the trees read the rows as the churn model does, whose quality does not matter here."""
    generation = current_generation(business, home)
    prepared = prepare(generation, business)
    few = prepared.train[:: max(1, len(prepared.train) // 500)]
    return generation, business, prepared, fit(prepared.data, few, tuner=Tuner(Budget(trials=1)))


@pytest.fixture(scope="module")
def bought_home(
    tmp_path_factory: pytest.TempPathFactory, build_events: Callable[..., Any], purchases: Callable[..., Any]
) -> tuple[Business, Home]:
    """Four hundred customers who buy until they stop."""
    churn = 'definition = "inactivity"\nactivity = ["purchase"]'
    place = build_events(tmp_path_factory.mktemp("bought") / "business", purchases(400, 3), churn)
    return place.business, place.home


@pytest.fixture(scope="module")
def bought_learned(bought_home: tuple[Business, Home]) -> tuple[Generation, Business, Prepared, FittedModel]:
    return learned(*bought_home)


@pytest.fixture(scope="module")
def bought(bought_learned: tuple[Generation, Business, Prepared, FittedModel]) -> LearnedValue:
    """What their purchases teach."""
    found = learned_value(*bought_learned)[0]
    assert found is not None
    return found


def test_purchases_are_foretold_in_a_window_that_nothing_was_fitted_on(bought: LearnedValue) -> None:
    report = bought.report

    assert report.candidates is not None
    assert set(report.candidates) == {"purchase_process", "purchase_process_and_trees", "trees"}
    assert report.method is bought.model.method
    assert bought.model.purchases is not None
    assert report.customers >= 300
    assert abs(report.candidates["purchase_process"].total_error) < 0.25


def test_who_wins_has_the_least_error_of_those_whose_total_holds(bought: LearnedValue) -> None:
    candidates = bought.report.candidates
    assert candidates is not None
    limit = max(0.1, abs(candidates["purchase_process"].total_error))
    allowed = {name: found.rmse for name, found in candidates.items() if abs(found.total_error) <= limit}

    assert bought.report.method.value == min(allowed, key=lambda name: allowed[name])
    assert json.loads(json.dumps(bought.report.to_json()))["candidates"].keys() == candidates.keys()


def test_a_table_is_valued_by_what_its_toml_says(
    tmp_path: Path, build_table: Callable[..., Any], customers: Callable[..., Any]
) -> None:
    plain = build_table(tmp_path / "plain", customers(120, 1))
    stated = build_table(tmp_path / "stated", customers(120, 1), last='[value]\nat_stake = "spend * 12"')

    assert valued(plain.business, plain.home) is None
    found = valued(stated.business, stated.home)
    assert found is not None
    assert found.model.method is Method.STATED


@pytest.mark.data
def test_cdnow_from_1997_alone(tmp_path: Path) -> None:
    if not (CDNOW.parent / "../../shared/data/cdnow").exists():
        pytest.skip("the public data are not at ../shared/data")
    business, home = Business.load(CDNOW), Home(tmp_path)
    build(business, home, datetime.now(UTC), lambda *_: None)
    found = valued(business, home)
    assert found is not None
    assert found.report.candidates is not None
    served = found.report.candidates[found.report.method.value]
    assert found.report.customers == 23_570
    assert found.report.spent == pytest.approx(476_154.37, abs=1.0)
    assert np.isfinite(served.rmse)
    assert served.rmse <= 55.7
    assert abs(served.total_error) <= 0.02


@pytest.mark.parametrize(
    ("off", "method", "said"), [(0.2, True, ""), (-0.4, True, "40% too low"), (2.65, False, "265% too high")]
)
def test_a_total_that_is_far_off_is_warned_of_and_one_that_says_nothing_is_not_served(
    bought_learned: tuple[Generation, Business, Prepared, FittedModel],
    monkeypatch: pytest.MonkeyPatch,
    off: float,
    method: bool,
    said: str,
) -> None:
    foretell = spend._foretold

    def shifted(values: FloatArray, spent: FloatArray) -> Foretold:
        return foretell(values * ((1.0 + off) * spent.sum() / values.sum()), spent)

    monkeypatch.setattr(spend, "_foretold", shifted)
    found, warnings = learned_value(*bought_learned)
    assert (found is not None) is method
    assert bool(warnings) is bool(said)
    assert said in "".join(warnings)
