"""The benchmark of decisions, small: a trial beside plain learners, and a simulated business beside its truth."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.benchmarks.decisions import table as decisions
from experiments.benchmarks.decisions.planted import planted
from experiments.benchmarks.decisions.simulated import earned, simulate
from experiments.off_policy import ESTIMATORS, ablations
from training.policy.train import learn
from training.policy.trial import read_trial

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names"),
]


@pytest.fixture(scope="module")
def toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mail that helps those with a low `x` and harms the others."""
    folder = tmp_path_factory.mktemp("trial")
    rng = np.random.default_rng(5)
    x, noise = rng.normal(size=2000), rng.normal(size=2000)
    treated = rng.random(2000) < 0.5
    y = rng.random(2000) < 0.5 + np.where(treated, -0.3 * np.sign(x), 0.0)
    with (folder / "trial.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["x", "noise", "arm", "reward"])
        writer.writerows(zip(x, noise, np.where(treated, "mail", "no_action"), y.astype(int), strict=True))
    path = folder / "trial.toml"
    path.write_text(
        '[business]\nname = "small"\n[decisions]\npath = "trial.csv"\naction = "arm"\nreward = "reward"\npscore = 0.5\n'
    )
    return path


def test_a_trial_is_shown_beside_other_learners(toml: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    result = decisions.trial(toml, peers=False, say=heard.append)
    assert heard == ["keepwell", "S, LightGBM", "T, LightGBM", "X, LightGBM"]
    qini = {contender.name: contender.curves[1].qini for contender in result.contenders}
    assert qini["keepwell"].low > 0.05
    assert qini["keepwell"].value > 0.9 * max(estimate.value for estimate in qini.values())
    console = Console(record=True, width=200)
    decisions.show_trial(result, console)
    shown = console.export_text()
    assert "mail v none" in shown
    assert "propensity only" in shown
    assert "The personal policy is served" in shown
    differing = [planted(seed=0)]
    decisions.show_planted(differing, console)
    assert "An effect that differs by one of 7 attributes" in console.export_text()
    decisions.write(tmp_path / "decisions.json", result, [], differing)
    content = json.loads((tmp_path / "decisions.json").read_text())
    assert content["trial"]["qini"]["keepwell"]["mail"]["value"] == qini["keepwell"].value


def test_the_parts_of_a_policy_are_told_apart(toml: Path) -> None:
    from features.config.business import Business

    values = ablations(learn(read_trial(Business.load(toml)), {}).found)
    assert set(values) == {"personal", "average", "random", "propensity", "nothing"}
    assert values["personal"].dr.low > max(values[name].dr.high for name in ("average", "random", "propensity"))
    for value in values.values():
        assert all(getattr(value, name).low <= getattr(value, name).high for name in ESTIMATORS)


def test_a_trial_that_is_none_ends_with_one_sentence(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark", "decisions", "--trial", str(tmp_path / "no.toml"), "--seeds", "0"])
    assert result.exit_code == 2
    assert "there is no such file" in result.output


@pytest.mark.slow
def test_a_policy_of_a_simulated_business_earns_by_the_truth() -> None:
    found = earned(simulate(seed=1, spread=1.0, customers=500))
    assert found.decisions > 700
    assert found.oracle > found.constant > 0
    assert 0 < found.personal <= found.oracle
    assert found.served >= -0.01
    assert found.of_oracle == pytest.approx(found.served / found.oracle)
    console = Console(record=True, width=200)
    decisions.show_earned([found], console)
    assert f"{found.of_oracle:.3f}" in console.export_text()
