"""The parts of the simulator: its command, its folder, its touches, tickets and futures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.simulation.behaviour.dynamics import step
from experiments.simulation.behaviour.hazard import hazards
from experiments.simulation.customers.actions import ACTIONS, DECAY, NO_ACTION, SCOPES, effects, impact
from experiments.simulation.customers.causes import Cause
from experiments.simulation.errors import SimulationError
from experiments.simulation.records.company import (
    EDITION,
    Company,
    business_toml,
    is_of,
    is_of_an_earlier_edition,
    write,
)
from experiments.simulation.records.exchange import replaced
from experiments.simulation.scenario import HORIZON_DAYS, WINDOW_DAYS, Scenario
from experiments.simulation.truth import churn_probabilities

SCENARIO = Scenario(customers=800, seed=3, end=datetime(2026, 6, 1, tzinfo=UTC), truth_rollouts=8)


@pytest.fixture(scope="module")
def company() -> Company:
    return Company.simulate(SCENARIO)


def simulate(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    return result.exit_code, " ".join(result.output.split())


def test_the_command_writes_a_business_and_says_what(tmp_path: Path) -> None:
    folder = tmp_path / "company"
    code, output = simulate("--customers", "60", "--end", "2026-06-01", "--out", str(folder))
    assert code == 0, output
    assert "60 customers.parquet" in output
    assert str(folder / "business.toml") in output
    assert {path.name for path in folder.iterdir()} == {
        "business.toml",
        "customers.parquet",
        "departures.parquet",
        "events",
        "truth.parquet",
    }
    assert list(tmp_path.iterdir()) == [folder]


def test_by_default_the_business_is_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path / "home"))
    code, output = simulate("--customers", "60", "--end", "2026-06-01")
    assert code == 0, output
    assert (tmp_path / "home" / "simulation" / "business.toml").exists()


def test_a_folder_is_of_the_scenario_that_simulated_it_and_of_no_other(tmp_path: Path) -> None:
    scenario = Scenario(customers=60, seed=3, end=datetime(2026, 6, 1, tzinfo=UTC), truth_rollouts=1)
    assert not is_of(scenario, tmp_path)
    write(scenario, tmp_path)
    assert is_of(scenario, tmp_path)
    for other in ({"customers": 61}, {"seed": 4}, {"end": datetime(2026, 5, 1, tzinfo=UTC)}, {"effect_spread": 2.0}):
        assert not is_of(dataclasses.replace(scenario, **other), tmp_path)
    assert not is_of_an_earlier_edition(tmp_path)


@pytest.mark.parametrize(
    "head", ["; truth.parquet, which nothing here names, knows what", f", edition {EDITION - 1}: 60"]
)
def test_what_was_simulated_earlier_is_not_taken_for_today_s(tmp_path: Path, head: str) -> None:
    scenario = Scenario(customers=60, seed=3, end=datetime(2026, 6, 1, tzinfo=UTC))
    _, _, rest = business_toml(scenario).partition("\n")
    (tmp_path / "business.toml").write_text(f"# A simulated subscription business{head}\n{rest}")
    assert not is_of(scenario, tmp_path)
    assert is_of_an_earlier_edition(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--end", "June"], "--end is 'June': give a day as YYYY-MM-DD."),
        (["--end", "2999-01-01"], "--end is 2999-01-01, after today"),
        (["--customers", "3"], "--customers is 3"),
        (["--effect-spread", "nan"], "--effect-spread is nan"),
    ],
)
def test_a_mistake_exits_2_with_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    code, output = simulate("--out", str(tmp_path / "company"), *arguments)
    assert code == 2
    assert output.startswith(said)
    assert output.endswith(".")
    assert "Traceback" not in output
    assert not (tmp_path / "company").exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code, output = simulate("--customers", "60", "--end", "2026-06-01", "--out", str(tmp_path))
    assert code == 2
    assert "holds other files than a simulated business" in output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "company"
    for content in ("old", "new"):
        with replaced(folder, marker="mark") as aside:
            (aside / "mark").write_text(content)
            if content == "new":
                assert (folder / "mark").read_text() == "old"
        assert (folder / "mark").read_text() == content

    def fail() -> None:
        with replaced(folder, marker="mark") as aside:
            (aside / "mark").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (folder / "mark").read_text() == "new"
    assert list(tmp_path.iterdir()) == [folder]


def test_what_a_kill_left_aside_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".company.aside").mkdir()
    (tmp_path / ".company.aside" / "half").write_text("a kill left this")
    with replaced(tmp_path / "company", marker="mark") as aside:
        (aside / "mark").write_text("whole")
    assert [path.name for path in (tmp_path / "company").iterdir()] == ["mark"]


def test_two_simulations_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        replaced(tmp_path / "company", marker="mark"),
        pytest.raises(SimulationError, match="Another simulation"),
        replaced(tmp_path / "company", marker="mark"),
    ):
        pass


def test_touches_are_drawn_evenly_among_what_consent_allows(company: Company) -> None:
    touched, pscore = company.history.touched, company.history.pscore
    drawn = touched.figure.astype(int)
    assert set(drawn) == {-1, *range(len(ACTIONS))}
    assert set(np.round(1 / pscore).astype(int)) <= set(range(1, len(ACTIONS) + 2))
    consent = company.history.consent_at_start
    for index, action in enumerate(ACTIONS):
        assert consent[SCOPES.index(action.scope), touched.customer[drawn == index]].all()
    # Each share is what its propensities promise, within four standard deviations.
    free = consent[:, touched.customer].all(axis=0) & (np.round(1 / pscore) == len(ACTIONS) + 1)
    counted = Counter(drawn[free].tolist())
    share = 1 / (len(ACTIONS) + 1)
    noise = np.sqrt(share * (1 - share) / free.sum())
    for times in counted.values():
        assert abs(times / free.sum() - share) < 4 * noise


def test_decisions_leave_room_for_the_caps(company: Company) -> None:
    touched = company.history.touched
    order = np.lexsort((touched.day, touched.customer))
    same = np.diff(touched.customer[order]) == 0
    gaps = np.diff(touched.day[order])[same]
    assert gaps.min() > max(action.cap_days for action in ACTIONS)


def test_events_belong_to_a_customers_life(company: Company) -> None:
    sources = company.sources()
    left = {
        f"C{index + 1:05d}": at for index, at in enumerate(company.history.cancelled_at.tolist()) if not np.isnan(at)
    }
    seen = 0
    for name, table in sources.items():
        if not name.endswith(".parquet"):
            continue
        rows = table.drop_null() if table.num_rows == 0 else table
        for customer, occurred in zip(rows["customer_id"].to_pylist(), rows["occurred_at"].to_pylist(), strict=True):
            if customer not in left or occurred is None or occurred > SCENARIO.end:
                continue
            seen += 1
            assert (occurred - SCENARIO.start).total_seconds() / 86_400 <= left[customer]
    assert seen > 0


def test_a_ticket_is_resolved_once_and_after_it_was_opened(company: Company) -> None:
    table = company.sources()["events/support.parquet"]
    opened: dict[str, datetime] = {}
    resolved: dict[str, datetime] = {}
    for kind, ticket, customer, occurred in zip(
        *(table[name].to_pylist() for name in ("type", "ticket", "customer_id", "occurred_at")), strict=True
    ):
        if customer is None or occurred is None or occurred > SCENARIO.end:
            continue
        (opened if kind == "ticket_opened" else resolved)[ticket] = occurred
    assert len(opened) > len(resolved) > 0.8 * len(opened)
    for ticket, at in resolved.items():
        if ticket in opened:
            assert at > opened[ticket]


def test_the_event_log_is_no_larger_than_it_needs_to_be(company: Company) -> None:
    rows = sum(table.num_rows for table in company.sources().values())
    assert 60 < rows / SCENARIO.customers < 250


def test_who_never_uses_the_product_is_best_left_alone(company: Company) -> None:
    who = company.population
    rates = hazards(who, company.history.moments[0].state, company.history.moments[0].day)
    effect = effects(who, spread=1.0)
    by_mail = impact(rates, effect[[action.scope for action in ACTIONS].index("email")])
    assert by_mail[who.dormant].min() > 0
    assert (by_mail[~who.dormant] < 0).mean() > 0.3


def test_without_spread_all_customers_are_alike(company: Company) -> None:
    effect = effects(company.population, spread=0.0)
    assert np.ptp(effect, axis=(1, 2)).max() < 1e-12


def test_truth_agrees_with_futures_in_which_customers_really_cancel(company: Company) -> None:
    moment = company.history.moments[0]
    who = company.population.take(moment.alive)
    told = churn_probabilities(company.population, moment, HORIZON_DAYS, 1.0, 16, np.random.default_rng(1))
    assert told.shape == (1 + len(ACTIONS), len(Cause), moment.alive.size)
    rng = np.random.default_rng(2)
    futures = 40
    for row in range(1 + len(ACTIONS)):
        state = moment.state.tile(futures, moment.alive)
        there = np.ones(state.satisfaction.shape, dtype=np.bool_)
        added = np.zeros((len(Cause), moment.alive.size)) if row == 0 else effects(who, 1.0)[row - 1]
        left_for = np.zeros(len(Cause))
        for passed in range(HORIZON_DAYS):
            rates = hazards(who, state, moment.day + passed) * np.exp(added * DECAY**passed)[:, None]
            total = rates.sum(axis=0)
            leaving = there & (rng.random(there.shape) < -np.expm1(-total))
            left_for += (rates / total)[:, leaving].sum(axis=1)
            there &= ~leaving
            step(who, state, moment.day + passed, there, 1.0, rng)
        for expected, left in zip(told[row].mean(axis=1), left_for / there.size, strict=True):
            noise = np.sqrt(left * (1 - left) / there.size)
            assert abs(expected - left) < 5 * noise + 0.002


def test_the_truth_is_told_for_the_test_cutoff_and_the_end(tmp_path: Path, company: Company) -> None:
    truth = company.truth()
    pq.write_table(truth, tmp_path / "truth.parquet")
    cutoffs = set(truth["cutoff"].to_pylist())
    assert {SCENARIO.test_cutoff, SCENARIO.end} <= cutoffs == set(SCENARIO.truth_cutoffs())
    assert set(truth["action"].to_pylist()) == {NO_ACTION, *(action.name for action in ACTIONS)}
    at_end = np.flatnonzero(np.isnan(company.history.cancelled_at))
    assert truth.num_rows > at_end.size * (1 + len(ACTIONS))
    assert company.history.active.shape == (WINDOW_DAYS, SCENARIO.customers)
