from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from features.config.business import Business, Column, EventsData, TableData
from features.errors import ConfigError

EXPERIMENTS = Path(__file__).parents[3] / "experiments"

TABLE = """
[business]
name = "telco"
[data]
kind = "table"
path = "customers.csv"
customer_id = "id"
outcome = "Churn"
churned = "Yes"
[churn]
horizon_days = 90
"""
EVENTS = """
[business]
name = "shop"
timezone = "Europe/Paris"
[data]
kind = "events"
[[data.events]]
path = "events/*.csv"
type = { column = "kind" }
[[data.events]]
path = "/data/tickets.parquet"
type = "ticket_opened"
[data.customers]
path = "customers.parquet"
[churn]
definition = "inactivity"
activity = ["purchase"]
horizon_days = 30
cutoffs = [2024-03-01, "2024-02-01", 2024-04-01T00:00:00Z]
test_cutoffs = ["2024-05-01"]
[[actions]]
name = "call"
channel = "phone"
cost = 8
consent = "phone"
cap = { count = 1, days = 30 }
prior_effect = 0.2
"""


def load(folder: Path, text: str) -> Business:
    path = folder / "business.toml"
    path.write_text(text)
    return Business.load(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(folder, text)
    message = str(refused.value)
    assert message.startswith(str(folder / "business.toml"))
    assert "\n" not in message
    return message.removeprefix(str(folder / "business.toml") + ": ")


def test_a_table(tmp_path: Path) -> None:
    business = load(tmp_path, TABLE)
    assert isinstance(business.data, TableData)
    assert business.data.path == tmp_path / "customers.csv"
    assert business.churn is not None
    assert (business.name, business.timezone, business.currency) == ("telco", "UTC", None)
    assert (business.churn.horizon_days, business.churn.definition) == (90, None)
    assert (business.health.p_ref, business.health.pdo) == (None, None)
    assert (business.health.bands.red, business.health.bands.green) == (40, 60)
    assert business.fingerprint == hashlib.sha256(TABLE.encode()).hexdigest()


def test_an_event_log(tmp_path: Path) -> None:
    business = load(tmp_path, EVENTS)
    assert isinstance(business.data, EventsData)
    first, second = business.data.events
    assert (first.path, first.type) == (tmp_path / "events/*.csv", Column("kind"))
    assert (second.path, second.type) == (Path("/data/tickets.parquet"), "ticket_opened")
    assert business.churn is not None
    assert business.churn.cutoffs == (
        datetime(2024, 1, 31, 23, tzinfo=UTC),
        datetime(2024, 2, 29, 23, tzinfo=UTC),
        datetime(2024, 4, 1, tzinfo=UTC),
    )
    assert business.churn.test_cutoffs == (datetime(2024, 4, 30, 22, tzinfo=UTC),)
    (call,) = business.actions
    assert (call.name, call.cost, call.consent) == ("call", 8.0, "phone")
    assert call.cap is not None
    assert (call.cap.count, call.cap.days) == (1, 30)


def test_one_source_may_be_a_table_of_its_own(tmp_path: Path) -> None:
    start, rest = EVENTS.split("[[data.events]]", 1)
    only = start + "[data.events]" + rest.split("[[data.events]]")[0] + "[churn]" + rest.split("[churn]")[1]
    data = load(tmp_path, only).data
    assert isinstance(data, EventsData)
    assert len(data.events) == 1


def test_a_log_of_decisions_needs_nothing_else(tmp_path: Path) -> None:
    business = load(
        tmp_path,
        '[business]\nname = "trial"\n[decisions]\npath = "t.csv"\naction = "segment"\nno_action = "No E-Mail"\n'
        'reward = "visit"\npscore = { column = "p" }\ndrop = ["spend"]\n',
    )
    assert business.data is None
    assert business.churn is None
    assert business.decisions is not None
    assert business.decisions.pscore == Column("p")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('outcome = "Churn"', 'outcom = "Churn"', "[data] has no key 'outcom'; did you mean 'outcome'?"),
        ('outcome = "Churn"\n', "", "[data] needs the key 'outcome'."),
        ('outcome = "Churn"', "outcome = 3", '[data] outcome: it should be text, in quotes: "…".'),
        ("[churn]", "[chrun]", "there is no table [chrun]; did you mean 'churn'?"),
        ("[churn]\nhorizon_days = 90\n", "", "the table [churn] is missing; it needs at least horizon_days."),
        ("= 90", "= 0", "[churn] horizon_days: it should be greater than or equal to 1."),
        ("= 90", "= true", "[churn] horizon_days: it should be a whole number."),
        ("= 90", '= 90\ncutoffs = "monthly"', '[churn] cutoffs is only for data of kind "events"'),
        ('"telco"', '"Telco shop"', "[business] name: 'Telco shop' must be 1 to 40 characters of a-z, 0-9, _ and -"),
        ('"telco"', '"telco\\n"', "[business] name: 'telco\\n' must be 1 to 40 characters"),
        ('"telco"', '"telco"\ntimezone = "Europe/Pari"', "'Europe/Pari' is no time zone; did you mean 'Europe/Paris'"),
        ('"telco"', '"telco"\ntimezone = "localtime"', "'localtime' is no time zone"),
        ('"table"', '"tabel"', '[data] kind must be "table" or "events", not \'tabel\'.'),
        ('"customers.csv"', '""', "[data] path: it must name a file, a folder or a glob."),
        ('"customers.csv"', "7", "[data] path: it must name a file, a folder or a glob."),
        ('"Yes"', '"Yes"\ndelimiter = ";;"', "[data] delimiter: ';;' is no delimiter"),
        ('"Yes"', '"Yes"\ndelimiter = "\\u0000"', "[data] delimiter: '\\x00' is no delimiter"),
        ('"Yes"', '"Yes"\ndrop = ["Churn"]', "[data] drop: 'Churn' is the outcome and cannot be dropped."),
        ('"Yes"', '"Yes"\norder = "Churn"', "[data] outcome: 'Churn' is also the customer_id, group or order."),
        ('"Yes"', "nan", "[data] churned: nan is no value"),
        ("[churn]", '[data.pillars]\nfee = "comercial"\n[churn]', "no pillar 'comercial'; did you mean 'commercial'?"),
        ("[churn]", '[data.pillars]\nid = "support"\n[churn]', "[data.pillars] 'id' is no feature"),
        ("[churn]", "[health]\np_ref = 1.0\n[churn]", "[health] p_ref: it should be less than 1."),
        ("[churn]", "[health]\nbands = { red = 70 }\n[churn]", "[health] bands: red must not be above green."),
        (
            "[churn]",
            "[health]\nbands = { reed = 70 }\n[churn]",
            "[health.bands] has no key 'reed'; did you mean 'red'?",
        ),
        ("[churn]", '[value]\nat_stake = "mrr *"\n[churn]', "[value] at_stake: 'mrr *' is no expression"),
        ("[data]", "data = 3\n[other]", "there is no table [other]"),
        ("[data]", "[data", "this is no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_table_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TABLE
    assert message in refusal(tmp_path, TABLE.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'type = { column = "kind" }',
            'type = { colum = "kind" }',
            "[data.events] type: it must be a constant or { column",
        ),
        ('type = "ticket_opened"', 'typ = "x"', "[[data.events]] number 2 has no key 'typ'; did you mean 'type'?"),
        ('type = "ticket_opened"', 'where = "a >"', "[data.events] where: 'a >' is no expression"),
        ('type = "ticket_opened"', "properties = { item = 3 }", "it must be the name of a column"),
        (
            'path = "customers.parquet"',
            'path = "c"\ncreated = "x"',
            "[data.customers] has no key 'created'; did you mean",
        ),
        ('activity = ["purchase"]\n', "", "[churn] activity must list the event types"),
        ('activity = ["purchase"]', 'event = "left"', '[churn] event is only for the definition "event".'),
        ('"inactivity"', '"event"', '[churn] activity is only for the definition "inactivity".'),
        ('"inactivity"', '"silence"', "[churn] definition: it should be 'inactivity' or 'event'."),
        ('"2024-02-01"', '"February"', "[churn] cutoffs: 'February' is no date such as 2011-09-10."),
        ('["2024-05-01"]', "[]", "[churn] test_cutoffs: it must list at least one date."),
        ('name = "call"', 'name = "no_action"', "[[actions]] name: 'no_action' is reserved"),
        ("cost = 8", "cost = -1", "[[actions]] cost: it should be greater than or equal to 0."),
        ("cost = 8", "cost = inf", "[[actions]] cost: it should be a finite number."),
        ("prior_effect = 0.2", "prior_effect = 1.2", "[[actions]] prior_effect: it should be less than or equal to 1."),
        ("count = 1", "count = 0", "[[actions.cap]] count: it should be greater than 0."),
        ("consent =", "consents =", "[[actions]] has no key 'consents'; did you mean 'consent'?"),
    ],
)
def test_a_mistake_in_an_event_log_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in EVENTS
    assert message in refusal(tmp_path, EVENTS.replace(old, new, 1))


def test_actions_have_names_of_their_own(tmp_path: Path) -> None:
    again = EVENTS + EVENTS[EVENTS.index("[[actions]]") :]
    assert refusal(tmp_path, again) == "[[actions]] name: 'call' appears 2 times."


def test_without_data_or_decisions_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert refusal(tmp_path, '[business]\nname = "a"\n') == "there is neither a table [data] nor [decisions]."


def test_a_file_that_is_not_there_is_named_with_its_neighbours(tmp_path: Path) -> None:
    load(tmp_path, TABLE)
    with pytest.raises(ConfigError, match=r"bussiness\.toml: there is no such file; did you mean 'business\.toml'\?"):
        Business.load(tmp_path / "bussiness.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        Business.load(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes('[business]\nname = "é"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8"):
        Business.load(tmp_path / "a.toml")


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_experiment_loads(path: Path) -> None:
    assert Business.load(path).name


def test_a_generation_is_read_with_the_toml_of_its_build(make_generation: Any) -> None:
    generation = make_generation({"n": [1.0]}, ["a"], materialize=False)
    generation.business_file.write_text(TABLE)
    business = Business.of(generation)
    assert business.name == "telco"
    assert Business.of(generation) is business
