"""The tiny shop with what people see: names, owners, weeks, events; its server, and a real Chromium."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from features.generation import Generation
from features.home import Home
from features.schema import DType
from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.web.accounts.account_snapshots import Editions

from ..conftest import NEWCOMER, SCHEMA, Running, Shop, copy_of, customer_ids, make_columns, serving, wait_for

SCRIPT = "<script>alert(1)</script>"
SCRIPTED = "C00002"
"""The customer whose name is a script, and who wrote a very long comment in Arabic with emoji."""
COMMENT = ("شكرا جزيلا على الخدمة 🎉👩‍💻 " * 400)[:10_000]
FORMULA = "=HYPERLINK(1)"
FORMULAIC = "C00004"
CHROMIUM = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def owner_of(customer_id: str) -> str:
    """Plain ids take turns; odd ones are the north's."""
    return "south" if re.fullmatch(r"C\d*[13579]", customer_id) else "north"


@dataclass(frozen=True, slots=True)
class Office:
    """A shop whose people sign in: keys by name."""

    shop: Shop
    keys: dict[str, str]

    @property
    def generation(self) -> Generation:
        return Generation.current(self.shop.home)


def furnish(home: Home) -> None:
    """Give the live generation names, owners, weeks, events, and a quarter that is over."""
    generation = Generation.current(home)
    assert generation.before is not None
    people = customer_ids()
    names = {SCRIPTED: SCRIPT, FORMULAIC: FORMULA}
    pq.write_table(
        pa.table(
            {
                "customer_id": people,
                "created_at": pa.nulls(len(people), pa.timestamp("us", "UTC")),
                "name": [names.get(one, f"Firm {one}") for one in people],
                "owner": [owner_of(one) for one in people],
                "plan": [("pro", "team", "basic")[place % 3] for place in range(len(people))],
                "mrr": pa.nulls(len(people), pa.float64()),
            }
        ),
        generation.customers_file,
    )
    _weeks(generation, people)
    log = Path(generation.events_files).with_name("all.parquet")
    log.parent.mkdir()
    pq.write_table(_events(generation, people), log)
    replace(generation, cutoffs=(generation.before,), horizon_days=30).write()


def _weeks(generation: Generation, people: list[str]) -> None:
    stored_as = SCHEMA.stored_as
    moments = [generation.as_of - timedelta(days=7 * ago) for ago in range(12, 0, -1)]
    earlier = [one for one in people if one != NEWCOMER]
    for pillar in SCHEMA.pillars:
        path = generation.weeks_file(pillar.name)
        path.parent.mkdir(exist_ok=True)
        writer: Any = None
        for seed, moment in enumerate(moments):
            columns = make_columns(earlier, 500 + seed)
            stamp = pa.array([moment] * len(earlier), pa.timestamp("us", "UTC"))
            fields: dict[str, pa.Array] = {
                "customer_id": pa.array(earlier),
                "event_timestamp": stamp,
                "created_timestamp": stamp,
            }
            for feature in pillar.features:
                kind = pa.string() if feature.dtype is DType.STRING else pa.float32()
                fields[stored_as[feature.name]] = pa.array(columns[feature.name], kind)
            table = pa.table(fields)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
        writer.close()


def _events(generation: Generation, people: list[str]) -> pa.Table:
    rng = np.random.default_rng(4)
    rows: list[tuple[str, datetime, str, float | None, str | None, str | None]] = []
    for number, customer_id in enumerate(people):
        at = generation.as_of - timedelta(days=float(rng.uniform(1, 29)))
        rows.append((customer_id, at, "session", None, None, None))
        rows.append((customer_id, at, "session", None, None, None))
        for survey, top in (("nps", 11), ("csat", 6), ("ces", 8)):
            answer = float(rng.integers(1, top))
            said = json.dumps({"survey": survey})
            rows.append((customer_id, at - timedelta(days=40), "survey_answered", answer, None, said))
        if number % 9 == 0:
            rows.append((customer_id, at, "subscription_cancelled", None, None, None))
    rows.append((SCRIPTED, generation.as_of - timedelta(hours=1), "comment", None, COMMENT, None))
    rows.sort(key=lambda row: (row[0], row[1]))
    return pa.table(
        {
            "event_id": pa.array([str(number) for number in range(len(rows))]),
            "customer_id": [row[0] for row in rows],
            "occurred_at": pa.array([row[1] for row in rows], pa.timestamp("us", "UTC")),
            "received_at": pa.array([row[1] for row in rows], pa.timestamp("us", "UTC")),
            "type": [row[2] for row in rows],
            "channel": pa.nulls(len(rows), pa.string()),
            "value": pa.array([row[3] for row in rows], pa.float64()),
            "text": pa.array([row[4] for row in rows], pa.string()),
            "properties": pa.array([row[5] for row in rows], pa.string()),
        }
    )


def make_office(untouched: Shop, path: Path) -> Office:
    """A copy of the shop, furnished, with keys for its people."""
    shop = copy_of(untouched, path / "home")
    furnish(shop.home)
    database = Database(shop.settings.database)
    keys = ApiKeys(database)
    secrets = {
        "north": keys.add("north", Role.MANAGER),
        "south": keys.add("south", Role.MANAGER),
        "lead": keys.add("lead", Role.LEAD, ("north", "south")),
        "nobody": keys.add("nobody", Role.MANAGER),
        "admin": shop.keys[Role.ADMIN],
        "scorer": shop.keys[Role.SCORER],
    }
    database.close()
    return Office(shop, secrets)


@pytest.fixture(scope="session")
def office(untouched: Shop, tmp_path_factory: pytest.TempPathFactory) -> Office:
    """The office that all page tests share; whoever changes an account takes one that no other test looks at."""
    return make_office(untouched, tmp_path_factory.mktemp("office"))


@pytest.fixture(scope="session")
def pages(office: Office) -> Iterator[Running]:
    """The office being served, pages and all."""
    with serving(office.shop.settings) as running:
        wait_for_pages(office.shop.settings.database)
        yield running


@pytest.fixture
def database(office: Office) -> Iterator[Database]:
    opened = Database(office.shop.settings.database)
    yield opened
    opened.close()


def wait_for_pages(url: str) -> None:
    """Wait until an edition stands, which the server writes aside."""
    database = Database(url)

    def stands() -> bool:
        with database.read() as connection:
            return Editions(database).newest(connection) is not None

    wait_for(stands)
    database.close()


SignIn = Callable[[str], httpx.Client]


@pytest.fixture
def sign_in(pages: Running, office: Office) -> Iterator[SignIn]:
    """Signs in by the name of a key; the client then asks as a browser does."""
    clients: list[httpx.Client] = []

    def opened(name: str) -> httpx.Client:
        client = httpx.Client(base_url=pages.url, headers={"Accept": "text/html"}, timeout=30)
        clients.append(client)
        answer = client.post("/login", data={"key": office.keys[name]})
        assert answer.status_code == 303, answer.text
        return client

    yield opened
    for client in clients:
        client.close()


def form_token(page: str) -> str:
    """The token of a page's forms."""
    found = re.search(r'name="form_token" value="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


class Waterfall(HTMLParser):
    """Reads the waterfalls out of a page: for each, (kind, shown figure) from top to bottom."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tables: list[list[tuple[str, float]]] = []
        self._kind: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table" and given.get("class") == "waterfall":
            self.tables.append([])
        if tag == "td" and "data-points" in given:
            self._kind = given["data-kind"]

    def handle_data(self, data: str) -> None:
        if self._kind is not None:
            self.tables[-1].append((self._kind, float(data.replace("\N{MINUS SIGN}", "-"))))
            self._kind = None


def now() -> datetime:
    """This moment."""
    return datetime.now(UTC)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, as `.ci/run` installs it."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM))
        yield browser
        browser.close()


Visit = Callable[..., BrowserContext]


@pytest.fixture
def visit(chromium: Browser, pages: Running) -> Iterator[Visit]:
    """Opens a browser of its own, with whatever options; nothing may be said on its console as an error."""
    contexts: list[BrowserContext] = []

    def opened(**options: Any) -> BrowserContext:
        context = chromium.new_context(base_url=pages.url, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        return context

    yield opened
    for context in contexts:
        context.close()
