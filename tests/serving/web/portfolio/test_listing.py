"""The portfolio: what stands in it, filters, sorting, pages, export, and that its first page costs the same for a crowd."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from features.home import Home
from serving.auth.api_keys import Principal, Role
from serving.current_scores.database_table import current_scores
from serving.platform.database import Database
from serving.platform.tables import accounts, editions
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Scorer
from serving.web.accounts.account_snapshots import FORMAT, Editions
from serving.web.accounts.feature_history import population_at, trend_moments
from serving.web.accounts.snapshot_refresher import keep
from serving.web.portfolio.listing import Filters, Portfolio
from serving.web.signin.sessions import Viewer

from ...conftest import NEWCOMER, Shop, customer_ids
from ..conftest import FORMULA, FORMULAIC, Office, SignIn, owner_of

Accounts = dict[str, "Row[tuple[object, ...]]"]


@pytest.fixture
def written(database: Database, pages: object) -> Accounts:  # noqa: ARG001  (they wrote it)
    """All accounts of the edition that stands."""
    with database.read() as connection:
        number = connection.scalar(select(func.max(editions.c.edition)))
        return {
            row.customer_id: row for row in connection.execute(select(accounts).where(accounts.c.edition == number))
        }


def shown(page: str) -> list[str]:
    """The names of the accounts in a page, in their order."""
    return re.findall(r'<a href="/customers/[^"]+" dir="auto">([^<]*)</a>', page)


def test_an_edition_says_of_everybody_what_the_scorer_says(written: Accounts, office: Office) -> None:
    source = ReleaseSource(office.shop.settings)
    release = source.load(source.newest())
    scores = [score for score in Scorer(release).score(customer_ids()) if isinstance(score, CustomerScore)]
    assert set(written) == {score.customer_id for score in scores}
    weeks = trend_moments(release.generation)
    assert len(weeks) == 12
    for score in scores:
        row = written[score.customer_id]
        assert row.score == pytest.approx(score.score, abs=1e-9)
        assert row.probability == pytest.approx(score.probability, abs=1e-9)
        assert row.band == score.band.value
        assert row.owner == owner_of(score.customer_id)
        mrr = score.features["mrr"]
        assert isinstance(mrr, float)
        assert row.value_at_risk == pytest.approx(mrr * 12 * score.probability, rel=1e-6)
        sign = 1 if row.band == "green" else -1
        reasons = {reason.feature: reason for reason in score.reasons or ()}
        strongest = max((reason.points * sign for reason in reasons.values()), default=0.0)
        if strongest > 0:
            assert reasons[row.reason_feature].points * sign == strongest
            assert row.reason.lower() == reasons[row.reason_feature].text.replace("_", " ").lower()
    assert written[NEWCOMER].trend == [None] * 12
    assert written[NEWCOMER].band_before is None
    week = population_at(release, weeks[-1])
    log_odds = release.bundle.calibration.log_odds(release.predictor.margins(week.matrix))
    before = dict(zip(week.customer_ids, np.clip(release.scorecard.unclamped(log_odds), 0, 100).tolist(), strict=True))
    for customer_id, score_then in before.items():
        assert written[customer_id].trend[-1] == round(score_then, 1)
        assert written[customer_id].change == pytest.approx(written[customer_id].score - score_then)


def test_the_list_is_filtered_sorted_and_counted(sign_in: SignIn, written: Accounts) -> None:
    client = sign_in("admin")
    rows = sorted(written.values(), key=lambda row: (row.value_at_risk, row.customer_id), reverse=True)
    assert [name.replace("&lt;", "<").replace("&gt;", ">") for name in shown(client.get("/portfolio").text)] == [
        row.name for row in rows[:50]
    ]
    last = client.get("/portfolio?page=99999").text
    assert shown(last) == [row.name for row in rows[200:]]
    red = [row for row in written.values() if row.band == "red" and row.owner == "south" and row.segment == "pro"]
    lowest = sorted(red, key=lambda row: (row.score, row.customer_id))
    page = client.get("/portfolio?band=red&owner=south&segment=pro&sort=health").text
    assert shown(page) == [row.name for row in lowest[:50]]
    assert f"{len(red)} account" in page
    reason = rows[0].reason_feature
    found = client.get(f"/portfolio?reason={reason}&sort=name").text
    assert f"{sum(row.reason_feature == reason for row in written.values())} accounts of" in found
    moved = sum(row.band == "red" and row.band_before in ("yellow", "green") for row in written.values())
    assert f"{moved} came," in page


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("C00017", ["Firm C00017"]),
        ("firm 00017", ["Firm C00017"]),
        ("GRÖSSE", ["Firm größe#1"]),
        ("50%", ["Firm 50% off?"]),
        ("%", ["Firm 50% off?"]),
        ("_", []),
        ("\\", []),
        ("' OR 1=1 --", []),
    ],
)
def test_a_search_finds_what_is_typed(sign_in: SignIn, query: str, expected: list[str]) -> None:
    page = sign_in("admin").get("/portfolio", params={"q": query})
    assert page.status_code == 200
    assert shown(page.text) == expected


def test_of_whom_little_is_known_stand_apart_by_name_count_filter_and_export(
    sign_in: SignIn, written: Accounts
) -> None:
    assert [row.customer_id for row in written.values() if row.band == "insufficient_data"] == [NEWCOMER]
    client = sign_in("admin")
    page = client.get("/portfolio").text
    assert '<ul class="bands four"' in page
    counts = [int(one) for one in re.findall(r'<span class="count">([\d,]+)<', page)]
    assert len(counts) == 4
    assert counts[3] == 1
    assert sum(counts) == len(written)
    assert '<option value="insufficient_data">Insufficient data</option>' in page
    assert len(shown(client.get("/portfolio", params={"band": "insufficient_data"}).text)) == 1
    exported = client.get("/portfolio.csv", params={"band": "insufficient_data"}).text
    assert [row["Band"] for row in csv.DictReader(io.StringIO(exported))] == ["insufficient_data"]


def test_a_search_as_one_types_is_answered_with_the_list_alone(sign_in: SignIn) -> None:
    client = sign_in("admin")
    part = client.get("/portfolio?q=C0001&band=", headers={"HX-Request": "true"})
    assert "<html" not in part.text
    assert part.headers["hx-push-url"] == "/portfolio?q=C0001"
    again = client.get("/portfolio?q=C0001", headers={"HX-Request": "true", "HX-History-Restore-Request": "true"})
    assert "<html" in again.text


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "page=99999999999", "page=²", "sort=x", "band=x", "q=%00", "owner=%00"]
)
def test_an_address_that_makes_no_sense_is_the_portfolio_all_the_same(sign_in: SignIn, query: str) -> None:
    assert sign_in("admin").get(f"/portfolio?{query}").status_code == 200


def test_addresses_carry_what_differs_and_changes_begin_at_the_first_page() -> None:
    filters = Filters(q="a&b", band="red", page=3)
    assert filters.address() == "/portfolio?q=a%26b&band=red"
    assert filters.address(page=4) == "/portfolio?q=a%26b&band=red&page=4"
    assert Filters().address(band="") == "/portfolio"


def test_the_export_holds_all_that_is_filtered_and_no_formula(sign_in: SignIn, written: Accounts) -> None:
    answer = sign_in("north").get("/portfolio.csv?sort=name")
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))
    mine = {row.customer_id: row for row in written.values() if row.owner == "north"}
    assert {row["Customer"] for row in rows} == set(mine)
    assert {row["Name"] for row in rows if row["Customer"] == FORMULAIC} == {f"'{FORMULA}"}
    one = rows[5]
    assert float(one["Health"]) == pytest.approx(mine[one["Customer"]].score, abs=1e-4)


def test_a_new_edition_replaces_the_old_and_what_a_kill_left(
    office: Office, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ReleaseSource(office.shop.settings)
    release = source.load(source.newest())
    database = Database(shop.settings.database)
    database.migrate()
    made = Editions(database)
    with database.begin() as connection:
        connection.execute(delete(editions))
        connection.execute(delete(accounts))
        connection.execute(delete(current_scores))
        assert made.newest(connection) is None
        left = {"edition": 7, "release": "x", "begun_at": release.generation.as_of, "as_of": release.generation.as_of}
        connection.execute(insert(editions).values(**left, figures={}))
        old = left | {"edition": 6, "release": f"{release.key} v0", "completed_at": release.generation.as_of}
        connection.execute(insert(editions).values(**old, figures={}))
        assert made.newest(connection) is None
    assert not made.is_current(release.key)
    # Nobody has a current score in this database.
    assert made.write(release) == 0
    assert made.is_current(release.key)
    with database.read() as connection:
        assert connection.scalars(select(editions.c.edition)).all() == [8]
        newest = made.newest(connection)
    assert newest is not None
    assert newest.release == f"{release.key} {FORMAT}"
    assert not keep(database, release), "it stands"
    ahead = update(editions).values(release=f"29990101T000000000000Z/1/1 {FORMAT}")
    with database.begin() as connection:
        connection.execute(ahead)
    assert keep(Database(shop.settings.database), release), "what is live is shown, whatever clocks said"
    with database.begin() as connection:
        connection.execute(ahead)
    monkeypatch.setattr(Home, "live", "29990101T000000000000Z")
    assert not keep(Database(shop.settings.database), release), "a build that is live no more replaces nothing"
    database.close()


def _fill(database: Database, n: int) -> None:
    rng = np.random.default_rng(1)
    risk = rng.beta(1, 6, n)
    value = rng.lognormal(7, 1, n)
    features = ("sessions_30d", "tickets_open", "nps_latest", "days_since_session")
    bands = np.digitize(risk, [0.1, 0.3])
    with database.begin() as connection:
        number = connection.scalar(select(func.max(editions.c.edition)))
        connection.execute(delete(accounts))
        for start in range(0, n, 5000):
            connection.execute(
                insert(accounts),
                [
                    {
                        "edition": number,
                        "customer_id": f"K{place:06d}",
                        "name": f"Company number {place}",
                        "owner": f"team-{place % 10}",
                        "segment": ("starter", "team", "business")[place % 3],
                        "probability": float(risk[place]),
                        "score": float(100 * (1 - risk[place])),
                        "band": ("green", "yellow", "red")[bands[place]],
                        "band_before": ("green", "yellow", "red")[bands[(place * 7) % n]],
                        "change": float(risk[(place * 7) % n] - risk[place]),
                        "trend": [round(float(100 * risk[(place * week) % n]), 1) for week in range(1, 13)],
                        "value_at_stake": float(value[place]),
                        "value_at_risk": float(value[place] * risk[place]),
                        "reason": "Sessions average 13.6 minutes lately; 39.7 is typical",
                        "reason_feature": features[place % 4],
                        "action": "success_call",
                        "searched": f"company number {place} k{place:06d}",
                    }
                    for place in range(start, min(n, start + 5000))
                ],
            )


def steps(connection: Connection, work: Callable[[], object]) -> int:
    """How much SQLite does for some work, in hundreds of the steps of its virtual machine: no clock says."""
    count = itertools.count()
    sqlite: Any = connection.connection.dbapi_connection
    sqlite.set_progress_handler(lambda: next(count) and None, 100)
    try:
        work()
    finally:
        sqlite.set_progress_handler(None, 100)
    return next(count)


def test_the_first_page_costs_the_same_however_many_accounts_there_are(tmp_path: Path) -> None:
    """By value at risk and by health, for everybody and for an owner of a tenth."""
    now = datetime.now(UTC)
    cost: dict[tuple[str, str | None], list[int]] = {}
    for n in (2_000, 20_000):
        database = Database(f"sqlite:///{tmp_path / f'{n}.db'}")
        database.migrate()
        with database.begin() as connection:
            completed = {"release": f"r {FORMAT}", "begun_at": now, "completed_at": now, "as_of": now, "figures": {}}
            connection.execute(insert(editions).values(edition=1, **completed))
        _fill(database, n)
        with database.read() as connection:
            edition, portfolio = Editions(database).newest(connection), Portfolio(database)
            assert edition is not None
            for owner in (None, "team-3"):
                viewer = Viewer(Principal("somebody", Role.MANAGER), None if owner is None else (owner,), "")
                assert portfolio.overview(connection, edition, viewer).total == (n if owner is None else n // 10)
                for sort in ("risk", "health"):
                    first = partial(portfolio.page, connection, edition, viewer, Filters(sort=sort))
                    assert len(first().rows) == 50
                    cost.setdefault((sort, owner), []).append(steps(connection, first))
        database.close()
    assert {of: figures for of, figures in cost.items() if figures[1] > 2 * figures[0]} == {}
