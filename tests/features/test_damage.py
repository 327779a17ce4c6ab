"""What a command says of a home that was damaged, and that a build makes a damaged one whole again."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from features.__main__ import app
from features.build import build
from features.config.business import Business
from features.damage import damage
from features.generation import Generation
from features.home import Home

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

TOML = """
[business]
name = "shop"
[data]
kind = "events"
[[data.events]]
path = "events-*.csv"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 10
"""


@pytest.fixture
def built(tmp_path: Path) -> tuple[Business, Home]:
    """A tiny shop that was built once."""
    rows = [f"C{n},2025-{9 + n % 3}-{5 + n:02d},purchase" for n in range(9)]
    (tmp_path / "events-1.csv").write_text("\n".join(["customer_id,occurred_at,type", *rows, ""]))
    (tmp_path / "shop.toml").write_text(TOML)
    business, home = Business.load(tmp_path / "shop.toml"), Home(tmp_path / "home")
    build(business, home, datetime.now(UTC), lambda *_: None)
    return business, home


def cut(path: Path) -> None:
    """Take the end of a file away, as a full disk does."""
    path.write_bytes(path.read_bytes()[:-20])


def test_commands_name_the_file_that_is_damaged(built: tuple[Business, Home], monkeypatch: pytest.MonkeyPatch) -> None:
    _, home = built
    assert damage(home) is None
    monkeypatch.setenv("KEEPWELL_HOME", str(home.path))
    snapshot = next((Generation.current(home).path / "snapshots").glob("*.parquet"))
    cut(snapshot)
    said = damage(home)
    assert said is not None
    assert said.startswith(f"{snapshot} is damaged (")
    assert said.endswith("): run 'python -m features build CONFIG' again.")
    home.database.write_bytes(b"no database\n" * 100)
    assert damage(home) == f"{home.database} is damaged (file is not a database): restore it from a backup."

    def broken(_: Generation) -> None:
        raise KeyError("what nobody expected")

    monkeypatch.setattr("features.__main__._show_declared", broken)
    result = CliRunner().invoke(app, ["show"])
    assert (result.exit_code, result.stderr) == (2, f"{damage(home)}\n")
    home.database.unlink()
    monkeypatch.setattr("features.damage.damage_in", lambda _: None)
    assert isinstance(CliRunner().invoke(app, ["show"]).exception, KeyError)  # nothing is damaged: the mistake is ours


def test_a_build_takes_nothing_over_from_what_is_damaged(
    built: tuple[Business, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    business, home = built
    cut(next((Generation.current(home).path / "snapshots").glob("*.parquet")))
    builds = importlib.import_module("features.build")
    whole = builds.describe

    def describe(*given: Any, **more: Any) -> Generation:
        if len(given) == 6:  # with what stood before
            raise pa.ArrowInvalid("there is no footer")
        made: Generation = whole(*given, **more)
        return made

    monkeypatch.setattr(builds, "describe", describe)
    anew = build(business, home, datetime.now(UTC), lambda *_: None)
    assert any("nothing of that build was taken over" in note for note in anew.notes)
    monkeypatch.undo()
    (home.generations / anew.generation.id / "generation.json").write_text("{")
    assert build(business, home, datetime.now(UTC), lambda *_: None).generation.sources.rows_accepted == 9


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"name": "shop"', "\x00"])
def test_a_home_that_does_not_say_whose_it_is(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "business.json").write_text(content)
    (tmp_path / "shop.toml").write_text(TOML)
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["build", str(tmp_path / "shop.toml")])
    assert result.exit_code == 2
    advice = "restore it from a backup, or build in an empty home"
    assert result.stderr == f"{tmp_path / 'business.json'} is damaged: {advice}.\n"


def test_a_build_of_a_newer_version_is_named_as_that(
    built: tuple[Business, Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, home = built
    manifest = Generation.current(home).path / "generation.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": 99}))
    monkeypatch.setenv("KEEPWELL_HOME", str(home.path))
    result = CliRunner().invoke(app, ["show"])
    assert result.exit_code == 2
    assert "was built by a newer keepwell (format 99)" in result.stderr
