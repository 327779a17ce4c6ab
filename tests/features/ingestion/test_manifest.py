"""A day that is added costs a day: a build that takes over what stands gives the same as one that reads everything."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.build import describe
from features.config.business import Business
from features.generation import EVENTS, Generation
from features.ingestion import partitions
from features.ingestion.manifest import Manifest
from features.ingestion.run import ingest

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")

DAY = timedelta(days=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = ("event_id", "customer_id", "occurred_at", "received_at", "type", "value", "properties")
TOML = """
[business]
name = "tiny"
[data]
kind = "events"
[[data.events]]
path = "events"
{more}
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 10
cutoffs = "weekly"
"""
CUSTOMERS = '[data.customers]\npath = "customers.csv"\n'


def write_day(folder: Path, day: int, rows: Sequence[dict[str, Any]]) -> Path:
    (folder / "events").mkdir(exist_ok=True)
    path = folder / "events" / f"{START + day * DAY:%Y-%m-%d}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return path


def rows_of(day: int, rng: np.random.Generator, many: int) -> list[dict[str, Any]]:
    """What a file of a day holds: late events, repeated ids of other days, rows that are refused."""
    rows = []
    for number in range(many):
        occurred = START + day * DAY + timedelta(minutes=int(rng.integers(1440)))
        if rng.random() < 0.2:
            occurred -= timedelta(days=int(rng.integers(1, 40)))
        received = START + day * DAY + timedelta(hours=20) if rng.random() < 0.5 else None
        kind = str(rng.choice(["purchase", "session", "ticket_opened"]))
        word = rng.integers(3)
        rows.append(
            {
                "event_id": f"E{rng.integers(400)}" if rng.random() < 0.5 else f"D{day}-{number}",
                "customer_id": "" if rng.random() < 0.05 else f"C{rng.integers(6)}",
                "occurred_at": "soon" if rng.random() < 0.03 else max(occurred, START).isoformat(),
                "received_at": received.isoformat() if received and received > occurred else "",
                "type": kind,
                "value": int(rng.integers(100)),
                "properties": json.dumps({"item": f"I{word}", "survey": "nps", "ticket": f"T{word}"}),
            }
        )
    return rows


def described(business: Business, folder: Path, base: Generation | None = None, now: datetime = NOW) -> Generation:
    folder.mkdir(parents=True)
    return describe(business, folder, now, "embedded", lambda _, __: None, base, accept_loss=True)


def took_over(generation: Generation) -> bool:
    manifest = Manifest.load(generation.path)
    return manifest is not None and manifest.base is not None


def content(file: Path) -> tuple[list[str], list[Any]]:
    """Names and values; whether a column could have held a null is no content."""
    table = pq.read_table(file)
    return table.column_names, table.columns


def assert_same(one: Generation, other: Generation) -> None:
    """Bit for bit, file for file."""
    assert replace(one, id="", path=other.path, project="") == replace(other, id="", project="")
    assert partitions.names(one.path) == partitions.names(other.path)
    for name in ("customers.parquet", "quarantine/rejected.parquet"):
        assert content(one.path / name) == content(other.path / name), name
    for kind in (EVENTS, "snapshots"):
        for file in sorted((one.path / kind).glob("*.parquet")):
            assert content(file) == content(other.path / kind / file.name), file.name
    summaries = [json.loads((made.path / "quarantine" / "summary.json").read_text()) for made in (one, other)]
    assert summaries[0] == summaries[1]


def set_up(folder: Path, days: int, seed: int, more: str = "", many: int = 12) -> tuple[Business, list[Path]]:
    rng = np.random.default_rng(seed)
    (folder / "customers.csv").write_text("customer_id,created_at,plan\nC1,2025-01-05,pro\nnew,2025-02-01,free\n")
    files = [write_day(folder, day, rows_of(day, rng, many)) for day in range(days)]
    (folder / "tiny.toml").write_text(TOML.format(more=more))
    return Business.load(folder / "tiny.toml"), files


@settings(max_examples=2, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10_000), st.sampled_from(["", CUSTOMERS]), st.booleans(), st.integers(1, 2))
def test_what_is_added_gives_the_same_as_everything(
    tmp_path_factory: pytest.TempPathFactory, seed: int, more: str, monthly: bool, steps: int
) -> None:
    folder = tmp_path_factory.mktemp("added")
    business, files = set_up(folder, 24, seed, more)
    with pytest.MonkeyPatch.context() as patch:
        if monthly:
            patch.setattr(partitions, "ONE_FILE", 100)
        aside = folder / "aside"
        aside.mkdir()
        for file in files[-steps:]:
            file.rename(aside / file.name)
        last = described(business, folder / "g0")
        for number, file in enumerate(files[-steps:], start=1):
            (aside / file.name).rename(file)
            last = described(business, folder / f"g{number}", last)
            assert took_over(last)
        assert_same(last, described(business, folder / "whole"))


def test_an_added_day_leaves_older_months_and_moments_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "ONE_FILE", 100)
    business, _ = set_up(tmp_path, 70, 1)
    before = described(business, tmp_path / "g0")
    at = (START + 70 * DAY).isoformat()
    row = {"event_id": "x", "customer_id": "C1", "occurred_at": at, "type": "purchase", "value": 1}
    write_day(tmp_path, 70, [{**dict.fromkeys(COLUMNS, ""), **row}])
    asked: list[int] = []
    original = partitions.write

    def write(*given: Any) -> None:
        asked.append(len(given[2]))
        original(*given)

    monkeypatch.setattr(partitions, "write", write)
    computed: list[datetime] = []

    def population(log: Any, cutoffs: Sequence[datetime], left_by: str) -> Any:
        computed.extend(cutoffs)
        return described_population(log, cutoffs, left_by)

    from features.snapshots import builder

    described_population = builder.population
    monkeypatch.setattr(builder, "population", population)
    after = described(business, tmp_path / "g1", before)
    assert took_over(after)
    assert asked == [1]  # March alone
    for month in ("2025-01", "2025-02"):
        ours, theirs = (generation.path / "events" / f"{month}.parquet" for generation in (after, before))
        assert ours.stat().st_ino == theirs.stat().st_ino
    assert set(after.cutoffs) & set(before.cutoffs)
    assert set(computed) == {after.as_of, after.before} - {None}


@pytest.mark.parametrize(
    "change", ["an old file", "a file is gone", "an earlier file", "another column", "the TOML", "a future row is due"]
)
def test_what_is_not_an_addition_is_read_whole(tmp_path: Path, change: str) -> None:
    business, files = set_up(tmp_path, 22, 2)
    ahead = {**dict.fromkeys(COLUMNS, ""), "customer_id": "C1", "type": "visit"}
    if change == "a future row is due":
        write_day(tmp_path, 21, [{**ahead, "occurred_at": (NOW + DAY).isoformat()}])
    ingest(business, tmp_path / "g0", NOW)
    now = NOW
    if change == "an old file":
        files[3].write_text(files[3].read_text().replace("purchase", "session", 1))
    elif change == "a file is gone":
        files[3].unlink()
    elif change == "an earlier file":
        write_day(tmp_path, -1, [{**ahead, "occurred_at": START.isoformat()}])
    elif change == "another column":
        (tmp_path / "events" / "2025-02-01.csv").write_text(
            "customer_id,occurred_at,type,colour\nC1,2025-01-31,visit,red\n"
        )
    elif change == "the TOML":
        (tmp_path / "tiny.toml").write_text(TOML.format(more='where = "value > 50"'))
        business = Business.load(tmp_path / "tiny.toml")
    else:
        now = NOW + 2 * DAY
    after = ingest(business, tmp_path / "g1", now, None, tmp_path / "g0")
    manifest = Manifest.load(tmp_path / "g1")
    assert manifest is not None
    assert manifest.base is None
    assert after == ingest(business, tmp_path / "whole", now)
    for name in ("events/all.parquet", "quarantine/rejected.parquet", "customers.parquet"):
        assert content(tmp_path / "g1" / name) == content(tmp_path / "whole" / name)


def test_a_file_that_was_only_touched_is_still_the_same(tmp_path: Path) -> None:
    business, files = set_up(tmp_path, 5, 3)
    base = described(business, tmp_path / "g0")
    files[0].touch()
    after = described(business, tmp_path / "g1", base)
    assert took_over(after)
    assert_same(after, base)
