"""The search for a recipe: the same trials whether it was cut off or not, and the smallest model that is as good."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.config.business import Business
from features.config.search_budget import Budget
from features.errors import ConfigError
from models.estimators.recipe import Course, Fold, LabelledRows, held_out_course
from models.inference.calibration import expit
from training.churn.tuning import FIRST, Tuned, Tuner, recipe_of
from training.run import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def drawn(kind: str, n: int = 1500, seed: int = 1) -> tuple[LabelledRows, list[Fold]]:
    """Rows whose log-odds are a line in two numbers, or depend on whether they agree; and three folds."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    checks = np.where((X[:, 0] > 0) == (X[:, 1] > 0), 2.0, -2.0)
    risk = X[:, 0] - X[:, 1] if kind == "line" else checks
    y = (rng.random(n) < expit(risk)).astype(np.int64)
    number = rng.permutation(np.arange(n) % 3)
    return LabelledRows(X, y), [(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(3)]


@pytest.fixture(scope="module")
def whole() -> Tuned:
    """A search of two trials more than are fixed, in one go and without a journal."""
    return Tuner(Budget(trials=len(FIRST) + 2), threads=1).search(*drawn("line", 500))


def test_a_search_that_was_cut_off_goes_on_to_the_same_end(whole: Tuned, tmp_path: Path) -> None:
    rows, folds = drawn("line", 500)
    journal = tmp_path / "tuning.journal"
    Tuner(Budget(trials=len(FIRST) + 1), journal).search(rows, folds)
    resumed = Tuner(Budget(trials=len(FIRST) + 2), journal).search(rows, folds)
    assert resumed.trials == whole.trials
    assert resumed.chosen == whole.chosen
    for mine, theirs in zip(resumed.course.margins, whole.course.margins, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert len({str(trial.parameters) for trial in whole.trials}) == len(whole.trials), "no recipe is tried twice"


def test_what_is_remembered_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, folds = drawn("line", 300)
    tuner = Tuner(Budget(trials=3), tmp_path / "tuning.journal")
    before = tuner.search(rows, folds)
    calls: list[LabelledRows] = []

    def counted(rows: LabelledRows, *more: Any) -> Course:
        calls.append(rows)
        return held_out_course(rows, *more)

    monkeypatch.setattr("training.churn.tuning.held_out_course", counted)
    told: list[None] = []
    assert tuner.search(rows, folds, lambda: told.append(None)).chosen == before.chosen
    assert len(told) == 3
    assert len(calls) <= 2, "only the best and the chosen one are run again"
    Tuner(Budget(trials=1), tmp_path / "tuning.journal").search(*drawn("line", 300, seed=2))
    assert len(calls) <= 3
    assert calls[-1].y is not rows.y, "other rows are another search"


def test_the_smallest_model_that_is_as_good_wins() -> None:
    line = Tuner(Budget(trials=6), threads=1).search(*drawn("line"))
    assert line.chosen.parameters["kind"] == "linear"
    assert line.chosen.log_loss <= 1.01 * line.best.log_loss
    checks = Tuner(Budget(trials=6), threads=1).search(*drawn("checks"))
    assert checks.chosen.parameters["kind"] != "linear"
    linear = next(trial for trial in checks.trials if trial.parameters["kind"] == "linear")
    assert checks.chosen.log_loss < 0.95 * linear.log_loss


def test_a_trial_that_two_folds_show_to_be_worse_is_given_up_and_the_choice_stays() -> None:
    rows, folds = drawn("checks")
    tuner = Tuner(Budget(trials=4), threads=1)
    raced, whole = tuner.search(rows, folds), tuner.search(rows, folds, in_time=True)
    assert not all(trial.finished for trial in raced.trials)
    assert all(trial.finished for trial in whole.trials)
    assert (raced.chosen, raced.best) == (whole.chosen, whole.best)
    for mine, theirs in zip(raced.trials, whole.trials, strict=True):
        assert mine.log_loss == (theirs.log_loss if mine.finished else pytest.approx(theirs.log_loss, rel=0.05))
        assert mine.finished or mine.log_loss >= raced.best.log_loss


def test_what_is_the_same_as_the_best_so_far_is_not_run_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees that have nothing to add to a line: what the line says is known."""
    rows, folds = drawn("line", 500)
    line = recipe_of({"kind": "linear", "penalty": 10.0})
    monkeypatch.setattr("training.churn.tuning.recipe_of", lambda _: line)
    first, again = Tuner(Budget(trials=2), threads=1).search(rows, folds).trials
    assert (first.finished, again.finished) == (True, False)
    assert again.log_loss == first.log_loss


def test_a_budget_of_time_tries_at_least_one_and_no_more_than_it_may() -> None:
    rows, folds = drawn("line", 300)
    assert len(Tuner(Budget(minutes=1e-9)).search(rows, folds).trials) == 1
    assert len(Tuner(Budget(minutes=2 / 60)).search(rows, folds).trials) > 1


def test_every_parameter_of_the_search_is_a_recipe() -> None:
    assert {recipe_of(parameters).max_trees > 0 for parameters in FIRST} == {True, False}
    assert any(recipe_of(parameters).blended for parameters in FIRST)


def test_three_trials_are_enough_for_a_regression_alone_and_for_lightgbm_as_it_comes() -> None:
    """Parameters of LightGBM 4: 31 leaves of 20 rows, a rate of 0.1, all rows and columns; but for a trace of L2."""
    first = [recipe_of(parameters) for parameters in FIRST[:3]]
    assert any(recipe.penalty is not None and recipe.max_trees == 0 for recipe in first)
    (plain,) = [recipe for recipe in first if recipe.penalty is None]
    assert (plain.num_leaves, plain.learning_rate, plain.min_child_samples) == (31, 0.1, 20)
    assert (plain.subsample, plain.colsample, plain.reg_lambda) == (1.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("10 trials", Budget(trials=10)),
        ("1 trial", Budget(trials=1)),
        (" 3 minutes", Budget(minutes=3)),
        ("90 seconds", Budget(minutes=1.5)),
    ],
)
def test_budgets_as_people_write_them(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("text", ["", "10", "trials", "0 trials", "1.5 trials", "-3 minutes", "0 minutes", "2 days"])
def test_what_is_no_budget_is_one_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="is no budget"):
        Budget.parse(text)


def test_the_budget_of_a_toml(table: Any, tmp_path: Path) -> None:
    content = table.business.path.read_text()
    assert table.business.training.budget == Budget(trials=1)
    (tmp_path / "wrong.toml").write_text(content.replace('"1 trial"', '"soon"'))
    with pytest.raises(ConfigError, match=r"\[training\] budget: 'soon' is no budget"):
        Business.load(tmp_path / "wrong.toml")
    (tmp_path / "number.toml").write_text(content.replace('"1 trial"', "3"))
    with pytest.raises(ConfigError, match=r"\[training\] budget: it must be text"):
        Business.load(tmp_path / "number.toml")


@pytest.mark.filterwarnings("ignore:Ignoring params argument")
@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred")
def test_a_tuned_run_gives_the_same_bundle_whether_it_was_cut_off_or_not(
    build_table: Any, customers: Any, silent: Any, tmp_path: Path
) -> None:
    """The search of a run through, then a shorter one from nothing that goes on."""
    place = build_table(tmp_path / "business", customers(120))
    through = run(place.business, place.home, silent, budget=Budget(trials=3))
    (place.home.path / "tuning.journal").unlink()
    run(place.business, place.home, silent, budget=Budget(trials=2))
    resumed = run(place.business, place.home, silent, budget=Budget(trials=3))
    assert resumed.bundle_hash == through.bundle_hash
