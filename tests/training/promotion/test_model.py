"""Who may become champion, with which scorecard, and the way back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner, Result

from experiments.compare import compare_runs, write
from features.errors import HomeError
from features.home import Home
from models.errors import RegistryError
from models.registry.registry import Registry
from training.__main__ import app
from training.errors import GateRefused, TrainingError
from training.promotion.model import promote, rollback
from training.run import run
from training.tracking.promotion_log import promotion_log

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]


START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 240


def _training(home: Home, *arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, env={"KEEPWELL_HOME": str(home.path)})


def test_the_life_of_champions(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    rows = customers(600)
    place = build_table(tmp_path / "b", rows)
    home = place.home
    with pytest.raises(TrainingError, match="no challenger"):
        promote(home)
    assert run(place.business, home, silent).model_version == "1"

    # The first champion brings its own scale.
    first = promote(home)
    assert (first.model.version, first.previous, first.scorecard.version) == ("1", None, "1")
    registry = Registry(home.tracking_uri, "tiny")
    assert first.scorecard == registry.load("1", tmp_path / "cache").scorecard_proposal

    # A later one keeps the scale, even if it would propose another; a tie is no reason to refuse it.
    place = build_table(tmp_path / "b", rows, last="[health]\npdo = 3", home=home)
    assert run(place.business, home, silent).model_version == "2"
    second = promote(home)
    assert (second.model.version, second.previous, second.scorecard) == ("2", "1", first.scorecard)
    assert second.warnings == ()

    # Only when asked, health gets a new meaning, under a new number.
    third = promote(home, "2", new_scorecard=True)
    assert (third.model.version, third.scorecard.version, third.scorecard.pdo) == ("2", "2", 3.0)

    # A model that knows less is refused, and nothing moves.
    place = build_table(tmp_path / "b", rows, more='drop = ["calls", "plan"]', home=home)
    assert run(place.business, home, silent).model_version == "3"
    refused = _training(home, "promote")
    assert refused.exit_code == 3
    assert refused.stderr.count("\n") == 1
    assert "Version 3 is refused by the gate" in refused.stderr
    assert "limit" in refused.stderr
    champion = registry.champion()
    assert champion is not None
    assert champion.version == "2"

    # Side by side, the same is said with intervals, on the same rows, in the order that was asked for.
    found = compare_runs(home, ["2", "1", "challenger"])
    assert found.tested is not None
    assert found.tested.n == 600
    same, worse = found.tested.standings[1:]
    assert all(one is not None and one.better is None and one.figure == 0.0 for one in same.differences.values())
    for figure in ("auc", "log_loss", "precision_at_k"):
        difference = worse.differences[figure]
        assert difference is not None
        assert difference.better is False, figure
        assert difference.interval.excludes(0.0)
    assert "not proven to be better or worse" in found.tested.verdicts[0]
    assert "challenger, version 3 is worse than version 2" in found.tested.verdicts[1]
    write(found, tmp_path / "compare.html", tmp_path / "compare.json")
    shown = json.loads((tmp_path / "compare.json").read_text())
    assert shown["tested"]["models"][2]["differences"]["log_loss"]["better"] is False
    assert "<td>AUC</td>" in (tmp_path / "compare.html").read_text()
    with pytest.raises(TrainingError, match="itself"):
        compare_runs(home, ["champion", "2"])
    with pytest.raises(TrainingError, match="no run 'nonsense'"):
        compare_runs(home, ["champion", "nonsense"])

    # With a reason, it is promoted all the same, and the reason is kept.
    unsaid = _training(home, "promote", "--force")
    assert unsaid.exit_code == 2
    assert "needs a reason" in unsaid.stderr
    forced = promote(home, force="the columns are gone")
    assert (forced.model.version, forced.previous) == ("3", "2")
    assert any("the columns are gone" in sentence for sentence in forced.warnings)
    tags = MlflowClient(tracking_uri=home.tracking_uri).get_model_version("keepwell-tiny", "3").tags
    assert tags["forced_because"] == "the columns are gone"
    assert "better_than_champion" in tags["overruled"]
    assert rollback(home).model.version == "2"
    lines = [json.loads(line) for line in promotion_log(home).read_text().splitlines()]
    assert [(line["what"], line["version"], line["forced"]) for line in lines] == [
        ("promote", "1", None),
        ("promote", "2", None),
        ("promote", "2", None),
        ("promote", "3", "the columns are gone"),
        ("rollback", "2", None),
    ]

    # And back, to the scorecard of then.
    back = rollback(home)
    assert (back.model.version, back.previous, back.scorecard) == ("1", "2", first.scorecard)
    with pytest.raises(RegistryError, match="first champion"):
        rollback(home)
    # No number is given twice.
    assert promote(home, "2", new_scorecard=True).scorecard.version == "3"


def test_a_model_of_noise_is_registered_but_never_promoted(
    build_table: Any, customers: Any, silent: Any, tmp_path: Path
) -> None:
    place = build_table(tmp_path / "b", customers(300, noise=True))
    report = run(place.business, place.home, silent)
    assert report.model_version == "1"
    assert not report.gates["log_loss_vs_base_rate"].passed
    assert any("log_loss_vs_base_rate" in sentence for sentence in report.warnings)
    with pytest.raises(GateRefused) as refusal:
        promote(place.home)
    assert refusal.value.gate == "log_loss_vs_base_rate"
    assert refusal.value.limit == report.gates["log_loss_vs_base_rate"].limit
    assert refusal.value.figure == report.gates["log_loss_vs_base_rate"].figure
    assert Registry(place.home.tracking_uri, "tiny").champion() is None


def test_promotions_wait_for_no_other(table: Any) -> None:
    with table.home.lock("promote"), pytest.raises(HomeError, match="Another promote is running"):
        promote(table.home)


@pytest.mark.parametrize("command", [("promote",), ("rollback",), ("promote", "--version", "7")])
def test_an_empty_home_has_nothing_to_promote(command: tuple[str, ...], tmp_path: Path) -> None:
    result = _training(Home(tmp_path / "home"), *command)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1


def test_purchases_at_one_rate_foretell_nothing(build_events: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows: list[dict[str, object]] = []
    for number in range(250):
        days = np.cumsum(rng.exponential(25.0, 40))
        rows += [
            {"customer_id": f"c{number}", "occurred_at": (START + timedelta(days=day)).isoformat(), "type": "purchase"}
            for day in [0.0, *days[days < DAYS].tolist()]
        ]
    place = build_events(tmp_path / "b", rows, 'definition = "inactivity"\nactivity = ["purchase"]')
    told = _training(place.home, "run", str(tmp_path / "b" / "log.toml"), "--budget", "3 trials")
    assert told.exit_code == 0, told.stderr
    said = " ".join(told.stdout.split())
    assert "gate auc_proof: refused" in said
    assert "is not proven" in said
    assert "Next:" not in said
    refused = _training(place.home, "promote")
    assert refused.exit_code == 3
    assert "Version 1 is refused by the gate" in refused.stderr
