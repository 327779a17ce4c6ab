"""Rows 8 and 9: a whole customer base, scored and explained from Parquet to Parquet, and materialized."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from experiments.benchmarks.errors import BenchmarkError, DifferentAnswers
from experiments.benchmarks.figures import PEERS_SHARE, Row, interleaved
from experiments.benchmarks.speed import reference
from features.config.environment import inherited
from features.generation import Generation
from features.home import Home
from features.store.offline import OfflineStore

_SAME = 1e-6
_WRITTEN_AT_A_TIME = 100_000


def write_customers(path: Path, customers: int) -> None:
    """A file with the reference's raw features."""
    ids = reference.customer_ids(customers)
    writer: pq.ParquetWriter | None = None
    for start in range(0, customers, _WRITTEN_AT_A_TIME):
        part = ids[start : start + _WRITTEN_AT_A_TIME]
        table = pa.table(reference.arrow(part, reference.draw(len(part), 100 + start), reference.SCHEMA.names))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def scoring(home: Home, model: reference.Reference, scratch: Path, rounds: int, customers: int) -> Iterator[Row]:
    """Row 8: `serving batch` and the peer, each a process of its own that may use all cores.

    The peer's time grows with its rows and it is slow, so it gets the first tenth of the customers; ours is timed from the
    start of its process, the peer from when its libraries are loaded.

    Raises:
        DifferentAnswers: the probabilities differ.
    """
    source, ours_file, theirs_file = (
        scratch / name for name in ("customers.parquet", "ours.parquet", "theirs.parquet")
    )
    write_customers(source, customers)
    tenth = customers // PEERS_SHARE
    pq.write_table(pq.read_table(source).slice(0, tenth), scratch / "tenth.parquet")
    (scratch / "batch_model.txt").write_text(model.bundle.model_text)
    pq.write_table(pa.table({"n": [0]}), scratch / "nothing.parquet")
    import json

    (scratch / "batch_setup.json").write_text(
        json.dumps({"names": list(model.bundle.feature_names), "categories": model.bundle.categories,
                    "typical": model.bundle.typical, "slope": model.bundle.calibration.slope,
                    "intercept": model.bundle.calibration.intercept,
                    "scale": model.bundle.scorecard_proposal.scale, "p_ref": model.bundle.scorecard_proposal.p_ref})
    )  # fmt: skip
    environment = {"KEEPWELL_HOME": str(home.path), "MLFLOW_TRACKING_URI": "", "KEEPWELL_DATABASE_URL": ""}
    peaks = {"ours": 0, "theirs": 0}

    def ours() -> float:
        command = ["serving", "batch", "--input", str(source), "--output", str(ours_file)]
        took, peaks["ours"] = _timed(command, environment, scratch / "batch.log")
        return customers / took

    def theirs() -> float:
        command = [
            "experiments.benchmarks.peers.pandas_batch",
            str(scratch),
            str(scratch / "tenth.parquet"),
            str(theirs_file),
        ]
        _, peaks["theirs"] = _timed(command, {}, scratch / "pandas.log")
        return tenth / float((scratch / "pandas.log").read_text().split()[-1])

    mine, others = interleaved(rounds, ours, theirs)
    whole = pq.read_table(ours_file, columns=["customer_id", "churn_probability", "error"])
    a, b = whole.slice(0, tenth), pq.read_table(theirs_file, columns=["customer_id", "churn_probability"])
    if whole.column("error").null_count != customers or not a.column("customer_id").equals(b.column("customer_id")):
        raise DifferentAnswers("The two files do not hold the same customers.")
    worst = np.abs(a.column("churn_probability").to_numpy() - b.column("churn_probability").to_numpy()).max()
    if worst > _SAME:
        raise DifferentAnswers(f"Probabilities differ by up to {worst:.2g}.")
    notes = {
        "peak_mib": {name: round(peak / 2**20) for name, peak in peaks.items()},
        "customers": customers,
        "customers_of_the_peer": tenth,
    }
    what = f"score and explain {customers:,} customers, Parquet to Parquet"
    yield Row("8", what, "LightGBM predict + pred_contrib over pandas", "rows/s", 10.0, mine, others, notes)


def materializing(home: Home, rounds: int, customers: int) -> Row:
    """Row 9: our bulk way beside Feast's `materialize` into the same engine, row by row, each into a new generation."""
    speeds: dict[str, list[float]] = {"ours": [], "theirs": []}

    def fresh() -> Generation:
        generation = reference.new_generation(home, customers, table=True)
        ids = reference.customer_ids(customers)
        reference.snapshots(generation, [(generation.as_of, ids, reference.draw(customers, 21))])
        OfflineStore(generation).apply()
        return generation

    def ours() -> float:
        store = OfflineStore(fresh())
        begun = time.perf_counter()
        store.materialize()
        return customers / (time.perf_counter() - begun)

    def theirs() -> float:
        generation = fresh()
        feast = OfflineStore(generation).feast()
        begun = time.perf_counter()
        feast.materialize(generation.as_of - timedelta(days=1), generation.as_of + timedelta(days=1))
        return customers / (time.perf_counter() - begun)

    speeds["ours"], speeds["theirs"] = (list(part) for part in interleaved(rounds, ours, theirs))
    what = f"materialize {customers:,} customers, 6 views"
    return Row(
        "9", what, "feast materialize, same engine", "customers/s", 10.0, tuple(speeds["ours"]),
        tuple(speeds["theirs"]), {"customers": customers},
    )  # fmt: skip


def _timed(command: list[str], environment: dict[str, str], log: Path) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a process that ends well, its children counted in.

    Raises:
        BenchmarkError: it does not.
    """
    begun = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=output, stderr=subprocess.STDOUT, env=inherited(**environment)
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.1)
    if process.returncode:
        raise BenchmarkError(f"{command[0]} failed: {' '.join(log.read_text(errors='replace').splitlines()[-3:])}")
    return time.perf_counter() - begun, peak


def _memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    total = 0
    for one in [pid, *_children(pid)]:
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):
            continue
    return total


def _children(pid: int) -> list[int]:
    try:
        found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return found + [grandchild for child in found for grandchild in _children(child)]
