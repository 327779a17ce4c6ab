"""The simulated business, held against what it must be: known truth, hidden from features, and as untidy as a real one."""

import dataclasses
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from experiments.simulation.customers.causes import LABELS
from experiments.simulation.errors import SimulationError
from experiments.simulation.records.company import Company, write
from experiments.simulation.scenario import HORIZON_DAYS, Scenario
from features.config.business import Business

END = datetime(2026, 6, 1, tzinfo=UTC)
SCENARIO = Scenario(customers=2500, seed=11, end=END)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("simulated") / "company"
    write(SCENARIO, path, lambda *_: None)
    return path


@pytest.fixture(scope="module")
def cancelled_at(folder: Path) -> "pd.Series[pd.Timestamp]":
    billing = pd.read_csv(folder / "events" / "billing.csv.gz", dtype=str)
    billing["booked_at"] = pd.to_datetime(billing["booked_at"], errors="coerce", utc=True)
    good = billing[(billing["kind"] == "subscription_cancelled") & billing["account"].notna()]
    return good.dropna(subset=["booked_at"]).groupby("account")["booked_at"].min()


@pytest.fixture(scope="module")
def truth(folder: Path, cancelled_at: "pd.Series[pd.Timestamp]") -> pd.DataFrame:
    """The truth, with what then happened where the window is complete."""
    table = pd.read_parquet(folder / "truth.parquet")
    left = table["customer_id"].map(cancelled_at)
    ends = table["cutoff"] + pd.Timedelta(days=HORIZON_DAYS)
    table["y"] = ((left >= table["cutoff"]) & (left < ends)).astype(int)
    return table


def complete(truth: pd.DataFrame) -> pd.DataFrame:
    return truth[(truth["action"] == "no_action") & (truth["cutoff"] + timedelta(days=HORIZON_DAYS) <= END)]


def test_truth_has_the_promised_columns_and_every_action(folder: Path, truth: pd.DataFrame) -> None:
    promised = {"customer_id", "cutoff", "horizon_days", "action", "churn_probability"}
    assert promised <= set(pd.read_parquet(folder / "truth.parquet").columns)
    actions = {action["name"] for action in tomllib.loads((folder / "business.toml").read_text())["actions"]}
    for _, rows in truth.groupby(["customer_id", "cutoff"]):
        assert set(rows["action"]) == actions | {"no_action"}
        break
    assert truth["churn_probability"].between(0, 1).all()
    assert truth.groupby(["cutoff", "action"]).size().groupby("cutoff").nunique().eq(1).all()


def test_truth_is_calibrated_on_what_then_happened(truth: pd.DataFrame) -> None:
    told = complete(truth)
    groups = pd.qcut(told["churn_probability"], 8, duplicates="drop")
    for _, rows in told.groupby(groups, observed=True):
        expected = rows["churn_probability"].mean()
        # Rows of one customer at several cutoffs share an outcome: as many independent ones as there are customers.
        noise = np.sqrt(expected * (1 - expected) / rows["customer_id"].nunique())
        assert abs(rows["y"].mean() - expected) < 4 * noise + 0.01


def test_the_oracle_is_neither_blind_nor_all_seeing(truth: pd.DataFrame) -> None:
    told = complete(truth)
    newest = told[told["cutoff"] == told["cutoff"].max()]
    assert 0.75 <= roc_auc_score(newest["y"], newest["churn_probability"]) <= 0.88
    assert 0.05 <= newest["y"].mean() <= 0.20


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_oracle_keeps_its_place_whatever_the_seed(seed: int) -> None:
    company = Company.simulate(dataclasses.replace(SCENARIO, customers=2000, seed=seed, truth_rollouts=8))
    told = company.truth(cutoffs=[company.scenario.test_cutoff]).to_pandas()
    p = np.sort(told.loc[told["action"] == "no_action", "churn_probability"].to_numpy())
    # The AUC that is expected of outcomes drawn from the truth: no luck of a draw is in it.
    auc = (np.cumsum(1 - p) * p).sum() / (p.sum() * (1 - p).sum())
    assert 0.75 <= auc <= 0.88


def test_the_truth_of_all_causes_adds_up_to_the_whole(truth: pd.DataFrame) -> None:
    by_cause = truth[[f"churn_by_{label}" for label in LABELS]]
    assert by_cause.min().min() >= 0
    np.testing.assert_allclose(by_cause.sum(axis=1), truth["churn_probability"], rtol=1e-9)
    share = (
        by_cause[truth["action"] == "no_action"].sum()
        / truth.loc[truth["action"] == "no_action", "churn_probability"].sum()
    )
    assert (share > 0.06).all(), "a cause is hardly there"
    assert (share < 0.35).all(), "a cause outweighs all others"


def test_customers_leave_for_the_causes_that_the_truth_foretells(
    folder: Path, truth: pd.DataFrame, cancelled_at: "pd.Series[pd.Timestamp]"
) -> None:
    departures = pd.read_parquet(folder / "departures.parquet").set_index("customer_id")
    assert set(departures["cause"]) == set(LABELS)
    both = departures.join(cancelled_at, how="inner")
    assert len(both) > 0.99 * len(departures)
    assert (both["cancelled_at"] - both["booked_at"]).abs().max() < pd.Timedelta(seconds=2)
    told = complete(truth)
    newest = told[told["cutoff"] == told["cutoff"].max()]
    cause = newest["customer_id"].map(departures["cause"]).where(newest["y"] == 1)
    for label in LABELS:
        expected = newest[f"churn_by_{label}"]
        noise = np.sqrt((expected * (1 - expected)).sum())
        assert abs((cause == label).sum() - expected.sum()) < 4 * noise


def test_reasons_that_are_stated_are_those_of_leaving_more_often_than_any_other(folder: Path) -> None:
    billing = pd.read_csv(folder / "events" / "billing.csv.gz", dtype=str)
    stated = billing[billing["kind"] == "subscription_cancelled"].dropna(subset=["account"]).drop_duplicates("account")
    departures = pd.read_parquet(folder / "departures.parquet").set_index("customer_id")
    both = stated.set_index("account").join(departures, how="inner")
    for cause, rows in both.groupby("cause"):
        counted = rows.loc[rows["reason"] != "no_answer", "reason"].value_counts()
        assert counted.index[0] == cause
        assert 0.1 < (rows["reason"] == "no_answer").mean() < 0.5


def test_actions_help_some_and_harm_others(truth: pd.DataFrame) -> None:
    wide = truth.pivot_table(index=["customer_id", "cutoff"], columns="action", values="churn_probability")
    for action in wide.columns.drop("no_action"):
        effect = wide["no_action"] - wide[action]
        assert (effect > 1e-4).mean() > 0.05, f"{action} helps nobody"
    harmed = [(wide["no_action"] - wide[action] < -1e-4).mean() for action in wide.columns.drop("no_action")]
    assert max(harmed) > 0.05, "no action harms anybody"


def test_effects_spread_between_customers_as_asked(tmp_path: Path, truth: pd.DataFrame) -> None:
    write(dataclasses.replace(SCENARIO, customers=400, effect_spread=0.0), tmp_path / "alike", lambda *_: None)
    alike = pd.read_parquet(tmp_path / "alike" / "truth.parquet")

    def spread(table: pd.DataFrame) -> float:
        wide = table.pivot_table(index=["customer_id", "cutoff"], columns="action", values="churn_probability")
        odds = np.log(wide / (1 - wide))
        return float((odds["discount_10"] - odds["no_action"]).std())

    assert spread(alike) < 0.5 * spread(truth)


def test_no_feature_can_read_the_truth(folder: Path) -> None:
    config = (folder / "business.toml").read_text()
    business = Business.load(folder / "business.toml")
    assert business.name == "simulated"
    named = [
        line
        for line in config.splitlines()
        if ("truth.parquet" in line or "departures.parquet" in line) and not line.startswith("#")
    ]
    assert named == []
    hidden = {"satisfaction", "need", "price_sensitivity", "exposure", "churn_probability", "cause"}
    for path in [folder / "customers.parquet", *(folder / "events").glob("*.parquet")]:
        assert not hidden & set(pd.read_parquet(path).columns)


def test_it_is_as_untidy_as_a_real_company(folder: Path) -> None:
    events = pd.concat([pd.read_parquet(path) for path in (folder / "events").glob("*.parquet")], ignore_index=True)
    occurred = pd.to_datetime(events["occurred_at"], errors="coerce", utc=True)
    received = pd.to_datetime(events["received_at"], errors="coerce", utc=True)
    assert events["customer_id"].isna().any()
    assert (occurred > END).any()
    assert 0.002 < (received - occurred > pd.Timedelta(hours=6)).mean() < 0.1
    customers = pd.read_parquet(folder / "customers.parquet")
    assert customers["mrr"].quantile(0.995) > 4 * customers["mrr"].median(), "there are no whales"
    sessions = events[(events["type"] == "session") & (occurred < END)]["customer_id"].value_counts()
    assert (customers["customer_id"].map(sessions).fillna(0) <= 3).any(), "nobody is dormant"


def test_equal_scenarios_give_equal_files(tmp_path: Path) -> None:
    small = dataclasses.replace(SCENARIO, customers=120)
    for name in ("one", "two"):
        write(small, tmp_path / name, lambda *_: None)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


@pytest.mark.parametrize(
    "wrong", [{"customers": 1}, {"seed": -1}, {"effect_spread": -1.0}, {"end": END.replace(hour=3)}]
)
def test_a_scenario_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SimulationError):
        dataclasses.replace(SCENARIO, **wrong)
