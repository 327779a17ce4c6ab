"""Events in canonical columns; each bad row with its line and reason."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.reasons import Reason
from tests.features.ingestion.ingested import (
    built,
    business,
    events,
    events_business,
    refusal,
)


def test_canonical_columns_are_found_by_name(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "event_id,customer_id,occurred_at,received_at,type,channel,value,text,properties\n"
        'e1,7.0,2024-01-02T03:04:05Z,2024-01-03,purchase,web,12.5,"Great, ""really""","{""item"": ""x""}"\n'
        "e2,8.0,2024-01-01 00:00:00.5+02:00,,session,,,,\n",
    )
    assert result.events == [
        {
            "event_id": "e1",
            "customer_id": "7",
            "occurred_at": datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
            "received_at": datetime(2024, 1, 3, tzinfo=UTC),
            "type": "purchase",
            "channel": "web",
            "value": 12.5,
            "text": 'Great, "really"',
            "properties": '{"item": "x"}',
        },
        {
            "event_id": "e2",
            "customer_id": "8",
            "occurred_at": datetime(2023, 12, 31, 22, 0, 0, 500_000, tzinfo=UTC),
            "received_at": datetime(2023, 12, 31, 22, 0, 0, 500_000, tzinfo=UTC),
            "type": "session",
            "channel": None,
            "value": None,
            "text": None,
            "properties": None,
        },
    ]
    assert [row["customer_id"] for row in result.customers] == ["7", "8"]
    assert set(result.customers[0]) == {"customer_id", "created_at", "name", "owner", "plan", "mrr"}
    assert result.summary.first_event == datetime(2023, 12, 31, 22, 0, 0, 500_000, tzinfo=UTC)
    assert result.summary.last_event == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert result.summary.customers == 2
    assert pq.read_schema(result.folder / "events" / "all.parquet").field("occurred_at").type == pa.timestamp(
        "us", "UTC"
    )


@pytest.mark.parametrize(
    ("days", "times", "format"),
    [
        (["31.01.2024", "01.02.2024", "02.02.2024"], ["23:59", "", "25:00"], 'occurred_format = "%d.%m.%Y %H:%M"'),
        (["2024-01-31", "2024-02-01", "2024-02-02"], ["23:59:00", "NA", "late"], ""),
        (["20240131", "20240201", "20240202"], ["2359", "", "2560"], 'occurred_format = "%Y%m%d %H%M"'),
    ],
)
def test_day_and_time_may_be_two_columns(tmp_path: Path, days: list[str], times: list[str], format: str) -> None:
    rows = "".join(
        f"{number},{day},{hour},visit\n" for number, (day, hour) in enumerate(zip(days, times, strict=True), 1)
    )
    keys = f'occurred_at = "day"\noccurred_time = "time"\n{format}'
    source = events_business(tmp_path, keys)
    (tmp_path / "e.csv").write_text(f"customer_id,day,time,type\n{rows}")
    result = built(source)
    assert [row["occurred_at"] for row in result.events] == [datetime(2024, 1, 31, 23, 59, tzinfo=UTC)]
    assert result.reasons == [(3, Reason.NO_TIME), (4, Reason.BAD_TIME)]


def test_day_and_time_may_have_types_of_their_own(tmp_path: Path) -> None:
    table = pa.table(
        {
            "customer_id": [1, 2],
            "day": pa.array([datetime(2024, 1, 31), datetime(2024, 2, 1)], pa.timestamp("us")),
            "time": pa.array([time(23, 59), time(0, 1)], pa.time64("us")),
            "type": ["visit", "visit"],
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    keys = 'occurred_at = "day"\noccurred_time = "time"'
    result = built(events_business(tmp_path, keys, "e.parquet"))
    moments = [datetime(2024, 1, 31, 23, 59, tzinfo=UTC), datetime(2024, 2, 1, 0, 1, tzinfo=UTC)]
    assert [row["occurred_at"] for row in result.events] == moments


def test_every_bad_event_is_in_quarantine_with_its_line_and_reason(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        b"event_id,customer_id,occurred_at,received_at,type,value,properties\n"
        b"1,a,2024-01-01,,purchase,1,{}\n"
        b"2,,2024-01-01,,purchase,1,{}\n"
        b"3,NaN,2024-01-01,,purchase,1,{}\n"
        b"4,a,yesterday,,purchase,1,{}\n"
        b"5,a,,,purchase,1,{}\n"
        b"6,a,2024-06-02,,purchase,1,{}\n"
        b"7,a,1850-01-01,,purchase,1,{}\n"
        b"8,a,2024-01-01,soon,purchase,1,{}\n"
        b"9,a,2024-01-01,2024-07-01,purchase,1,{}\n"
        b"10,a,2024-01-01,, ,1,{}\n"
        b"11,a,2024-01-01,,purchase,twelve,{}\n"
        b"12,a,2024-01-01,,purchase,-inf,{}\n"
        b"13,a,2024-01-01,,purchase,1e39,{}\n"
        b"14,a,2024-01-01,,purchase,1,[1]\n"
        b"15,a,2024-01-01,,purchase,1,{oops\n"
        b"1,a,2024-01-02,,purchase,1,{}\n"
        b"16,a,2024-01-01\n"
        b"17,a,2024-01-01,,purchase,1,{},more\n"
        b"18,a,2024-01-01,,caf\xff,1,{}\n"
        b"19,a,epoch,,purchase,1,{}\n"
        b"20,a,infinity,,purchase,1,{}\n"
        b"21,a,2024-01-01,,purchase,1_000,{}\n"
        b"22,a,2024-01-01,,purchase,NA,\n",
    )
    assert result.reasons == [
        (3, Reason.NO_CUSTOMER),
        (4, Reason.NO_CUSTOMER),
        (5, Reason.BAD_TIME),
        (6, Reason.NO_TIME),
        (7, Reason.FUTURE_TIME),
        (8, Reason.OLD_TIME),
        (9, Reason.BAD_RECEIVED),
        (10, Reason.FUTURE_RECEIVED),
        (11, Reason.NO_TYPE),
        (12, Reason.NOT_A_NUMBER),
        (13, Reason.INFINITE),
        (14, Reason.INFINITE),
        (15, Reason.BAD_PROPERTIES),
        (16, Reason.BAD_PROPERTIES),
        (17, Reason.DUPLICATE_EVENT),
        (18, Reason.WRONG_COLUMNS),
        (19, Reason.WRONG_COLUMNS),
        (20, Reason.BAD_UTF8),
        (21, Reason.BAD_TIME),
        (22, Reason.NO_TIME),
        (23, Reason.NOT_A_NUMBER),
    ]
    assert [row["event_id"] for row in result.events] == ["1", "22"]
    raw = {row["line"]: json.loads(row["raw"]) for row in result.rejected}
    assert raw[5]["occurred_at"] == "yesterday"
    assert raw[17]["event_id"] == "1"
    assert raw[18] == ["16", "a", "2024-01-01"]
    assert raw[20]["type"] == "caf\\xff"
    assert {row["file"] for row in result.rejected} == {str(tmp_path / "e.csv")}


def test_where_filters_and_value_computes(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "who,when,Quantity,Unit Price,Country,Paid\n"
        "a,2024-01-01,2,1.5,UK,true\n"
        "a,2024-01-01,-2,1.5,UK,true\n"
        "a,2024-01-01,2,,UK,true\n"
        "a,2024-01-01,2,1.5,FR,true\n"
        "a,2024-01-01,2,1.5,UK,false\n"
        "a,2024-01-01,lots,1.5,UK,true\n"
        "a,2024-01-01,,1.5,UK,true\n"
        ",2024-01-01,-2,1.5,UK,true\n",
        'customer_id = "who"\noccurred_at = "when"\ntype = "purchase"\nvalue = "Quantity * `Unit Price`"\n'
        "where = \"Quantity > 0 and Country == 'UK' and Paid\"\n"
        'properties = { n = "Quantity", land = "Country" }',
    )
    assert [row["value"] for row in result.events] == [3.0, None]
    assert json.loads(result.events[0]["properties"]) == {"n": "2", "land": "UK"}
    assert result.summary.rows_filtered == 5
    assert result.reasons == [(7, Reason.NOT_A_NUMBER)]


def test_a_value_may_be_a_column_of_any_name(tmp_path: Path) -> None:
    keys = 'type = "x"\nvalue = "Order value (€) - net"'
    result = events(tmp_path, "customer_id,occurred_at,Order value (€) - net\na,2024-01-01,3\n", keys)
    assert [row["value"] for row in result.events] == [3.0]


def test_sources_are_read_together_and_ids_are_unique_over_all(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("event_id,customer_id,occurred_at\n1,x,2024-01-02\n2,y,2024-01-01\n")
    (tmp_path / "b.csv").write_text("event_id,customer_id,occurred_at,kind\n2,y,2024-01-01,t\n3,x,2024-01-01,t\n")
    (tmp_path / "c.csv").write_text("id,plan,seats\nx,pro,3\nz,free,\n")
    data = (
        'kind = "events"\n[[data.events]]\npath = "a.csv"\ntype = "s"\n[[data.events]]\npath = "b.csv"\n'
        'type = { column = "kind" }\n[data.customers]\npath = "c.csv"\ncustomer_id = "id"'
    )
    result = built(business(tmp_path, data, churn='event = "t"\nhorizon_days = 9'))
    assert [(row["customer_id"], row["event_id"]) for row in result.events] == [("x", "3"), ("x", "1"), ("y", "2")]
    assert [(row["file"], row["line"], row["reason"]) for row in result.rejected] == [
        (str(tmp_path / "b.csv"), 2, Reason.DUPLICATE_EVENT)
    ]
    assert [(row["customer_id"], row["plan"], row["seats"]) for row in result.customers] == [
        ("x", "pro", 3.0),
        ("y", None, None),
        ("z", "free", None),
    ]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "there is no column 'customer_id', and [data.events] customer_id names no other; there are 'who', 'when'"),
        ('customer_id = "who"', "there is no column 'occurred_at', and [data.events] occurred_at names no other"),
        (
            'customer_id = "who"\noccurred_at = "when"',
            "there is no column 'type', and [data.events] type names no other",
        ),
        (
            'customer_id = "who"\noccurred_at = "when"\ntype = { column = "w" }',
            "no column 'w', which [data.events] type",
        ),
        ('customer_id = "who"\noccurred_at = "when"\ntype = "x"\nvalue = "pric * 2"', "no column 'pric', which"),
        ('customer_id = "who"\noccurred_at = "when"\ntype = "x"\nvalue = "the price"', "'the price' is no expression"),
        (
            'customer_id = "who"\noccurred_at = "when"\ntype = "x"\nwhere = "a > 0"',
            "no column 'a', which [data.events] where",
        ),
        ('customer_id = "who"\noccurred_at = "when"\ntype = "x"\nproperties = { a = "b" }', "no column 'b', which"),
        ('customer_id = "who"\noccurred_at = "when"\ntype = "x"\noccurred_format = "%!"', "'%!' is no strptime format"),
        ('customer_id = "who"\noccurred_at = "price"\ntype = "x"', "unparseable occurred_at (line 2: "),
        (
            'customer_id = "who"\noccurred_at = "when"\ntype = "x"\nwhere = "price > 9"',
            "`where` leaves none of the 1 rows",
        ),
    ],
)
def test_an_event_file_that_is_not_what_the_toml_says_is_refused(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "e.csv").write_text("who,when,price\na,2024-01-01,2\n")
    assert message in refusal(events_business(tmp_path, keys))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["", "a", "b", "c", "7.0"]),
            st.sampled_from(["2024-01-01", "2024-01-01T05:00:00Z", "2024-09-01", "never", ""]),
            st.sampled_from(["1", "2", "3", "", "4"]),
            st.sampled_from(["1.5", "-2", "", "NA", "x", "inf", "1e999", "0"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_each_row_goes_where_it_belongs(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]) -> None:
    folder = tmp_path_factory.mktemp("rows")
    rows = [("good", "2024-01-01", "", "5"), *rows]
    with (folder / "e.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("customer_id", "occurred_at", "event_id", "value"), *rows])
    result = built(events_business(folder, 'type = "purchase"\nwhere = "value >= 0"'))
    seen: set[str] = set()
    filtered = 0
    expected: list[tuple[int, str]] = []
    for line, (customer, when, event, value) in enumerate(rows, start=2):
        number = value not in ("", "NA", "x", "inf", "1e999")
        if value in ("", "NA") or (number and float(value) < 0):
            filtered += 1
        elif not customer:
            expected.append((line, Reason.NO_CUSTOMER))
        elif when in ("never", "", "2024-09-01"):
            reasons = {"never": Reason.BAD_TIME, "": Reason.NO_TIME, "2024-09-01": Reason.FUTURE_TIME}
            expected.append((line, reasons[when]))
        elif not number:
            expected.append((line, Reason.NOT_A_NUMBER if value == "x" else Reason.INFINITE))
        elif event and event in seen:
            expected.append((line, Reason.DUPLICATE_EVENT))
        else:
            seen.add(event)
    assert result.reasons == expected
    assert result.summary.rows_filtered == filtered
