"""The file of a table business: its rows are read as its build reads them, and what cannot be read is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from features.build import build as build_features
from features.config.business import Business
from features.errors import FeaturesError
from features.home import Home
from models.inference.calibration import Calibration
from models.registry.mlflow_store import prepare_store
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.registry import Registry
from models.scorecard import Scorecard
from serving.batch.job import score_file
from serving.platform.settings import Settings
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Explain, Scorer
from training.churn.onnx_export import margin_graph

from ..conftest import settings_of
from .customer_files import score, write_csv

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TABLE = """
[business]
name = "phones"
[data]
kind = "table"
path = "phones.csv"
customer_id = "Customer"
outcome = "Churn"
churned = "Yes"
drop = ["secret"]
skip_lines = 1
decimal = ","
[churn]
horizon_days = 30
[value]
at_stake = "`emp.var.rate` * 2"
[[actions]]
name = "call"
channel = "phone"
cost = 0.01
prior_effect = 0.5
"""
NAMES = ("Customer", "Call  Failure", "emp.var.rate", "Plan", "secret", "Churn")


@dataclass(frozen=True, slots=True)
class Phones:
    """A table business with a champion, and the rows that it was built from."""

    settings: Settings
    file: Path
    rows: list[list[Any]]


def as_exported(path: Path, rows: Sequence[Sequence[Any]]) -> Path:
    """The file as the TOML says that it is written: a line before the header, semicolons, commas before decimals."""
    cells = [[str(cell).replace(".", ",") if isinstance(cell, float) else cell for cell in row] for row in rows]
    write_csv(path, NAMES, cells, ";")
    path.write_bytes("Größen vom Mai\n".encode("cp1252") + path.read_bytes())
    return path


@pytest.fixture(scope="module")
def phones(tmp_path_factory: pytest.TempPathFactory) -> Phones:
    folder = tmp_path_factory.mktemp("phones")
    rng = np.random.default_rng(4)
    rows: list[list[Any]] = []
    for number in range(300):
        failures, rate = int(rng.poisson(3)), round(float(rng.normal(1, 0.4)), 3)
        plan = str(rng.choice(["basic", "pro", " "], p=[0.5, 0.4, 0.1]))
        churned = rng.random() < 1 / (1 + np.exp(2 - 0.5 * failures))
        rows.append(
            [f"P{number}", failures if rng.random() > 0.05 else "", rate, plan, "s", "Yes" if churned else "No"]
        )
    file = as_exported(folder / "phones.csv", rows)
    (folder / "phones.toml").write_text(TABLE)
    home = Home(folder / "home")
    built = build_features(Business.load(folder / "phones.toml"), home, datetime.now(UTC), lambda _what, _share: None)
    generation = built.generation
    schema = generation.schema
    raw = {name: [row[NAMES.index(name)] for row in rows] for name in schema.names}
    columns: dict[str, Any] = {
        name: [None if str(v).strip() == "" else v for v in values] for name, values in raw.items()
    }
    categories = {"Plan": ("pro", "basic")}
    matrix = schema.to_matrix(columns, categories)
    y = np.array([row[-1] == "Yes" for row in rows], dtype=np.int64)
    booster = lightgbm.train(
        {"objective": "binary", "num_leaves": 4, "num_threads": 1, "verbosity": -1, "min_data_in_leaf": 10, "seed": 1},
        lightgbm.Dataset(matrix, y, feature_name=[f"f{column}" for column in range(matrix.shape[1])]),
        num_boost_round=20,
    )
    bundle = ModelBundle(
        business="phones",
        horizon_days=30,
        schema=schema.to_json(),
        feature_names=schema.names,
        categories=categories,
        typical={"Call  Failure": 3.0, "emp.var.rate": 1.0, "Plan": "basic"},
        prior=float(y.mean()),
        model_text=booster.model_to_string(),
        onnx=margin_graph(booster),
        calibration=Calibration.fit(booster.predict(matrix, raw_score=True), y),
        scorecard_proposal=Scorecard("1", float(y.mean()), 10.0),
        metrics={"auc": 0.8},
        gates={"ece": GateResult(True, 0.01, 0.08)},
        data_fingerprint="ab" * 32,
        trained_at=datetime.now(UTC),
    )
    settings = settings_of(home)
    prepare_store(settings.registry)
    client = mlflow.MlflowClient(settings.registry)
    experiment = client.create_experiment("tests", artifact_location=str(home.mlflow / "artifacts"))
    run_id = str(client.create_run(experiment).info.run_id)
    bundle.save(folder / "bundle")
    client.log_artifacts(run_id, str(folder / "bundle"), "bundle")
    registry = Registry(settings.registry, "phones")
    model = registry.register(run_id, bundle_hash=bundle.hash)
    registry.promote(model.version, Scorecard("1", 0.35, 10.0))
    return Phones(settings, file, rows)


def test_a_tables_own_file_is_scored_as_its_build_is(phones: Phones, tmp_path: Path) -> None:
    rows = score(phones.settings, phones.file, tmp_path / "out.parquet")
    ids = [row["customer_id"] for row in rows]
    assert ids == [row[0] for row in phones.rows]
    source = ReleaseSource(phones.settings)
    scorer = Scorer(source.load(source.newest()))
    for row, served in zip(rows, scorer.score(ids, Explain.TOP), strict=True):
        assert isinstance(served, CustomerScore)
        assert served.reasons is not None
        assert row["error"] is None
        assert row["churn_probability"] == served.probability
        assert row["health_score"] == served.score
        assert [row[f"reason_{n}"] for n in (1, 2, 3)] == [reason.text for reason in served.reasons[:3]]


def test_a_plain_file_and_parquet_with_types_of_its_own_say_the_same_as_an_export(
    phones: Phones, tmp_path: Path
) -> None:
    plain = write_csv(tmp_path / "plain.csv", NAMES, phones.rows)
    table = pyarrow.csv.read_csv(plain)
    table = table.set_column(3, "Plan", table.column("Plan").dictionary_encode())
    pq.write_table(table, tmp_path / "in.parquet")
    export, *others = (
        score(phones.settings, source, tmp_path / "out.parquet")
        for source in (phones.file, plain, tmp_path / "in.parquet")
    )
    expected = [{**row, "scored_at": 0, "feature_timestamp": 0} for row in export]
    for rows in others:
        assert [{**row, "scored_at": 0, "feature_timestamp": 0} for row in rows] == expected


def test_bad_cells_are_named_and_unseen_words_are_missing(phones: Phones, tmp_path: Path) -> None:
    names = ["Plan", "emp.var.rate", "Customer", "Call  Failure"]  # in another order, without outcome and secret
    source = write_csv(
        tmp_path / "in.csv",
        names,
        [
            ["pro", "1.5", "a", "3"],
            ["pro", "much", "b", "3"],
            ["pro", "1.5", "c", "inf"],
            ["never seen", "1.5", "d", "3"],
            ["", "NA", "e", ""],
            ["pro", "1.5", "", "3"],
            ["pro", "1e39", "g", "three"],
        ],
    )
    rows = score(phones.settings, source, tmp_path / "out.parquet")
    assert [row["customer_id"] for row in rows] == ["a", "b", "c", "d", "e", None, "g"]
    assert rows[1]["error"] == "emp.var.rate: 'much' is no finite number"
    assert rows[2]["error"] == "Call  Failure: 'inf' is no finite number"
    assert rows[5]["error"] == "no customer_id"
    assert rows[6]["error"] == "Call  Failure: 'three' is no finite number"
    assert [row["error"] is None for row in rows] == [True, False, False, True, True, False, False]
    assert rows[3]["churn_probability"] is not None


def test_a_missing_column_is_named(phones: Phones, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["Customer", "Call Failure", "emp.var.rate", "Plan"], [["a", 1, 1, "pro"]])
    with pytest.raises(
        FeaturesError, match="there is no column 'Call  Failure', which the model reads; did you mean 'Call Failure'"
    ):
        score_file(phones.settings, source, tmp_path / "out.csv", decide=False)
    source = write_csv(tmp_path / "ids.csv", ["Customer"], [["a"]])
    with pytest.raises(
        FeaturesError, match=r"there are no columns 'Call  Failure', 'emp\.var\.rate', 'Plan', which the model"
    ):
        score_file(phones.settings, source, tmp_path / "out.csv", decide=False)
    source = write_csv(tmp_path / "no_ids.csv", ["Call  Failure", "emp.var.rate", "Plan"], [[1, 1, "pro"]])
    with pytest.raises(FeaturesError, match="there is no column 'Customer', which holds the customers' ids"):
        score_file(phones.settings, source, tmp_path / "out.csv", decide=False)
    assert not (tmp_path / "out.csv").exists()


def test_a_tables_rows_are_decided_about(phones: Phones, tmp_path: Path) -> None:
    rows = score(phones.settings, phones.file, tmp_path / "out.parquet", decide=True)
    assert {row["action"] for row in rows} == {"call", "no_action"}
    assert all(row["pscore"] > 0 for row in rows)
