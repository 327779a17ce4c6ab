"""A home's paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.home import Home


def test_a_home_named_by_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    home = Home(Path("var/home"))
    monkeypatch.chdir("/")
    assert home.path == tmp_path / "var/home"
    assert home.tracking_uri == f"sqlite:///{tmp_path}/var/home/mlflow/mlflow.db"


def test_only_what_is_keepwells_is_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "shared")
    theirs, ours = (home.path / "letters", home.path / "generations")
    for folder in (home.path, theirs, ours):
        folder.mkdir()
        folder.chmod(0o755)
    home.database.touch(0o644)
    home.protect()
    assert [path.stat().st_mode & 0o777 for path in (home.path, theirs)] == [0o755, 0o755]
    assert [path.stat().st_mode & 0o777 for path in (ours, home.database)] == [0o700, 0o600]
