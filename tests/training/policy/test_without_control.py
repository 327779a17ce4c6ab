"""Logs of decisions in which nobody was left alone: from the file to what is served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from typer.testing import CliRunner

from features.config.business import Business
from features.home import Home
from features.schema import FeatureSchema
from models.decisions.logged_trials import Trials, doubly_robust
from models.registry.registry import PolicyRegistry
from training.__main__ import app
from training.policy.cross_fitting import CrossFitted, enough, fit_lines
from training.policy.report import PERSONAL, PolicyReport
from training.policy.train import learn, train_policy, value
from training.policy.trial import read_trial
from training.promotion.policy import promote_policy

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

TOML = """
[business]
name = "shop"
[decisions]
path = "{name}.csv"
action = "offer"
reward = "bought"
pscore = {{ column = "p" }}
{more}
"""
OFFERS = ("book", "lamp", "vase")


def offers(folder: Path, spread: float, more: str = "", name: str = "offers", seed: int = 0, n: int = 1500) -> Path:
    """A log that offers the lamp to half of all; the young want books, the old vases, by `spread`."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    p = np.array([0.25, 0.5, 0.25])
    code = rng.choice(3, n, p=p)
    lift = np.column_stack([np.where(age < 45, spread, -spread), np.zeros(n), np.where(age < 45, -spread, spread)])
    y = (rng.random(n) < 0.4 + lift[np.arange(n), code]).astype(int)
    pd.DataFrame({"age": age, "offer": np.array(OFFERS)[code], "bought": y, "p": p[code]}).to_csv(
        folder / f"{name}.csv", index=False
    )
    (folder / f"{name}.toml").write_text(TOML.format(name=name, more=more))
    return folder / f"{name}.toml"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, silent: Any) -> tuple[Path, Home, PolicyReport]:
    folder = tmp_path_factory.mktemp("offers")
    home = Home(folder / "home")
    toml = offers(folder, 0.3)
    report = train_policy(Business.load(toml), home, silent, folder / "report.json", folder / "choices.csv")
    return folder, home, report


def test_effects_are_against_the_policy_that_made_the_log(trained: tuple[Path, Home, PolicyReport]) -> None:
    folder, _, report = trained
    content = json.loads((folder / "report.json").read_text())
    log = pd.read_csv(folder / "offers.csv")
    assert content["reference"] == {"kind": "logging", "name": "logging policy"}
    assert set(content["actions"]) == set(OFFERS)
    assert set(content["policies"]) == {"logging policy", PERSONAL, "best constant", *OFFERS, "uniform"}
    for estimator in ("ips", "snips", "dr"):
        assert content["policies"]["logging policy"][estimator]["value"] == pytest.approx(log["bought"].mean())
    # Hand over lamp alone: as good as what was done, within what is known.
    lamp = report.actions["lamp"].average
    assert lamp is not None
    assert lamp.low < 0.0 < lamp.high
    assert report.served == PERSONAL
    assert report.policies[PERSONAL].dr.value > log["bought"].mean() + 0.15
    assert set(content["gates"]) == {"effective_sample_size", "gain_over_reference"}
    assert report.may_be_promoted
    assert "Effects differ between customers" in report.differences


def test_everybody_gets_an_action_and_the_policy_serves(trained: tuple[Path, Home, PolicyReport]) -> None:
    folder, home, _ = trained
    choices = pd.read_csv(folder / "choices.csv")
    assert list(choices.columns) == ["row", "chosen", "effect_book", "effect_lamp", "effect_vase"]
    assert set(choices["chosen"]) <= set(OFFERS)
    best = choices[[f"effect_{name}" for name in OFFERS]].to_numpy().argmax(axis=1)
    assert (choices["chosen"].to_numpy() == np.array(OFFERS)[best]).all()
    said = promote_policy(home)
    assert "in place of the policy that made the log" in said
    assert "The service's decisions go on as they were" in said
    registry = PolicyRegistry(home.tracking_uri, "shop")
    champion = registry.champion()
    assert champion is not None
    bundle = registry.load(champion.version, home.path / "bundles")
    assert not bundle.reference.is_choice
    X = FeatureSchema.from_json(bundle.effects.schema).to_matrix({"age": np.array([25.0, 70.0])}, {})
    names = [action.name for action in bundle.effects.actions]
    chosen = bundle.choose(X, np.ones((2, 4), dtype=np.bool_))
    assert [names[code - 1] for code in chosen] == ["book", "vase"]
    # Also where every effect is below what was done.
    assert (bundle.choose(X, np.array([[True, False, True, False]] * 2)) == 2).all()


def test_the_page_is_kept_beside_the_report(trained: tuple[Path, Home, PolicyReport], tmp_path: Path) -> None:
    from training.tracking.runs import Tracker

    _, home, report = trained
    registry = PolicyRegistry(home.tracking_uri, "shop")
    page = Tracker(home, registry.model_name).artifact(report.run_id, "report.html", tmp_path)
    assert page is not None
    text = page.read_text()
    for said in ("effect against the policy that made the log", "self-normalised IPS", "logging policy", "uniform"):
        assert said in text


def test_a_named_action_may_be_the_reference(tmp_path: Path, silent: Any) -> None:
    toml = offers(tmp_path, 0.0, 'compare_to = "lamp"')
    home = Home(tmp_path / "home")
    report = train_policy(Business.load(toml), home, silent, tmp_path / "report.json", tmp_path / "choices.csv")
    assert set(report.actions) == {"book", "vase"}
    assert report.reference.name == "lamp"
    content = json.loads((tmp_path / "report.json").read_text())
    assert "over_nothing" not in content
    assert set(pd.read_csv(tmp_path / "choices.csv")["chosen"]) <= set(OFFERS)
    if report.over_reference.low <= 0.0:
        assert "Nothing is proven better than 'lamp'" in report.verdict
    # Learners have a weight where what they foretell is served, and nowhere else.
    bundle = PolicyRegistry(home.tracking_uri, "shop").load("1", home.path / "bundles")
    apart = any(action.slope for action in report.actions.values())
    assert apart == any(figures.weight for figures in report.learners.values()) == bool(bundle.effects.members)
    assert apart != report.differences.startswith("No difference between customers is believed")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('compare_to = "chair"', "never holds 'chair', which [decisions] compare_to names"),
        ('compare_to = "lamp"\nno_action = "vase"', "leave one of them out"),
        ('no_action = "chair"', "never holds 'chair', which [decisions] no_action names"),
    ],
)
def test_references_that_are_not_there_are_named(tmp_path: Path, more: str, message: str) -> None:
    toml = offers(tmp_path, 0.0, more)
    result = CliRunner().invoke(app, ["policy", str(toml)], env={"KEEPWELL_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


def test_an_action_cannot_be_called_as_a_policy_is(tmp_path: Path) -> None:
    toml = offers(tmp_path, 0.0)
    log = tmp_path / "offers.csv"
    log.write_text(log.read_text().replace("vase", "personal"))
    result = CliRunner().invoke(app, ["policy", str(toml)], env={"KEEPWELL_HOME": str(tmp_path / "home")})
    assert result.exit_code == 2
    assert "the action 'personal'" in " ".join(result.output.split())


def rare(seed: int, k: int = 8, n: int = 2000) -> tuple[Trials, npt.NDArray[np.float64]]:
    """Eight offers of 250 rows each that one customer in a hundred answers to, a little more or less."""
    rng = np.random.default_rng(seed)
    rate = 0.01 * rng.uniform(0.5, 1.5, k)
    action = rng.integers(0, k, n) + 1
    y = (rng.random(n) < rate[action - 1]).astype(np.float64)
    eligible = np.ones((n, k + 1), dtype=np.bool_)
    eligible[:, 0] = False
    X = rng.normal(size=(n, 2)).astype(np.float32)
    return Trials(X, action, y, np.full(n, 1 / k), eligible, np.arange(n), against_policy=True), rate - rate.mean()


def test_rare_rewards_give_wide_intervals_around_what_all_actions_share() -> None:
    covered, errors, alone = [], [], []
    for seed in range(30):
        data, truth = rare(seed)
        assert enough(data).all()
        means = np.full((len(data), 9), data.y.mean())
        lines = fit_lines(data, means, np.zeros((len(data), 8)))
        averages = np.array([line.average for line in lines])
        reach = 1.96 * np.sqrt([line.average_variance for line in lines])
        assert (reach > 0.002).all()
        covered.append(np.abs(averages - truth) <= reach)
        errors.append((averages - truth) ** 2)
        own = np.array([data.y[data.action == arm + 1].mean() for arm in range(8)]) - data.y.mean()
        alone.append((own - truth) ** 2)
    assert np.mean(covered) >= 0.92, np.mean(covered)
    assert np.mean(errors) < 0.6 * np.mean(alone)


def test_the_best_of_many_is_not_judged_on_the_rows_that_chose_it() -> None:
    """Of eight offers that are all the same, the best seems better; what is chosen on other rows does not."""
    gains = []
    for seed in range(30):
        data, _ = rare(seed)
        data = replace(data, y=np.random.default_rng(1000 + seed).permutation(data.y))
        means = np.full((len(data), 9), data.y.mean())
        score = np.zeros((len(data), 8))
        fold = data.fold_numbers_by_chance(5, 1)
        lines = [fit_lines(data.take(fold != f), means[fold != f], score[fold != f]) for f in range(5)]
        found = CrossFitted(
            data,
            fold,
            1.0,
            means,
            doubly_robust(data, means),
            {},
            {},
            fit_lines(data, means, score),
            fold,
            tuple(lines),
            score,
        )
        chosen, everywhere = found.best_constant()
        gains.append(
            [
                found.gain(choice, np.zeros(len(data), dtype=np.int64)).value
                for choice in (chosen, np.full(len(data), everywhere))
            ]
        )
    honest, flattered = np.mean(gains, axis=0)
    assert flattered > 0.006
    assert abs(honest) < 0.0025


def test_learners_whose_differences_are_not_believed_have_no_weight(tmp_path: Path) -> None:
    learned = learn(read_trial(Business.load(offers(tmp_path, 0.3, n=400))), {})
    assert any(figures.weight for figures in value("shop", learned).learners.values())
    flat = replace(learned.found, lines=tuple(replace(line, slope=0.0) for line in learned.found.lines))
    report = value("shop", replace(learned, found=flat))
    assert not any(figures.weight for figures in report.learners.values())
