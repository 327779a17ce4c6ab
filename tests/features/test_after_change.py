"""What follows a build or a promotion is found by its entry point, and never undoes what stands."""

from __future__ import annotations

import sys
import tomllib
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from features.after_change import COMMAND, CURRENT_SCORES, GROUP, rewrite_current_scores
from features.home import Home
from serving.after_change import rewrite


def declare(folder: Path, target: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keepwell installed as a package that declares `target`, or nothing."""
    about = folder / "installed" / "keepwell-0.1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: keepwell\nVersion: 0.1.0\n")
    if target is not None:
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{CURRENT_SCORES} = {target}\n")
    monkeypatch.syspath_prepend(about.parent)


@pytest.fixture
def follower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that keepwell declares to be called."""
    module = ModuleType("follower")
    monkeypatch.setitem(sys.modules, "follower", module)
    declare(tmp_path, "follower:rewrite", monkeypatch)
    return module


def test_what_is_declared_is_called_for_the_home(follower: ModuleType, tmp_path: Path) -> None:
    called: list[Home] = []

    def rewrite(home: Home) -> None:
        warnings.warn("a library's note", DeprecationWarning, stacklevel=1)
        called.append(home)

    vars(follower)["rewrite"] = rewrite
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert rewrite_current_scores(Home(tmp_path)) == []
    assert called == [Home(tmp_path)]


@pytest.mark.parametrize(("told", "shown"), [("The disk is full.", "The disk is full."), ("", "RuntimeError")])
def test_a_failure_is_a_sentence(follower: ModuleType, tmp_path: Path, told: str, shown: str) -> None:
    def rewrite(_: Home) -> None:
        raise RuntimeError(told)

    vars(follower)["rewrite"] = rewrite
    (said,) = rewrite_current_scores(Home(tmp_path))
    assert said == f"The current scores were not rewritten ({shown}): '{COMMAND}' does it again."


def test_where_nothing_is_declared_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(tmp_path, None, monkeypatch)
    (said,) = rewrite_current_scores(Home(tmp_path))
    assert said == f"Nothing that is installed rewrites the current scores: '{COMMAND}' does it."


def test_serving_declares_what_rewrites_them() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    target = project["entry-points"][GROUP][CURRENT_SCORES]
    assert EntryPoint(CURRENT_SCORES, target, GROUP).load() is rewrite
