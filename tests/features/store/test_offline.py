"""The feature store on real Feast: what goes in comes out the same, offline and online, and only what was known."""

from __future__ import annotations

import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import redis

from features.errors import SchemaMismatch, StoreUnavailable, UnknownCustomer
from features.generation import Generation
from features.home import Home
from features.store.codec import key_of_id
from features.store.offline import OfflineStore, OnlineStore, forget

pytestmark = [
    pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning"),
]

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = AS_OF - timedelta(days=30)
EARLIER = AS_OF - timedelta(days=90)
CUSTOMERS = ("C1", "größe/50% 名", "17850", " ")
FLOATS = (1.5, None, -0.0, 3.4028234663852886e38)
WORDS = ("pro", None, "", "größe\n\t\"'名前")
ODD_NAMES = (
    *("Call  Failure", "emp.var.rate", "a__b", "per/cent%", "Age", "age", "AGE (2)"),
    *(
        "größe",
        'quoted"name',
        "back`tick",
        "colon:ed",
        " padded ",
        "select",
        "x" * 80,
        "名前",
        "a_b",
        "1st",
        "per_2fcent",
    ),
)


def bits(value: object) -> object:
    """What must be equal: a float's 32 bits, null for any null."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    return value if isinstance(value, str) else struct.pack("f", value)


def rotated(values: tuple[Any, ...], by: int) -> list[Any]:
    return [values[(n + by) % len(values)] for n in range(len(values))]


@pytest.fixture
def odd(make_generation: Any) -> Generation:
    """Columns with odd names, half of them words, over three pillars."""
    words = ODD_NAMES[::2]
    columns = {name: rotated(WORDS if name in words else FLOATS, n) for n, name in enumerate(ODD_NAMES)}
    columns["tiny"] = [1e-45, 0.1, -1.17549435e-38, 16777217.0]
    pillars = {name: ("support", "other", "commercial")[n % 3] for n, name in enumerate(ODD_NAMES)}
    generation: Generation = make_generation(columns, CUSTOMERS, pillars=pillars, words=words, before=columns)
    return generation


def test_offline_and_online_rows_are_equal_bit_for_bit(odd: Generation) -> None:
    asked = [*reversed(CUSTOMERS), CUSTOMERS[0]]
    online = OnlineStore(odd).read(asked)
    entities = pd.DataFrame({"customer_id": asked, "event_timestamp": pd.DatetimeIndex([AS_OF] * len(asked))})
    offline = OfflineStore(odd).training_frame(entities)
    assert list(offline.columns) == ["customer_id", "event_timestamp", *odd.schema.names]
    assert offline["customer_id"].tolist() == asked
    for name in odd.schema.names:
        got = [bits(value) for value in online.columns[name]]
        assert got == [bits(value) for value in offline[name].tolist()], name
    assert [bits(v) for v in online.columns["tiny"]] == [
        bits(v) for v in [16777216.0, -1.17549435e-38, 0.1, 1e-45, 1e-45]
    ]
    position = [CUSTOMERS.index(name) for name in asked]
    for n, name in enumerate(ODD_NAMES):
        values = rotated(WORDS if name in ODD_NAMES[::2] else FLOATS, n)
        assert [bits(v) for v in online.columns[name]] == [bits(values[p]) for p in position], name


def test_encoded_matrices_are_equal_too(odd: Generation) -> None:
    categories = dict.fromkeys(ODD_NAMES[::2], ("", "pro"))
    entities = pd.DataFrame({"customer_id": CUSTOMERS, "event_timestamp": pd.DatetimeIndex([AS_OF] * 4)})
    offline = OfflineStore(odd).training_frame(entities)
    columns = {name: offline[name].to_numpy() for name in odd.schema.names}
    there = odd.schema.to_matrix(columns, categories)
    here = odd.schema.to_matrix(OnlineStore(odd).read(CUSTOMERS).columns, categories)
    np.testing.assert_array_equal(there.view(np.int32), here.view(np.int32))


def test_rows_created_after_the_moment_do_not_leak(make_generation: Any) -> None:
    rng = np.random.default_rng(7)
    customers = [f"C{n}" for n in range(20)]
    rows = []
    for customer in customers:
        for _ in range(12):
            at = EARLIER + timedelta(days=int(rng.integers(0, 80)))
            late = timedelta(days=int(rng.integers(1, 40))) if rng.random() < 0.4 else timedelta(0)
            rows.append((customer, at, at + late, {"x": float(rng.normal()), "y": None, "z": float(rng.integers(9))}))
    # Feast keeps one of several rows with one moment; the one that was created last stands.
    rows = list({(row[0], row[1], row[2]): row for row in rows}.values())
    none: list[float | None] = [0.0] * len(customers)
    generation = make_generation(
        {"x": none, "y": none, "z": none}, customers, pillars={"z": "support"}, rows=rows, materialize=False
    )
    offline = OfflineStore(generation)
    offline.apply()
    moments = [EARLIER + timedelta(days=int(rng.integers(-1, 85))) for _ in range(60)]
    entities = pd.DataFrame(
        {"customer_id": rng.choice([*customers, "nobody"], 60), "event_timestamp": pd.DatetimeIndex(moments)}
    )
    frame = offline.training_frame(entities, ["z", "x", "y"])
    theirs = (
        offline.feast()
        .get_historical_features(
            entity_df=entities.assign(place=range(60)),
            features=["other:x", "other:y", "support:z"],
            filter_by_created_timestamp=True,
        )
        .to_df()
        .sort_values("place", ignore_index=True)
    )
    for name in ("x", "y", "z"):
        np.testing.assert_array_equal(frame[name].to_numpy(), theirs[name].to_numpy(dtype=np.float32))
    leaked = 0
    for row, (_, asked) in zip(frame.to_dict("records"), entities.iterrows(), strict=True):
        mine = [r for r in rows if r[0] == asked["customer_id"] and r[1] <= asked["event_timestamp"]]
        known = [r for r in mine if r[2] <= asked["event_timestamp"]]
        leaked += len(mine) - len(known)
        newest = max(known, key=lambda r: (r[1], r[2]), default=None)
        for name in ("x", "y", "z"):
            assert bits(row[name]) == bits(newest[3][name] if newest else None)
    assert leaked > 20  # the planted rows were in reach


def test_before_reads_the_comparison(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0, 2.0]}, ["a", "new"], before={"x": [7.0, None]})
    store = OnlineStore(generation)
    rows = store.read(["new", "a"], "before")
    assert rows.columns["x"] == [None, 7.0]
    assert rows.unknown == ("new",)
    assert rows.feature_timestamps["other"] == [None, BEFORE]
    assert store.read(["new", "a"]).feature_timestamps["other"] == [AS_OF, AS_OF]


def test_the_moment_is_the_same_in_another_time_zone(make_generation: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        generation = make_generation({"x": [1.0]}, ["a"])
        monkeypatch.setenv("TZ", "America/New_York")
        time.tzset()
        assert OnlineStore(generation).read_one("a").feature_timestamps["other"] == [AS_OF]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_without_a_comparison_everybody_is_unknown_before(make_generation: Any) -> None:
    rows = OnlineStore(make_generation({"x": [1.0]}, ["a"])).read(["a", "a"], "before")
    assert rows.unknown == ("a",)
    assert rows.columns["x"] == [None, None]


def test_an_unknown_customer_is_named_and_never_read_as_nulls(make_generation: Any) -> None:
    store = OnlineStore(make_generation({"x": [None]}, ["a"]))
    rows = store.read(["a", "nobody", "a", "nobody"])
    assert rows.unknown == ("nobody",)
    assert store.read_one("a").row(0) == {"x": None}
    with pytest.raises(UnknownCustomer) as caught:
        store.read_one("nobody")
    assert caught.value.customer_ids == ("nobody",)


def test_nobody_asked_for_is_nobody_answered(odd: Generation) -> None:
    rows = OnlineStore(odd).read([])
    assert len(rows) == 0
    assert set(rows.columns) == set(odd.schema.names)


def test_a_store_that_is_gone_is_unavailable(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0]}, ["a"])
    store = OnlineStore(generation)
    store.ping()
    kept = generation.online_file.rename(generation.online_file.with_suffix(".away"))
    for act in (store.ping, lambda: store.read(["a"]), OnlineStore(generation).ping):
        with pytest.raises(StoreUnavailable, match="gone"):
            act()
    assert not generation.online_file.exists()
    kept.rename(generation.online_file)
    store.ping()


def test_a_damaged_store_is_unavailable(make_generation: Any) -> None:
    generation = make_generation({"x": [1.0]}, ["a"])
    generation.online_file.write_bytes(b"no database" * 1000)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        OnlineStore(generation).read_one("a")


def test_a_redis_that_does_not_answer_is_unavailable(make_generation: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}/0"
        generation = make_generation({"x": [1.0]}, ["a"], online_store=url, materialize=False)
        offline = OfflineStore(generation)
        for act in (OnlineStore(generation).ping, offline.apply, offline.materialize):
            with pytest.raises(StoreUnavailable) as caught:
                act()
            assert "secret" not in str(caught.value)


def test_two_generations_in_one_process_never_mix(make_generation: Any) -> None:
    old = make_generation({"x": [1.0], "y": [2.0]}, ["a"], pillars={"y": "support"})
    new = make_generation({"y": [3.0], "x": [4.0]}, ["a"], pillars={"x": "support"})
    stores = {"old": OnlineStore(old), "new": OnlineStore(new)}
    wanted = {"old": {"x": 1.0, "y": 2.0}, "new": {"x": 4.0, "y": 3.0}}
    wrong: list[object] = []

    def read(which: str) -> None:
        for _ in range(40):
            row = stores[which].read_one("a").row(0)
            if row != wanted[which]:
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(which,)) for which in ("old", "new") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_services_record_what_a_model_reads_and_move_on(make_generation: Any) -> None:
    columns: dict[str, list[float]] = {"a__b": [1.0], "Age": [2.0], "age": [3.0]}
    old = make_generation(columns, ["c"], pillars={"age": "support"}, materialize=False)
    offline = OfflineStore(old)
    offline.apply()
    offline.register_service("churn_1", ["age", "a__b"])
    offline.register_service("churn_2", ["Age"])
    assert {name: set(features) for name, features in offline.services().items()} == {
        "churn_1": {"age", "a__b"},
        "churn_2": {"Age"},
    }
    new = make_generation({"age": [1.0], "a__b": [1.0]}, ["c"], materialize=False)
    OfflineStore(new).apply()
    assert OfflineStore(new).carry_services(old) == ("churn_2",)
    assert set(OfflineStore(new).services()) == {"churn_1"}
    with pytest.raises(SchemaMismatch, match="'nobody'"):
        offline.register_service("churn_3", ["nobody"])


def test_population_is_who_has_a_snapshot(make_generation: Any) -> None:
    rows = [("b", EARLIER, EARLIER, {"x": 1.0}), ("a", EARLIER, EARLIER, {"x": 1.0})]
    offline = OfflineStore(make_generation({"x": [1.0]}, ["z"], rows=rows, materialize=False))
    assert offline.population()["customer_id"].tolist() == ["a", "b"]
    assert offline.population([AS_OF])["customer_id"].tolist() == ["z"]


@pytest.fixture
def redis_url(start_redis: Callable[..., int]) -> str:
    return f"redis://:123@127.0.0.1:{start_redis('--requirepass', '123')}/1"


@pytest.mark.redis
def test_redis_holds_generations_apart_and_forgets_one(make_generation: Any, redis_url: str) -> None:
    columns = {"x": [1.5, None], "a__b": ["größe", ""]}
    old = make_generation(columns, ["a", "b"], words=["a__b"], before=columns, online_store=redis_url)
    new = make_generation(
        {"x": [-0.0], "a__b": [None]},
        ["a"],
        words=["a__b"],
        before={"x": [9.0]} | {"a__b": ["w"]},
        online_store=redis_url,
    )
    assert OnlineStore(old).read_one("a").row(0) == {"x": 1.5, "a__b": "größe"}
    assert OnlineStore(old).read_one("b").row(0) == {"x": None, "a__b": ""}
    assert bits(OnlineStore(new).read_one("a").row(0)["x"]) == bits(-0.0)
    assert OnlineStore(new).read(["a"], "before").row(0) == {"x": 9.0, "a__b": "w"}
    assert OnlineStore(new).read(["b"]).unknown == ("b",)
    forget(redis_url, old.project)
    for moment in ("now", "before"):
        with pytest.raises(StoreUnavailable):
            OnlineStore(replace(old)).read(["a"], moment)
    assert OnlineStore(new).read(["a"], "before").unknown == ()


@pytest.mark.redis
def test_a_redis_that_lost_its_data_is_no_store_of_unknown_customers(make_generation: Any, redis_url: str) -> None:
    names = [f"c{number}" for number in range(100)]
    generation = make_generation({"x": [1.0] * 100}, names, online_store=redis_url)
    store = OnlineStore(generation)
    store.ping()
    with redis.Redis.from_url(redis_url) as client:
        client.delete(*(f"{generation.project}:".encode() + key_of_id(name) for name in names[:40]))
        with pytest.raises(StoreUnavailable, match="has lost customers"):
            store.read(["c3", "c50"])
        assert store.read(["c50", "nobody"]).unknown == ("nobody",)
        with pytest.raises(StoreUnavailable, match="has lost customers"):
            store.ping()
        client.flushdb()
    for act in (store.ping, lambda: store.read(["c50"])):
        with pytest.raises(StoreUnavailable):
            act()


@pytest.mark.redis
def test_a_build_into_a_redis_that_throws_rows_away_fails(
    make_generation: Any, start_redis: Callable[..., int]
) -> None:
    url = f"redis://127.0.0.1:{start_redis('--maxmemory-policy', 'allkeys-lru')}/0"
    with redis.Redis.from_url(url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 500_000)
    columns = {f"x{number}": [1.0] * 3000 for number in range(60)}
    generation = make_generation(columns, [f"customer{n}" for n in range(3000)], online_store=url, materialize=False)
    offline = OfflineStore(generation)
    offline.apply()
    with pytest.raises(StoreUnavailable, match="has not kept"):
        offline.materialize()


def test_a_generation_keeps_no_password_and_is_read_with_the_reader_s_own(make_generation: Any) -> None:
    url = "redis://user:secret@127.0.0.1:6380/3"
    generation = make_generation({"x": [1.0]}, ["a"], online_store=url, materialize=False)
    generation.write()
    folder = generation.path.parent.parent
    assert "secret" not in (generation.path / "generation.json").read_text()
    assert Generation.load(Home(folder), generation.id).online_store == "redis://127.0.0.1:6380/3"
    rotated = "redis://user:other@127.0.0.1:6380/3"
    assert Generation.load(Home(folder, online_store=rotated), generation.id).online_store == rotated
