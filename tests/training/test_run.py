"""A training run end to end, on real parts: report, bundle, tracking, and the user's mistakes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from features.config.business import Business
from features.errors import HomeError, NoGeneration
from features.generation import Generation
from features.home import Home
from features.store.offline import OfflineStore
from models.explanation.explainer import Explainer
from models.inference.onnx_predictor import ChurnPredictor
from models.registry.registry import Registry
from training.__main__ import app
from training.dataset.prepare import prepare
from training.errors import LabelError, StaleGeneration
from training.run import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]
METRICS = {"auc", "average_precision", "log_loss", "brier", "ece", "calibration_slope", "lift_at_10"}
GATES = {
    "onnx_leaves", "onnx_parity", "explanation_additivity",
    "log_loss_vs_base_rate", "log_loss_proof", "auc_proof", "calibration_slope", "ece",
}  # fmt: skip


@pytest.fixture(scope="module")
def report(table: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("report") / "report.json"
    run(table.business, table.home, silent, path)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_the_report_is_what_callers_rely_on(report: dict[str, Any]) -> None:
    assert {"model_version", "n_train", "n_test", "split", "metrics", "baselines", "gates", "warnings"} <= set(report)
    assert report["model_version"] == "1"
    assert report["split"] == "grouped"
    assert report["n_train"] == report["n_test"] == 409
    assert set(report["metrics"]) == METRICS
    assert set(report["baselines"]) == {"base_rate", "logistic_regression"}
    assert all(set(figures) == METRICS for figures in report["baselines"].values())
    assert set(report["gates"]) == GATES
    assert all(set(gate) == {"passed", "figure", "limit"} for gate in report["gates"].values())
    assert all(report["gates"][name]["passed"] for name in GATES - {"ece"})
    assert any("of 409 rows repeat another row" in sentence for sentence in report["warnings"])
    assert report["metrics"]["auc"] > 0.7
    assert report["value"] is None, "nothing in this table says what a customer brings"
    found = report["segments"]["segments"]
    assert sum(one["customers"] for one in found) == 409
    assert all(one["name"] and 0.0 <= one["churn_rate"] <= 1.0 and 0.0 <= one["health"] <= 100.0 for one in found)


def test_the_bundle_scores_and_explains_as_the_trained_model(
    report: dict[str, Any], table: Any, tmp_path: Path
) -> None:
    registry = Registry(table.home.tracking_uri, "tiny")
    bundle = registry.load(report["model_version"], tmp_path)
    assert bundle.hash == report["bundle_hash"]
    data = prepare(Generation.current(table.home), table.business).data
    X = data.X(np.arange(len(data)), dict(bundle.categories))
    margins = lightgbm.Booster(model_str=bundle.model_text).predict(X, raw_score=True)
    assert ChurnPredictor(bundle.onnx, bundle.calibration).predict(X) == pytest.approx(
        bundle.calibration.apply(margins), abs=1e-6
    )
    assert Explainer(bundle.model_text).contributions(X).sum(axis=1) == pytest.approx(margins, abs=1e-9)
    assert bundle.typical["plan"] in {"basic", "plus", "pro"}
    assert set(bundle.categories) == {"plan"}


def test_the_same_data_give_the_same_bundle(report: dict[str, Any], table: Any, silent: Any) -> None:
    again = run(table.business, table.home, silent)
    assert again.bundle_hash == report["bundle_hash"]
    assert again.model_version == "2"
    registry = Registry(table.home.tracking_uri, "tiny")
    challenger = registry.challenger()
    assert challenger is not None
    assert challenger.version == "2"
    assert registry.champion() is None


def test_the_run_is_tracked_with_all_that_it_takes_to_judge_it(report: dict[str, Any], table: Any) -> None:
    client = mlflow.MlflowClient(tracking_uri=table.home.tracking_uri)
    tracked = client.get_run(report["run_id"])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["auc"] == report["metrics"]["auc"]
    assert tracked.data.metrics["logistic_regression.auc"] == report["baselines"]["logistic_regression"]["auc"]
    assert tracked.data.params["data_fingerprint"] == Generation.current(table.home).fingerprint
    assert {"git_commit", "lock_fingerprint"} <= set(tracked.data.tags)
    files = {entry.path for entry in client.list_artifacts(report["run_id"])}
    assert files == {
        "bundle", "calibration.png", "features.json", "gains.png", "model_card.html", "model_card.md",
        "predictions.parquet", "report.json", "shap_summary.png", "snapshot.json", "test_rows.parquet",
        "worth.json",
    }  # fmt: skip
    predictions = pq.read_table(client.download_artifacts(report["run_id"], "predictions.parquet"))
    assert predictions.column_names == ["customer_id", "event_timestamp", "y", "p"]
    assert predictions.num_rows == 409
    experiment = client.get_experiment(tracked.info.experiment_id)
    assert experiment.name == "keepwell-tiny"
    assert str(table.home.mlflow) in experiment.artifact_location


@pytest.mark.usefixtures("report")
def test_the_version_s_features_are_a_feature_service(table: Any) -> None:
    services = OfflineStore(Generation.current(table.home)).services()
    assert set(services["churn_1"]) == {"calls", "plan", "spend", "age"}


def test_an_event_log_is_tested_on_its_last_window(log: Any, silent: Any) -> None:
    result = run(log.business, log.home, silent)
    assert result.split == "time"
    assert max(result.train_cutoffs) < min(result.test_cutoffs)
    assert result.training_ends is not None
    assert result.training_ends <= min(result.test_cutoffs)
    assert result.n_train + result.n_test > 300
    bundle = Registry(log.home.tracking_uri, "log").load(result.model_version or "", log.home.path / "bundles")
    assert bundle.scorecard_proposal.p_ref == pytest.approx(result.churn_rate_test)


def test_what_health_says_overrides_the_proposal(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    said = "[health]\np_ref = 0.2\npdo = 7\nbands = { red = 30, green = 70 }"
    place = build_table(tmp_path / "b", customers(150), last=said)
    result = run(place.business, place.home, silent)
    card = Registry(place.home.tracking_uri, "tiny").load(result.model_version or "", tmp_path).scorecard_proposal
    assert (card.version, card.p_ref, card.pdo, card.red, card.green) == ("1", 0.2, 7.0, 30.0, 70.0)


def test_an_ordered_table_is_tested_on_its_end(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    place = build_table(tmp_path / "b", customers(300), more='order = "file"')
    result = run(place.business, place.home, silent)
    assert (result.split, result.n_test) == ("time", 60)
    assert 230 <= result.n_train <= 240  # without the copies of tested rows


def test_a_toml_that_was_changed_asks_for_a_build(table: Any, silent: Any, tmp_path: Path) -> None:
    changed = tmp_path / "tiny.toml"
    changed.write_text(table.business.path.read_text() + "\n# a word\n")
    with pytest.raises(StaleGeneration, match="python -m features build"):
        run(Business.load(changed), table.home, silent)


def test_data_that_changed_ask_for_a_build(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    place = build_table(tmp_path / "b", customers(60))
    data = tmp_path / "b" / "customers.csv"
    data.write_text(data.read_text() + "C9999,1,pro,3.5,40,no\n")
    with pytest.raises(StaleGeneration, match=r"The data of tiny\.toml changed"):
        run(place.business, place.home, silent)


def test_another_business_s_home_is_refused(table: Any, silent: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text(table.business.path.read_text().replace('"tiny"', '"other"'))
    with pytest.raises(HomeError, match="'tiny', not 'other'"):
        run(Business.load(other), table.home, silent)


def test_without_a_build_there_is_nothing_to_train_on(table: Any, silent: Any, tmp_path: Path) -> None:
    with pytest.raises(NoGeneration):
        run(table.business, Home(tmp_path / "empty"), silent)


def test_too_few_rows_are_refused(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    place = build_table(tmp_path / "b", customers(40))
    with pytest.raises(LabelError, match="40 labelled rows"):
        run(place.business, place.home, silent)


def test_a_mistake_on_the_command_line_exits_2_with_one_sentence(tmp_path: Path) -> None:
    arguments = ["run", str(tmp_path / "absent.toml")]
    result = CliRunner().invoke(app, arguments, env={"KEEPWELL_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "absent.toml" in result.stderr
    assert not (tmp_path / "home").exists()


def test_hints_are_given_before_the_model_is_believed(build_table: Any, customers: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = customers(200)
    for row in rows:
        row["leak"] = 1 if row["left"] == "yes" else 0
        row["joined"] = datetime(2020, 1, 1 + int(rng.integers(0, 9)), tzinfo=UTC).strftime("%d/%m/%Y")
        row["country"] = "CH"
    place = build_table(tmp_path / "b", rows)
    warnings = prepare(Generation.current(place.home), place.business).warnings
    assert any("'leak' alone tells" in sentence for sentence in warnings)
    assert any("'joined' holds dates as text" in sentence for sentence in warnings)
    assert any("one value: 'country'" in sentence for sentence in warnings)
