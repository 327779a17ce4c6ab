"""Several processes score as one does, and end with the run that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from serving.batch.job import score_file
from serving.batch.reader import RowReader
from serving.platform.settings import Settings

from ..conftest import Shop, customer_ids
from ..learned_policy import effects, policy_of, promote_policy
from .customer_files import Rows, score, write_csv

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def _score_and_die(settings: Settings, source: Path, target: Path) -> None:
    """Killed while the second part of the rows is scored."""
    whole, chunks = RowReader.parse, 0

    def parse(self: RowReader, *arguments: Any) -> Any:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, *arguments)

    RowReader.parse = parse  # type: ignore[assignment,method-assign]
    score_file(settings, source, target, decide=False)


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_file(template: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]] * 10_000)
    target = tmp_path / "out.csv"
    target.write_text("old\n")
    process = multiprocessing.get_context("spawn").Process(
        target=_score_and_die, args=(template.settings, source, target)
    )
    process.start()
    process.join()  # it ends by itself, however slow the machine is
    assert process.exitcode == -signal.SIGKILL
    assert target.read_text() == "old\n"
    assert len(score(template.settings, source, target)) == 10_000


@pytest.mark.slow
def test_many_rows_are_scored_by_several_processes_as_by_one(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Learned effects among what must be the same: no row may fall back to what the TOML believes."""
    promote_policy(shop.home, policy_of(effects()))
    known = [*customer_ids(), "nobody"]
    rows = [[known[number % len(known)]] for number in range(600)]
    rows[500] = ["too", "many"]
    source = write_csv(tmp_path / "in.csv", ["customer_id"], rows)

    def on(cores: int) -> Rows:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
        return score(shop.settings, source, tmp_path / f"{cores}.parquet", chunk=50)

    together, alone = on(2), on(1)
    assert len(together) == 600
    assert [row["customer_id"] for row in together[:500]] == [row[0] for row in rows[:500]]
    for left, right in zip(together, alone, strict=True):
        del left["scored_at"], right["scored_at"]
    assert together == alone


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(template: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]] * 400_000)
    target = tmp_path / "out.csv"
    target.write_text("old\n")
    process = multiprocessing.get_context("spawn").Process(
        target=score_file, args=(template.settings, source, target), kwargs={"decide": False}
    )
    process.start()
    assert process.pid is not None
    parent = psutil.Process(process.pid)
    children: list[psutil.Process] = []
    until = time.monotonic() + 300
    while not any("spawn_main" in " ".join(child.cmdline()) for child in children):
        assert process.is_alive()
        assert time.monotonic() < until
        time.sleep(0.05)
        children = parent.children()
    parent.kill()
    process.join(60)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    assert target.read_text() == "old\n"
