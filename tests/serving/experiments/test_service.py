"""Experiments: arms for ever the same, exposures and outcomes once, decisions by arm, and money against the holdout."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from features.config.business import Business
from serving.auth.api_keys import Principal, Role
from serving.decisions.service import DecisionService, LoggedDecision
from serving.errors import ExperimentConflict, ExperimentOutcomeConflict, UnknownExperiment, UnknownExposure
from serving.experiments.report import programme, report
from serving.experiments.service import ArmSpec, Experiment, Experiments
from serving.platform.database import Database
from serving.platform.tables import decisions, exposures
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import Scorer

from ..tinyshop import tinyshop

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]

CRM = Principal("crm", Role.SCORER)
PATH = "/v1/experiments"
ADMIN = Principal("boss", Role.ADMIN)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
EVERYBODY = [f"C{number:05d}" for number in range(1, 241)]
TOML = tinyshop(
    """[[actions]]
name = "success_call"
channel = "phone"
cost = 2.0
prior_effect = 0.2
[[actions]]
name = "gift"
channel = "post"
cost = 3.5
prior_effect = 0.1
[policy]
holdout = 0.3
reward = "{reward}"
""",
    'currency = "EUR"',
)


def experiment(**changes: Any) -> Experiment:
    arms = (ArmSpec("control", 0.4), ArmSpec("gifts", 0.35, actions=("gift",)), ArmSpec("none", 0.25, "nothing"))
    plain = Experiment("autumn", arms, NOON - timedelta(days=1), NOON + timedelta(days=30))
    return replace(plain, **changes)


@pytest.fixture(scope="module")
def release(template: Any, tmp_path_factory: pytest.TempPathFactory) -> Release:
    source = ReleaseSource(template.settings)
    loaded = source.load(source.newest())
    folder = tmp_path_factory.mktemp("generation")
    (folder / "business.toml").write_text(TOML.format(reward="money"))
    return replace(loaded, generation=replace(loaded.generation, path=folder))


def rows_of(database: Database, table: Any) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(table)))


def test_an_experiment_is_registered_once(database: Database) -> None:
    service = Experiments(database, lambda: NOON)
    assert service.create(experiment(), ADMIN) == experiment()
    assert service.create(experiment(), ADMIN) == service.get("autumn") == experiment()
    with pytest.raises(ExperimentConflict, match="has the name 'autumn'"):
        service.create(experiment(alpha=0.1), ADMIN)
    with pytest.raises(ExperimentConflict, match="'autumn' bears on decisions"):
        service.create(experiment(name="winter"), ADMIN)
    aside = (ArmSpec("red", 0.5), ArmSpec("blue", 0.5))
    service.create(experiment(name="colours", arms=aside, primary_outcome="clicks"), ADMIN)
    service.create(experiment(name="winter", start=NOON + timedelta(days=30), end=NOON + timedelta(days=60)), ADMIN)
    assert [found.name for found in service.all()] == ["winter", "autumn", "colours"]
    with pytest.raises(UnknownExperiment):
        service.get("spring")


def test_arms_are_for_ever_and_exposures_are_the_first(database: Database) -> None:
    early = Experiments(database, lambda: NOON - timedelta(days=2))
    early.create(experiment(), ADMIN)
    first = early.assign("autumn", "C00001", 0.2)
    assert first.exposed_at is None
    assert rows_of(database, exposures) == []
    running = Experiments(database, lambda: NOON).assign("autumn", "C00001", 0.2)
    later = Experiments(database, lambda: NOON + timedelta(days=3)).assign("autumn", "C00001", 0.9)
    ended = Experiments(database, lambda: NOON + timedelta(days=40)).assign("autumn", "C00001", 0.9)
    assert {first.arm, running.arm, later.arm, ended.arm} == {experiment().arm_of("C00001").name}
    assert running.exposed_at == later.exposed_at == ended.exposed_at == NOON
    (row,) = rows_of(database, exposures)
    assert row.pre_period == 0.2


def test_outcomes_are_recorded_once_and_only_of_who_met_it(database: Database) -> None:
    service = Experiments(database, lambda: NOON)
    service.create(experiment(primary_outcome="renewed"), ADMIN)
    with pytest.raises(UnknownExposure):
        service.record_outcome("autumn", "C00001", 1.0)
    service.assign("autumn", "C00001", 0.2)
    for _ in range(2):
        service.record_outcome("autumn", "C00001", 1.0)
    with pytest.raises(ExperimentOutcomeConflict):
        service.record_outcome("autumn", "C00001", 0.0)
    with pytest.raises(UnknownExperiment):
        service.record_outcome("spring", "C00001", 1.0)
    assert service.stop("autumn").end == NOON
    assert service.stop("autumn").status(NOON) == "ended"


def test_decisions_are_made_by_arm_and_count_as_exposure(database: Database, release: Release) -> None:
    Experiments(database, lambda: NOON).create(experiment(), ADMIN)
    service = DecisionService(database, lambda: NOON)
    for _ in range(2):
        decided = service.decide_many(Scorer(release), EVERYBODY, CRM)
    arms = {name: set[str]() for name in ("control", "gifts", "none")}
    for one in decided:
        assert isinstance(one, LoggedDecision)
        if one.holdout:
            assert one.experiment is None
            continue
        assert one.experiment is not None
        assert one.experiment.arm == experiment().arm_of(one.customer_id).name
        arms[one.experiment.arm].add(one.action)
        if one.experiment.arm == "none":
            assert (one.action, one.pscore) == ("no_action", 1.0)
            assert {other.code for other in one.alternatives} == {"experiment_arm"}
    assert "success_call" in arms["control"]
    assert arms["gifts"] <= {"gift", "no_action"}
    met = rows_of(database, exposures)
    assert len(met) == len({row.customer_id for row in met}) == sum(not one.holdout for one in decided)  # type: ignore[union-attr]
    first = {row.decision_id for row in rows_of(database, decisions)[:240]}
    assert {row.decision_id for row in met} <= first
    after = DecisionService(database, lambda: NOON + timedelta(days=31)).decide(Scorer(release), "C00001", CRM)
    assert after.experiment is None


def test_the_report_finds_what_an_arm_does(database: Database) -> None:
    service = Experiments(database, lambda: NOON)
    spec = experiment(arms=(ArmSpec("a", 0.5), ArmSpec("b", 0.25), ArmSpec("c", 0.25)), primary_outcome="renewed")
    service.create(spec, ADMIN)
    rng = np.random.default_rng(6)
    rows = []
    for number in range(4_000):
        customer_id, risk = f"N{number}", float(rng.random())
        arm = spec.arm_of(customer_id).name
        value = 2.0 * risk + float(rng.normal(0, 0.5)) + 0.4 * (arm == "b")
        rows.append(
            {
                "experiment": "autumn", "customer_id": customer_id, "arm": arm, "exposed_at": NOON,
                "pre_period": risk, "outcome": value if number % 10 else None, "outcome_at": NOON,
            }
        )  # fmt: skip
    with database.begin() as connection:
        connection.execute(exposures.insert(), rows)
    found = report(database, spec, NOON)
    assert found.status == "running"
    assert found.sample_ratio_holds
    assert [arm.exposed for arm in found.arms] == [sum(row["arm"] == name for row in rows) for name in "abc"]
    assert sum(arm.outcomes for arm in found.arms) == 3_600
    b, c = found.comparisons
    assert (b.arm, b.against, c.arm) == ("b", "a", "c")
    assert 0 < b.comparison.low < 0.4 < b.comparison.high < 0.6
    assert c.comparison.low < 0 < c.comparison.high
    assert b.comparison.variance_kept < 0.6
    # Somebody lost the outcomes of half of an arm before it was logged who met it.
    with database.begin() as connection:
        lost = [row["customer_id"] for row in rows if row["arm"] == "b"][:500]
        connection.execute(exposures.delete().where(exposures.c.customer_id.in_(lost)))
    assert not report(database, spec, NOON).sample_ratio_holds


def test_the_programme_is_paid_against_the_holdout(database: Database, release: Release, tmp_path: Path) -> None:
    ids = EVERYBODY * 3
    service = DecisionService(database, lambda: NOON)
    decided = [one for one in service.decide_many(Scorer(release), ids, CRM) if isinstance(one, LoggedDecision)]
    rng = np.random.default_rng(7)
    gain: dict[str, float] = {}
    for one in decided:
        reward, executed = float(rng.normal(10, 1)) + 5.0 * (one.action != "no_action"), rng.random() < 0.9
        service.record_outcome(one.decision_id, reward, executed)
        gain[one.customer_id] = gain.get(one.customer_id, 0.0) + reward - one.cost * executed
    business = Business.load(release.generation.path / "business.toml")
    found = programme(database, business)
    held = {one.customer_id for one in decided if one.holdout}
    assert (found.customers, found.held_out) == (240, len(held))
    assert found.sample_ratio_holds
    treated = [gain[name] for name in gain if name not in held]
    difference = np.mean(treated) - np.mean([gain[name] for name in held])
    # CUPED moves the estimate a little, as risk says nothing of these rewards.
    assert found.comparison.estimate == pytest.approx(difference, abs=0.3)
    assert found.comparison.low > 0
    assert found.earned is not None
    assert found.earned[0] == pytest.approx(found.comparison.estimate * len(treated))
    assert found.currency == "EUR"
    assert programme(database, business, NOON + timedelta(days=1)).customers == 0
    (tmp_path / "kept.toml").write_text(TOML.format(reward="retained"))
    kept = programme(database, Business.load(tmp_path / "kept.toml"))
    assert kept.comparison.estimate > 10 * found.comparison.estimate


def test_over_http(running: Any, template: Any) -> None:
    day = datetime.now(UTC)
    body = {
        "name": "http",
        "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
        "start": (day - timedelta(hours=1)).isoformat(),
        "end": (day + timedelta(days=1)).isoformat(),
        "primary_outcome": "clicks",
    }
    with httpx.Client(base_url=running.url) as client:
        admin, scorer, manager = (template.headers(role) for role in (Role.ADMIN, Role.SCORER, Role.MANAGER))
        assert client.post(PATH, json=body, headers=manager).status_code == 403
        created = client.post(PATH, json=body, headers=admin)
        assert created.status_code == 201
        assert client.post(PATH, json=body, headers=admin).json() == created.json()
        assert client.post(PATH, json={**body, "alpha": 0.1}, headers=admin).status_code == 409
        assigned = client.post(f"{PATH}/http/assignments", json={"customer_id": "C00001"}, headers=scorer).json()
        assert assigned["arm"] in ("a", "b")
        assert assigned["exposed_at"].endswith("Z")
        outcome = {"customer_id": "C00001", "value": 2.0}
        assert client.post(f"{PATH}/http/outcomes", json=outcome, headers=scorer).status_code == 204
        assert client.post(f"{PATH}/http/outcomes", json={**outcome, "value": 1.0}, headers=scorer).status_code == 409
        correction = {**outcome, "value": 1.0, "reason": "a typing error"}
        assert client.put(f"{PATH}/http/outcomes", json=correction, headers=scorer).status_code == 403
        assert client.put(f"{PATH}/http/outcomes", json=correction, headers=admin).status_code == 204
        found = client.get(f"{PATH}/http/outcomes", params={"customer_id": "C00001"}, headers=admin).json()
        assert (found["value"], [one["before"] for one in found["corrections"]]) == (1.0, [{"value": 2.0}])
        assert (
            client.post(f"{PATH}/http/outcomes", json={**outcome, "customer_id": "C2"}, headers=scorer).status_code
            == 404
        )
        assert client.post(f"{PATH}/http/assignments", json={"customer_id": "x"}, headers=scorer).status_code == 404
        shown = client.get(f"{PATH}/http", headers=manager).json()
        assert sum(arm["exposed"] for arm in shown["arms"]) == 1
        assert shown["comparisons"][0]["low"] is None
        assert client.get(PATH, headers=manager).json()["results"] == [shown]
        earned = client.get(f"{PATH}/programme", params={"since": "2026-01-01T00:00:00Z"}, headers=manager).json()
        assert (earned["holdout_share"], earned["currency"]) == (0.0, "EUR")
        assert client.get(f"{PATH}/nothing", headers=manager).status_code == 404
        assert client.post(f"{PATH}/http/stop", headers=admin).json()["status"] == "ended"
        for wrong in (
            {"name": "programme"}, {"end": body["start"]}, {"arms": [{"name": "a", "share": 1.0}]},
            {"arms": [{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}]},
            {"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.0}]},
            {"arms": [{"name": "a", "share": 0.5, "actions": ["sing"]}, {"name": "b", "share": 0.5}]},
        ):  # fmt: skip
            answer = client.post(PATH, json={**body, "name": "other", **wrong}, headers=admin)
            assert answer.status_code == 422, wrong
