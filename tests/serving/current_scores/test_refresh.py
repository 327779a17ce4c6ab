"""Bringing the current scores up to date: once, for what stands, and never back to what does not."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from features.errors import StoreUnavailable
from features.home import Home
from models.registry.mlflow_store import prepare_store
from models.registry.registry import Registry
from serving.__main__ import main
from serving.current_scores.feed import CurrentScores, DeletedCustomer
from serving.current_scores.record import BatchRow
from serving.current_scores.refresh import Superseded, bring_up_to_date, population, refresh
from serving.decisions.playbook import Playbook
from serving.platform.database import Database
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Explain, Scorer

from ..conftest import Shop, build, customer_ids, midnight, promote, train

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def rows_of(shop: Shop) -> list[BatchRow | DeletedCustomer]:
    database = Database(shop.settings.database)
    rows = list(CurrentScores(database).page(None, None, 1000).rows)
    database.close()
    return rows


def test_everybody_is_scored_by_what_stands(shop: Shop) -> None:
    said = refresh(shop.settings)
    assert said == f"{len(customer_ids())} current scores, by model version 1."
    rows = {row.customer_id: row for row in rows_of(shop) if isinstance(row, BatchRow)}
    assert set(rows) == set(customer_ids())
    source = ReleaseSource(shop.settings)
    release = source.load(source.newest())
    playbook = Playbook.of(release.generation)
    for score in Scorer(release).score(customer_ids()[:40], Explain.TOP):
        assert isinstance(score, CustomerScore)
        assert score.reasons is not None
        row = rows[score.customer_id]
        assert row.churn_probability == pytest.approx(score.probability, abs=1e-12)
        assert row.health_score == pytest.approx(score.score, abs=1e-9)
        assert row.health_band == score.band
        assert [row.reason_1, row.reason_2, row.reason_3] == [reason.text for reason in score.reasons[:3]]
        assert row.action == playbook.policy.best(playbook.context(score, {})).action
        assert (row.model_version, row.scorecard_version) == (score.model_version, score.scorecard_version)
        assert row.feature_timestamp == score.feature_timestamp == midnight()


def test_what_is_up_to_date_is_left_alone(shop: Shop) -> None:
    refresh(shop.settings)
    before = rows_of(shop)
    assert refresh(shop.settings) == "The current scores are up to date."
    assert rows_of(shop) == before


def test_a_build_without_somebody_says_that_they_are_gone(shop: Shop) -> None:
    refresh(shop.settings)
    build(shop.home, seed=2, ids=customer_ids()[1:])
    refresh(shop.settings)
    rows = rows_of(shop)
    assert DeletedCustomer(customer_ids()[0]) in rows
    assert len(rows) == len(customer_ids())


def test_the_release_comes_with_its_population(shop: Shop) -> None:
    database = Database(shop.settings.database)
    database.migrate()
    source = ReleaseSource(shop.settings)
    release = bring_up_to_date(CurrentScores(database), source, source.load(source.newest()))
    assert release.population.shape == (len(customer_ids()),)
    assert (np.diff(release.population) >= 0).all()
    database.close()


def test_what_no_longer_stands_is_not_written_back(shop: Shop) -> None:
    database = Database(shop.settings.database)
    current, source = CurrentScores(database), ReleaseSource(shop.settings)
    old = source.load(source.newest())
    build(shop.home, seed=2)
    refresh(shop.settings)
    with pytest.raises(Superseded):
        bring_up_to_date(current, source, old)
    assert current.is_current(source.newest().key)
    assert not current.is_current(old.key)
    database.close()


def test_a_store_that_lost_customers_deletes_nobody(shop: Shop) -> None:
    refresh(shop.settings)
    before = rows_of(shop)
    generation = build(shop.home, seed=2, as_of=midnight() - timedelta(days=1))
    generation.online_file.unlink()
    with pytest.raises(StoreUnavailable):
        refresh(shop.settings)
    assert rows_of(shop) == before


def test_population_is_who_was_a_customer_at_the_moment(shop: Shop) -> None:
    generation = ReleaseSource(shop.settings).newest().generation
    ids = [customer_id for chunk in population(generation) for customer_id in chunk]
    assert ids == customer_ids()


def test_the_promotion_of_another_model_rewrites_all(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    # The model is registered in this shop alone.
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    refresh(shop.settings)
    registered = train(shop.home, seed=3)
    promote(shop.home, registered)
    assert refresh(shop.settings).endswith(f"by model version {registered.version}.")
    assert {row.model_version for row in rows_of(shop) if isinstance(row, BatchRow)} == {registered.version}
    Registry(shop.settings.registry, "tinyshop").rollback()
    refresh(shop.settings)
    assert {row.model_version for row in rows_of(shop) if isinstance(row, BatchRow)} == {"1"}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of `python -m serving …`."""
    monkeypatch.setattr(sys, "argv", ["serving", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def environment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEEPWELL_DATABASE_URL", "MLFLOW_TRACKING_URI", "KEEPWELL_ONLINE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEPWELL_HOME", str(shop.home.path))


@pytest.mark.usefixtures("environment")
def test_the_command_refreshes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "refresh") == 0
    assert "current scores, by model version 1." in capsys.readouterr().out


def test_the_command_has_nothing_to_do_before_there_is_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    assert run(monkeypatch, "refresh") == 0
    assert "nothing was built yet" in capsys.readouterr().out
    (tmp_path / "CURRENT").write_text("x\n")
    assert run(monkeypatch, "refresh") == 0
    assert "no model was trained yet" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["CURRENT"]
    (tmp_path / "business.json").write_text('{"name": "tinyshop"}')
    prepare_store(Home(tmp_path).tracking_uri)
    assert run(monkeypatch, "refresh") == 0
    assert "no model was promoted yet" in capsys.readouterr().out
    assert not (tmp_path / "keepwell.db").exists()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("url", ["keepwell.example.com", "http://\udcff"])
def test_a_digest_needs_the_address_of_the_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    assert run(monkeypatch, "digest", "--output", str(tmp_path / "digest"), "--url", url) == 2
    assert "which is no address such as https://keepwell.example.com." in capsys.readouterr().err


@pytest.mark.usefixtures("environment")
def test_keys_are_made_listed_and_revoked(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "key", "add", "--name", "crm", "--role", "scorer") == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("kw_")
    assert run(monkeypatch, "key", "add", "--name", "crm", "--role", "scorer") == 2
    assert capsys.readouterr().err == "A key named 'crm' exists: revoke it first, or take another name.\n"
    assert run(monkeypatch, "key", "list") == 0
    listed = capsys.readouterr().out
    assert secret not in listed
    assert [line.split()[:2] for line in listed.splitlines()][-1] == ["crm", "scorer"]
    assert run(monkeypatch, "key", "revoke", "--name", "crm") == 0
    assert run(monkeypatch, "key", "revoke", "--name", "crm") == 2
    assert run(monkeypatch, "key", "revoke", "--name", "\udcff") == 2
    assert run(monkeypatch, "key", "add", "--name", "x", "--role", "manager", "--owner", "\udcff") == 2
    assert run(monkeypatch, "key", "add", "--name", "x", "--role", "king") == 2
    assert "There is no role 'king'" in capsys.readouterr().err
    assert run(monkeypatch, "key", "add", "--name", " ", "--role", "admin") == 2
