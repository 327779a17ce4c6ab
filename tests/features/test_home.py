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
