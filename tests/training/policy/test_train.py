"""`training policy` end to end: trials of several shapes, the business's own touches, promotion, and mistakes."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.build import build
from features.config.business import Business
from features.home import Home
from features.schema import FeatureSchema
from models.registry.registry import PolicyRegistry
from training.__main__ import app
from training.errors import DecisionLogError, GateRefused
from training.policy.report import PERSONAL
from training.policy.touches import read_touches
from training.policy.train import train_policy
from training.promotion.policy import promote_policy, rollback_policy

from .trial_files import write_trial

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def trial(n: int = 2500, seed: int = 0) -> dict[str, Any]:
    """Two arms and a control by unequal, logged chances; `mail` helps the young, `call` helps who is in the north."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    region = rng.choice(["north", "south", "east"], n)
    p = np.column_stack([np.full(n, 0.4), np.where(age < 40, 0.4, 0.2), np.where(age < 40, 0.2, 0.4)])
    code = (rng.random(n)[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(max=2)
    effect = np.column_stack(
        [np.zeros(n), np.where(age < 45, 0.35, -0.25), np.where(region == "north", 0.35, -0.2)],
    )
    y = (rng.random(n) < 0.35 + effect[np.arange(n), code]).astype(int)
    return {
        "customer": [f"C{number}" for number in range(n)],
        "age": ["" if number % 17 == 0 else str(value) for number, value in enumerate(age.tolist())],
        "region": ["" if number % 23 == 0 else value for number, value in enumerate(region.tolist())],
        "always": ["same"] * n,
        "arm": np.array(["control", "mail", "call"])[code].tolist(),
        "chance": p[np.arange(n), code].tolist(),
        "reward": y.tolist(),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, silent: Any) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("trial")
    toml = write_trial(folder, trial(), pscore='{ column = "chance" }', more='customer_id = "customer"')
    home = Home(folder / "home")
    report = train_policy(Business.load(toml), home, silent, folder / "report.json", folder / "choices.csv")
    return {"folder": folder, "home": home, "report": report, "json": json.loads((folder / "report.json").read_text())}


def test_the_report_says_what_was_found_and_what_is_served(trained: dict[str, Any]) -> None:
    content = trained["json"]
    assert content["policy_version"] == "1"
    assert content["served"] == PERSONAL
    assert content["n_logged"] == 2500
    assert set(content["policies"]) == {
        "logging policy",
        PERSONAL,
        "best constant",
        "control",
        "mail",
        "call",
        "uniform",
    }
    assert content["reference"] == {"kind": "nothing", "name": "control"}
    assert content["over_nothing"] == content["over_reference"]
    for policy in content["policies"].values():
        for name in ("ips", "snips", "dm", "dr"):
            assert policy[name]["lower"] <= policy[name]["value"] <= policy[name]["upper"]
    best = content["policies"][content["best_constant"]]["dr"]["value"]
    assert content["policies"][PERSONAL]["dr"]["value"] > best + 0.05
    assert content["gain"]["lower"] > 0
    assert content["policies"][PERSONAL]["effective_sample_size"] > 200
    assert content["actions"]["mail"]["qini"]["value"] > 0.02
    assert any("'always'" in warning for warning in content["warnings"])


def test_the_choices_have_a_row_for_every_row_of_the_file(trained: dict[str, Any]) -> None:
    choices = pd.read_csv(trained["folder"] / "choices.csv")
    assert list(choices.columns) == ["row", "chosen", "effect_call", "effect_mail"]
    assert choices["row"].tolist() == list(range(2500))
    rows = trial()
    age = pd.to_numeric(pd.Series(rows["age"]), errors="coerce")
    assert choices.loc[age < 40, "effect_mail"].mean() > 0.2
    assert choices.loc[age > 50, "effect_mail"].mean() < -0.1
    expected = np.array(["control", "call", "mail"])[
        np.column_stack([np.zeros(2500), choices["effect_call"], choices["effect_mail"]]).argmax(axis=1)
    ]
    assert (choices["chosen"] == expected).all()


def test_a_first_policy_is_promoted_and_serves(trained: dict[str, Any]) -> None:
    home = trained["home"]
    said = promote_policy(home)
    assert "Version 1 is the champion" in said
    registry = PolicyRegistry(home.tracking_uri, "shop")
    champion = registry.champion()
    assert champion is not None
    bundle = registry.load(champion.version, home.path / "bundles")
    assert bundle.constant_action is None
    schema = FeatureSchema.from_json(bundle.effects.schema)
    columns = {"age": np.array([25.0, 70.0]), "region": np.array(["south", "north"], dtype=object)}
    estimate = bundle.effects.predict(schema.to_matrix(columns, bundle.effects.categories))
    young, old = (dict(zip(estimate.actions, row, strict=True)) for row in estimate.effect)
    assert young["mail"] > 0.15 > 0 > young["call"]
    assert old["call"] > 0.15 > 0 > old["mail"]
    # The same again is no better than itself, and nothing went before it.
    assert "Version 1 is the champion" in promote_policy(home)
    with pytest.raises(Exception, match="none to go back to"):
        rollback_policy(home)


def test_a_policy_no_better_than_the_champion_is_refused(trained: dict[str, Any], silent: Any) -> None:
    home, folder = trained["home"], trained["folder"]
    promote_policy(home, "1")
    toml = write_trial(folder, trial(1500, seed=3), "second", '{ column = "chance" }', 'customer_id = "customer"')
    report = train_policy(Business.load(toml), home, silent)
    assert report.policy_version == "2"
    with pytest.raises(GateRefused, match=r"dr_lower_bound.*version 1 earns"):
        promote_policy(home, "2")
    champion = PolicyRegistry(home.tracking_uri, "shop").champion()
    assert champion is not None
    assert champion.version == "1"


def test_where_nothing_personal_is_proven_the_best_constant_is_served(tmp_path: Path, silent: Any) -> None:
    rng = np.random.default_rng(1)
    n = 1500
    treated = rng.random(n) < 0.5
    reward = (rng.random(n) < np.where(treated, 0.5, 0.3)).astype(int)
    rows = {"x": rng.normal(size=n), "arm": np.where(treated, "mail", "control"), "reward": reward}
    toml = write_trial(tmp_path, rows)
    home = Home(tmp_path / "home")
    report = train_policy(Business.load(toml), home, silent, choices_file=tmp_path / "choices.parquet")
    assert report.served == "mail"
    assert report.verdict == "'mail' is served to everybody: what was learned chooses it for each customer."
    assert set(pd.read_parquet(tmp_path / "choices.parquet")["chosen"]) == {"mail"}
    assert "'mail' for everybody" in promote_policy(home)
    # What serves the same again earns nothing over the champion; where the letter helps nobody, it earns nothing at all.
    for name, helped, gate in (("again", 0.5, "dr_lower_bound"), ("worse", 0.3, "gain_over_nothing")):
        rows["reward"] = (rng.random(n) < np.where(treated, helped, 0.3)).astype(int)
        train_policy(Business.load(write_trial(tmp_path, rows, name)), home, silent)
        result = CliRunner().invoke(app, ["promote", "--policy"], env={"KEEPWELL_HOME": str(home.path)})
        assert result.exit_code == 3
        assert f"refused by the gate '{gate}'" in result.output


def test_a_trial_without_features_has_average_effects_and_the_best_constant(tmp_path: Path, silent: Any) -> None:
    rng = np.random.default_rng(1)
    n = 1500
    treated = rng.random(n) < 0.5
    reward = np.where(rng.random(n) < np.where(treated, 0.5, 0.3), "oui", "non")
    rows = {"arm": np.where(treated, "mail", "control"), "reward": reward}
    home = Home(tmp_path / "home")
    report = train_policy(Business.load(write_trial(tmp_path, rows)), home, silent, choices_file=tmp_path / "out.csv")
    difference = np.mean(reward[treated] == "oui") - np.mean(reward[~treated] == "oui")
    effect = report.actions["mail"].average
    assert effect is not None
    assert effect.value == pytest.approx(difference, abs=0.01)
    assert effect.low < 0.2 < effect.high
    assert (report.served, report.n_features, report.gain.value) == ("mail", 0, 0.0)
    assert report.policies["personal"] == report.policies["best constant"]
    said = "No column tells one decision from another: effects are averages, and no policy is personal."
    assert said in report.warnings
    assert report.differences.startswith("No difference between customers is believed")
    assert "'mail' for everybody" in promote_policy(home)
    assert set(pd.read_csv(tmp_path / "out.csv")["chosen"]) == {"mail"}


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({"arm": ["a", "b"] * 300}, "", "never holds 'control'.*it holds 'a', 'b'"),
        ({"arm": ["control"] * 600}, "", "holds 1 different actions"),
        (
            {"reward": ["good", "bad"] * 300},
            "",
            "'reward', which .* names, holds '(good|bad)', which is no number; name the value .* rewarded = '(good|bad)'",
        ),
        ({"reward": [""] * 600}, "", "0 of 600 decisions have an action, a reward"),
        ({"reward": [1] * 600}, "", "No action has enough trials"),
        ({}, 'drop = ["nothing"]', "no column 'nothing'"),
    ],
)
def test_mistakes_end_with_one_sentence(tmp_path: Path, change: dict[str, Any], more: str, message: str) -> None:
    rng = np.random.default_rng(2)
    rows = {
        "x": rng.normal(size=600).tolist(),
        "arm": np.where(rng.random(600) < 0.5, "mail", "control").tolist(),
        "reward": rng.integers(0, 2, 600).tolist(),
        **change,
    }
    toml = write_trial(tmp_path, rows, more=more)
    result = CliRunner().invoke(app, ["policy", str(toml)], env={"KEEPWELL_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    sentence = result.output.strip().splitlines()[-1]
    assert re.search(message, sentence), sentence
    assert not (tmp_path / "home" / "business.json").exists()


def test_rows_that_lack_something_are_chosen_for_but_teach_nothing(tmp_path: Path, silent: Any) -> None:
    rows = trial(1500)
    rows["reward"] = ["" if number < 20 else value for number, value in enumerate(rows["reward"])]
    rows["arm"] = ["" if 20 <= number < 30 else value for number, value in enumerate(rows["arm"])]
    rows["chance"] = [0.0 if 30 <= number < 40 else value for number, value in enumerate(rows["chance"])]
    toml = write_trial(tmp_path, rows, pscore='{ column = "chance" }')
    report = train_policy(Business.load(toml), Home(tmp_path / "home"), silent, choices_file=tmp_path / "c.csv")
    assert report.n_trials == 1460
    assert any("40 of 1,500 decisions lack" in warning for warning in report.warnings)
    choices = pd.read_csv(tmp_path / "c.csv")
    assert len(choices) == 1500
    assert choices.notna().all().all()


def test_pscores_that_cannot_be_are_told(tmp_path: Path, silent: Any) -> None:
    rng = np.random.default_rng(4)
    treated = rng.random(1000) < 0.8
    rows = {
        "x": rng.normal(size=1000).tolist(),
        "arm": np.where(treated, "mail", "control").tolist(),
        "reward": rng.normal(size=1000).tolist(),
    }
    report = train_policy(Business.load(write_trial(tmp_path, rows)), Home(tmp_path / "home"), silent)
    assert any("The pscores do not fit" in warning for warning in report.warnings)


def touches_business(folder: Path) -> Path:
    """Customers who buy weekly or leave; a mail keeps those who buy big, and drives away the others."""
    rng = np.random.default_rng(9)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    rows: list[tuple[str, datetime, str, float | str, str, str, str]] = []
    for number in range(700):
        name, big = f"C{number}", number % 2 == 0
        stays, left_at = 0.5, 400
        rows.append((name, start, "consent_given" if number % 5 else "signed", "", "", "", "email"))
        for day in (60, 110):
            allowed = bool(number % 5)
            mailed = allowed and rng.random() < 0.5
            if day < left_at:
                action = "mail" if mailed else "no_action"
                rows.append(
                    (name, start + timedelta(days=day, hours=3), "touch", "", action, "0.5" if allowed else "1.0", "")
                )
                keeps = stays + (0.35 if big else -0.35) * mailed
                if rng.random() > keeps:
                    left_at = day + 2
                if mailed:
                    rows.append((name, start + timedelta(days=day, hours=5), "touch_opened", "", "mail", "", ""))
                    if rng.random() < (0.8 if big else 0.2):
                        rows.append((name, start + timedelta(days=day, hours=6), "touch_clicked", "", "mail", "", ""))
        for day in range(int(rng.integers(0, 7)), min(left_at, 160), 7):
            value = (100 if big else 10) * float(rng.lognormal(0, 0.2))
            rows.append((name, start + timedelta(days=day, hours=1), "purchase", f"{value:.2f}", "", "", ""))
    rows.sort(key=lambda row: row[1])
    with (folder / "events.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "occurred_at", "type", "value", "action", "pscore", "scope"])
        writer.writerows([(row[0], row[1].isoformat(), *row[2:]) for row in rows])
    path = folder / "business.toml"
    path.write_text(
        '[business]\nname = "touched"\n[data]\nkind = "events"\n[data.events]\npath = "events.csv"\n'
        'properties = { action = "action", pscore = "pscore", scope = "scope" }\n'
        '[churn]\ndefinition = "inactivity"\nactivity = ["purchase"]\nhorizon_days = 30\n'
        'cutoffs = ["2024-02-01", "2024-02-29", "2024-03-31", "2024-04-19"]\n'
        '[[actions]]\nname = "mail"\nchannel = "email"\nconsent = "email"\ncost = 0.1\nprior_effect = 0.1\n'
    )
    return path


@pytest.fixture(scope="module")
def touched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Business, Home]:
    folder = tmp_path_factory.mktemp("touched")
    business, home = Business.load(touches_business(folder)), Home(folder / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    return business, home


def test_a_business_learns_from_its_own_touches(touched: tuple[Business, Home], silent: Any) -> None:
    business, home = touched
    report = train_policy(business, home, silent)
    assert report.unit == "churn_probability"
    assert report.served == PERSONAL
    assert report.policies[PERSONAL].dr.value > report.policies["mail"].dr.value + 0.05
    assert report.learners["responses"].loss < 1.0
    bundle = PolicyRegistry(home.tracking_uri, "touched").load("1", home.path / "bundles")
    assert [action.prior_effect for action in bundle.effects.actions] == [0.1]


def test_the_log_of_touches_is_joined_and_matched(touched: tuple[Business, Home]) -> None:
    from features.generation import Generation

    business, home = touched
    log = read_touches(business, Generation.current(home), home, None)
    raw = pd.read_csv(business.path.with_name("events.csv"))
    sent = raw[raw["type"] == "touch"]
    assert len(log) == len(sent)
    assert log.names == ("no_action", "mail")
    # Without consent, nothing else was eligible.
    none = np.array([int(name[1:]) % 5 == 0 for name in log.customer_id])
    assert not log.eligible[none, 1].any()
    assert log.eligible[~none, 1].all()
    # Who left two days after a decision at the latest bought nothing in the 30 days from then.
    bought = raw[raw["type"] == "purchase"].assign(at=lambda f: pd.to_datetime(f["occurred_at"], format="ISO8601"))
    touches = sent.assign(at=lambda f: pd.to_datetime(f["occurred_at"], format="ISO8601"))
    touches = touches.sort_values(["at", "customer_id"]).reset_index(drop=True)
    for row in range(0, len(log), 97):
        one = touches.iloc[row]
        window = bought[
            (bought["customer_id"] == one["customer_id"])
            & (bought["at"] >= one["at"])
            & (bought["at"] < one["at"] + pd.Timedelta(days=30))
        ]
        assert log.reward[row] == float(len(window) > 0)
    assert log.response is not None
    assert np.isnan(log.response[log.action == 0]).all()
    clicks = raw[raw["type"] == "touch_clicked"]
    assert np.nansum(log.response) == len(clicks)
    # Nothing that happened after a decision is known of it.
    recency = log.columns["purchase_recency_days"]
    assert np.nanmin(recency) >= 0.0


def test_the_services_decisions_are_read_and_their_outcomes_count(
    touched: tuple[Business, Home], tmp_path: Path
) -> None:
    import sqlalchemy

    from features.generation import Generation

    business, home = touched
    url = f"sqlite:///{tmp_path / 'service.db'}"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE decisions (decision_id TEXT, customer_id TEXT, action TEXT, pscore FLOAT, decided_at TIMESTAMP, "
            "reward FLOAT, action_dist JSON)"
        )
        connection.exec_driver_sql(
            "INSERT INTO decisions VALUES "
            "('d1', 'C1', 'mail', 0.95, '2024-03-02 10:00:00.000000', 0.0, '{\"no_action\": 0.05, \"mail\": 0.95}'), "
            "('d2', 'C2', 'no_action', 1.0, '2024-03-03 10:00:00.000000', NULL, '{\"no_action\": 1.0, \"mail\": 0.0}')"
        )
    engine.dispose()
    log = read_touches(business, Generation.current(home), home, url)
    before = read_touches(business, Generation.current(home), home, None)
    assert len(log) == len(before) + 2
    first = int(np.flatnonzero((log.customer_id == "C1") & (log.pscore == 0.95))[0])
    assert log.reward[first] == 0.0
    assert log.eligible[first].tolist() == [True, True]
    second = int(np.flatnonzero((log.customer_id == "C2") & (log.pscore == 1.0) & (log.action == 0))[0])
    assert log.eligible[second].tolist() == [True, False]


def test_a_business_without_touches_says_so(tmp_path: Path) -> None:
    toml = touches_business(tmp_path)
    events = pd.read_csv(tmp_path / "events.csv")
    events[~events["type"].str.startswith("touch")].to_csv(tmp_path / "events.csv", index=False)
    business, home = Business.load(toml), Home(tmp_path / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    from features.generation import Generation

    with pytest.raises(DecisionLogError, match="no decisions to learn from"):
        read_touches(business, Generation.current(home), home, None)
