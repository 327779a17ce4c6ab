"""Worlds of chance and worlds with a signal, a few of each: the full number is `experiments benchmark worlds`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import roc_auc_score

from experiments.benchmarks.quality import worlds
from experiments.benchmarks.quality.worlds import EFFECT, KINDS, LEAST_ROWS, MOST_ROWS, Verdict, World
from features.config.search_budget import Budget

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_the_gates_tell_a_signal_from_chance(tmp_path: Path) -> None:
    heard: list[Verdict] = []
    found = worlds.judged(worlds.worlds(KINDS, 1, 3), Budget(trials=1), 1, heard.append)
    assert found == heard
    by_world = {(one.world.kind, one.world.signal): one for one in found}
    assert by_world["model", True].passed
    assert by_world["policy", True].passed
    assert {"log_loss_proof", "auc_proof"} <= set(by_world["model", False].failed)
    assert by_world["policy", False].failed == ("gain_over_nothing",)
    console = Console(record=True, width=160)
    worlds.show(console, found)
    assert console.export_text().count("100.0%") == 4  # the two that passed, and two upper bounds
    worlds.write(tmp_path / "worlds.json", found)
    assert [one["passed"] for one in json.loads((tmp_path / "worlds.json").read_text())] == [False, True, False, True]


def test_worlds_hold_the_signal_that_they_state() -> None:
    effects, aucs = [], []
    for seed in range(40):
        drawn = worlds.trial(World("policy", True, seed))
        arm, reward = np.array(drawn["arm"]), np.array(drawn["reward"])
        assert LEAST_ROWS <= len(arm) <= MOST_ROWS
        effects.append(reward[arm == "call"].mean() - reward[arm == "nothing"].mean())
        chance = worlds.trial(World("policy", False, seed))
        assert chance["arm"] == drawn["arm"]
        table = worlds.table(World("model", True, seed))
        left = np.array(table["left"]) == "yes"
        risk = [np.nan_to_num(np.array([float(value or "nan") for value in table[f"number_{j}"]])) for j in range(3)]
        aucs.append(roc_auc_score(left, np.linalg.lstsq(np.column_stack(risk), left - left.mean())[0] @ np.array(risk)))
    assert np.mean(effects) == pytest.approx(EFFECT, abs=0.02)
    assert 0.55 < np.mean(aucs) < 0.75
