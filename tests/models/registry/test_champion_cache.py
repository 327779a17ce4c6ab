"""A champion is remembered for as long as the registry's file is the same, and never longer."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.registry.champion_cache import ChampionCache


class Registry:
    """A database of one number, and how often it was asked."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "registry.db"
        self.asked = 0
        with sqlite3.connect(self.file) as connection:
            connection.execute("CREATE TABLE champion (version INTEGER)")
        connection.close()

    def promote(self, version: int) -> None:
        connection = sqlite3.connect(self.file)
        with connection:
            connection.execute("DELETE FROM champion")
            connection.execute("INSERT INTO champion VALUES (?)", (version,))
        connection.close()

    def cache(self, file: Path | None = None) -> ChampionCache[int]:
        return ChampionCache(file or self.file, "m", lambda version: {"version": version}, lambda kept: kept["version"])

    def ask(self) -> int | None:
        self.asked += 1
        connection = sqlite3.connect(self.file)
        row = connection.execute("SELECT version FROM champion").fetchone()
        connection.close()
        return None if row is None else int(row[0])


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_asks_once_while_the_file_is_the_same(registry: Registry) -> None:
    cache = registry.cache()
    registry.promote(1)
    cache.settle()
    assert [cache.champion(registry.ask) for _ in range(5)] == [1] * 5
    assert registry.cache().champion(registry.ask) == 1, "another process recalls it too"
    assert registry.asked == 1


def test_nothing_is_remembered_too(registry: Registry) -> None:
    cache = registry.cache()
    cache.settle()
    assert [cache.champion(registry.ask) for _ in range(2)] == [None, None]
    assert registry.asked == 1


def test_sees_every_change_however_quick(registry: Registry) -> None:
    cache = registry.cache()
    for version in range(200):
        registry.promote(version)
        assert cache.champion(registry.ask) == version
        if version % 50 == 0:
            cache.settle()
            assert cache.champion(registry.ask) == version


def test_trusts_no_file_with_a_commit_under_way(registry: Registry) -> None:
    registry.promote(1)
    registry.cache().settle()
    for tail in ("-journal", "-wal"):
        journal = registry.file.with_name(registry.file.name + tail)
        registry.cache().champion(registry.ask)
        before = registry.asked
        journal.touch()
        registry.cache().champion(registry.ask)
        journal.unlink()
        assert registry.asked == before + 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"stamp": []}', '{"stamp": null, "champion": 5}'])
def test_a_damaged_memory_is_no_memory(registry: Registry, content: str) -> None:
    registry.promote(3)
    cache = registry.cache()
    cache.settle()
    cache.champion(registry.ask)
    kept = registry.file.with_name("registry.db.m.champion")
    assert kept.exists()
    kept.write_text(content)
    assert cache.champion(registry.ask) == 3
    assert cache.champion(registry.ask) == 3
    assert registry.asked == 2


def test_a_registry_without_a_file_is_asked_each_time(registry: Registry) -> None:
    cache = ChampionCache[int](None, "m", lambda version: {"version": version}, lambda kept: kept["version"])
    assert [cache.champion(registry.ask) for _ in range(2)] == [None, None]
    assert registry.asked == 2


def test_a_file_that_was_just_written_is_not_trusted(registry: Registry) -> None:
    registry.promote(1)
    now = time.time()
    os.utime(registry.file, (now, now))
    assert registry.cache().champion(registry.ask) == 1
    assert not registry.file.with_name("registry.db.m.champion").exists()


def test_a_server_takes_up_what_it_knows_without_mlflow() -> None:
    code = "import sys, serving.app, serving.releases.follower; print([m for m in ('mlflow', 'pandas', 'feast', 'lightgbm') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
