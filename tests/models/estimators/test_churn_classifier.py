"""The classifier: scikit-learn's own checks, its folds and its calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from models.estimators.churn_classifier import ChurnClassifier
from models.inference.calibration import Calibration


@parametrize_with_checks([ChurnClassifier(max_trees=60, num_threads=1)])  # type: ignore[untyped-decorator]
def test_scikit_learn_checks(estimator: ChurnClassifier, check: Any) -> None:
    check(estimator)


DATA = Path(__file__).parents[4] / "shared" / "data"


def simulated(n: int = 1500, seed: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Features with NaN, outcomes, and the true probabilities."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6))
    X[rng.random(X.shape) < 0.1] = np.nan
    seen = np.nan_to_num(X)
    p = 1 / (1 + np.exp(1.2 - seen[:, 0] - seen[:, 1] * seen[:, 2]))
    return X.astype(np.float32), (rng.random(n) < p).astype(np.int64), p


def test_it_ranks_and_is_calibrated_on_rows_it_never_saw() -> None:
    X, y, _ = simulated(3000)
    model = ChurnClassifier(num_threads=1).fit(X[:2000], y[:2000])
    p = model.predict_proba(X[2000:])[:, 1]
    truth = simulated(3000)[2][2000:]
    assert roc_auc_score(y[2000:], p) > roc_auc_score(y[2000:], truth) - 0.05
    assert abs(float(p.mean()) - float(truth.mean())) < 0.03
    assert abs(float(np.nanmean(model.oof_probabilities_)) - float(y[:2000].mean())) < 0.01


def test_out_of_fold_figures_are_not_those_of_the_rows_it_was_trained_on() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 8)).astype(np.float32), rng.integers(0, 2, 600)
    model = ChurnClassifier(num_threads=1).fit(X, y)
    assert 0.4 < roc_auc_score(y, model.oof_margins_) < 0.6, "there is nothing to learn in noise"
    assert log_loss(y, model.oof_probabilities_) < 0.71, "and the calibration knows it"


def test_groups_never_straddle_a_fold() -> None:
    """Each group is one distinct row, copied; a model that had seen a copy would know the outcome."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(150, 5)), rng.integers(0, 2, 150)
    groups = np.repeat(np.arange(150), 6)
    X6, y6 = X[groups].astype(np.float32), y[groups]
    settings: dict[str, Any] = {"num_threads": 1, "min_child_samples": 2, "reg_lambda": 0.0, "num_leaves": 31}
    leaking = ChurnClassifier(**settings).fit(X6, y6)
    grouped = ChurnClassifier(**settings).fit(X6, y6, groups=groups)
    assert roc_auc_score(y6, leaking.oof_margins_) > 0.9
    assert roc_auc_score(y6, grouped.oof_margins_) < 0.65


def test_groups_that_cannot_be_split_are_refused() -> None:
    X, y, _ = simulated(300)
    with pytest.raises(ValueError, match="use finer groups"):
        ChurnClassifier(num_threads=1).fit(X, y, groups=np.zeros(300))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ChurnClassifier(num_threads=1).fit(X, y, groups=np.zeros(299))


def test_a_raised_level_moves_probabilities_and_the_prior_alone() -> None:
    X, y, _ = simulated(2000)
    model = ChurnClassifier(num_threads=1, max_trees=50).fit(X, y)
    before, margins, prior = model.calibration_, model.margins(X), model.prior_
    out_of_fold = model.oof_probabilities_.copy()
    model.raise_level(0.5)
    np.testing.assert_array_equal(model.margins(X), margins)
    np.testing.assert_array_equal(model.oof_probabilities_, out_of_fold)
    np.testing.assert_allclose(model.calibration_.log_odds(margins), before.log_odds(margins) + 0.5)
    assert model.prior_ == pytest.approx(before.raised(0.5).apply(model.oof_margins_).mean())
    assert model.prior_ > prior


def test_given_folds_hold_out_what_they_say() -> None:
    """Forward in time: the first third is never held out, so it has no out-of-fold figures."""
    X, y, _ = simulated(1500)
    index = np.arange(1500)
    folds = [(index[:500], index[500:1000]), (index[:1000], index[1000:])]
    model = ChurnClassifier(num_threads=1).fit(X, y, folds=folds)
    assert np.isnan(model.oof_margins_[:500]).all()
    assert np.isfinite(model.oof_margins_[500:]).all()
    assert np.isfinite(model.oof_probabilities_[500:]).all()
    for mine, others in ((slice(500, 1000), slice(1000, 1500)), (slice(1000, 1500), slice(500, 1000))):
        calibration = Calibration.fit(model.oof_margins_[others], y[others])
        np.testing.assert_array_equal(model.oof_probabilities_[mine], calibration.apply(model.oof_margins_[mine]))
    single = ChurnClassifier(num_threads=1).fit(X, y, folds=folds[1:])
    assert np.isfinite(single.oof_probabilities_[1000:]).all()
    for wrong in ([], [(index[:500], index[400:600])], [folds[0], folds[0]], [(index[:500], np.array([1500]))]):
        with pytest.raises(ValueError, match="hold out"):
            ChurnClassifier(num_threads=1).fit(X, y, folds=wrong)


def test_the_served_booster_is_the_fitted_one_under_plain_names() -> None:
    X, y, _ = simulated(800)
    model = ChurnClassifier(num_threads=1).fit(X, y)
    assert model.booster_.feature_name() == [f"f{i}" for i in range(6)]
    assert model.booster_.num_trees() == model.best_iteration_
    np.testing.assert_array_equal(model.booster_.predict(X, raw_score=True), model.margins(X))
    np.testing.assert_array_equal(model.calibration_.apply(model.margins(X)), model.predict_proba(X)[:, 1])


def test_the_same_rows_and_seed_give_the_same_trees() -> None:
    X, y, _ = simulated(800)
    first, second = (ChurnClassifier(num_threads=n).fit(X, y) for n in (1, 2))
    assert first.booster_.model_to_string() == second.booster_.model_to_string()
    assert first.calibration_ == second.calibration_


def test_larger_trees_are_taken_only_where_they_are_clearly_better() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(3000, 5)).astype(np.float32)
    plain = (rng.random(3000) < 1 / (1 + np.exp(-X[:, 0]))).astype(int)
    checks = (np.floor(X[:, 0]) + np.floor(X[:, 1]) + np.floor(X[:, 2])) % 2 == 0
    assert ChurnClassifier(num_threads=1).fit(X, plain).num_leaves_ == 8
    assert ChurnClassifier(num_threads=1).fit(X, checks).num_leaves_ == 31
    assert ChurnClassifier(num_threads=1, num_leaves=5).fit(X[:500], plain[:500]).num_leaves_ == 5


def test_text_classes_and_their_order() -> None:
    X, y, _ = simulated(400)
    model = ChurnClassifier(num_threads=1, max_trees=40).fit(X, np.where(y == 1, "Yes", "No"))
    assert list(model.classes_) == ["No", "Yes"]
    assert set(model.predict(X)) == {"No", "Yes"}
    assert roc_auc_score(y, model.predict_proba(X)[:, 1]) > 0.7


def test_too_few_of_a_class_is_one_sentence() -> None:
    X = simulated(50)[0]
    with pytest.raises(ValueError, match="at least 2 rows of each class"):
        ChurnClassifier().fit(X, np.arange(50) == 3)
    assert np.isfinite(ChurnClassifier(num_threads=1).fit(X, np.arange(50) < 2).predict_proba(X)).all()


def _encoded(table: Any, y: NDArray[np.int64]) -> NDArray[np.float32]:
    """Words by the rank of their smoothed churn rate, as the category mapping of a bundle has them."""
    X = np.empty(table.shape, dtype=np.float32)
    for column, name in enumerate(table.columns):
        values = table[name]
        if values.dtype.kind in "OT":
            rates = {
                word: (y[values == word].sum() + 10 * y.mean()) / ((values == word).sum() + 10) for word in set(values)
            }
            order = {word: rank for rank, word in enumerate(sorted(rates, key=lambda w: (rates[w], w)))}
            values = values.map(order)
        X[:, column] = values
    return X


def _ece(y: NDArray[np.int64], p: NDArray[np.float64]) -> float:
    bins = np.array_split(np.argsort(p, kind="stable"), 10)
    return float(sum(len(rows) * abs(p[rows].mean() - y[rows].mean()) for rows in bins) / len(y))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "outcome", "churned", "drop", "auc"),
    [
        ("telco_ibm/telco_customer_churn.csv.gz", "Churn", "Yes", ["customerID"], 0.84),
        ("iranian_churn/Customer_Churn.csv.gz", "Churn", 1, [], 0.98),
    ],
)
def test_public_data_without_tuning(file: str, outcome: str, churned: object, drop: list[str], auc: float) -> None:
    import pandas as pd

    if not (DATA / file).exists():
        pytest.skip(f"the public data {file} is not at ../shared/data")
    table = pd.read_csv(DATA / file, na_values=[" "]).drop_duplicates()
    y = (table[outcome] == churned).to_numpy().astype(np.int64)
    X = _encoded(table.drop(columns=[outcome, *drop]), y)
    model = ChurnClassifier().fit(X, y)
    assert roc_auc_score(y, model.oof_probabilities_) >= auc
    assert _ece(y, model.oof_probabilities_) <= 0.02
    assert isinstance(model.calibration_, Calibration)
