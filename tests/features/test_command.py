"""The command, as a user meets it: what it prints, what it refuses, and with which exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.__main__ import app
from features.build import build
from features.config.business import Business
from features.generation import Generation
from features.home import Home
from features.store.offline import OfflineStore, OnlineStore

# Ibis calls what DuckDB renamed; Feast switches its own deprecations on.
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

TABLE = """
[business]
name = "{name}"
[data]
kind = "table"
path = "customers.csv"
customer_id = "id"
outcome = "left"
churned = "yes"
[data.pillars]
Contract = "relationship"
[churn]
horizon_days = 90
"""
ROWS = "id,left,Contract,Call  Failure,a__b\n7.0,yes,größe,1.5,x\n8.0,no,,-0.0,\n9.0,no,Two year,2,y\n"

EVENTS = """
[business]
name = "shop"
currency = "EUR"
[data]
kind = "events"
[[data.events]]
path = "events.csv"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 10
"""

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command in a home of its own; returns the exit code."""
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KEEPWELL_ONLINE_STORE", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def act(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["features", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            app()
        return int(ended.value.code or 0)

    return act


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "customers.csv").write_text(ROWS)
    toml = tmp_path / "table.toml"
    toml.write_text(TABLE.format(name="tiny"))
    return toml


@pytest.fixture
def events(tmp_path: Path) -> Path:
    rows = ["customer_id,occurred_at,type,value"]
    rows += [f"C{n},2025-{9 + n % 3}-{5 + n:02d},purchase,{n}.5" for n in range(9)]
    rows += ["C1,2025-12-20,visit,", "C1,yesterday,visit,", ",2025-12-01,visit,", "C2,2025-12-21,purchase,many"]
    (tmp_path / "events.csv").write_text("\n".join(rows))
    toml = tmp_path / "shop.toml"
    toml.write_text(EVENTS)
    return toml


def test_a_table_business_is_built_and_shown(run: Run, table: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("build", table) == 0
    printed, said = capsys.readouterr()
    assert "3 read" in printed
    assert "Customers     3" in printed
    assert "Features      3: relationship 1, other 2" in printed
    assert f"Next: KEEPWELL_HOME={tmp_path / 'home'} python -m training run {table}" in printed
    assert "Traceback" not in said
    generation = Generation.current(Home(tmp_path / "home"))
    assert (generation.path / "business.toml").read_text() == table.read_text()
    assert OnlineStore(generation).read_one("7").row(0)["Contract"] == "größe"
    assert run("show", "7") == 0
    printed = capsys.readouterr().out
    assert "Contract is größe" in printed
    assert run("show") == 0
    printed = capsys.readouterr().out
    assert "Call  Failure" in printed
    assert "a__b" in printed


def test_an_event_business_is_built_with_its_rejects_counted(
    run: Run, events: Path, tmp_path: Path, capsys: Any
) -> None:
    assert run("build", events, "--accept-loss") == 0
    printed = capsys.readouterr().out
    assert "13 read, 10 accepted, 0 filtered" in printed
    assert "1 × no customer_id" in printed
    generation = Generation.current(Home(tmp_path / "home"))
    assert f"As of         {generation.as_of:%Y-%m-%d %H:%M} UTC" in printed
    assert str(generation.quarantine) in printed
    assert generation.before is not None
    assert "purchase_recency_days" in generation.schema
    assert run("show", "C1") == 0
    assert "1 'visit' event in the last 7 days" in capsys.readouterr().out
    assert run("show", "nobody") == 2
    assert "'nobody'" in capsys.readouterr().err
    assert run("show", os.fsdecode(b"\xff")) == 2, "what is no text is nobody's id"


def test_mistakes_end_with_one_sentence_and_2(run: Run, table: Path, events: Path, tmp_path: Path, capsys: Any) -> None:
    missing = tmp_path / "missing.toml"
    assert run("show", "7") == 2
    assert "python -m features build CONFIG" in capsys.readouterr().err
    assert run("build", missing) == 2
    assert "missing.toml" in capsys.readouterr().err
    assert run("build", events, "--accept-loss") == 0
    capsys.readouterr()
    assert run("build", table) == 2
    said = capsys.readouterr().err
    assert "'shop'" in said
    assert "'tiny'" in said
    assert said.strip().count("\n") == 0


def test_a_failed_build_leaves_what_stood_and_nothing_else(run: Run, events: Path, tmp_path: Path, capsys: Any) -> None:
    home = Home(tmp_path / "home")
    good = (tmp_path / "events.csv").read_text()
    (tmp_path / "events.csv").write_text("customer_id,when\n1,2\n")
    assert run("build", events) == 2
    said = capsys.readouterr().err
    assert "events.csv" in said
    assert said.strip().count("\n") == 0
    assert home.business is None
    assert not home.generations.exists() or not any(home.generations.iterdir())
    (tmp_path / "events.csv").write_text(good)
    assert run("build", events, "--accept-loss") == 0
    live = Generation.current(home)
    (tmp_path / "events.csv").write_text("")
    assert run("build", events) == 2
    assert Generation.current(home) == live
    assert [path.name for path in home.generations.iterdir()] == [live.id]


def test_one_build_at_a_time(run: Run, table: Path, tmp_path: Path, capsys: Any) -> None:
    with Home(tmp_path / "home").lock("build"):
        assert run("build", table) == 2
    assert "Another build is running" in capsys.readouterr().err


def test_a_store_of_no_known_kind_is_refused(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv("KEEPWELL_ONLINE_STORE", "cassandra")
    assert run("build", table) == 2
    assert "KEEPWELL_ONLINE_STORE: 'cassandra' is neither" in capsys.readouterr().err


def test_services_move_to_the_next_build_and_the_rest_is_said(table: Path, tmp_path: Path) -> None:
    home, business = Home(tmp_path / "home"), Business.load(table)
    first = build(business, home, datetime(2026, 1, 1, tzinfo=UTC), lambda *_: None)
    assert first.replaced is None
    OfflineStore(first.generation).register_service("churn_1", ["a__b", "Contract"])
    second = build(business, home, datetime(2026, 1, 2, tzinfo=UTC), lambda *_: None)
    assert second.replaced == first.generation
    assert set(OfflineStore(second.generation).services()["churn_1"]) == {"a__b", "Contract"}
    (tmp_path / "customers.csv").write_text(ROWS.replace("a__b", "other name"))
    third = build(business, home, datetime(2026, 1, 3, tzinfo=UTC), lambda *_: None)
    assert third.notes[-1] == "churn_1 reads features that are gone: train and promote a new model."
    assert Generation.complete(home) == (first.generation, second.generation, third.generation)


@pytest.mark.slow
def test_feasts_own_command_sees_the_live_features(run: Run, table: Path, capfd: Any) -> None:
    assert run("build", table) == 0
    capfd.readouterr()
    assert run("feast", "apply") == 0
    assert run("feast", "feature-views", "list") == 0
    printed = capfd.readouterr().out
    assert all(name in printed for name in ("relationship", "other", "customer"))
    assert run("feast") == 0
    assert "export KEEPWELL_FEAST_PROJECT=" in capfd.readouterr().out


def test_a_feature_may_be_kept_from_models(
    run: Run, events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build", "--accept-loss", events) == 0
    home = Home(tmp_path / "home")
    (first, *others) = Generation.current(home).schema.predictive.names
    written = events.read_text()
    events.write_text(written.replace('kind = "events"', f'kind = "events"\ndrop = ["{first}"]'))
    assert run("build", "--accept-loss", events) == 0
    schema = Generation.current(home).schema
    assert first in schema.names
    assert list(schema.predictive.names) == others
    capsys.readouterr()
    events.write_text(written.replace('kind = "events"', f'kind = "events"\ndrop = ["{first}_"]'))
    assert run("build", "--accept-loss", events) == 2
    assert f"there is no feature '{first}_'" in capsys.readouterr().err
    # What is no feature of any log is refused before it is read.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("features.build.ingest", lambda *_: pytest.fail("the log was read"))
        events.write_text(written.replace('kind = "events"', 'kind = "events"\ndrop = ["purchase_recency"]'))
        assert run("build", "--accept-loss", events) == 2
        assert "there is no feature 'purchase_recency'; did you mean 'purchase_recency_days'" in capsys.readouterr().err
    assert Generation.current(home).schema == schema


def test_a_build_that_loses_much_stops_unless_it_is_told_to_go_on(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = range(1, 6)
    purchases = "".join(f"{id},2023-0{month}-05,purchase\n" for id in ids for month in (1, 2, 3))
    (tmp_path / "events.csv").write_text(f"customer_id,occurred_at,type\n{purchases}")
    (tmp_path / "customers.csv").write_text("customer_id,signup\n" + "".join(f"{id},0{id}-10-2022\n" for id in ids))
    toml = tmp_path / "shop.toml"
    toml.write_text(
        EVENTS.replace("[churn]", '[data.customers]\npath = "customers.csv"\ncreated_at = "signup"\n[churn]')
    )
    assert run("build", toml) == 2
    assert "5 of 5 rows would be set aside" in capsys.readouterr().err
    (tmp_path / "customers.csv").write_text("customer_id,seats\n" + "".join(f"0{id},1\n" for id in ids))
    toml.write_text(toml.read_text().replace('created_at = "signup"\n', ""))
    assert run("build", toml) == 2
    assert "'01' against '1'" in capsys.readouterr().err
    assert run("build", "--accept-loss", toml) == 0
