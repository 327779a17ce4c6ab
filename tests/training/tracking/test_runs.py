"""A run as MLflow's users know it: datasets, system metrics, nested trials, a signature, an example, and pyfunc."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import get_model_info

from models.registry.registry import Registry
from training.errors import TrainingError
from training.run import run
from training.tracking.runs import TrackedTrial, Tracker

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]


@pytest.fixture(scope="module")
def place(build_table: Any, customers: Any, silent: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    place = build_table(tmp_path_factory.mktemp("tracking") / "b", customers(150))
    run(place.business, place.home, silent)
    return place


@pytest.fixture(scope="module")
def client(place: Any) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=place.home.tracking_uri)


@pytest.fixture(scope="module")
def tracked(place: Any, client: mlflow.MlflowClient) -> Any:
    model = Registry(place.home.tracking_uri, "tiny").challenger()
    assert model is not None
    return client.get_run(model.run_id)


def test_what_trained_and_what_tested_are_datasets(tracked: Any) -> None:
    inputs = {one.tags[0].value: one.dataset for one in tracked.inputs.dataset_inputs}
    assert set(inputs) == {"training", "testing"}
    assert inputs["training"].name == "tiny-training"
    assert "customers.csv" in inputs["training"].source
    assert '"num_rows": 150' in inputs["training"].profile
    assert all(name in inputs["training"].schema for name in ("calls", "plan", "churned"))


def test_the_machine_s_figures_are_system_metrics(tracked: Any) -> None:
    names = {name for name in tracked.data.metrics if name.startswith("system/")}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= names
    assert tracked.data.metrics["system/system_memory_usage_megabytes"] > 0


def test_the_version_is_tagged_and_has_a_signature_and_an_example(place: Any, client: mlflow.MlflowClient) -> None:
    version = client.get_model_version("keepwell-tiny", "1")
    assert version.tags["split"] == "stratified"
    assert float(version.tags["auc"]) > 0.6
    assert version.aliases == ["challenger"]
    assert version.current_stage in (None, "None")
    mlflow.set_tracking_uri(place.home.tracking_uri)
    try:
        info = get_model_info("models:/keepwell-tiny@challenger")
        assert info.signature is not None
        assert set(info.signature.inputs.input_names()) == {"calls", "plan", "spend", "age"}
        assert info.signature.outputs.input_names() == ["churn_probability"]
        model = mlflow.pyfunc.load_model("models:/keepwell-tiny@challenger")
        example = model.input_example
        assert model.predict(example)["churn_probability"].between(0, 1).all()
        rows = pd.DataFrame({"calls": [1.0, np.nan], "plan": ["pro", None], "spend": [10.0, 3.0], "age": [30.0, 60.0]})
        two = model.predict(rows)["churn_probability"].tolist()
        assert two[0] != two[1]
        assert model.predict(rows.drop(columns=["spend"])).shape == (2, 1)
    finally:
        mlflow.set_tracking_uri(None)


def test_trials_are_nested_runs(place: Any, client: mlflow.MlflowClient, tracked: Any) -> None:
    parent = Tracker(place.home, "keepwell-tiny").start({"what": "search"}, {"by": "test"})
    parent.log_trials(
        [
            TrackedTrial({"num_leaves": 8}, {"log_loss": 0.4}, seconds=2.0),
            TrackedTrial({"num_leaves": 31}, {"log_loss": 0.5}, finished=False),
        ]
    )
    parent.finish()
    children = client.search_runs(
        [tracked.info.experiment_id], f"tags.mlflow.parentRunId = '{parent.run_id}'", order_by=["metrics.log_loss"]
    )
    assert [child.info.run_name for child in children] == ["trial 0", "trial 1"]
    assert [child.info.status for child in children] == ["FINISHED", "KILLED"]
    assert children[0].data.params["num_leaves"] == "8"
    assert children[0].info.end_time - children[0].info.start_time == 2000
    assert client.get_run(parent.run_id).data.tags["mlflow.source.name"] == "python -m training"


def test_a_description_beside_a_bundle_does_not_change_it(place: Any, tmp_path: Path) -> None:
    registry = Registry(place.home.tracking_uri, "tiny")
    bundle = registry.load("1", tmp_path)
    model = registry.version("1")
    assert bundle.hash == model.bundle_hash
    (copy,) = tmp_path.iterdir()
    assert {"MLmodel", "input_example.json", "bundle.json"} <= {path.name for path in copy.iterdir()}


def test_a_model_that_an_earlier_version_registered_loads_and_predicts(place: Any, tmp_path: Path) -> None:
    Registry(place.home.tracking_uri, "tiny").load("1", tmp_path)
    (copy,) = tmp_path.iterdir()
    description = copy / "MLmodel"
    now, former = "loader_module: training.tracking.pyfunc", "loader_module: training.served_model"
    rows = pd.DataFrame({"calls": [1.0, np.nan], "plan": ["pro", None], "spend": [10.0, 3.0], "age": [30.0, 60.0]})
    expected = mlflow.pyfunc.load_model(str(copy)).predict(rows)
    assert now in description.read_text()
    description.write_text(description.read_text().replace(now, former))
    model = mlflow.pyfunc.load_model(str(copy))
    assert model.loader_module == "training.served_model"
    pd.testing.assert_frame_equal(model.predict(rows), expected)


def test_a_failure_that_cannot_be_recorded_hides_nothing(place: Any) -> None:
    tracked = Tracker(place.home, "keepwell-full").start({"a": 1}, {})

    def full(*_: object, **__: object) -> None:
        raise MlflowException(
            "(raised as a result of Query-invoked autoflush; consider …)\n(sqlite3.OperationalError) database or disk is full"
        )

    tracked._client = SimpleNamespace(set_terminated=full, log_batch=full)
    tracked.fail()
    for record in (tracked.finish, lambda: tracked.log_params({"b": 2}), lambda: tracked.log_metrics({"c": 3.0})):
        with pytest.raises(TrainingError, match="disk is full"):
            record()
