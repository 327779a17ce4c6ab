"""The team's page and the Monday list, held against figures counted by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from serving.__main__ import app
from serving.auth.api_keys import ApiKeys, Principal, Role
from serving.errors import CommandError
from serving.platform.database import Database
from serving.platform.tables import decisions
from serving.web.accounts.account_snapshots import Edition, Editions
from serving.web.accounts.outcomes import last_quarter, who_left
from serving.web.signin.sessions import Viewer
from serving.web.team import figures as team
from serving.web.team.digest import write_digests

from ...conftest import Running
from ..conftest import SCRIPT, Office, SignIn, now, owner_of

ALL = Viewer(Principal("admin", Role.ADMIN), None, "")
NORTH = Viewer(Principal("north", Role.MANAGER), ("north",), "")


@pytest.fixture
def edition(database: Database, pages: Running) -> Edition:
    assert pages.url
    with database.read() as connection:
        found = Editions(database).newest(connection)
    assert found is not None
    return found


@pytest.mark.parametrize("viewer", [ALL, NORTH], ids=["admin", "north"])
def test_who_left_since_last_quarter_is_counted(office: Office, edition: Edition, viewer: Viewer) -> None:
    generation = office.generation
    cutoff = last_quarter(generation)
    assert cutoff is not None
    assert cutoff == generation.before
    events = pq.read_table(generation.event_parts[0]).to_pylist()
    gone = {row["customer_id"] for row in events if row["type"] == "subscription_cancelled"}
    people = pq.read_table(
        generation.snapshot_file("support"), filters=[("event_timestamp", "==", cutoff)]
    )["customer_id"].to_pylist()  # fmt: skip
    assert who_left(generation, cutoff, people) == gone & set(people)
    mine = {one for one in people if viewer.owners is None or owner_of(one) in viewer.owners}
    back = team.looked_back(edition, viewer)
    assert back is not None
    assert sum(one.count for one in back.called) == len(mine)
    assert sum(one.left for one in back.called) == len(mine & gone)
    assert sum(n for _, n, _ in back.reasons) <= len(mine & gone)


@pytest.mark.parametrize("survey", ["nps", "csat", "ces"])
def test_answers_are_counted_with_their_intervals(office: Office, edition: Edition, survey: str) -> None:
    rows = pq.read_table(office.generation.event_parts[0]).to_pylist()
    answers = [
        row["value"]
        for row in rows
        if row["type"] == "survey_answered"
        and f'"{survey}"' in row["properties"]
        and owner_of(row["customer_id"]) == "north"
    ]
    series = next(one for one in team.surveys(edition, NORTH) if one.survey == survey)
    n = len(answers)
    expected = {
        "nps": 100 * (sum(one >= 9 for one in answers) - sum(one <= 6 for one in answers)) / n,
        "csat": 100 * sum(one >= 4 for one in answers) / n,
        "ces": sum(answers) / n,
    }
    assert series.overall.n == n
    assert series.overall.value == pytest.approx(expected[survey])
    assert series.overall.low < series.overall.value < series.overall.high
    assert sum(month.n for _, month in series.months) <= n


def test_a_share_has_wilsons_interval() -> None:
    found = team.share_of(3, 10)
    assert (found.low, found.high) == pytest.approx((0.10779, 0.60322), abs=1e-4)
    assert team.share_of(0, 10).low == 0.0
    assert team.share_of(10, 10).high == pytest.approx(1.0)


def test_what_an_action_earned_is_told_once_there_are_enough(edition: Edition, tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'keepwell.db'}")
    database.migrate()
    with database.begin() as connection:
        _account_rows(connection, edition)
        for place in range(200):
            treated = place % 2 == 0
            connection.execute(insert(decisions).values(_decision(place, treated=treated)))
    with database.read() as connection:
        (told,) = team.actions(connection, edition, ALL)
        assert team.left_alone(connection, edition, ALL) == 100
    # Of the treated 3 in 4 stayed, of the others 1 in 2; each group has one pscore, which so weighs nothing.
    assert told.effect is not None
    assert told.effect.value == pytest.approx(0.25)
    assert told.effect.low < 0.25 < told.effect.high
    assert (told.compared, told.effect.n) == (100, 200)
    database.close()


def _account_rows(connection: object, edition: Edition) -> None:
    from serving.platform.tables import accounts

    connection.execute(  # type: ignore[attr-defined]
        insert(accounts),
        [
            {
                "edition": edition.number, "customer_id": f"D{place}", "name": "x", "probability": 0.1, "score": 50.0,
                "band": "red", "trend": [], "value_at_risk": 1.0, "action": "call", "searched": "x",
            }
            for place in range(200)
        ],
    )  # fmt: skip


def _decision(place: int, *, treated: bool) -> dict[str, object]:
    stayed = place % 8 < 6 if treated else place % 4 == 1
    return {
        "decision_id": f"{place:032d}",
        "customer_id": f"D{place}",
        "action": "call" if treated else "no_action",
        "pscore": 0.9 if treated else 0.1,
        "action_dist": {},
        "answer": {},
        "context": {},
        "policy_version": "1",
        "model_version": "1",
        "scorecard_version": "1",
        "generation": "1",
        "decided_by": "x",
        "decided_at": now(),
        "reward": 1.0 if stayed else 0.0,
        "executed": True,
    }


def test_the_page_shows_it_all_and_says_when_there_is_too_little(sign_in: SignIn) -> None:
    page = sign_in("admin").get("/team").text
    assert "How good the score has been" in page
    assert "95 % sure between" in page
    assert re.search(r"<canvas[^>]+data-chart=", page)
    assert "it has not learned from what came after" in page


def test_every_owner_gets_a_list_as_html_and_as_text(database: Database, edition: Edition, tmp_path: Path) -> None:
    written = write_digests(database, tmp_path / "out", "https://keepwell.example/")
    assert sorted(path.name for path in written) == ["north.html", "north.txt", "south.html", "south.txt"]
    text, html = (tmp_path / "out/north.txt").read_text(), (tmp_path / "out/north.html").read_text()
    assert "BEGIN WITH THESE" in text
    assert "https://keepwell.example/customers/C0" in text
    assert SCRIPT not in html
    assert f"Data as of {edition.as_of.day} " in text
    assert all(owner_of(one) == "north" for one in re.findall(r"\((C\d{5})\)", text))
    assert len(write_digests(database, tmp_path / "one", "http://x", ["south"])) == 2
    with pytest.raises(CommandError, match="'west' has no accounts: the owners are north, south"):
        write_digests(database, tmp_path / "none", "http://x", ["west"])


def test_the_commands_for_leads_and_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    run = CliRunner().invoke
    made = run(app, ["key", "add", "--name", "lead", "--role", "lead", "--owner", "a", "--owner", "b"])
    assert made.output.startswith("kw_")
    refused = run(app, ["key", "add", "--name", "other", "--role", "lead"])
    assert isinstance(refused.exception, CommandError)
    assert "--owner" in str(refused.exception)
    assert isinstance(
        run(app, ["key", "add", "--name", "crm", "--role", "scorer", "--owner", "a"]).exception, CommandError
    )
    assert "sees a, b" in run(app, ["key", "list"]).output
    database = Database(f"sqlite:///{tmp_path / 'keepwell.db'}")
    (key,) = ApiKeys(database).list()
    assert (key.role, key.owners) == (Role.LEAD, ("a", "b"))
    database.close()
    empty = run(app, ["digest", "--output", str(tmp_path / "digest")])
    assert "nobody has been scored" in str(empty.exception)
