"""What a trial's file says: rewards in any spelling, actions that are missing, lines that are no decisions."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.config.business import Business
from training.errors import DecisionLogError
from training.policy.trial import read_trial

from .trial_files import write_trial


@pytest.mark.parametrize(("yes", "no"), [("TRUE", "FALSE"), ("Yes", "no"), ("1", "0"), ("1,0", "0,0")])
def test_a_reward_may_be_yes_or_no_in_any_spelling(tmp_path: Path, yes: str, no: str) -> None:
    rows = {
        "x": list(range(200)),
        "arm": ["control", "mail"] * 100,
        "reward": [yes if row % 3 else no for row in range(200)],
    }
    log = read_trial(Business.load(write_trial(tmp_path, rows)))
    assert log.reward.tolist() == [float(row % 3 > 0) for row in range(200)]


def test_nothing_done_may_be_a_zero_with_decimals(tmp_path: Path) -> None:
    rows = {"x": list(range(200)), "arm": ["0.0", "1.0"] * 100, "reward": [0, 1, 1, 0] * 50}
    toml = write_trial(tmp_path, rows)
    toml.write_text(toml.read_text().replace('no_action = "control"', 'no_action = "0"'))
    assert read_trial(Business.load(toml)).names == ("0", "1")


@pytest.mark.parametrize(
    ("yes", "no", "rewarded"),
    [("x", "", "{ filled = true }"), ("✓", "", "{ filled = true }"), ("Won", "Lost", '"Won"'), ("2", "1", "2")],
)
def test_a_reward_may_be_the_value_that_the_toml_names(tmp_path: Path, yes: str, no: str, rewarded: str) -> None:
    rows = {
        "x": list(range(200)),
        "arm": ["control", "mail"] * 100,
        "reward": [yes if row % 3 else no for row in range(200)],
    }
    log = read_trial(Business.load(write_trial(tmp_path, rows, more=f"rewarded = {rewarded}")))
    assert log.reward.tolist() == [float(row % 3 > 0) for row in range(200)]


def test_how_the_file_was_read_is_no_warning(tmp_path: Path) -> None:
    rows = {"plan": ["gold", "basic"] * 50, "arm": ["control", "mail"] * 50, "reward": [0, 1, 1, 0] * 25}
    log = read_trial(Business.load(write_trial(tmp_path, rows)))
    assert any("read as words" in note for note in log.notes)
    assert not any("read as words" in warning for warning in log.warnings)


def test_lines_that_are_no_decisions_are_told_and_many_refused(tmp_path: Path) -> None:
    rows = {"x": list(range(100)), "arm": ["control", "mail"] * 50, "reward": [0, 1, 1, 0] * 25}
    toml = write_trial(tmp_path, rows)
    path = tmp_path / "trial.csv"
    whole = path.read_text()
    path.write_text(f"{whole}1,mail\n{whole.splitlines()[0]}\n")
    (warning, *_) = read_trial(Business.load(toml)).warnings
    assert warning == "trial.csv: 1 of 102 decisions are set aside: 1 × wrong number of columns (line 102)."
    path.write_text(whole + "1,mail\n" * 9)
    with pytest.raises(
        DecisionLogError, match=r"9 of 109 decisions are set aside: .* at most 5% may be; check delimiter"
    ):
        read_trial(Business.load(toml))


def test_what_says_that_an_action_is_missing_is_none_and_case_tells_two_apart(tmp_path: Path) -> None:
    rows = {"x": list(range(200)), "arm": ["control", "mail", "NULL", "Mail"] * 50, "reward": [0, 1, 1, 0] * 50}
    log = read_trial(Business.load(write_trial(tmp_path, rows)))
    assert log.actions == ("Mail", "mail")
    assert (log.action == -1).sum() == 50
    assert any("differ only in case, and are several: 'Mail', 'mail'" in warning for warning in log.warnings)
    toml = write_trial(tmp_path, rows)
    toml.write_text(toml.read_text().replace('no_action = "control"', 'no_action = "NULL"'))
    assert read_trial(Business.load(toml)).reference.name == "NULL"
