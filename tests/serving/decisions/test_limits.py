"""What holds over all customers and over all actions, whoever decides at once: limits, quiet hours, holdout, plans."""

from __future__ import annotations

import csv
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy.stats import norm
from sqlalchemy import select

from features.config.business import Business
from features.errors import UnknownCustomer
from models.decisions.actions import Budget, Cap
from models.decisions.eligibility import Limits
from models.decisions.policy import NO_ACTION
from serving.auth.api_keys import Principal, Role
from serving.batch.plan import Overrides, write_plan
from serving.decisions.playbook import Playbook
from serving.decisions.service import DecisionService, LoggedDecision
from serving.errors import CommandError, ReleaseMismatch
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import decisions
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Scorer, score_as_of_now

from ..tinyshop import tinyshop

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]

SPAWN = multiprocessing.get_context("spawn")
CRM = Principal("crm", Role.SCORER)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
BASE = tinyshop(
    """[[actions]]
name = "success_call"
channel = "phone"
cost = 8.0
minutes = 20
prior_effect = 0.2
[[actions]]
name = "gift"
channel = "post"
cost = 3.5
prior_effect = 0.1
where = "plan in ['pro', 'team']"
""",
    'timezone = "Europe/Berlin"',
)


def load(settings: Settings) -> Release:
    source = ReleaseSource(settings)
    return source.load(source.newest())


@pytest.fixture(scope="module")
def release(template: Any) -> Release:
    return load(template.settings)


def with_toml(release: Release, folder: Path, more: str) -> Scorer:
    """The release under another TOML."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "business.toml").write_text(BASE + more)
    return Scorer(replace(release, generation=replace(release.generation, path=folder)))


def log_of(database: Database) -> list[Any]:
    with database.read() as connection:
        return list(connection.execute(select(decisions).order_by(decisions.c.decided_at)))


def codes(decision: LoggedDecision) -> dict[str, list[str]]:
    return {other.action: [block.code for block in other.blocks] for other in decision.alternatives}


EVERYBODY = [f"C{number:05d}" for number in range(1, 241)]


def test_a_budget_is_spent_to_the_last_and_not_beyond(release: Release, database: Database, tmp_path: Path) -> None:
    toml = "[policy]\nbudget = { amount = 100.0, days = 7 }\n"
    scorer = with_toml(release, tmp_path / "a", toml)
    at_noon = DecisionService(database, lambda: NOON)
    decided = at_noon.decide_many(scorer, EVERYBODY, CRM)
    spent = sum(row.cost for row in log_of(database))
    assert 100.0 - 3.5 < spent <= 100.0
    last = decided[-1]
    assert isinstance(last, LoggedDecision)
    assert (last.action, last.pscore) == (NO_ACTION, 1.0)
    assert codes(last)["success_call"] == ["budget"]
    # What was not carried out gives its money back.
    gift = next(one for one in decided if isinstance(one, LoggedDecision) and one.action == "gift")
    at_noon.record_outcome(gift.decision_id, 0.0, executed=False)
    again = at_noon.decide_many(scorer, EVERYBODY, CRM)
    assert sum(isinstance(one, LoggedDecision) and one.cost > 0 for one in again) == 1
    # And a week later the window has moved on.
    later = DecisionService(database, lambda: NOON + timedelta(days=7, seconds=1))
    assert any(isinstance(one, LoggedDecision) and one.cost > 0 for one in later.decide_many(scorer, EVERYBODY, CRM))


def test_capacity_staff_time_and_eligibility(release: Release, database: Database, tmp_path: Path) -> None:
    toml = BASE.replace('name = "success_call"', 'name = "success_call"\ncapacity = { count = 5, days = 1 }')
    folder = tmp_path / "a"
    scorer = with_toml(release, folder, "")
    (folder / "business.toml").write_text(toml + "[policy]\nstaff = { minutes = 70, days = 1 }\n")
    decided = DecisionService(database, lambda: NOON).decide_many(scorer, EVERYBODY, CRM)
    calls = [row for row in log_of(database) if row.action == "success_call"]
    assert len(calls) == 3  # the staff's 70 minutes end before the capacity of 5
    assert all(row.minutes == 20 for row in calls)
    last = decided[-1]
    assert isinstance(last, LoggedDecision)
    assert codes(last).get("success_call", ["staff_time"]) == ["staff_time"]
    plans = {score.customer_id: score.features["plan"] for score in scores_of(scorer, EVERYBODY)}
    for one in decided:
        assert isinstance(one, LoggedDecision)
        blocked = codes(one).get("gift")
        assert (blocked == ["not_eligible"]) == (plans[one.customer_id] == "basic")


def scores_of(scorer: Scorer, ids: list[str]) -> list[CustomerScore]:
    return [score for score in score_as_of_now(scorer, ids) if not isinstance(score, UnknownCustomer)]


def test_the_cap_over_all_actions(release: Release, database: Database, tmp_path: Path) -> None:
    scorer = with_toml(release, tmp_path / "a", "[policy]\ncap = { count = 2, days = 30 }\nexploration = 0.9\n")
    DecisionService(database).decide_many(scorer, ["C00001", "C00002"] * 60, CRM)
    touched = Counter(row.customer_id for row in log_of(database) if row.action != NO_ACTION)
    assert touched == {"C00001": 2, "C00002": 2}
    last = LoggedDecision.from_json(log_of(database)[-1].answer)
    assert "cap_over_all" in codes(last)["success_call"]
    assert last.alternatives[0].blocked_by == "cap of 2 in 30 days over all actions reached"


def test_features_count_towards_the_cap_over_all(release: Release, tmp_path: Path) -> None:
    scorer = with_toml(release, tmp_path / "a", "[policy]\ncap = { count = 2, days = 30 }\n")
    playbook = Playbook.of(scorer.release.generation)
    (score,) = scores_of(scorer, ["C00001"])
    known = replace(score, features={**score.features, "contacts_30d": 2.0})  # type: ignore[arg-type]
    assert playbook.context(known, {}).touches_over_all == 2
    assert playbook.context(score, {}).touches_over_all == 0


@pytest.mark.parametrize(
    ("now", "quiet"),
    [  # Berlin is an hour ahead of UTC in November, two in June.
        (datetime(2026, 11, 20, 18, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 19, 0, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 6, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 21, 7, 0, tzinfo=UTC), False),
        (datetime(2026, 6, 20, 18, 0, tzinfo=UTC), True),
        (datetime(2026, 6, 20, 6, 0, tzinfo=UTC), False),
    ],
)
def test_quiet_hours_are_by_the_clock_of_the_business(
    release: Release, database: Database, tmp_path: Path, now: datetime, quiet: bool
) -> None:
    toml = '[policy]\nexploration = 1.0\nquiet_hours = { start = "20:00", end = "08:00", channels = ["phone"] }\n'
    scorer = with_toml(release, tmp_path / "a", toml)
    decided = DecisionService(database, lambda: now).decide_many(scorer, ["C00001"] * 40, CRM)
    actions = {one.action for one in decided if isinstance(one, LoggedDecision)}
    assert ("success_call" in actions) is not quiet
    if quiet:
        assert isinstance(decided[0], LoggedDecision)
        assert codes(decided[0])["success_call"] == ["quiet_hours"]
        lifted = [block.lifted_by for other in decided[0].alternatives for block in other.blocks]
        assert "asking again after 08:00" in lifted


def test_the_holdout_is_never_treated_and_stays_the_same(release: Release, database: Database, tmp_path: Path) -> None:
    scorer = with_toml(release, tmp_path / "a", "[policy]\nholdout = 0.25\nexploration = 1.0\n")
    service = DecisionService(database)
    for _ in range(3):
        service.decide_many(scorer, EVERYBODY, CRM)
    held = {row.customer_id for row in log_of(database) if row.holdout}
    assert 35 <= len(held) <= 85
    assert all((row.action, row.pscore) == (NO_ACTION, 1.0) for row in log_of(database) if row.holdout)
    assert all(row.customer_id not in held for row in log_of(database) if row.action != NO_ACTION)
    answer = LoggedDecision.from_json(next(row.answer for row in log_of(database) if row.holdout))
    assert answer.holdout
    assert codes(answer)["success_call"][0] == "holdout"
    playbook = Playbook.of(with_toml(release, tmp_path / "b", "[policy]\nholdout = 0.4\n").release.generation)
    assert held <= {customer_id for customer_id in EVERYBODY if playbook.in_holdout(customer_id)}


def test_levers_are_bounded_and_told(release: Release, database: Database, tmp_path: Path) -> None:
    toml = """
[[levers]]
name = "strategic"
factor = 1.6
where = "plan == 'team'"
[[levers]]
name = "calls"
factor = 1.5
actions = ["success_call"]
"""
    scorer = with_toml(release, tmp_path / "a", toml)
    playbook = Playbook.of(scorer.release.generation)
    for score in scores_of(scorer, EVERYBODY[:40]):
        levers = playbook.context(score, {}).levers
        team = score.features["plan"] == "team"
        assert levers.get("success_call") == (2.0 if team else 1.5)
        assert levers.get("gift") == (1.6 if team else None)
        decision = playbook.policy.best(playbook.context(score, {}))
        factors = decision.factors
        assert factors.lever == levers.get(decision.action, 1.0)
        assert factors.value_at_stake is not None
        expected = factors.uplift * factors.value_at_stake * factors.lever - factors.cost
        assert decision.expected_gain == pytest.approx(expected)
    assert DecisionService(database).decide(scorer, "C00001", CRM).factors is not None


def test_a_condition_on_what_was_not_built_is_refused(release: Release, tmp_path: Path) -> None:
    scorer = with_toml(release, tmp_path / "a", '[[levers]]\nname = "x"\nfactor = 1.1\nwhere = "region == \'EU\'"\n')
    with pytest.raises(ReleaseMismatch, match="reads 'region'"):
        Playbook.of(scorer.release.generation)


def test_a_decision_lacking_everything_says_so(release: Release, database: Database, tmp_path: Path) -> None:
    toml = BASE.replace('[value]\nat_stake = "mrr * 12"\n', "").replace(
        'channel = "phone"', 'channel = "phone"\nconsent = "telephone"'
    )
    folder = tmp_path / "a"
    scorer = with_toml(release, folder, "")
    (folder / "business.toml").write_text(toml.replace("plan in ['pro', 'team']", "nps_latest > 5"))
    unknown = next(score for score in scores_of(scorer, EVERYBODY) if score.features["nps_latest"] is None)
    decision = DecisionService(database).decide(scorer, unknown.customer_id, CRM)
    assert (decision.action, decision.pscore) == (NO_ACTION, 1.0)
    assert set(decision.lacked) == {"learned_effects", "value_at_stake", "consent_record", "eligibility"}
    assert "missing_value" in decision.degraded


# Two servers at once


@dataclass(frozen=True, slots=True)
class Task:
    """What a server is to do: under which TOML, about whom, how many at a time."""

    url: str
    folder: Path
    ids: tuple[str, ...]
    chunk: int


def _serve(settings: Settings, start: Barrier, work: Any) -> None:
    """Another server, without its HTTP: does what it is sent until it is sent None."""
    release = load(settings)
    while (task := work.recv()) is not None:
        scorer = Scorer(replace(release, generation=replace(release.generation, path=task.folder)))
        # The release's own store is opened; only the TOML is another.
        database = Database(task.url)
        service = DecisionService(database)
        start.wait(120)
        for place in range(0, len(task.ids), task.chunk):
            service.decide_many(scorer, task.ids[place : place + task.chunk], CRM)
        database.close()
        work.send("done")


@pytest.fixture(scope="module")
def two_servers(template: Any) -> Iterator[Callable[[Database, Path, list[str], int], None]]:
    """Two processes that decide about the same customers on one database, from the same moment on."""
    start = SPAWN.Barrier(2)
    pipes = [SPAWN.Pipe() for _ in range(2)]
    processes = [SPAWN.Process(target=_serve, args=(template.settings, start, theirs)) for _, theirs in pipes]
    for process in processes:
        process.start()
    for _, theirs in pipes:
        theirs.close()  # so that a server that dies ends the wait for it

    def run(database: Database, folder: Path, ids: list[str], chunk: int) -> None:
        for ours, _ in pipes:
            ours.send(Task(str(database.url), folder, tuple(ids), chunk))
        for ours, _ in pipes:
            assert ours.recv() == "done"

    yield run
    for ours, _ in pipes:
        ours.send(None)
    for process in processes:
        process.join(60)


counts = st.integers(0, 8)


@pytest.mark.slow
@hypothesis_settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cap=counts, budget=st.floats(0, 60), minutes=st.integers(0, 120), capacity=counts, chunk=st.integers(2, 20))
def test_two_servers_at_once_exceed_nothing(
    two_servers: Any, tmp_path_factory: Any, cap: int, budget: float, minutes: int, capacity: int,
    chunk: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("limits")
    toml = BASE.replace('name = "gift"', f'name = "gift"\ncapacity = {{ count = {capacity + 1}, days = 2 }}')
    toml += f"[policy]\nexploration = 0.5\ncap = {{ count = {cap + 1}, days = 9 }}\n"
    toml += f"budget = {{ amount = {budget!r}, days = 3 }}\nstaff = {{ minutes = {minutes}, days = 5 }}\n"
    (folder / "business.toml").write_text(toml)
    Business.load(folder / "business.toml")
    database = Database(f"sqlite:///{folder / 'decisions.db'}")
    database.migrate()
    two_servers(database, folder, EVERYBODY[:8] * 3, chunk)
    rows = [row for row in log_of(database) if row.action != NO_ACTION]
    database.close()
    assert sum(row.cost for row in rows) <= budget + 1e-6
    assert sum(row.minutes for row in rows) <= minutes
    assert sum(row.action == "gift" for row in rows) <= capacity + 1
    assert max(Counter(row.customer_id for row in rows).values(), default=0) <= cap + 1


@pytest.mark.slow
def test_in_two_processes_each_action_has_its_pscore(
    two_servers: Any, database: Database, release: Release, tmp_path: Path
) -> None:
    """Under limits that run out, so that what is allowed differs from one decision to the next."""
    with_toml(release, tmp_path / "a", "[policy]\nexploration = 0.4\nbudget = { amount = 9000.0, days = 1 }\n")
    two_servers(database, tmp_path / "a", EVERYBODY[:200] * 10, 100)
    rows = log_of(database)
    assert len(rows) == 4000
    assert len({len([p for p in row.action_dist.values() if p > 0]) for row in rows}) == 3
    check_propensities(rows)


def check_propensities(rows: list[Any]) -> None:
    """Each action was drawn as often as the pscores of all decisions say: a z-test each, independent draws."""
    for action in ("no_action", "success_call", "gift"):
        p = np.array([row.action_dist.get(action, 0.0) for row in rows])
        drawn = np.array([row.action == action for row in rows])
        assert not np.any(drawn & (p == 0))
        z = (drawn.sum() - p.sum()) / np.sqrt((p * (1 - p)).sum())
        assert 2 * norm.sf(abs(z)) > 1e-4, action
    assert all(row.pscore == row.action_dist[row.action] for row in rows)


# Plans


def read(plan: Path) -> list[dict[str, str]]:
    with plan.open() as file:
        return list(csv.DictReader(file))


def test_a_plan_for_everybody_holds_what_is_left(shop: Any, tmp_path: Path) -> None:
    (generation,) = shop.home.generations.glob("*/business.toml")
    more = "[policy]\nholdout = 0.2\nbudget = { amount = 80.0, days = 7 }\nstaff = { minutes = 400, days = 7 }\n"
    generation.write_text(BASE + more)
    release = load(shop.settings)
    database = Database(shop.settings.database)
    already = DecisionService(database).decide_many(Scorer(release), EVERYBODY[:6], CRM)
    spent = sum(one.cost for one in already if isinstance(one, LoggedDecision))
    database.close()
    assert spent > 0
    output = tmp_path / "plan.csv"
    told = write_plan(shop.settings, output, None, Overrides(), 30.0)
    rows = read(output)
    assert "for 247 customers" in told
    # Money binds, not staff time, whatever was drawn before: less is left than the dearest action costs.
    assert 80 - spent - 8 < sum(float(row["cost"]) for row in rows) <= 80 - spent + 1e-6
    playbook = Playbook.of(release.generation)
    assert not any(playbook.in_holdout(row["customer_id"]) for row in rows)
    assert all(float(row["ranked_on"]) > 0 for row in rows)
    more_calls = Overrides(budget=1e6, staff=1e6, capacity=(("success_call", 7),))
    write_plan(shop.settings, output, None, more_calls, 30.0)
    counted = Counter(row["action"] for row in read(output))
    assert counted["success_call"] == 7
    source = tmp_path / "some.csv"
    source.write_text('customer_id\nC00001\nnobody\n""\nC00002\nC00003,1\n')
    told = write_plan(shop.settings, output, source, more_calls, 30.0)
    assert "for 2 customers" in told
    assert f"Left out: rows of {source} that name no customer: 2." in told
    assert f"Left out: customers of {source} of whom nothing is known: 1, such as 'nobody'." in told
    with pytest.raises(CommandError, match="names 'sing'"):
        write_plan(shop.settings, output, None, Overrides(capacity=(("sing", 1),)), 30.0)


def test_limits_of_the_toml_are_those_of_the_policy(release: Release, tmp_path: Path) -> None:
    more = "[policy]\ncap = { count = 2, days = 30 }\nbudget = { amount = 5, days = 7 }\nstaff = { minutes = 9.5, days = 1 }\n"
    policy = Playbook.of(with_toml(release, tmp_path / "a", more).release.generation).policy
    assert policy.limits == Limits(Cap(2, 30), Budget(5.0, 7), Budget(9.5, 1))
