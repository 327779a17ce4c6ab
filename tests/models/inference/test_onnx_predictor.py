"""The predictor and the explainer: one model, three ways to its margin."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import BundleError
from models.explanation.explainer import Explainer
from models.inference.calibration import Calibration
from models.inference.onnx_predictor import ChurnPredictor
from models.scorecard import Scorecard

from ..conftest import Trained

CALIBRATION = Calibration(0.9, -0.2)


@pytest.fixture(scope="module")
def predictor(onnx: bytes) -> ChurnPredictor:
    return ChurnPredictor(onnx, CALIBRATION)


@pytest.fixture(scope="module")
def explainer(trained: Trained) -> Explainer:
    return Explainer(trained.booster.model_to_string())


def test_it_predicts_what_the_booster_does(trained: Trained, predictor: ChurnPredictor) -> None:
    margins = np.asarray(trained.booster.predict(trained.X, raw_score=True))
    np.testing.assert_allclose(predictor.margins(trained.X), margins, atol=1e-6)
    np.testing.assert_allclose(predictor.predict(trained.X), CALIBRATION.apply(margins), atol=1e-6)
    assert predictor.predict(trained.X).dtype == np.float64


def test_contributions_are_exact_and_share_one_base(trained: Trained, explainer: Explainer) -> None:
    contributions = explainer.contributions(trained.X)
    assert contributions.shape == (400, 4)
    np.testing.assert_allclose(contributions.sum(axis=1), trained.booster.predict(trained.X, raw_score=True), atol=1e-9)
    assert set(contributions[:, -1]) == {explainer.base_value}
    np.testing.assert_allclose(contributions, trained.booster.predict(trained.X, pred_contrib=True), atol=1e-9)


def test_an_explained_score_is_the_predicted_one(
    trained: Trained, predictor: ChurnPredictor, explainer: Explainer
) -> None:
    card = Scorecard("1", 0.4)
    scores = card.score(predictor.predict(trained.X))
    for row, score in zip(explainer.contributions(trained.X), scores, strict=True):
        health = card.base(explainer.base_value, CALIBRATION) + card.points(row[:-1], CALIBRATION).sum()
        assert min(max(health, 0.0), 100.0) == pytest.approx(score, abs=1e-2)


def test_one_row_and_none(trained: Trained, predictor: ChurnPredictor, explainer: Explainer) -> None:
    assert predictor.predict(trained.X[:1])[0] == predictor.predict(trained.X)[0]
    np.testing.assert_allclose(
        explainer.contributions(trained.X[:1])[0], explainer.contributions(trained.X)[0], atol=1e-12
    )
    assert predictor.predict(trained.X[:0]).shape == (0,)
    assert explainer.contributions(trained.X[:0]).shape == (0, 4)


def test_rows_of_another_width_are_refused(predictor: ChurnPredictor, explainer: Explainer) -> None:
    for wrong in (np.zeros((1, 2), np.float32), np.zeros((1, 4), np.float32), np.zeros(3, np.float32)):
        with pytest.raises(ValueError, match="rows of 3 features"):
            predictor.predict(wrong)
        with pytest.raises(ValueError, match="rows of 3 features"):
            explainer.contributions(wrong)


def test_what_is_no_model_is_a_bundle_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BundleError, match="ONNX model cannot be loaded"):
        ChurnPredictor(b"no graph", CALIBRATION)
    with pytest.raises(BundleError, match="booster cannot be"):
        Explainer("no booster")
    capfd.readouterr()


def test_threads_may_share_both(trained: Trained, predictor: ChurnPredictor, explainer: Explainer) -> None:
    def work(_: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return predictor.predict(trained.X), explainer.contributions(trained.X[:50])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(work, range(40)))
    for p, contributions in results:
        np.testing.assert_array_equal(p, results[0][0])
        np.testing.assert_array_equal(contributions, results[0][1])


def test_scoring_needs_no_training_stack() -> None:
    """Neither pandas nor scikit-learn nor MLflow is loaded by what turns features into an explained score."""
    code = (
        "import sys, models.inference.onnx_predictor, models.explanation.explainer, models.scorecard\n"
        "import models.registry.model_bundle, models.decisions.policy\n"
        "print(*[m for m in ('pandas', 'sklearn', 'shap', 'mlflow', 'lightgbm') if m in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert loaded.stdout.strip() == ""
