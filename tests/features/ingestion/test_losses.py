"""What a build loses, and says."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import ConfigError, IngestError
from features.ingestion.losses import refuse_losses
from tests.features.ingestion.ingested import Result, built, business, events, refusal, table

LIMIT = 0.05
CHURN = 'activity = ["purchase"]\nhorizon_days = 30'


def _refused(result: Result, limit: float = LIMIT) -> str:
    with pytest.raises(IngestError) as refused:
        refuse_losses(result.summary.counts, limit, result.folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def _log(rows: int, bad: int, cell: str = "never") -> str:
    good = "".join(f"{row},2024-01-01\n" for row in range(rows - bad))
    return f"customer_id,occurred_at\n{good}" + f"x,{cell}\n" * bad


def test_more_than_the_limit_stops_with_reasons_line_and_cure(tmp_path: Path) -> None:
    refuse_losses(events(tmp_path, _log(20, 1), 'type = "x"').summary.counts, LIMIT, tmp_path)
    many = events(tmp_path, _log(20, 2), 'type = "x"')
    said = _refused(many)
    for part in (
        "e.csv: 2 of 20 rows",
        "at most 5%",
        "2 × unparseable occurred_at",
        "(line 20: ",
        "set occurred_format",
    ):
        assert part in said
    assert "--accept-loss" in said
    refuse_losses(many.summary.counts, 0.1, many.folder)


def test_rows_of_nobody_have_a_limit_of_their_own(tmp_path: Path) -> None:
    def guests(count: int) -> Result:
        nobody = ",2024-01-01\n" * count
        return events(tmp_path, _log(10, 0) + nobody, 'type = "x"')

    refuse_losses(guests(10).summary.counts, LIMIT, tmp_path)
    assert "11 × no customer_id" in _refused(guests(11))


def test_rows_that_nobody_wanted_are_not_lost_but_a_whole_source_is(tmp_path: Path) -> None:
    of = events(tmp_path, _log(20, 0), 'type = "x"\nwhere = "customer_id < 3"')
    refuse_losses(of.summary.counts, LIMIT, tmp_path)
    (tmp_path / "two.csv").write_text("customer_id,occurred_at,kind\n1,2024-01-01,b\n")
    data = (
        'kind = "events"\n[[data.events]]\npath = "e.csv"\ntype = "x"\n[[data.events]]\npath = "two.csv"\ntype = "y"\n'
    )
    both = built(business(tmp_path, data + "where = \"kind == 'a'\"", churn=CHURN))
    assert "two.csv: `where` leaves none of the 1 rows" in _refused(both)


def test_a_table_has_the_limit_too(tmp_path: Path) -> None:
    rows = "".join(f"{row},{'yes' if row % 2 else 'no'}\n" for row in range(9))
    assert "1 × no outcome" in _refused(table(tmp_path, f"a,left\n{rows}9,\n"))


def _with_customers(folder: Path, ids: list[str], customers: str, keys: str = "") -> Result:
    (folder / "c.csv").write_text(customers)
    (folder / "e.csv").write_text("customer_id,occurred_at\n" + "".join(f"{id},2024-01-01\n" for id in ids))
    data = f'kind = "events"\n[data.events]\npath = "e.csv"\ntype = "x"\n[data.customers]\npath = "c.csv"\n{keys}'
    return built(business(folder, data, churn=CHURN))


@pytest.mark.parametrize(
    ("mine", "theirs", "example"),
    [
        ("{:05}", "{}", "'00001' against '1'"),
        ("c{}", "C{}", "'c1' against 'C1'"),
        ("A{}", "A-{}", "'A1' against 'A-1'"),
    ],
)
def test_ids_that_are_written_otherwise_are_no_other_customers(
    tmp_path: Path, mine: str, theirs: str, example: str
) -> None:
    numbers = range(1, 10)
    customers = "customer_id,seats\n" + "".join(f"{mine.format(number)},{number}\n" for number in numbers)
    met = _with_customers(tmp_path, [theirs.format(number) for number in numbers], customers).summary.acquaintance
    assert met is not None
    assert (met.known, met.seen, met.both, met.twins) == (9, 9, 0, 9)
    with pytest.raises(IngestError, match="9 of 9 customers have no event") as refused:
        met.refuse_strangers(tmp_path / "c.csv", LIMIT)
    assert example in str(refused.value)


def test_customers_of_whom_nobody_has_an_event_are_another_file_s(tmp_path: Path) -> None:
    met = _with_customers(tmp_path, ["1", "2"], "customer_id,seats\nx,1\ny,2\n").summary.acquaintance
    assert met is not None
    with pytest.raises(IngestError, match="0 of 2 customers have an event, of 2 whom events name; ids such as 'x'"):
        met.refuse_strangers(tmp_path / "c.csv", LIMIT)


def test_new_customers_and_guests_are_no_strangers(tmp_path: Path) -> None:
    met = _with_customers(tmp_path, ["1", "9"], "customer_id,seats\n1,1\n2,2\n3,3\n").summary.acquaintance
    assert met is not None
    assert (met.known, met.seen, met.both, met.twins) == (3, 2, 1, 0)
    met.refuse_strangers(tmp_path / "c.csv", LIMIT)


def test_created_at_has_a_format(tmp_path: Path) -> None:
    customers = "customer_id,signup\n" + "".join(f"{row},0{row}-10-2022\n" for row in range(1, 6))
    ids = [str(row) for row in range(1, 6)]
    said = _refused(_with_customers(tmp_path, ids, customers, 'created_at = "signup"'))
    assert "5 × unparseable created_at" in said
    assert "set created_format" in said
    read = _with_customers(tmp_path, ids, customers, 'created_at = "signup"\ncreated_format = "%d-%m-%Y"')
    refuse_losses(read.summary.counts, LIMIT, read.folder)
    assert [row["created_at"].strftime("%m-%d") for row in read.customers] == [f"10-0{row}" for row in range(1, 6)]


def test_received_at_has_a_format(tmp_path: Path) -> None:
    content = "customer_id,occurred_at,received_at\n1,2024-01-01,02.01.2024\n"
    assert events(tmp_path, content, 'type = "x"\nreceived_format = "%d.%m.%Y"').events[0]["received_at"].day == 2


def test_a_format_that_is_none_is_named(tmp_path: Path) -> None:
    for data, key in (
        ('[data.events]\npath = "e.csv"\ntype = "x"\nreceived_format = "%!"', "received_format"),
        (
            '[data.events]\npath = "e.csv"\ntype = "x"\n[data.customers]\npath = "c.csv"\ncreated_format = "%!"',
            "created_format",
        ),
    ):
        (tmp_path / "c.csv").write_text("customer_id,created_at\n1,2024-01-01\n")
        (tmp_path / "e.csv").write_text("customer_id,occurred_at,received_at\n1,2024-01-01,2024-01-01\n")
        assert f"{key}: '%!'" in refusal(business(tmp_path, f'kind = "events"\n{data}', churn=CHURN))


def test_properties_take_constants(tmp_path: Path) -> None:
    content = "customer_id,occurred_at,score,csat\n1,2024-01-01,4,x\n"
    for given, said in (
        ('{ survey = { constant = "csat" } }', '{"survey":"csat"}'),
        ('{ survey = "nps" }', '{"survey":"nps"}'),
        ('{ survey = "csat" }', '{"survey":"x"}'),  # a column of the file's
        ('{ plan = { constant = "it\'s" }, seats = { constant = 3 } }', '{"plan":"it\'s","seats":3}'),
    ):
        found = events(tmp_path, content, f'type = "survey_answered"\nvalue = "score"\nproperties = {given}').events[0]
        assert found["properties"] == said
    for wrong in (
        '{ plan = "pro" }',
        '{ plan = { constant = "" } }',
        "{ plan = { constant = true } }",
        "{ plan = {} }",
    ):
        with pytest.raises((ConfigError, IngestError)):
            events(tmp_path, content, f'type = "x"\nproperties = {wrong}')
