"""A file of customers is read as the build's own or as a plain one; in a third way it is refused, never read wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.config.business import TableData
from features.errors import IngestError
from features.ingestion.column_reading import load_readings
from features.schema import DType, Feature, FeatureSchema
from serving.batch.reader import CustomerFile, Customers, RowReader
from serving.platform.progress import progress

from ...features.ingestion.ingested import built, table_business

NAMES = ("id", "spend", "visits", "plan", "left")
ROWS = [
    ("0012", 1096.5, 3, "größer", "yes"),
    ("0013", 12.25, 4, "café", "no"),
    ("0014", None, 1200, None, "no"),
    ("0015", 2.5, 7, "café", "no"),
]


def german(value: Any) -> str:
    if isinstance(value, float | int):
        return f"{value:,}".translate(str.maketrans(",.", ".,"))
    return value or ""


def english(value: Any) -> str:
    return f"${value:,}" if isinstance(value, float) else str(value or "")


def text(write: Any, delimiter: str, header: bool = True, rows: Sequence[Sequence[Any]] = ROWS) -> str:
    lines = [NAMES] if header else []
    return "".join(f"{delimiter.join(map(write, cells))}\n" for cells in [*lines, *rows])


PLAIN = text(lambda value: "" if value is None else str(value), ",")
LAYOUTS = {
    "german": (text(german, ";").encode("cp1252"), ""),
    "german as said": (text(german, ";").encode("cp1252"), 'encoding = "cp1252"\ndecimal = ","\nthousands = "."'),
    "english": (text(english, ";").encode(), ""),
    "remarks": (("# of May\n# of 2024\n" + text(german, ";")).encode(), ""),
    "lines above": (("Report\n\n" + text(german, "\t")).encode("utf-16"), "skip_lines = 2"),
    "no header": (text(german, ";", header=False).encode("mac_roman"), f"columns = {list(NAMES)}"),
    "no header, lines above": (
        ("Report; of, May\n" + text(german, ";", header=False)).encode("utf-16-le"),
        f'columns = {list(NAMES)}\nskip_lines = 1\nencoding = "utf-16-le"',
    ),
    "of its own": (
        text(lambda value: "-1" if value is None else str(value), "~").encode(),
        'delimiter = "~"\nmissing = ["-1"]',
    ),
}


def schema() -> FeatureSchema:
    numbers = (Feature("spend", "other", DType.FLOAT), Feature("visits", "other", DType.FLOAT))
    return FeatureSchema((*numbers, Feature("plan", "other", DType.STRING)))


def parsed(folder: Path, content: str | bytes, name: str = "in.csv") -> Customers:
    """A file as `serving batch` reads it beside the build in `folder`."""
    business = table_business(folder, (folder / "keys").read_text())
    assert isinstance(business.data, TableData)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    file = CustomerFile.open(folder / name, ["id", *schema().names], business.data)
    reader = RowReader(file, "id", schema(), {}, "UTC", business.data, load_readings(folder / "out"))
    with progress("", None, quiet=True) as bar:
        (rows,) = reader.read(bar)
    return reader.parse(rows)


def build(folder: Path, content: bytes, keys: str) -> None:
    """Build, and remember how."""
    (folder / "keys").write_text(f'customer_id = "id"\n{keys}')
    (folder / "t.csv").write_bytes(content)
    rows = built(table_business(folder, (folder / "keys").read_text())).customers
    assert [(row["customer_id"], row["spend"], row["visits"], row["plan"]) for row in rows] == [
        row[:-1] for row in ROWS
    ]


def refused(folder: Path, content: str | bytes) -> str:
    with pytest.raises(IngestError) as caught:
        parsed(folder, content)
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_build_s_layout_and_a_plain_file_say_the_same(tmp_path: Path, layout: str) -> None:
    content, keys = LAYOUTS[layout]
    build(tmp_path, content, keys)
    files = [content, PLAIN.encode(), PLAIN.replace(",", ";").encode("utf-16")]
    for number, written in enumerate(files):
        customers = parsed(tmp_path, written)
        assert customers.ids == [row[0] for row in ROWS], number
        assert customers.errors == [None] * 4
        assert list(customers.columns["plan"]) == [row[3] for row in ROWS]
        for position, name in ((1, "spend"), (2, "visits")):
            expected = np.array([row[position] for row in ROWS], dtype=np.float32)
            np.testing.assert_array_equal(np.asarray(customers.columns[name]), expected)


def test_a_file_that_nothing_tells_apart_or_that_is_written_in_a_third_way_is_refused(tmp_path: Path) -> None:
    build(tmp_path, *LAYOUTS["german"])
    head = "id;spend;visits;plan\n"
    said = refused(tmp_path, f"{head}a;1.096,50;1;x\nb;2.5;1;x\n")
    assert "the column 'spend' (1.096,50, 2.5) is written with '.' and with ',' before decimals" in said
    # Its visits say that it is a plain file.
    assert np.asarray(parsed(tmp_path, f"{head}a;12.500;1.5;x\n").columns["spend"]).tolist() == [12.5]


def test_what_nothing_tells_apart_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text('customer_id = "id"')
    (tmp_path / "t.csv").write_text("id;spend;visits;plan;left\na;1.096,50;3;x;yes\nb;2,50;4;x;no\n")
    built(table_business(tmp_path, 'customer_id = "id"'))
    # Either a plain file, or one of the build's whose visits are no whole numbers any more.
    said = refused(tmp_path, "id;spend;visits;plan\na;12.500;1.5;x\n")
    assert "the column 'spend' (12.500) may have '.' or ',' before decimals, and nothing tells which" in said


def test_a_plain_build_takes_no_comma_for_a_sign_that_it_is_not(tmp_path: Path) -> None:
    build(tmp_path, PLAIN.encode(), "")
    head = "id;spend;visits;plan\n"
    said = refused(tmp_path, f"{head}a;12,5;1;x\n")
    assert "the column 'spend' (12,5) is written with ',' before decimals, where the build's files have '.'" in said
    assert "the column 'spend' (1,096) may have" in refused(tmp_path, f"{head}a;1,096;1;x\n")
    dressed = ["$5", "(5.00)", "5.00-", "1,096.50", "5 EUR", "1 096", "50 %", "1'096", "-5"]
    customers = parsed(tmp_path, head + "".join(f"a;{cell};1;x\n" for cell in dressed))
    assert customers.errors == [None] * len(dressed)
    assert np.asarray(customers.columns["spend"]).tolist() == [5, -5, -5, 1096.5, 5, 1096, 0.5, 1096, -5]


def test_a_file_without_a_header_has_the_cells_that_the_toml_names(tmp_path: Path) -> None:
    build(tmp_path, *LAYOUTS["no header"])
    said = refused(tmp_path, "a;2,5;1;x\nb;3,5;1;x\n")
    assert "the file has no header, and 4 cells in a line where [data] columns names 5" in said
    assert parsed(tmp_path, "plan,visits,spend,id\nx,1,2.5,a\n").ids == ["a"]


def test_an_encoding_that_is_not_the_toml_s_is_said(tmp_path: Path) -> None:
    build(tmp_path, LAYOUTS["german"][0].decode("cp1252").encode("mac_roman"), 'encoding = "mac_roman"')
    said = refused(tmp_path, LAYOUTS["german"][0])
    assert "seems to be Windows-1252 text, but [data] encoding says 'mac_roman'; save it as UTF-8" in said


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.integers(-(10**7), 10**7).map(lambda cents: cents / 100), min_size=1, max_size=5),
    st.sampled_from([german, str]),
)
def test_no_number_is_read_wrongly(german_build: Path, values: list[float], write: Any) -> None:
    content = "id;spend;visits;plan\n" + "".join(f"a;{write(value)};1;x\n" for value in values)
    try:
        customers = parsed(german_build, content)
    except IngestError:
        return
    spend = np.asarray(customers.columns["spend"])
    np.testing.assert_array_equal(spend, np.array(values, dtype=np.float32))


@pytest.fixture(scope="module")
def german_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("german")
    build(folder, *LAYOUTS["german as said"])
    return folder


def test_suffixes_and_remarks_are_read_as_the_build_read_them(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text('customer_id = "id"')
    (tmp_path / "t.csv").write_text("id,spend,visits,plan,left\na,10k,3,x,yes\nb,1.2M,4,y,no\n")
    built(table_business(tmp_path, 'customer_id = "id"'))
    customers = parsed(tmp_path, "# new\nid,spend,visits,plan\na,2.5k,1,x\nb,700,2,y\n")
    assert np.asarray(customers.columns["spend"]).tolist() == [2500, 700]


def test_a_header_below_other_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("New customers\n\nid,spend\na,1\n")
    assert (
        CustomerFile.open(tmp_path / "in.csv", ["id"])
        .instead("spend")
        .endswith("; line 3 names it: take away the lines before it.")
    )
