"""Files of customers: every row comes back in its place, parsed as the build parsed its own, a bad one with its error."""

from __future__ import annotations

import csv
import gzip
import io
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm
import mlflow
import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from features.build import build as build_features
from features.config.business import Business
from features.errors import FeaturesError
from features.home import Home
from models.inference.calibration import Calibration
from models.registry.mlflow_store import prepare_store
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.registry import Registry
from models.scorecard import Scorecard
from serving.__main__ import main
from serving.batch.decided_file import DecidedFile
from serving.batch.job import Batch, score_file
from serving.batch.reader import CHUNK, CustomerFile, FileRows, RowReader
from serving.current_scores.record import COLUMNS
from serving.current_scores.refresh import refresh
from serving.errors import CommandError, NoRelease
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import batch_chunks, decisions
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Explain, Scorer
from training.churn.onnx_export import margin_graph

from ..conftest import ODD_IDS, Shop, customer_ids, settings_of
from ..learned_policy import effects, policy_of, promote_policy

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

Rows = list[dict[str, Any]]


def score(settings: Settings, source: Path, target: Path, *, decide: bool = False, chunk: int = CHUNK) -> Rows:
    """The output's rows; missing is None."""
    score_file(settings, source, target, decide=decide, chunk=chunk)
    if target.suffix == ".parquet":
        return list(pq.read_table(target).to_pylist())
    content = target.read_bytes()
    text = (gzip.decompress(content) if target.suffix == ".gz" else content).decode()
    return [{name: value or None for name, value in row.items()} for row in csv.DictReader(io.StringIO(text))]


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(names)
    writer.writerows(rows)
    content = text.getvalue().encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


# An event business: ids alone


def test_rows_come_back_in_order_each_with_its_score(template: Shop, tmp_path: Path) -> None:
    ids = [*ODD_IDS, "C00007", "nobody", "C00003", "C00007", ""]
    source = write_csv(tmp_path / "in.csv", ["customer_id", "note"], [[customer_id, "x"] for customer_id in ids])
    rows = score(template.settings, source, tmp_path / "out.parquet")
    assert [row["customer_id"] for row in rows] == [*ids[:-1], None]
    assert list(rows[0]) == [*COLUMNS, "error"]
    source_of_releases = ReleaseSource(template.settings)
    scorer = Scorer(source_of_releases.load(source_of_releases.newest()))
    for row, result in zip(rows, scorer.score(ids, Explain.TOP), strict=True):
        if isinstance(result, CustomerScore):
            assert result.reasons is not None
            assert row["error"] is None
            assert row["churn_probability"] == pytest.approx(result.probability, abs=1e-12)
            assert row["health_score"] == pytest.approx(result.score, abs=1e-9)
            assert row["health_band"] == result.band
            assert [row[f"reason_{n}"] for n in (1, 2, 3)] == [reason.text for reason in result.reasons[:3]]
            assert row["feature_timestamp"] == result.feature_timestamp
    bad = [row for row in rows if row["error"]]
    assert [row["error"] for row in bad] == ["no such customer: 'nobody'", "no customer_id"]
    assert all(row[name] is None for row in bad for name in COLUMNS if name != "customer_id")


def test_the_file_agrees_with_the_current_scores(shop: Shop, tmp_path: Path) -> None:
    from serving.current_scores.feed import CurrentScores

    refresh(shop.settings)
    database = Database(shop.settings.database)
    current = CurrentScores(database).page(None, None, 1000).rows
    database.close()
    pq.write_table(pa.table({"customer_id": customer_ids()}), tmp_path / "in.parquet")
    rows = {row["customer_id"]: row for row in score(shop.settings, tmp_path / "in.parquet", tmp_path / "out.parquet")}
    for kept in current:
        written = rows[kept.customer_id]
        assert {name: written[name] for name in COLUMNS if name != "scored_at"} == {
            name: getattr(kept, name) for name in COLUMNS if name != "scored_at"
        }


@pytest.mark.parametrize("source", ["in.csv", "in.csv.gz", "in.parquet", "semicolons.csv", "tabs.csv"])
@pytest.mark.parametrize("target", ["out.csv", "out.csv.gz", "out.parquet"])
def test_every_format_says_the_same(template: Shop, tmp_path: Path, source: str, target: str) -> None:
    ids = ["C00001", 'a "quoted", id', "50% off?", "größe#1"]
    path = tmp_path / source
    if source.endswith(".parquet"):
        pq.write_table(pa.table({"customer_id": ids}), path)
    else:
        delimiter = {"semicolons.csv": ";", "tabs.csv": "\t"}.get(source, ",")
        write_csv(path, ["customer_id", "other"], [[customer_id, 1] for customer_id in ids], delimiter)
    rows = score(template.settings, path, tmp_path / target)
    assert [row["customer_id"] for row in rows] == ids
    assert [row["error"] is None for row in rows] == [True, False, True, True]
    assert 0 < float(rows[0]["churn_probability"]) < 1
    if target != "out.parquet":
        assert datetime.fromisoformat(rows[0]["scored_at"]).tzinfo is not None
        assert rows[0]["scored_at"].endswith("Z")
        assert rows[0]["scored_at"][10] == "T"


def test_numeric_ids_lose_their_decimals(template: Shop, tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": [17850.0, None]}), tmp_path / "in.parquet")
    known, blank = score(template.settings, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (known["customer_id"], known["error"]) == ("17850", None)
    assert (blank["customer_id"], blank["error"]) == (None, "no customer_id")


def test_a_broken_line_comes_back_in_its_place(template: Shop, tmp_path: Path) -> None:
    content = 'customer_id,note\nC00001,a\nC00002,b,c\nC00003\nC00004,"two\nlines"\nC00005,\xff\nC00006,z\n'
    (tmp_path / "in.csv").write_bytes(content.encode("latin-1"))
    rows = score(template.settings, tmp_path / "in.csv", tmp_path / "out.parquet")
    assert [row["customer_id"] for row in rows] == ["C00001", None, None, "C00004", None, "C00006"]
    assert [row["error"] for row in rows] == [
        None,
        "line 3: wrong number of columns",
        "line 4: wrong number of columns",
        None,
        "line 7: bad UTF-8",
        None,
    ]


def test_a_file_of_many_chunks_keeps_its_order(template: Shop, tmp_path: Path) -> None:
    known = customer_ids()
    ids = [known[number % len(known)] if number % 7 else f"nobody {number}" for number in range(3500)]
    rows = [[customer_id] if number % 1001 else [customer_id, "too", "many"] for number, customer_id in enumerate(ids)]
    source = write_csv(tmp_path / "in.csv", ["customer_id"], rows)
    written = score(template.settings, source, tmp_path / "out.parquet")
    assert len(written) == 3500
    for number, (row, customer_id) in enumerate(zip(written, ids, strict=True)):
        if number % 1001 == 0:
            assert row["error"].endswith("wrong number of columns")
        else:
            assert row["customer_id"] == customer_id
            assert (row["error"] is None) is (number % 7 != 0)


def test_a_file_without_rows_gives_one_without_rows(template: Shop, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("customer_id\n")
    assert score(template.settings, tmp_path / "in.csv", tmp_path / "out.csv") == []
    assert (tmp_path / "out.csv").read_text().replace('"', "").strip().split(",") == [*COLUMNS, "error"]


def test_deciding_logs_what_it_writes(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"], ["nobody"], *([["C00002"]] * 30)])
    rows = score(shop.settings, source, tmp_path / "out.parquet", decide=True)
    assert list(rows[0]) == [*COLUMNS, "decision_id", "pscore", "channel", "error"]
    database = Database(shop.settings.database)
    with database.read() as connection:
        log = {row.decision_id: row for row in connection.execute(select(decisions))}
    database.close()
    assert len(log) == 31
    for row in rows:
        if row["error"]:
            assert row["decision_id"] is None
            continue
        logged = log[row["decision_id"]]
        assert (logged.customer_id, logged.action, logged.pscore, logged.channel) == (
            row["customer_id"],
            row["action"],
            row["pscore"],
            row["channel"],
        )
        assert logged.decided_by == "serving batch"
    assert sum(row["action"] == "success_call" for row in rows[2:]) <= 1


def logged(settings: Settings) -> list[str]:
    """The ids of the customers who were decided about, sorted."""
    database = Database(settings.database)
    with database.read() as connection:
        found = sorted(connection.scalars(select(decisions.c.customer_id)))
    database.close()
    return found


def test_the_same_file_gives_the_same_decisions(shop: Shop, tmp_path: Path) -> None:
    ids = customer_ids()
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [[customer_id] for customer_id in ids])
    first = score(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    again = score(shop.settings, source, tmp_path / "again.csv", decide=True, chunk=100)
    assert again == first
    assert logged(shop.settings) == sorted(ids)
    said = score_file(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    assert said.startswith(f"{len(ids)} rows, {len(ids)} as they were decided about before: ")
    # A file that says something else is another, and so is one that is meant to be.
    write_csv(source, ["customer_id"], [[customer_id] for customer_id in ids[:-1]])
    score(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    score_file(shop.settings, source, tmp_path / "out.csv", decide=True, anew=True, chunk=100)
    assert len(logged(shop.settings)) == 3 * len(ids) - 2


def test_a_file_is_decided_about_again_after_a_day(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    score(shop.settings, source, tmp_path / "out.csv", decide=True)
    database = Database(shop.settings.database)
    for hours, kept in ((23, 1), (25, 0)):
        DecidedFile(database, "0" * 64, lambda: datetime.now(UTC) + timedelta(hours=hours)).begin(anew=False)  # noqa: B023
        with database.read() as connection:
            assert len(connection.execute(select(batch_chunks.c.digest)).all()) == kept
    database.close()
    score(shop.settings, source, tmp_path / "out.csv", decide=True)
    assert logged(shop.settings) == ["C00001", "C00001"]


def _decide_and_die(settings: Settings, source: Path, target: Path, after: int) -> None:
    """Decide, and be killed after so many chunks were committed."""
    decided = Batch.decided
    done = 0

    def decide(batch: Batch, rows: FileRows, file: DecidedFile) -> pa.Table:
        nonlocal done
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)
        table = decided(batch, rows, file)
        done += 1
        return table

    def complete(_file: DecidedFile) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Batch.decided = decide  # type: ignore[assignment,method-assign]
    DecidedFile.complete = complete  # type: ignore[assignment,method-assign]
    score_file(settings, source, target, decide=True, chunk=60)


@pytest.mark.parametrize("after", [1, 3, 9])
def test_a_killed_run_is_gone_on_with_and_nobody_is_decided_about_twice(shop: Shop, tmp_path: Path, after: int) -> None:
    ids = customer_ids()
    folder = tmp_path / "files"
    folder.mkdir()
    source = write_csv(folder / "in.csv", ["customer_id"], [[customer_id] for customer_id in ids])
    target = folder / "out.csv"
    process = multiprocessing.get_context("fork").Process(
        target=_decide_and_die, args=(shop.settings, source, target, after)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = logged(shop.settings)
    assert before == sorted(ids[: 60 * after])
    # Only where all was decided the file is in its place; nothing else is left.
    assert sorted(path.name for path in folder.iterdir()) == (["in.csv", "out.csv"] if after == 9 else ["in.csv"])
    said = score_file(shop.settings, source, target, decide=True, chunk=60)
    assert f"{len(before)} as they were decided about before" in said
    assert logged(shop.settings) == sorted(ids)
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["customer_id"] for row in rows] == ids
    assert len({row["decision_id"] for row in rows}) == len(ids)


def test_without_decide_nothing_is_logged(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    score(shop.settings, source, tmp_path / "out.csv")
    database = Database(shop.settings.database)
    with database.read() as connection:
        assert connection.execute(select(decisions)).all() == []
    database.close()


# A user's mistakes


def test_a_mistake_is_one_sentence_and_leaves_the_old_file(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KEEPWELL_DATABASE_URL", "MLFLOW_TRACKING_URI", "KEEPWELL_ONLINE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEPWELL_HOME", str(shop.home.path))
    good = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    other = write_csv(tmp_path / "other.csv", ["customer", "x"], [["C00001", 1]])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "no.parquet").write_text("customer_id\nC00001\n")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.read_bytes() * 5000)[:-20])
    (tmp_path / "twice.csv").write_text("customer_id,customer_id\na,b\n")
    out = tmp_path / "out.csv"
    out.write_text("old\n")
    cases = [
        (tmp_path / "im.csv", out, "im.csv: there is no such file; did you mean 'in.csv'?"),
        (tmp_path, out, "the ending says neither CSV nor Parquet"),
        (good, tmp_path / "out.xlsx", "out.xlsx: the ending says neither CSV nor Parquet"),
        (good, tmp_path / "no folder" / "out.csv", "out.csv: the file cannot be written (No such file or directory)."),
        (
            other,
            out,
            "other.csv: there is no column 'customer_id', which an event business is scored by; did you mean 'customer'?",
        ),
        (tmp_path / "empty.csv", out, "empty.csv: the file is empty."),
        (tmp_path / "no.parquet", out, "no.parquet: this is no Parquet file that can be read"),
        (tmp_path / "cut.csv.gz", out, "cut.csv.gz: the file is damaged"),
        (tmp_path / "twice.csv", out, "twice.csv: the column 'customer_id' appears twice; rename one."),
    ]
    for source, target, sentence in cases:
        monkeypatch.setattr(sys, "argv", ["serving", "batch", "--input", str(source), "--output", str(target)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert sentence in said
        assert said.count("\n") == 1, said
        assert "Traceback" not in said
    assert out.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    monkeypatch.setattr(sys, "argv", ["serving", "batch", "--input", str(good), "--output", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out == f"1 rows: {out}\n"
    assert out.read_text() != "old\n"


def test_without_a_champion_nothing_is_written(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    with pytest.raises(NoRelease):
        score_file(settings_of(Home(tmp_path / "home")), source, tmp_path / "out.csv", decide=False)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_may_be_replaced_by_its_scores(template: Shop, tmp_path: Path) -> None:
    both = write_csv(tmp_path / "customers.csv", ["customer_id"], [["C00001"]])
    (row,) = score(template.settings, both, both)
    assert row["customer_id"] == "C00001"
    assert row["action"] is not None


# A table business: its own columns

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


def _score_and_die(settings: Settings, source: Path, target: Path) -> None:
    """Killed while the second part of the rows is scored."""
    whole, chunks = RowReader.parse, 0

    def parse(self: RowReader, *arguments: Any) -> Any:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, *arguments)

    RowReader.parse = parse  # type: ignore[assignment,method-assign]
    score_file(settings, source, target, decide=False)


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_file(template: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]] * 10_000)
    target = tmp_path / "out.csv"
    target.write_text("old\n")
    process = multiprocessing.get_context("spawn").Process(
        target=_score_and_die, args=(template.settings, source, target)
    )
    process.start()
    process.join()  # it ends by itself, however slow the machine is
    assert process.exitcode == -signal.SIGKILL
    assert target.read_text() == "old\n"
    assert len(score(template.settings, source, target)) == 10_000


@pytest.mark.slow
def test_many_rows_are_scored_by_several_processes_as_by_one(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned effects among what must be the same: no row may fall back to what the TOML believes."""
    promote_policy(shop.home, policy_of(effects()))
    known = [*customer_ids(), "nobody"]
    rows = [[known[number % len(known)]] for number in range(600)]
    rows[500] = ["too", "many"]
    source = write_csv(tmp_path / "in.csv", ["customer_id"], rows)

    def on(cores: int) -> Rows:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        return score(shop.settings, source, tmp_path / f"{cores}.parquet", chunk=50)

    together, alone = on(2), on(1)
    assert len(together) == 600
    assert [row["customer_id"] for row in together[:500]] == [row[0] for row in rows[:500]]
    for left, right in zip(together, alone, strict=True):
        del left["scored_at"], right["scored_at"]
    assert together == alone


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(template: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]] * 400_000)
    target = tmp_path / "out.csv"
    target.write_text("old\n")
    process = multiprocessing.get_context("spawn").Process(
        target=score_file, args=(template.settings, source, target), kwargs={"decide": False}
    )
    process.start()
    assert process.pid is not None
    parent = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    until = time.monotonic() + 300
    while not any("spawn_main" in " ".join(child.cmdline()) for child in children):
        assert process.is_alive()
        assert time.monotonic() < until
        time.sleep(0.05)
        children = parent.children()
    parent.kill()
    process.join(60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert target.read_text() == "old\n"


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="neither CSV nor Parquet"):
        CustomerFile.open(tmp_path / "customers.txt", ())
