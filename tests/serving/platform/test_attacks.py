"""`experiments benchmark faults` on a tiny shop: what is seen becomes a table, JSON and an exit code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from experiments.__main__ import app
from experiments.benchmarks.faults import business, table
from experiments.benchmarks.faults.attacks import odd_requests, outcomes
from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.seen import Seen, Skipped
from experiments.benchmarks.faults.servers import Server, add_keys
from features.home import Home

from ..conftest import Shop, customer_ids, serving, settings_of


@contextlib.contextmanager
def attacked(home: Path) -> Iterator[Server]:
    """A server in this process, which has imported all that it takes."""
    keys = add_keys(home)
    with serving(settings_of(Home(home))) as server:
        yield Server(urlsplit(server.url).port or 0, None, keys)


@pytest.fixture
def output(untouched: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command writes JSON, in a world in which the home that is attacked is the tests' own."""

    def prepared(scratch: Path, say: object) -> Ground:  # noqa: ARG001
        return Ground(scratch, untouched.home.path, scratch, tuple(customer_ids()[:60]))

    monkeypatch.setattr(business, "prepared", prepared)
    for module in (odd_requests, outcomes):
        monkeypatch.setattr(module, "attacked", attacked)
    for name in ("KEEPWELL_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")  # the command forgets them, and the test puts them back
    return tmp_path / "faults.json"


def test_what_holds_is_a_table_and_exit_code_0(output: Path) -> None:
    result = CliRunner().invoke(
        app, ["benchmark", "faults", "--attacks", "odd-requests,outcomes", "--json", str(output)]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(output.read_text())["rows"]
    assert {row["attack"] for row in rows} == {"odd-requests", "outcomes"}
    assert all(row["held"] for row in rows)
    assert result.stdout.count("held") == len(rows)
    assert "outcomes: 0 of 3 failed" in result.stderr


def test_what_fails_or_breaks_off_is_exit_code_1_and_what_is_skipped_is_not(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_ground: Ground) -> Iterator[Seen]:
        yield Seen("a flood", "all are answered", "nobody is", False)
        raise ConnectionResetError("gone")

    def skipped(_ground: Ground) -> Iterator[Seen]:
        yield from ()
        raise Skipped("there is no Redis")

    monkeypatch.setattr(table, "ATTACKS", {"failing": failing, "skipped": skipped})
    command = ["benchmark", "faults", "--json", str(output)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert [row["held"] for row in json.loads(output.read_text())["rows"]] == [False, False, None]
    assert result.stdout.count("FAILED") == 2
    assert "ConnectionResetError: gone" in result.stdout
    assert "there is no Redis" in result.stdout
    assert CliRunner().invoke(app, [*command, "--attacks", "skipped"]).exit_code == 0


def test_an_attack_that_does_not_exist_is_a_mistake(output: Path) -> None:
    result = CliRunner().invoke(app, ["benchmark", "faults", "--attacks", "rain", "--json", str(output)])
    assert result.exit_code == 2
    assert "There is no attack 'rain': choose from lost-rows, " in result.stderr
    assert not output.exists()
