"""Packed rows: the same to the bit as Feast's own join and reads, for whoever writes and whoever reads."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore, FeatureView, RepoConfig
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import features.store.bulk_load as packed_snapshot_module
from features.errors import SchemaMismatch, StoreUnavailable
from features.generation import Generation
from features.schema import DType, Feature, FeatureSchema
from features.store.bulk_load import packed_snapshot, rows_at
from features.store.codec import RowLayout, key_of_id, times_of, to_microseconds
from features.store.connect import open_rows
from features.store.lmdb_rows import PackedFile
from features.store.matrix_plan import PackedRow
from features.store.offline import OfflineStore, OnlineStore, feast_environment, forget
from features.store.rows import declare_views, read_catalog

pytestmark = [pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")]

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = AS_OF - timedelta(days=30)

FLOAT = st.one_of(
    st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from([-0.0, 0.0, 1e-45])
)
WORD = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12))
ID = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=20)


def bits(value: object) -> object:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else struct.pack("<f", value)


def stored(store: OnlineStore, customer_id: str) -> tuple[PackedRow, PackedRow]:
    return store.checked(store.stored(customer_id))


@pytest.fixture
def redis_url(start_redis: Callable[..., int]) -> str:
    return f"redis://127.0.0.1:{start_redis()}/2"


def of_feast(generation: Generation, project: str | None = None) -> FeatureStore:
    """Feast itself on a generation, as the feast command makes it."""
    variables = feast_environment(generation)
    return FeatureStore(
        config=RepoConfig(
            project=project or generation.project,
            provider="local",
            registry={"registry_type": "sql", "path": variables["KEEPWELL_FEAST_REGISTRY"], "cache_ttl_seconds": 0},
            online_store=json.loads(variables["KEEPWELL_FEAST_ONLINE_STORE"]),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
            repo_path=generation.path,
        )
    )


def answered(store: FeatureStore, generation: Generation, ids: list[str]) -> dict[str, list[Any]]:
    stored_as = generation.schema.stored_as
    answer: dict[str, list[Any]] = store.get_online_features(
        features=[f"{feature.pillar}:{stored_as[feature.name]}" for feature in generation.schema],
        entity_rows=[{"customer_id": name} for name in ids],
    ).to_dict()
    return {feature.name: answer[stored_as[feature.name]] for feature in generation.schema}


def assert_same(left: Any, right: Any, names: tuple[str, ...]) -> None:
    for name in names:
        assert [bits(value) for value in left[name]] == [bits(value) for value in right[name]], name


# The codec


@given(
    st.lists(st.tuples(st.sampled_from(list(DType)), FLOAT, WORD), max_size=20),
    st.integers(-(2**50), 2**50),
    st.one_of(st.none(), st.integers(-(2**50), 2**50)),
)
def test_a_row_comes_back_to_the_bit(columns: list[Any], at: int, created: int | None) -> None:
    layout = RowLayout(tuple((f"c{n}", dtype) for n, (dtype, _, _) in enumerate(columns)))
    values = {f"c{n}": word if dtype is DType.STRING else number for n, (dtype, number, word) in enumerate(columns)}
    row = layout.pack(values, at, created)
    assert times_of(row) == (at, created)
    assert_same({k: [v] for k, v in layout.unpack(row).items()}, {k: [v] for k, v in values.items()}, tuple(values))
    assert [value is None for value in layout.unpack(row).values()] == [value is None for value in values.values()]
    assert RowLayout.from_json(layout.to_json()) == layout
    for cut in (row[:-1], row + b"x", b""):
        with pytest.raises(StoreUnavailable, match="damaged"):
            layout.check(cut)


@given(st.integers(1, 12), st.lists(st.tuples(FLOAT, WORD, FLOAT), min_size=1, max_size=20))
def test_bulk_and_single_packing_write_the_same_bytes(extra: int, rows: list[Any]) -> None:
    columns = [("x", DType.FLOAT), ("w", DType.STRING), ("y", DType.FLOAT)]
    columns += [(f"z{n}", DType.FLOAT if n % 3 else DType.STRING) for n in range(extra)]
    layout = RowLayout(tuple(columns))
    values = {
        name: [row[n % 3 if n < 3 else (0 if n % 3 else 1)] for row in rows] for n, (name, _) in enumerate(columns)
    }
    for n, (name, dtype) in enumerate(columns):
        values[name] = [row[1] if dtype is DType.STRING else row[2 * (n % 2)] for row in rows]
    kinds = {name: pa.string() if dtype is DType.STRING else pa.float32() for name, dtype in columns}
    table = pa.table({name: pa.array(values[name], kinds[name]) for name in values})
    packed = list(layout.pack_table(table, {name: name for name in values}, 7, [*range(len(rows))]))
    assert packed == [layout.pack({name: values[name][n] for name in values}, 7, n) for n in range(len(rows))]


def test_a_nan_that_was_written_is_no_null() -> None:
    layout = RowLayout((("x", DType.FLOAT), ("y", DType.FLOAT)))
    values = layout.unpack(layout.pack({"x": math.nan}, 0, None))
    assert values["x"] is not None
    assert values["y"] is None


# Parity with Feast


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_ours_feasts_and_the_join_are_equal_to_the_bit(make_generation: Any, data: st.DataObject) -> None:
    names = ["a", "b__1", "c", "Größe", "e"]
    words = ["b__1", "e"]
    ids = data.draw(st.lists(ID, min_size=1, max_size=4, unique=True))
    columns = {
        name: data.draw(st.lists(WORD if name in words else FLOAT, min_size=len(ids), max_size=len(ids)))
        for name in names
    }
    generation = make_generation(
        columns, ids, words=words, pillars={"a": "support", "e": "commercial", "b__1": "support"}
    )
    asked = [*ids, "nobody at all", ids[0]]
    ours = OnlineStore(generation).read(asked)
    assert_same(ours.columns, answered(of_feast(generation), generation, asked), generation.schema.names)
    entities = pd.DataFrame({"customer_id": asked, "event_timestamp": pd.DatetimeIndex([AS_OF] * len(asked))})
    joined = OfflineStore(generation).training_frame(entities)
    assert_same(ours.columns, {name: joined[name].tolist() for name in names}, tuple(names))
    assert ours.unknown == ("nobody at all",)
    categories: dict[str, tuple[str, ...]] = {
        "b__1": ("", "x"),
        "e": tuple(sorted({word for word in columns["e"] if isinstance(word, str)})),
    }
    for schema in (generation.schema, generation.schema.select(["e", "a"]), generation.schema.select(["c"])):
        np.testing.assert_array_equal(
            ours.matrix(schema, categories).view(np.int32),
            schema.to_matrix(dict(ours.columns), categories).view(np.int32),
        )


def test_a_matrix_of_what_is_not_there_says_so(make_generation: Any) -> None:
    rows = OnlineStore(make_generation({"x": [1.0], "w": ["a"]}, ["c"], words=["w"])).read(["c"])
    with pytest.raises(SchemaMismatch, match="'nobody'"):
        rows.matrix(FeatureSchema((Feature("nobody", "other"),)), {})
    with pytest.raises(SchemaMismatch, match="'w'"):
        rows.matrix(FeatureSchema((Feature("w", "other"),)), {})


@pytest.mark.parametrize("where", ["embedded", pytest.param("redis", marks=pytest.mark.redis)])
def test_feasts_own_writes_are_read_by_ours(make_generation: Any, where: str, request: pytest.FixtureRequest) -> None:
    online_store = request.getfixturevalue("redis_url") if where == "redis" else "embedded"
    columns = {"x": [1.5, None], "w": ["größe", ""], "y": [-0.0, 2.0]}
    generation = make_generation(
        columns, ["a", "b"], words=["w"], pillars={"y": "support"}, materialize=False, online_store=online_store
    )
    offline = OfflineStore(generation)
    offline.apply()
    store = of_feast(generation)
    store.materialize(AS_OF - timedelta(days=1), AS_OF + timedelta(days=1))
    ours = OnlineStore(generation)
    first = ours.read(["a", "b"])
    assert_same(first.columns, columns, ("x", "w", "y"))
    assert first.feature_timestamps == {"other": [AS_OF, AS_OF], "support": [AS_OF, AS_OF]}
    later = AS_OF + timedelta(hours=3, microseconds=5)
    frame = pd.DataFrame(
        {"customer_id": ["b", "new"], "event_timestamp": [later] * 2, "created_timestamp": [later] * 2}
    )
    store.write_to_online_store("support", frame.assign(y=pd.Series([9.0, None], dtype="float32")))
    moved = ours.read(["a", "b", "new", "nobody"])
    assert moved.columns["y"] == [-0.0, 9.0, None, None]
    assert moved.feature_timestamps["support"] == [AS_OF, later, later, None]
    assert moved.feature_timestamps["other"] == [AS_OF, AS_OF, None, None]
    assert moved.unknown == ("nobody",)
    assert_same(moved.columns, answered(store, generation, ["a", "b", "new", "nobody"]), ("x", "w", "y"))
    store.teardown()
    assert open_rows(*generation.online_place).catalog(generation.project) is None


def test_a_row_that_outlived_its_ttl_is_not_there(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0], "y": [2.0]}, ["a"], pillars={"y": "support"})
    store = of_feast(generation)
    view: FeatureView = store.get_feature_view("support")
    age = datetime.now(UTC) - AS_OF
    view.ttl = abs(age) + timedelta(days=1)
    store.apply([view])
    assert answered(store, generation, ["a"]) == {"x": [1.0], "y": [2.0]}
    view.ttl = timedelta(seconds=1)
    store.apply([view])
    push = pd.DataFrame({"customer_id": ["a"], "event_timestamp": [datetime(2020, 1, 1, tzinfo=UTC)]})
    store.write_to_online_store("support", push.assign(created_timestamp=push["event_timestamp"], y=np.float32(2.0)))
    assert answered(store, generation, ["a"]) == {"x": [1.0], "y": [None]}
    rows = OnlineStore(generation).read(["a"])
    assert rows.row(0) == {"x": 1.0, "y": None}
    assert rows.feature_timestamps == {"other": [AS_OF], "support": [None]}
    now, before = stored(OnlineStore(generation), "a")
    assert [row is None for row in now] == [True, False]  # support stands before other
    assert before == []


def test_rows_of_an_older_layout_are_still_read(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0], "w": ["v"]}, ["a"], words=["w"])
    rows = open_rows(*generation.online_place)
    reordered = RowLayout((("more", DType.FLOAT), ("w", DType.STRING), ("x", DType.FLOAT)))
    store = OnlineStore(generation)
    assert store.read_one("a").row(0) == {"x": 1.0, "w": "v"}
    (view,) = declare_views(rows, generation.project, {"other": (reordered, 0)}).values()
    rows.put(generation.project, view.number, [(key_of_id("b"), reordered.pack({"x": 3.0, "w": "u"}, 0, None))])
    assert store.read_one("b").row(0) == {"x": 3.0, "w": "u"}
    assert store.read_one("a").row(0) == {"x": 1.0, "w": "v"}
    assert answered(of_feast(generation), generation, ["a", "b"]) == {"x": [1.0, 3.0], "w": ["v", "u"]}


# Bulk


def test_many_customers_in_parts_the_last_created_standing(
    make_generation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_snapshot_module, "_ROWS_PER_WRITE", 7)
    ids = [f"c{n % 90:02d}" for n in range(90)] + ["long " * 100]
    columns = {"x": [float(n) for n in range(91)]}
    repeated = [(ids[n], AS_OF, AS_OF - timedelta(days=1), {"x": -1.0}) for n in range(0, 91, 2)]
    repeated += [(ids[n], AS_OF, AS_OF + timedelta(days=1), {"x": 1000.0 + n}) for n in range(0, 91, 3)]
    generation = make_generation(columns, ids, rows=repeated, materialize=False)
    offline = OfflineStore(generation)
    offline.apply()
    heard: list[int] = []
    offline.materialize(heard.append)
    assert len(heard) > 10
    assert sum(heard) == 91
    rows = OnlineStore(generation).read([*ids, "long " * 99])
    assert rows.columns["x"] == [1000.0 + n if n % 3 == 0 else float(n) for n in range(91)] + [None]
    source = generation.snapshot_file("other")
    assert rows_at(source, AS_OF) == offline.rows_to_materialize() == 91 + len(repeated)
    assert list(packed_snapshot(source, RowLayout((("x", DType.FLOAT),)), BEFORE)) == []
    assert pq.read_table(source).num_rows == 91 + len(repeated)


READER = """
import sys, time
from pathlib import Path
from features.errors import FeaturesError
from features.generation import Generation
from features.home import Home
from features.store.online import OnlineStore
home, until = Home(Path(sys.argv[1])), sys.argv[2]
assert "feast" not in sys.modules and "pandas" not in sys.modules
reads, seen, store = 0, [], None
deadline = time.monotonic() + 300
while time.monotonic() < deadline:
    generation = Generation.current(home)
    if store is None or store.generation.id != generation.id:
        store = OnlineStore(generation)
        seen.append(generation.id)
    rows = store.read(["c0", "c7", "c299"])
    values = {value for column in rows.columns.values() for value in column}
    assert len(values) == 1 and not rows.unknown, (values, rows.unknown)
    reads += 1
    if reads == 1:
        print("ready", flush=True)
    if generation.id == until and reads > 200:
        break
print(reads, len(seen))
"""


def test_readers_never_see_half_a_generation(make_generation: Any, tmp_path: Path) -> None:
    from features.home import Home

    ids = [f"c{n}" for n in range(300)]
    home = Home(tmp_path / "home")

    def columns(value: float) -> dict[str, list[float]]:
        return {name: [value] * len(ids) for name in ("x", "y")}

    old = make_generation(columns(1.0), ids, pillars={"y": "support"})
    old.write()
    old.commit(home)
    last = Generation.new_id(datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=2))
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, str(home.path), last], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n"
        for value in (2.0, 3.0):
            new = make_generation(columns(value), ids, pillars={"y": "support"})
            new.write()
            new.commit(home)
        assert new.id == last
        for reader in readers:
            out, _ = reader.communicate(timeout=400)
            assert reader.returncode == 0, out
            reads, generations = map(int, out.split())
            assert reads > 200
            assert generations >= 2
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_a_push_is_seen_by_another_process_at_once(tmp_path: Path) -> None:
    path, layout = tmp_path / "rows", RowLayout((("x", DType.FLOAT),))
    rows = PackedFile(path)
    declare_views(rows, "p", {"v": (layout, 0)})
    rows.put("p", 0, [(b"\x01a", layout.pack({"x": 1.0}, 0, None))])
    write = (
        "import sys; from pathlib import Path; from features.store.lmdb_rows import PackedFile\n"
        "PackedFile(Path(sys.argv[1])).put('p', 0, [(bytes([1]) + b'a', bytes.fromhex(sys.argv[2]))])"
    )
    for value in (2.0, 3.0):
        new = layout.pack({"x": value}, 0, None)
        subprocess.run([sys.executable, "-c", write, str(path), new.hex()], check=True)
        assert rows.get("p", [0], [b"\x01a"]) == [new]


# Damage


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty", "gone"])
def test_a_file_that_is_damaged_while_it_is_read_is_unavailable(make_generation: Any, damage: str) -> None:
    generation = make_generation({f"x{n}": [float(n)] * 200 for n in range(20)}, [f"c{n}" for n in range(200)])
    store = OnlineStore(generation)
    assert store.read_one("c1").row(0)["x3"] == 3.0
    file = generation.online_file
    if damage == "cut":
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size // 2)
    elif damage == "overwritten":
        file.write_bytes(b"no database" * 100_000)
    elif damage == "empty":
        file.write_bytes(b"")
    else:
        file.unlink()
    for reader in (store, OnlineStore(generation)):
        with pytest.raises(StoreUnavailable):
            reader.read(["c1"])


def test_a_damaged_catalog_is_unavailable(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0]}, ["a"])
    open_rows(*generation.online_place).declare(generation.project, b"{")
    with pytest.raises(StoreUnavailable, match="catalog"):
        OnlineStore(generation).read(["a"])


@pytest.mark.redis
def test_redis_answers_as_the_file_does_and_forgets_one_generation(make_generation: Any, redis_url: str) -> None:
    rng = np.random.default_rng(5)
    ids = [f"größe {n}" for n in range(2_500)]
    columns = {
        "x": [float(v) if v > -1 else None for v in rng.normal(size=len(ids)).astype(np.float32)],
        "y": [float(v) for v in rng.normal(size=len(ids)).astype(np.float32)],
        "w": [[None, "", "größe"][n % 3] for n in range(len(ids))],
    }
    there = make_generation(columns, ids, words=["w"], pillars={"y": "support"}, before=columns, online_store=redis_url)
    here = make_generation(columns, ids, words=["w"], pillars={"y": "support"}, before=columns)
    other = make_generation({"x": [1.0]}, ["a"], online_store=redis_url)
    for moment in ("now", "before"):
        asked = [*ids, "nobody"]
        left, right = OnlineStore(there).read(asked, moment), OnlineStore(here).read(asked, moment)
        assert_same(left.columns, right.columns, here.schema.names)
        assert left.feature_timestamps == right.feature_timestamps
        assert left.unknown == right.unknown == ("nobody",)
    for customer_id in ("größe 1", "nobody"):
        assert stored(OnlineStore(there), customer_id) == stored(OnlineStore(here), customer_id)
    assert read_catalog(open_rows(None, redis_url), there.project).keys() == {"other", "support"}
    forget(redis_url, there.project)
    assert open_rows(None, redis_url).catalog(there.project) is None
    with pytest.raises(StoreUnavailable):
        OnlineStore(replace(there)).read(["größe 1"])
    assert OnlineStore(other).read_one("a").row(0) == {"x": 1.0}
    assert to_microseconds(AS_OF.replace(tzinfo=None)) == to_microseconds(AS_OF)
