from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from features.config.business import Business
from features.errors import ConfigError, FeaturesError, IngestError
from features.ingestion.partitions import CANONICAL
from features.ingestion.quarantine import Reason
from features.ingestion.run import IngestSummary, ingest

NOW = datetime(2024, 6, 1, tzinfo=UTC)
EXPERIMENTS = Path(__file__).parents[3] / "experiments"
SHARED = Path(__file__).parents[4] / "shared" / "data"

Row = dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What an ingest left behind."""

    folder: Path
    summary: IngestSummary

    def rows(self, name: str) -> list[Row]:
        found: list[Row] = pq.read_table(self.folder / f"{name}.parquet").to_pylist()
        return found

    @property
    def customers(self) -> list[Row]:
        return self.rows("customers")

    @property
    def events(self) -> list[Row]:
        """By customer and time, in the canonical columns."""
        rows: list[Row] = pq.read_table(self.folder / "events", columns=list(CANONICAL)).to_pylist()
        return sorted(rows, key=lambda row: (row["customer_id"], row["occurred_at"]))

    @property
    def rejected(self) -> list[Row]:
        return self.rows("quarantine/rejected")

    @property
    def reasons(self) -> list[tuple[int, str]]:
        return [(row["line"], row["reason"]) for row in self.rejected]


def business(folder: Path, data: str, head: str = "", churn: str = "horizon_days = 30") -> Business:
    path = folder / "business.toml"
    path.write_text(f'[business]\nname = "b"\n{head}\n[data]\n{data}\n[churn]\n{churn}\n')
    return Business.load(path)


def built(of: Business, now: datetime = NOW) -> Result:
    out = of.path.parent / "out"
    summary = ingest(of, out, now)
    result = Result(out, summary)
    assert summary.rows_read == summary.rows_accepted + summary.rows_filtered + sum(summary.rejected.values())
    assert dict(Counter(row["reason"] for row in result.rejected)) == dict(summary.rejected)
    for row in result.rejected:
        assert row["line"] >= 1
        assert row["file"]
        json.loads(row["raw"])
    written = json.loads((out / "quarantine" / "summary.json").read_text())
    assert written["rejected"] == dict(summary.rejected)
    assert not list(out.glob(".*"))
    return result


def events(folder: Path, content: str | bytes, keys: str = "", name: str = "e.csv", head: str = "") -> Result:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return built(events_business(folder, keys, name, head))


def events_business(folder: Path, keys: str = "", name: str = "e.csv", head: str = "") -> Business:
    data = f'kind = "events"\n[data.events]\npath = "{name}"\n{keys}'
    return business(folder, data, head, 'activity = ["purchase"]\nhorizon_days = 30')


def table(folder: Path, content: str | bytes, keys: str = "", name: str = "t.csv") -> Result:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return built(table_business(folder, keys, name))


def table_business(folder: Path, keys: str = "", name: str = "t.csv", pillars: str = "") -> Business:
    return business(folder, f'kind = "table"\npath = "{name}"\noutcome = "left"\nchurned = "yes"\n{keys}\n{pillars}')


def refusal(of: Business) -> str:
    out = of.path.parent / "out"
    with pytest.raises(FeaturesError) as refused:
        ingest(of, out, NOW)
    assert not out.exists()
    message = str(refused.value)
    assert "\n" not in message
    return message


# --- events ---------------------------------------------------------------------------------------------------------


def test_canonical_columns_are_found_by_name(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "event_id,customer_id,occurred_at,received_at,type,channel,value,text,properties\n"
        'e1,7.0,2024-01-02T03:04:05Z,2024-01-03,purchase,web,12.5,"Great, ""really""","{""item"": ""x""}"\n'
        "e2,8,2024-01-01 00:00:00.5+02:00,,session,,,,\n",
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
        b"7,a,0001-01-01,,purchase,1,{}\n"
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
        b"18,a,2024-01-01,,caf\xe9,1,{}\n"
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
        (22, Reason.BAD_TIME),
        (23, Reason.NOT_A_NUMBER),
    ]
    assert [row["event_id"] for row in result.events] == ["1", "22"]
    raw = {row["line"]: json.loads(row["raw"]) for row in result.rejected}
    assert raw[5]["occurred_at"] == "yesterday"
    assert raw[17]["event_id"] == "1"
    assert raw[18] == ["16", "a", "2024-01-01"]
    assert raw[20]["type"] == "caf\\xe9"
    assert {row["file"] for row in result.rejected} == {str(tmp_path / "e.csv")}


def test_a_stray_quote_costs_its_line_only(tmp_path: Path) -> None:
    lines = ["customer_id,occurred_at,type,text"]
    lines += [f'c{i},2024-01-01,purchase,"fine ""{i}"""' for i in range(50)]
    lines[11] = 'c9,2024-01-01,purchase,"never closed'
    lines[30] = 'c29,2024-01-01,purchase,5" pipe'
    result = events(tmp_path, "\n".join(lines) + "\n")
    assert result.reasons == [(12, Reason.OPEN_QUOTE)]
    assert len(result.events) == 49
    assert {row["text"] for row in result.events if row["customer_id"] == "c29"} == {'5" pipe'}


def test_a_row_over_several_lines_with_the_wrong_columns_swallows_nothing(tmp_path: Path) -> None:
    result = events(tmp_path, 'customer_id,occurred_at,type\na,"x\nb,2024-01-01,x"\nc,2024-01-01,x\n')
    assert result.reasons == [(2, Reason.OPEN_QUOTE)]
    assert [(row["customer_id"], row["type"]) for row in result.events] == [("b", 'x"'), ("c", "x")]


def test_a_quote_open_to_the_end_swallows_nothing(tmp_path: Path) -> None:
    result = events(tmp_path, 'customer_id,occurred_at,type\na,2024-01-01,"x\nb,2024-01-01,x\nc,2024-01-01,x')
    assert result.reasons == [(2, Reason.OPEN_QUOTE)]
    assert [row["customer_id"] for row in result.events] == ["b", "c"]


def test_lines_are_physical_lines(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        '\n"customer_id","occurred_at",type,"text\n(free)"\r\n'
        'a,2024-01-01,x,"one\ntwo\r\n\nthree"\r\n\r\nb,never,x,y\n',
        'text = "text\\n(free)"',
    )
    assert [row["text"] for row in result.events] == ["one\ntwo\r\n\nthree"]
    assert result.reasons == [(9, Reason.BAD_TIME)]


def test_lines_hold_in_files_larger_than_a_block(tmp_path: Path) -> None:
    lines = ["customer_id;occurred_at;type;value"]
    for i in range(60_000):
        lines.append(f"{i % 100};2024-01-01 00:00:00;purchase;{'oops' if i % 20_001 == 0 else i}")
        if i % 30_000 == 7:
            lines.append(f'{i % 100};2024-01-01 00:00:00;"pur\nchase";1')
    result = events(tmp_path, gzip.compress("\n".join(lines).encode()), name="e.csv.gz")
    physical = "\n".join(lines).split("\n")
    assert len(result.rejected) == 3
    for row in result.rejected:
        assert json.loads(row["raw"])["value"] == "oops" == physical[row["line"] - 1].split(";")[-1]
    assert result.summary.rows_read == len(lines) - 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_endings_are_found(tmp_path: Path, delimiter: str, ending: str) -> None:
    lines = ["customer_id,occurred_at,type,value", "a,2024-01-01,x,1", "b,2024-01-02,x,2"]
    content = ending.join(lines).replace(",", delimiter)
    assert len(events(tmp_path, b"\xef\xbb\xbf" + content.encode()).events) == 2


def test_a_delimiter_that_no_one_guesses_is_given(tmp_path: Path) -> None:
    assert len(events(tmp_path, "customer_id:occurred_at:type\na:2024-01-01:x\n", 'delimiter = ":"').events) == 1


def test_times_without_zone_are_in_the_business_zone(tmp_path: Path) -> None:
    result = events(
        tmp_path,
        "customer_id,occurred_at,type\na,2024-01-01 00:30:00,x\na,2024-05-01,x\na,2024-05-01T00:00Z,x\n",
        head='timezone = "Europe/Paris"',
    )
    assert [row["occurred_at"] for row in result.events] == [
        datetime(2023, 12, 31, 23, 30, tzinfo=UTC),
        datetime(2024, 4, 30, 22, tzinfo=UTC),
        datetime(2024, 5, 1, tzinfo=UTC),
    ]


def test_parquet_times_and_ids(tmp_path: Path) -> None:
    naive = pa.array([datetime(2024, 1, 1), datetime(2024, 7, 1)], pa.timestamp("ns"))
    pq.write_table(
        pa.table({"customer_id": pa.array([5.0, None]), "occurred_at": naive, "value": [1.5, math.nan]}),
        tmp_path / "e.parquet",
    )
    of = events_business(tmp_path, 'type = "x"', "e.parquet", 'timezone = "Asia/Tokyo"')
    result = built(of)
    assert [(row["customer_id"], row["occurred_at"]) for row in result.events] == [
        ("5", datetime(2023, 12, 31, 15, tzinfo=UTC))
    ]
    assert result.reasons == [(2, Reason.NO_CUSTOMER)]
    assert json.loads(result.rejected[0]["raw"])["value"] == "nan"


@pytest.mark.parametrize("days", [pa.array([19970101, 19970230]), pa.array(["19970101", "19970230"])])
def test_times_in_a_given_format(tmp_path: Path, days: Any) -> None:
    pq.write_table(pa.table({"customer_id": ["a", "b"], "date": days}), tmp_path / "e.parquet")
    keys = 'occurred_at = "date"\noccurred_format = "%Y%m%d"\ntype = "x"'
    result = built(events_business(tmp_path, keys, "e.parquet"))
    assert [row["occurred_at"] for row in result.events] == [datetime(1997, 1, 1, tzinfo=UTC)]
    assert result.reasons == [(2, Reason.BAD_TIME)]


def test_a_format_with_a_zone(tmp_path: Path) -> None:
    keys = 'occurred_format = "%d/%m/%Y %H:%M %z"'
    result = events(tmp_path, "customer_id,occurred_at,type\na,02/01/2024 05:00 +0200,x\n", keys)
    assert result.events[0]["occurred_at"] == datetime(2024, 1, 2, 3, tzinfo=UTC)


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


def test_typed_properties_stay_typed(tmp_path: Path) -> None:
    content = {
        "customer_id": ["a", "b"],
        "occurred_at": [date(2024, 1, 1), date(2024, 1, 2)],
        "properties": [{"pscore": 0.25, "action": "call"}, None],
    }
    pq.write_table(pa.table(content), tmp_path / "e.parquet")
    result = built(events_business(tmp_path, 'type = "touch"', "e.parquet"))
    assert json.loads(result.events[0]["properties"]) == {"pscore": 0.25, "action": "call"}
    assert result.events[1]["properties"] is None


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


def test_a_folder_and_a_glob_are_one_source(tmp_path: Path) -> None:
    part = pa.table({"customer_id": ["a"], "occurred_at": [datetime(2024, 1, 1)]})
    for name in ("one.parquet", "year=2024/two.parquet", "_temporary/three.parquet"):
        (tmp_path / "log" / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, tmp_path / "log" / name)
    (tmp_path / "log" / "_SUCCESS").touch()
    assert len(built(events_business(tmp_path, 'type = "x"', "log")).events) == 2
    assert len(built(events_business(tmp_path, 'type = "x"', "l?g/**/tw*.parquet")).events) == 1


def test_files_of_one_source_may_order_their_columns_differently(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("customer_id,occurred_at,value\na,2024-01-01,1\n")
    (tmp_path / "2.csv").write_text("channel;occurred_at;customer_id\nweb;2024-01-02;b\nweb;never;c\n")
    result = built(events_business(tmp_path, 'type = "x"', "*.csv"))
    assert [(row["customer_id"], row["value"], row["channel"]) for row in result.events] == [
        ("a", 1.0, None),
        ("b", None, "web"),
    ]
    assert [(row["file"], row["line"]) for row in result.rejected] == [(str(tmp_path / "2.csv"), 3)]


def test_parquet_with_text_that_is_not_utf8(tmp_path: Path) -> None:
    names = pa.array([b"ok", b"caf\xe9", b"fine", None], pa.binary()).view(pa.string())
    when = [datetime(2024, 1, 1)] * 4
    pq.write_table(pa.table({"customer_id": list("abcd"), "occurred_at": when, "text": names}), tmp_path / "e.parquet")
    result = built(events_business(tmp_path, 'type = "x"', "e.parquet"))
    assert [row["customer_id"] for row in result.events] == ["a", "c", "d"]
    assert result.reasons == [(2, Reason.BAD_UTF8)]
    assert json.loads(result.rejected[0]["raw"])["text"] == "caf\\xe9"


def test_customers_of_an_event_business(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_text("customer_id,occurred_at,type\n1,2024-01-01,x\n9,2024-01-01,x\n")
    (tmp_path / "c.csv").write_text(
        "id,since,Company,plan,mrr,Seats,Region,Notes\n"
        "1,2023-01-01,Acme,pro,99.5,3,EU,7\n"
        "2,2030-01-01,B,pro,1,3,EU,7\n"
        "3,soon,B,pro,1,3,EU,7\n"
        "4,,B,pro,much,3,EU,7\n"
        "5,,B,pro,inf,3,EU,7\n"
        "1,2023-01-01,Acme again,pro,1,3,EU,7\n"
        ",2023-01-01,B,pro,1,3,EU,7\n"
        "6,2023-01-01,,,,,,\n"
    )
    data = (
        'kind = "events"\n[data.events]\npath = "e.csv"\n[data.customers]\npath = "c.csv"\ncustomer_id = "id"\n'
        'created_at = "since"\nname = "Company"\ndrop = ["Notes"]'
    )
    result = built(business(tmp_path, data, churn='event = "x"\nhorizon_days = 9'))
    assert result.customers[0] == {
        "customer_id": "1",
        "created_at": datetime(2023, 1, 1, tzinfo=UTC),
        "name": "Acme",
        "owner": None,
        "plan": "pro",
        "mrr": 99.5,
        "Seats": 3.0,
        "Region": "EU",
    }
    assert [row["customer_id"] for row in result.customers] == ["1", "6", "9"]
    assert result.reasons == [
        (3, Reason.FUTURE_CREATED),
        (4, Reason.BAD_CREATED),
        (5, Reason.NOT_A_NUMBER),
        (6, Reason.INFINITE),
        (7, Reason.DUPLICATE_CUSTOMER),
        (8, Reason.NO_CUSTOMER),
    ]


# --- tables ---------------------------------------------------------------------------------------------------------


def test_a_table_keeps_its_columns_and_their_names(tmp_path: Path) -> None:
    names = ["Call  Failure", "emp.var.rate", 'the "so-called" fee', "naïve ⇒", "day", "vip", "blank", "left"]
    rows = [
        ["1", "1.5", " 7 ", "a", "2024-01-01", "True", "", "no"],
        ["2", "", "8e1", "b ", "2024-01-02", "False", "", "yes"],
        ["3", "NA", "-.5", "", "2024-01-03", "True", " ", "no"],
    ]
    buffer = io.StringIO()
    csv.writer(buffer).writerows([names, *rows])
    result = table(tmp_path, buffer.getvalue())
    assert list(result.customers[0]) == ["customer_id", *names[:-1], "__outcome", "__order", "__group"]
    assert [tuple(row.values()) for row in result.customers] == [
        ("1", 1.0, 1.5, 7.0, "a", "2024-01-01", "True", None, 0, 1, None),
        ("2", 2.0, None, 80.0, "b ", "2024-01-02", "False", None, 1, 2, None),
        ("3", 3.0, None, -0.5, None, "2024-01-03", "True", None, 0, 3, None),
    ]
    assert result.summary.first_event is None


def test_a_mostly_numeric_column_is_numeric_and_its_junk_is_bad(tmp_path: Path) -> None:
    lines = ["fee,code,left"] + [f"{i},{i % 10},{'yes' if i % 3 else 'no'}" for i in range(100)]
    lines[41] = "forty,x,yes"
    lines[51] = "inf,5,yes"
    result = table(tmp_path, "\n".join(lines))
    assert result.reasons == [(42, Reason.NOT_A_NUMBER), (52, Reason.INFINITE)]
    schema = pq.read_schema(result.folder / "customers.parquet")
    assert (schema.field("fee").type, schema.field("code").type) == (pa.float64(), pa.string())


def test_a_column_of_words_with_some_numbers_is_text(tmp_path: Path) -> None:
    lines = ["size,left"] + [f"{i if i % 5 else 'large'},{'yes' if i % 3 else 'no'}" for i in range(100)]
    result = table(tmp_path, "\n".join(lines))
    assert result.customers[1]["size"] == "1"
    assert not result.rejected


def test_ids_of_a_table(tmp_path: Path) -> None:
    result = table(tmp_path, "id,a,left\n7.0,1,yes\n,1,no\n8,2,no\n7,3,no\n9,4,\n10,5,no,x\n", 'customer_id = "id"')
    assert [(row["customer_id"], row["a"]) for row in result.customers] == [("7", 1.0), ("8", 2.0)]
    assert result.reasons == [
        (3, Reason.NO_CUSTOMER),
        (5, Reason.DUPLICATE_CUSTOMER),
        (6, Reason.NO_OUTCOME),
        (7, Reason.WRONG_COLUMNS),
    ]


def test_without_an_id_the_row_number_is_it(tmp_path: Path) -> None:
    result = table(tmp_path, "a,left\n1,yes\n2\n3,no\n")
    assert [row["customer_id"] for row in result.customers] == ["1", "3"]


def test_row_numbers_go_on_over_files(tmp_path: Path) -> None:
    for name, rows in (("t1.parquet", ["yes", "no"]), ("t2.parquet", ["no"])):
        pq.write_table(pa.table({"a": list(range(len(rows))), "left": rows}), tmp_path / name)
    (tmp_path / "t1.csv").write_text("a,left\n1,yes\n2\n")
    (tmp_path / "t2.csv").write_text("a,left\n3,no\n")
    for pattern, ids in (("t*.parquet", ["1", "2", "3"]), ("t*.csv", ["1", "3"])):
        result = built(table_business(tmp_path, name=pattern))
        assert [row["customer_id"] for row in result.customers] == ids


@pytest.mark.parametrize(
    ("values", "churned"),
    [
        (pa.array([1, 0]), "1"),
        (pa.array([1, 0]), "true"),
        (pa.array([1.0, 0.0]), '"1"'),
        (pa.array([True, False]), "true"),
        (pa.array([True, False]), '"True"'),
        (pa.array(["True", "False"]), "true"),
        (pa.array([" gone ", "here"]), '"gone"'),
        (pa.array(["1.0", "0.0"]), "1"),
    ],
)
def test_the_outcome_is_compared_as_it_is_meant(tmp_path: Path, values: Any, churned: str) -> None:
    pq.write_table(pa.table({"a": [1, 2], "left": values}), tmp_path / "t.parquet")
    data = f'kind = "table"\npath = "t.parquet"\noutcome = "left"\nchurned = {churned}'
    if churned == "true" and pa.types.is_integer(values.type):
        assert "no row has True in the column 'left'" in refusal(business(tmp_path, data))
        return
    assert [row["__outcome"] for row in built(business(tmp_path, data)).customers] == [1, 0]


def test_an_outcome_of_more_than_two_values_is_noted(tmp_path: Path) -> None:
    left = ["gone"] * 2 + ["here"] * 3 + ["new", "", "N/A"]
    pq.write_table(pa.table({"a": list(range(len(left))), "left": left}), tmp_path / "t.parquet")
    data = 'kind = "table"\npath = "t.parquet"\noutcome = "left"\nchurned = "gone"'
    result = built(business(tmp_path, data))
    assert [row["__outcome"] for row in result.customers] == [1, 1, 0, 0, 0, 0]
    (note,) = result.summary.notes
    assert "'left' has 3 values: 'here' (3), 'gone' (2), 'new' (1)" in note
    assert "another than 'gone' counts as stayed" in note


@pytest.mark.parametrize(
    ("order", "ranks"),
    [
        (["10", "9", "8", "9"], [4, 2, 1, 3]),
        (["2024-01-10", "2024-01-09 05:00", "2023-12-31", "2024-01-09 04:00"], [4, 3, 1, 2]),
        (["b10", "b9", "a", "b90"], [2, 3, 1, 4]),
    ],
)
def test_the_order_is_by_what_the_column_holds(tmp_path: Path, order: list[str], ranks: list[int]) -> None:
    lines = [f"{value},{index},{'yes' if index else 'no'},g{index % 2}" for index, value in enumerate(order)]
    result = table(tmp_path, "\n".join(["t,a,left,g", *lines, ",9,no,g0"]), 'order = "t"\ngroup = "g"')
    assert [row["__order"] for row in result.customers] == ranks
    assert [row["__group"] for row in result.customers] == ["g0", "g1", "g0", "g1"]
    assert result.reasons == [(6, Reason.NO_ORDER)]
    assert set(result.customers[0]) == {"customer_id", "a", "__outcome", "__order", "__group"}


def test_typed_columns(tmp_path: Path) -> None:
    content = {
        "i": [1, None],
        "f": [1.5, math.nan],
        "b": [True, None],
        "d": [date(2024, 1, 2), None],
        "l": [[1, 2], None],
        "n": pa.nulls(2),
        "left": ["yes", "no"],
    }
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    rows = built(table_business(tmp_path, name="t.parquet")).customers
    assert [rows[0][name] for name in "ifbdln"] == [1.0, 1.5, "true", "2024-01-02", "[1,2]", None]
    assert [rows[1][name] for name in "ifbdln"] == [None] * 6


def test_names_that_the_ingest_uses_itself_are_free(tmp_path: Path) -> None:
    names = ["x", "c0", "c1", "line_number", "file_position", "id", "reason", "outcome", "raw", "f0", "content"]
    content = {name: [float(position), 1.0] for position, name in enumerate(names)} | {"left": ["yes", "no"]}
    pq.write_table(pa.table(content), tmp_path / "t.parquet")
    first = built(table_business(tmp_path, name="t.parquet")).customers[0]
    assert {name: first[name] for name in names} == {name: float(position) for position, name in enumerate(names)}


def test_a_wide_table(tmp_path: Path) -> None:
    names = [f"column {position}" for position in range(300)]
    lines = [",".join([*names, "left"])]
    lines += [",".join([*(str(row * position) for position in range(300)), "yes" if row else "no"]) for row in range(3)]
    result = table(tmp_path, "\n".join(lines))
    assert list(result.customers[2])[1:301] == names
    assert result.customers[2]["column 299"] == 598.0


# --- files that are not what the TOML says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "t.csv: the file is empty."),
        (b"\n\n", "t.csv: the file is empty."),
        (b"a,left\n", "t.csv: there is a header, but no rows."),
        (b"a,churn\n1,2\n", "t.csv: there is no column 'left', which [data] outcome names"),
        (b"a,Left\n1,2\n", "did you mean 'Left'?"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "this is not a CSV file: its content is binary."),
        ("a,left\n1,yes".encode("utf-16"), "this is not a CSV file: its content is UTF-16 text; save it as UTF-8."),
        ("é,left\n1,yes".encode("latin-1"), "the header is not UTF-8 text"),
        (gzip.compress(b"a,left\n" + b"1,yes\n" * 99999)[:-30], "the file is damaged and cannot be decompressed"),
        (b"PAR1 and nothing else", "this Parquet file is damaged"),
        (b"a,a,left\n1,2,yes\n", "the column 'a' appears twice"),
        (b"a,A,left\n1,2,yes\n", "the columns 'a' and 'A' differ only in case"),
        (b"__outcome,left\n1,yes\n2,no\n", "the column name '__outcome' is reserved"),
        (b"Event_Timestamp,left\n1,yes\n2,no\n", "the column name 'Event_Timestamp' is reserved"),
        (b"left\nyes\nno\n", "no column is left to be a feature"),
        (b"a,left\n1,no\n2,no\n", "no row has 'yes' in the column 'left'"),
        (b"a,left\n1,yes\n2,yes\n", "every row has 'yes' in the column 'left'"),
        (b"a,left\n1,\n2\n3,\n", "none of the 3 rows can be used, 2 because of no outcome (line 2: "),
        (b'a,"left\n1,yes\n', "the header opens a quote that it never closes"),
        (b"a,left\n" + b"x" * (10 << 20), "line 2 is longer than 4 MB"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    refused = refusal(table_business(tmp_path))
    assert str(tmp_path / "t.csv") in refused
    assert message in refused


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ('customer_id = "idd"', "there is no column 'idd', which [data] customer_id names; did you mean 'id'?"),
        ('drop = ["fees"]', "there is no column 'fees', which [data] drop names; did you mean 'fee'?"),
        ('order = "day"', "there is no column 'day', which [data] order names"),
        ('group = "day"', "there is no column 'day', which [data] group names"),
        (
            '[data.pillars]\nFee = "support"',
            "there is no column 'Fee', which [data.pillars] names; did you mean 'fee'?",
        ),
    ],
)
def test_a_column_that_the_table_lacks_is_named(tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "t.csv").write_text("id,fee,left\n1,2,yes\n2,3,no\n")
    assert message in refusal(table_business(tmp_path, keys))


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
        ('customer_id = "who"\noccurred_at = "when"\ntype = "x"\noccurred_format = "%Q"', "'%Q' is no strptime format"),
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


def test_a_path_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "customers.csv").write_text("a,left\n1,yes\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "fake.parquet").write_text("a,left\n1,yes\n")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "a.data").write_text("a,left\n1,yes\n")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "mixed" / "b.data")
    for name, message in (
        ("custmers.csv", "custmers.csv: there is no such file; did you mean 'customers.csv'?"),
        ("no/such/file.csv", "there is no folder"),
        ("*.json", "no file matches this pattern."),
        ("empty", "empty: the folder holds no Parquet and no CSV files."),
        ("fake.parquet", "fake.parquet: this is not a Parquet file, though it is named as one."),
        ("mixed/*", "a.data is CSV but b.data is Parquet"),
    ):
        assert message in refusal(table_business(tmp_path, name=name))


def test_a_refusal_leaves_what_was_there(tmp_path: Path) -> None:
    of = table_business(tmp_path)
    (tmp_path / "t.csv").write_text("a,left\n1,yes\n2,no\n")
    result = built(of)
    before = {file: file.read_bytes() for file in result.folder.rglob("*") if file.is_file()}
    (tmp_path / "t.csv").write_text("a,lift\n1,yes\n")
    with pytest.raises(IngestError):
        ingest(of, result.folder, NOW)
    assert {file: file.read_bytes() for file in result.folder.rglob("*") if file.is_file()} == before


def test_without_data_there_is_nothing_to_ingest(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[business]\nname = "a"\n[decisions]\npath = "a"\naction = "b"\nreward = "c"\npscore = 0.5\n')
    with pytest.raises(ConfigError, match="nothing to build"):
        ingest(Business.load(path), tmp_path / "out", NOW)


def test_the_fingerprint_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = table(tmp_path / "a", "a,left\n1,yes\n2,no\n").summary.fingerprint
    assert table(tmp_path / "b", "a,left\n1,yes\n2,no\n", name="other.csv").summary.fingerprint == first
    assert table(tmp_path / "b", "a,left\n1,yes\n3,no\n").summary.fingerprint != first


def test_progress_is_told(tmp_path: Path) -> None:
    heard: list[tuple[str, float]] = []
    (tmp_path / "t.csv").write_text("a,left\n1,yes\n2,no\n")
    ingest(table_business(tmp_path), tmp_path / "out", NOW, lambda task, share: heard.append((task, share)))
    assert {"Reading", "Reading customers", "Writing customers"} <= {task for task, _ in heard}
    assert all(0 <= share <= 1 for _, share in heard)


# --- invariants -----------------------------------------------------------------------------------------------------

_cell = st.one_of(
    st.sampled_from(
        ["", "a", "b", "1", "2.0", "2024-01-01", "2025-01-01", "inf", "x,y", 'q"', "l\n1", "l\r\n2", "é", "\r"]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
_line = st.one_of(
    st.tuples(_cell, _cell, _cell, _cell).map(lambda cells: _written(cells)),
    st.lists(_cell, max_size=6).map(lambda cells: _written(cells)),
    st.binary(max_size=12),
)


def _written(cells: Sequence[str]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="").writerow(cells)
    return buffer.getvalue().encode()


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(lines=st.lists(_line, min_size=1, max_size=12), ending=st.sampled_from([b"\n", b"\r\n"]))
@example(lines=[b'a,"2024-01-01', b'b,"2024-01-01",x,y'], ending=b"\n")
@example(lines=[b'"a"b,2024-01-01,x,y', b"\r", b"\0,,,"], ending=b"\n")
def test_no_row_is_lost_whatever_the_file_holds(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ending: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    good = b"good,2024-01-01,purchase,1"
    (folder / "e.csv").write_bytes(ending.join([b"customer_id,occurred_at,type,value", *lines, good]))
    of = events_business(folder)
    if b"\0" in b"".join(lines):
        assert "not a CSV file" in refusal(of)
        return
    result = built(of)
    physical = ending.join(lines).count(b"\n") + 3
    assert all(2 <= row["line"] <= physical for row in result.rejected)
    assert len(result.events) == result.summary.rows_accepted


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


# --- real data ------------------------------------------------------------------------------------------------------


def real(name: str, tmp_path: Path) -> Result:
    if not SHARED.exists():
        pytest.skip("the public data is not in ../shared/data")
    out = tmp_path / "out"
    return Result(out, ingest(Business.load(EXPERIMENTS / f"{name}.toml"), out, NOW))


@pytest.mark.data
def test_telco(tmp_path: Path) -> None:
    result = real("telco", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (7043, {})
    schema = pq.read_schema(result.folder / "customers.parquet")
    assert schema.field("TotalCharges").type == pa.float64()
    assert sum(row["TotalCharges"] is None for row in result.customers) == 11
    assert sum(row["__outcome"] for row in result.customers) == 1869


@pytest.mark.data
def test_iranian_churn(tmp_path: Path) -> None:
    result = real("iranian_churn", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (3150, {})
    assert result.customers[0]["Call  Failure"] == 8.0
    assert sum(row["__outcome"] for row in result.customers) == 495


@pytest.mark.data
def test_bank_marketing(tmp_path: Path) -> None:
    result = real("bank_marketing", tmp_path)
    assert (result.summary.rows_accepted, result.summary.rejected) == (41188, {})
    assert "duration" not in result.customers[0]
    assert result.customers[0]["emp.var.rate"] == 1.1
    assert [row["__order"] for row in result.customers] == list(range(1, 41189))


@pytest.mark.data
def test_cdnow(tmp_path: Path) -> None:
    result = real("cdnow", tmp_path)
    assert (result.summary.rows_accepted, result.summary.customers, result.summary.rejected) == (69659, 23570, {})
    assert result.summary.first_event == datetime(1997, 1, 1, 5, tzinfo=UTC)


@pytest.mark.data
def test_online_retail(tmp_path: Path) -> None:
    result = real("online_retail", tmp_path)
    summary = result.summary
    assert summary.rejected == {Reason.NO_CUSTOMER: 135_080}
    assert (summary.rows_accepted, summary.customers) == (541_909 - 135_080, 4372)
    assert summary.last_event == datetime(2011, 12, 9, 12, 50, tzinfo=UTC)
    purchases = pq.read_table(result.folder / "events", columns=["type"]).column("type").to_pylist()
    assert Counter(purchases) == {"purchase": 397_924, "refund": 8_905}
