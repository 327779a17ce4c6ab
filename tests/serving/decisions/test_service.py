"""Decisions: exact propensities, caps and keys that hold whoever asks at once, and outcomes that are recorded once."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from features.errors import StoreUnavailable, UnknownCustomer
from serving.auth.api_keys import Principal, Role
from serving.decisions.contact_history import Touches
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService, LoggedDecision
from serving.errors import IdempotencyConflict, OutcomeConflict, UnknownAction, UnknownDecision
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import decisions, idempotency_keys
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Explain, Scorer, score_as_of_now

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]

SPAWN = multiprocessing.get_context("spawn")
CRM = Principal("crm", Role.SCORER)
WEB = Principal("web", Role.SCORER)


def load(settings: Settings) -> Release:
    source = ReleaseSource(settings)
    return source.load(source.newest())


@pytest.fixture(scope="session")
def scorer(template: Any) -> Scorer:
    return Scorer(load(template.settings))


@pytest.fixture
def service(database: Database) -> DecisionService:
    return DecisionService(database)


def log_of(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(decisions).order_by(decisions.c.decided_at)))


def customer_with(scorer: Scorer, fits: Callable[[CustomerScore], bool]) -> CustomerScore:
    """Somebody whose features are as wanted."""
    ids = [f"C{number:05d}" for number in range(1, 200)]
    return next(score for score in score_as_of_now(scorer, ids) if isinstance(score, CustomerScore) and fits(score))


def test_a_decision_stands_in_the_log_as_it_was_answered(
    service: DecisionService, database: Database, scorer: Scorer
) -> None:
    decision = service.decide(scorer, "C00001", CRM)
    (row,) = log_of(database)
    assert LoggedDecision.from_json(row.answer) == decision
    assert (row.decision_id, row.customer_id, row.action, row.pscore) == (
        decision.decision_id, "C00001", decision.action, decision.pscore,
    )  # fmt: skip
    assert row.action_dist[decision.action] == decision.pscore
    assert sum(row.action_dist.values()) == pytest.approx(1, abs=1e-12)
    assert set(row.action_dist) == {"no_action", "success_call", "winback_email"}
    assert row.generation == scorer.release.generation.id
    assert row.model_version == decision.model_version == scorer.release.model_version
    assert row.scorecard_version == scorer.release.scorecard.version
    assert row.decided_by == "crm"
    assert row.decided_at == datetime.fromisoformat(decision.decided_at)
    assert (row.reward, row.executed, row.outcome_at) == (None, None, None)
    (score,) = scorer.score(["C00001"], Explain.TOP)
    assert isinstance(score, CustomerScore)
    assert row.context["churn_probability"] == pytest.approx(score.probability, abs=1e-12)
    assert row.context["features"] == dict(score.features)
    assert row.context["value_at_stake"] == pytest.approx(score.features["mrr"] * 12)  # type: ignore[operator]


def test_the_figures_are_those_of_the_contract(service: DecisionService, scorer: Scorer) -> None:
    effects = {"no_action": 0.0, "success_call": 0.2, "winback_email": 0.05}
    costs = {"no_action": 0.0, "success_call": 8.0, "winback_email": 0.1}
    channels = {"no_action": None, "success_call": "phone", "winback_email": "email"}
    seen = set()
    for number in range(1, 60):
        customer_id = f"C{number:05d}"
        (score,) = score_as_of_now(scorer, [customer_id])
        assert isinstance(score, CustomerScore)
        decision = service.decide(scorer, customer_id, CRM)
        seen.add(decision.action)
        assert decision.channel == channels[decision.action]
        assert decision.cost == costs[decision.action]
        assert decision.uplift == pytest.approx(score.probability * effects[decision.action])
        assert decision.value_at_stake is not None
        assert decision.expected_gain == pytest.approx(decision.uplift * decision.value_at_stake - decision.cost)
        assert {decision.action, *(other.action for other in decision.alternatives)} == set(effects)
    assert len(seen) > 1


def test_nobody_unknown_is_decided_about(service: DecisionService, database: Database, scorer: Scorer) -> None:
    with pytest.raises(UnknownCustomer):
        service.decide(scorer, "nobody", CRM)
    assert log_of(database) == []


def test_excluded_actions_are_blocked_and_unknown_ones_refused(service: DecisionService, scorer: Scorer) -> None:
    decision = service.decide(scorer, "C00001", CRM, ["success_call", "winback_email"])
    assert (decision.action, decision.pscore) == ("no_action", 1.0)
    assert {other.blocked_by for other in decision.alternatives} == {"excluded by the caller"}
    with pytest.raises(UnknownAction, match="No such action: 'sing'"):
        service.decide(scorer, "C00001", CRM, ["sing", "success_call"])


def test_consent_is_read_from_the_features(service: DecisionService, scorer: Scorer) -> None:
    for value, reason in ((None, "no consent for email"), (0.0, "consent for email withdrawn")):
        score = customer_with(scorer, lambda s, value=value: s.features["consent_email"] == value)  # type: ignore[misc]
        decision = service.decide(scorer, score.customer_id, CRM)
        blocked = {other.action: other.blocked_by for other in decision.alternatives}
        assert blocked["winback_email"] == reason


def test_a_cap_counts_what_was_decided_and_not_what_was_not_done(service: DecisionService, scorer: Scorer) -> None:
    called = decided_to(service, scorer, "success_call", "C00003")
    again = service.decide(scorer, "C00003", CRM)
    assert {o.action: o.blocked_by for o in again.alternatives}["success_call"] == "cap of 1 in 30 days reached"
    service.record_outcome(called.decision_id, 0.0, executed=False)
    after = service.decide(scorer, "C00003", CRM, ["winback_email"])
    assert "cap" not in str([o.blocked_by for o in after.alternatives])


def decided_to(service: DecisionService, scorer: Scorer, action: str, customer_id: str) -> LoggedDecision:
    """Decide until `action` is drawn."""
    for _ in range(500):
        decision = service.decide(scorer, customer_id, CRM)
        if decision.action == action:
            return decision
    raise AssertionError(f"{action} was never drawn")


def test_a_cap_ends_with_its_window(database: Database, scorer: Scorer) -> None:
    now = datetime.now(UTC)
    called = decided_to(DecisionService(database), scorer, "success_call", "C00004")
    assert called.action == "success_call"
    for days, blocked in ((29.9, True), (30.1, False)):
        later = now + timedelta(days=days)
        decision = DecisionService(database, lambda later=later: later).decide(scorer, "C00004", CRM, ["winback_email"])  # type: ignore[misc]
        assert ("cap of 1" in str([o.blocked_by for o in decision.alternatives])) is blocked
        if not blocked:
            break


def test_touches_that_features_count_are_not_counted_twice(scorer: Scorer) -> None:
    playbook = Playbook.of(scorer.release.generation)
    score = customer_with(scorer, lambda score: score.customer_id == "C00001")

    def touches(counted: float | None, logged: Touches | None) -> int:
        features = {**score.features, "touches_success_call_30d": counted}
        known = replace(score, features=features)  # type: ignore[arg-type]
        table = {} if logged is None else {(score.customer_id, "success_call"): logged}
        return playbook.context(known, table).touches["success_call"]

    assert touches(None, None) == 0
    assert touches(2.0, None) == 2
    assert touches(2.0, Touches(before=2, since=0)) == 2
    assert touches(1.0, Touches(before=3, since=0)) == 3
    assert touches(1.0, Touches(before=1, since=2)) == 3


def test_many_are_decided_in_order_each_with_its_caps(
    service: DecisionService, database: Database, scorer: Scorer
) -> None:
    ids = ["C00001", "nobody", "C00002", *["C00003"] * 40]
    results = service.decide_many(scorer, ids, CRM)
    assert isinstance(results[1], UnknownCustomer)
    assert [r.customer_ids[0] if isinstance(r, UnknownCustomer) else r.customer_id for r in results] == ids
    assert len(log_of(database)) == len(ids) - 1
    mine = [r for r in results if isinstance(r, LoggedDecision) and r.customer_id == "C00003"]
    assert sum(r.action == "success_call" for r in mine) <= 1


def test_the_pscore_is_the_share_with_which_the_action_is_drawn(
    service: DecisionService, database: Database, scorer: Scorer
) -> None:
    score = customer_with(scorer, lambda s: s.features["consent_email"] == 1.0)
    n = 3000
    results = service.decide_many(scorer, [score.customer_id] * 1000, CRM, None)
    drawn = Counter[str]()
    dist: dict[str, float] = {}
    playbook = Playbook.of(scorer.release.generation)
    context = playbook.context(score, {})
    rng = np.random.default_rng(3)
    for _ in range(n):
        drawn[playbook.policy.decide(context, rng).action] += 1
    dist = playbook.policy.action_dist(context)
    for action, share in dist.items():
        assert drawn[action] / n == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n) + 1e-9)
    # In one request too, every draw is its own: no two share a generator.
    later = [r.action for r in results if isinstance(r, LoggedDecision)][100:]
    assert 0 < sum(action != "winback_email" for action in later) < len(later)
    assert len({row.decision_id for row in log_of(database)}) == 1000


def test_the_policy_version_tells_one_list_of_actions_from_another(scorer: Scorer, tmp_path: Path) -> None:
    generation = scorer.release.generation
    same, other = tmp_path / "same", tmp_path / "other"
    for folder in (same, other):
        folder.mkdir()
    toml = (generation.path / "business.toml").read_text()
    (same / "business.toml").write_text(toml + "\n# a comment changes nothing\n")
    (other / "business.toml").write_text(toml.replace("cost = 8.0", "cost = 9.0"))
    version = Playbook.of(generation).policy.policy_version
    assert version.startswith("prior-")
    assert Playbook.of(replace(generation, path=same)).policy.policy_version == version
    assert Playbook.of(replace(generation, path=other)).policy.policy_version != version


# Idempotency-Key


def test_the_same_request_again_is_the_same_decision(
    service: DecisionService, database: Database, scorer: Scorer
) -> None:
    first = service.decide(scorer, "C00001", CRM, ["success_call"], "key")
    assert all(service.decide(scorer, "C00001", CRM, ["success_call"], "key") == first for _ in range(20))
    many = service.decide_many(scorer, ["C00001", "nobody"], CRM, "other key")
    again = service.decide_many(scorer, ["C00001", "nobody"], CRM, "other key")
    assert again[0] == many[0]
    assert isinstance(again[1], UnknownCustomer)
    assert again[1].customer_ids == ("nobody",)
    assert len(log_of(database)) == 2


def test_another_request_with_the_key_is_refused(service: DecisionService, scorer: Scorer) -> None:
    service.decide(scorer, "C00001", CRM, (), "key")
    for customer_id, exclude in (("C00002", ()), ("C00001", ("success_call",))):
        with pytest.raises(IdempotencyConflict):
            service.decide(scorer, customer_id, CRM, exclude, "key")
    with pytest.raises(IdempotencyConflict):
        service.decide_many(scorer, ["C00001"], CRM, "key")


def test_a_key_is_its_callers_own(service: DecisionService, database: Database, scorer: Scorer) -> None:
    service.decide(scorer, "C00001", CRM, (), "key")
    service.decide(scorer, "C00002", WEB, (), "key")
    assert len(log_of(database)) == 2


def test_a_key_is_kept_for_a_day_and_then_forgotten(database: Database, scorer: Scorer) -> None:
    now = datetime.now(UTC)
    first = DecisionService(database, lambda: now).decide(scorer, "C00001", CRM, (), "key")
    almost = DecisionService(database, lambda: now + timedelta(hours=23, minutes=59))
    assert almost.decide(scorer, "C00001", CRM, (), "key") == first
    next_day = DecisionService(database, lambda: now + timedelta(hours=24, minutes=1))
    assert next_day.decide(scorer, "C00001", CRM, (), "key") != first
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(idempotency_keys)) == 1


def test_a_repeated_request_needs_no_feature_store(service: DecisionService, shop: Any) -> None:
    scorer = Scorer(load(shop.settings))
    first = service.decide(scorer, "C00001", CRM, (), "key")
    scorer.release.generation.online_file.rename(shop.home.path / "gone")
    assert service.decide(scorer, "C00001", CRM, (), "key") == first
    with pytest.raises(StoreUnavailable):
        service.decide(scorer, "C00001", CRM, (), "another key")


# Outcomes


def test_an_outcome_is_recorded_once(service: DecisionService, database: Database, scorer: Scorer) -> None:
    decision = service.decide(scorer, "C00001", CRM)
    for _ in range(3):
        service.record_outcome(decision.decision_id, 1.0, executed=True)
    for reward, executed in ((0.0, True), (1.0, False), (float("1.0000000000000002"), True)):
        with pytest.raises(OutcomeConflict):
            service.record_outcome(decision.decision_id, reward, executed)
    (row,) = log_of(database)
    assert (row.reward, row.executed) == (1.0, True)
    assert row.outcome_at is not None


@pytest.mark.parametrize("decision_id", ["", "x", "0" * 32, "\x00", "g" * 32, "A" * 32])
def test_an_unknown_decision_has_no_outcome(service: DecisionService, decision_id: str) -> None:
    with pytest.raises(UnknownDecision):
        service.record_outcome(decision_id, 1.0, executed=True)


# At once, from two processes


@dataclass(frozen=True, slots=True)
class Seen:
    """What one process got."""

    actions: tuple[str, ...]
    ids: tuple[str, ...]
    errors: int


def _serve(settings: Settings, start: Barrier, work: Any) -> None:
    """Another server, without its HTTP: does what it is sent, (database URL, what), until it is sent None."""
    scorer = Scorer(load(settings))
    score_as_of_now(scorer, ["C00001"])
    while (task := work.recv()) is not None:
        url, what = task
        database = Database(url)
        start.wait(120)
        work.send(_work(scorer, DecisionService(database), what))
        database.close()


def _work(scorer: Scorer, service: DecisionService, what: str) -> Seen:
    actions, ids, errors = [], [], 0
    for number in range(1, 26):
        if what == "caps":
            decision = service.decide(scorer, f"C{number:05d}", CRM, ["winback_email"])
        elif what == "keys":
            decision = service.decide(scorer, "C00001", CRM, (), f"key {number}")
        else:
            try:
                service.record_outcome(what, float(os.getpid()), executed=True)
            except OutcomeConflict:
                errors += 1
            continue
        actions.append(decision.action)
        ids.append(decision.decision_id)
    return Seen(tuple(actions), tuple(ids), errors)


@pytest.fixture(scope="module")
def two_servers(template: Any) -> Iterator[Callable[[Database, str], list[Seen]]]:
    """Two processes that do the same on one database, from the same moment on."""
    start = SPAWN.Barrier(2)
    pipes = [SPAWN.Pipe() for _ in range(2)]
    processes = [SPAWN.Process(target=_serve, args=(template.settings, start, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()  # so that a server that dies ends the wait for it

    def run(database: Database, what: str) -> list[Seen]:
        for ours, _ in pipes:
            ours.send((str(database.url), what))
        return [ours.recv() for ours, _ in pipes]

    yield run
    for ours, _ in pipes:
        ours.send(None)
    for process in processes:
        process.join(60)


@pytest.mark.slow
def test_caps_hold_when_two_servers_decide_at_once(two_servers: Any, database: Database) -> None:
    for _ in range(3):
        seen = two_servers(database, "caps")
        assert [len(one.actions) for one in seen] == [25, 25]
    calls = Counter(row.customer_id for row in log_of(database) if row.action == "success_call")
    assert len(calls) > 5
    assert max(calls.values()) == 1


@pytest.mark.slow
def test_one_key_is_one_decision_when_two_servers_get_it_at_once(two_servers: Any, database: Database) -> None:
    first, second = two_servers(database, "keys")
    assert first.ids == second.ids
    assert len(log_of(database)) == 25


@pytest.mark.slow
def test_one_outcome_wins_when_two_servers_get_different_ones(
    two_servers: Any, service: DecisionService, database: Database, scorer: Scorer
) -> None:
    decision = service.decide(scorer, "C00001", CRM)
    seen = two_servers(database, decision.decision_id)
    assert sorted(one.errors for one in seen) == [0, 25]
