"""Row 10: the features of an event log, beside the same figures in hand-written Polars and pandas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.benchmarks.errors import BenchmarkError, DifferentAnswers
from experiments.benchmarks.figures import Row, interleaved
from experiments.benchmarks.speed import event_log

_CHECKED, _PANDAS = 200_000, 5_000_000
_SAME = 1e-5
_APART = ("adoption_age_days", "engagement_age_days", "commercial_age_days")
"""Ours computes them too; each says what a recency says already."""


def features(scratch: Path, rounds: int, events: int) -> Iterator[Row]:
    """From the event files that ingest leaves to Parquet with all features at three cutoffs, a process each, all cores.

    The peers read the same files. Imports are not timed; there are at most three rounds beside Polars, and two of at
    most five million events beside pandas.

    Raises:
        DifferentAnswers: a figure of a customer differs.
    """
    small = event_log.write_log(scratch / "log-checked", _CHECKED)
    _ours(small)
    for module in ("polars_features", "pandas_features"):
        _theirs(module, small)
        compare(small)
    folder, written = scratch / "log", 0
    for module, peer, number, goal, size, most in (
        ("polars_features", "hand-written Polars", "10", 0.8, events, 3),
        ("pandas_features", "hand-written pandas", "10p", 5.0, min(events, _PANDAS), 2),
    ):
        if size != written:
            shutil.rmtree(folder, ignore_errors=True)
            event_log.write_log(folder, size)
            written = size
        yield _beside(folder, module, number, peer, goal, min(rounds, most), size)
    shutil.rmtree(folder)


def _beside(folder: Path, module: str, number: str, peer: str, goal: float, rounds: int, events: int) -> Row:
    peaks = {"ours": 0, "theirs": 0}

    def ours() -> float:
        seconds, peaks["ours"] = _ours(folder)
        return events / seconds

    def theirs() -> float:
        seconds, peaks["theirs"] = _theirs(module, folder)
        return events / seconds

    mine, others = interleaved(rounds, ours, theirs)
    compared = compare(folder)
    notes = {
        "events": events, "cutoffs": len(event_log.MOMENTS), "figures": compared, "rounds": rounds,
        "peak_mib": {who: round(peak / 2**20) for who, peak in peaks.items()},
    }  # fmt: skip
    what = f"{events:,} events to {len(compared)} features at {len(event_log.MOMENTS)} cutoffs"
    return Row(number, what, peer, "events/s", goal, mine, others, notes)


def _ours(folder: Path) -> tuple[float, int]:
    return _child(["experiments.benchmarks.speed.building", str(folder)], folder)


def _theirs(module: str, folder: Path) -> tuple[float, int]:
    cutoffs = [moment.isoformat() for moment in event_log.MOMENTS]
    target = str(folder / "theirs.parquet")
    return _child([f"experiments.benchmarks.peers.{module}", str(folder), target, *cutoffs], folder)


def compare(folder: Path) -> list[str]:
    """Hold ours to theirs, figure by figure; returns the figures.

    Raises:
        DifferentAnswers: they are not the same.
    """
    theirs = pq.read_table(folder / "theirs.parquet").sort_by([("cutoff", "ascending"), ("customer_id", "ascending")])
    compared = []
    for file in sorted((folder / "snapshots").glob("*.parquet")):
        mine = pq.read_table(file)
        if not mine.column("customer_id").cast(pa.string()).equals(theirs.column("customer_id").cast(pa.string())):
            raise DifferentAnswers(f"The customers of {file.stem} are not the same.")
        for name in mine.column_names[3:]:
            if name in _APART:
                continue
            a, b = (table.column(name).to_numpy().astype(np.float64) for table in (mine, theirs))
            if not np.allclose(a, b, rtol=_SAME, atol=_SAME, equal_nan=True):
                place = int(np.flatnonzero(~np.isclose(a, b, rtol=_SAME, atol=_SAME, equal_nan=True))[0])
                raise DifferentAnswers(f"{name} is {a[place]} here and {b[place]} there.")
            compared.append(name)
    return compared


def _child(command: list[str], folder: Path) -> tuple[float, int]:
    """The seconds that a process says it took, and its peak memory in bytes.

    Raises:
        BenchmarkError: it failed.
    """
    log = folder / "child.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command], stdout=subprocess.PIPE, stderr=errors
        )
        assert process.stdout is not None
        said = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = " ".join(log.read_text(errors="replace").splitlines()[-3:])
        raise BenchmarkError(f"{command[0]} failed: {last}")
    return float(json.loads(said)["seconds"]), usage.ru_maxrss * 1024


def main(folder: Path) -> None:
    """Ours, as a build does it from the event files on; says how long it took."""
    import ibis

    from features.config.business import Business
    from features.snapshots.builder import build_snapshots
    from features.snapshots.cutoffs import Moments
    from features.snapshots.event_table import EventLog, declared_schema

    business = Business.load(folder / "growing.toml")
    ibis.duckdb.connect().disconnect()  # Ibis imports the most when it first connects
    begun = time.perf_counter()
    with closing(EventLog.open(business, folder)) as log:
        moments = Moments(event_log.MOMENTS[-1], None, event_log.MOMENTS[:-1])
        build_snapshots(log, declared_schema(log), moments, folder, "subscription_cancelled", lambda _, __: None)
    print(json.dumps({"seconds": time.perf_counter() - begun}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
