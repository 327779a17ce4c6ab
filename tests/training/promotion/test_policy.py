"""What a policy must prove before it serves: that it helps at all, and more than what serves now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from features.config.business import Business
from features.home import Home
from models.registry.policy_bundle import PolicyBundle
from models.registry.registry import PolicyRegistry
from training.__main__ import app
from training.errors import GateRefused, TrainingError
from training.policy.train import train_policy
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
action = "arm"
no_action = "nothing"
reward = "y"
pscore = {{ column = "p" }}
customer_id = "id"
"""


def mails(folder: Path, effect: float, seed: int, n: int = 3000, name: str = "mails") -> Path:
    """A trial in which nearly everybody got a mail, which adds `effect` to a rate of .08."""
    rng = np.random.default_rng(seed)
    mailed = rng.random(n) < 0.95
    y = rng.random(n) < 0.08 + effect * mailed
    x = rng.normal(size=n)
    lines = ["id,x,arm,y,p"]
    lines += [
        f"{i},{x[i]:.2f},{'mail' if mailed[i] else 'nothing'},{int(y[i])},{0.95 if mailed[i] else 0.05}"
        for i in range(n)
    ]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    (folder / f"{name}.toml").write_text(TOML.format(name=name))
    return folder / f"{name}.toml"


def test_an_action_that_is_not_proven_to_help_is_refused(tmp_path: Path) -> None:
    toml = mails(tmp_path, 0.0, seed=3)
    env = {"KEEPWELL_HOME": str(tmp_path / "home")}
    told = CliRunner().invoke(app, ["policy", str(toml)], env=env)
    assert told.exit_code == 0, told.output
    assert "Next:" not in told.output
    said = " ".join(told.output.split())
    assert "gate gain_over_nothing: refused" in said
    assert "Nothing is proven better than doing nothing" in said
    result = CliRunner().invoke(app, ["promote", "--policy"], env=env)
    assert result.exit_code == 3
    assert "refused by the gate 'gain_over_nothing'" in result.output
    home = Home(tmp_path / "home")
    assert PolicyRegistry(home.tracking_uri, "shop").champion() is None


def test_an_action_that_helps_serves_until_something_better_is_proven(
    tmp_path: Path, silent: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    report = train_policy(Business.load(mails(tmp_path, 0.3, seed=3)), home, silent)
    assert (report.served, report.may_be_promoted) == ("mail", True)
    assert report.over_reference.low > 0.1
    assert "in place of doing nothing: it earns at least 0." in promote_policy(home)
    # The same choices on other decisions are worth exactly as much as the champion's.
    train_policy(Business.load(mails(tmp_path, 0.3, seed=4, name="later")), home, silent)
    with pytest.raises(GateRefused, match=r"dr_lower_bound.*version 1 earns"):
        promote_policy(home)
    # Where the champion makes the service's decisions, one of another reward may not end them.
    champion = PolicyRegistry(home.tracking_uri, "shop").champion()
    assert champion is not None
    monkeypatch.setattr(PolicyBundle, "is_of_churn", property(lambda policy: policy.run_id == champion.run_id))
    with pytest.raises(TrainingError, match=r"learned from another reward than churn, .* in a home of its own"):
        promote_policy(home)
