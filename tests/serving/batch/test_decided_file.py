"""Files that are decided about: each customer once, however often the run is begun."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
from sqlalchemy import select

from serving.batch.decided_file import DecidedFile
from serving.batch.job import Batch, score_file
from serving.batch.reader import FileRows
from serving.current_scores.record import COLUMNS
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import batch_chunks, decisions

from ..conftest import Shop, customer_ids
from .customer_files import logged, score, write_csv

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def test_deciding_logs_what_it_writes(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"], ["nobody"], *([["C00002"]] * 30)])
    rows = score(shop.settings, source, tmp_path / "out.parquet", decide=True)
    assert list(rows[0]) == [*COLUMNS, "decision_id", "pscore", "channel", "error"]
    database = Database(shop.settings.database)
    with database.read() as connection:
        log = {row.decision_id: row for row in connection.execute(select(decisions))}
    database.close()
    assert len(log) == 31
    for row in rows:
        if row["error"]:
            assert row["decision_id"] is None
            continue
        logged = log[row["decision_id"]]
        assert (logged.customer_id, logged.action, logged.pscore, logged.channel) == (
            row["customer_id"],
            row["action"],
            row["pscore"],
            row["channel"],
        )
        assert logged.decided_by == "serving batch"
    assert sum(row["action"] == "success_call" for row in rows[2:]) <= 1


def test_the_same_file_gives_the_same_decisions(shop: Shop, tmp_path: Path) -> None:
    ids = customer_ids()
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [[customer_id] for customer_id in ids])
    first = score(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    again = score(shop.settings, source, tmp_path / "again.csv", decide=True, chunk=100)
    assert again == first
    assert logged(shop.settings) == sorted(ids)
    said = score_file(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    assert said.startswith(f"{len(ids)} rows, {len(ids)} as they were decided about before: ")
    # A file that says something else is another, and so is one that is meant to be.
    write_csv(source, ["customer_id"], [[customer_id] for customer_id in ids[:-1]])
    score(shop.settings, source, tmp_path / "out.csv", decide=True, chunk=100)
    score_file(shop.settings, source, tmp_path / "out.csv", decide=True, anew=True, chunk=100)
    assert len(logged(shop.settings)) == 3 * len(ids) - 2


def test_a_file_is_decided_about_again_after_a_day(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    score(shop.settings, source, tmp_path / "out.csv", decide=True)
    database = Database(shop.settings.database)
    for hours, kept in ((23, 1), (25, 0)):
        DecidedFile(database, "0" * 64, lambda: datetime.now(UTC) + timedelta(hours=hours)).begin(anew=False)  # noqa: B023
        with database.read() as connection:
            assert len(connection.execute(select(batch_chunks.c.digest)).all()) == kept
    database.close()
    score(shop.settings, source, tmp_path / "out.csv", decide=True)
    assert logged(shop.settings) == ["C00001", "C00001"]


def _decide_and_die(settings: Settings, source: Path, target: Path, after: int) -> None:
    """Decide, and be killed after so many chunks were committed."""
    decided = Batch.decided
    done = 0

    def decide(batch: Batch, rows: FileRows, file: DecidedFile) -> pa.Table:
        nonlocal done
        if done == after:
            os.kill(os.getpid(), signal.SIGKILL)
        table = decided(batch, rows, file)
        done += 1
        return table

    def complete(_file: DecidedFile) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Batch.decided = decide  # type: ignore[assignment,method-assign]
    DecidedFile.complete = complete  # type: ignore[assignment,method-assign]
    score_file(settings, source, target, decide=True, chunk=60)


@pytest.mark.parametrize("after", [1, 3, 9])
def test_a_killed_run_is_gone_on_with_and_nobody_is_decided_about_twice(shop: Shop, tmp_path: Path, after: int) -> None:
    ids = customer_ids()
    folder = tmp_path / "files"
    folder.mkdir()
    source = write_csv(folder / "in.csv", ["customer_id"], [[customer_id] for customer_id in ids])
    target = folder / "out.csv"
    process = multiprocessing.get_context("fork").Process(
        target=_decide_and_die, args=(shop.settings, source, target, after)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    before = logged(shop.settings)
    assert before == sorted(ids[: 60 * after])
    # Only where all was decided the file is in its place; nothing else is left.
    assert sorted(path.name for path in folder.iterdir()) == (["in.csv", "out.csv"] if after == 9 else ["in.csv"])
    said = score_file(shop.settings, source, target, decide=True, chunk=60)
    assert f"{len(before)} as they were decided about before" in said
    assert logged(shop.settings) == sorted(ids)
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["customer_id"] for row in rows] == ids
    assert len({row["decision_id"] for row in rows}) == len(ids)
