"""Who may see what: sessions, roles, forms, and what a page may load."""

from __future__ import annotations

import re
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from serving.auth.api_keys import ApiKeys, Role
from serving.platform.database import Database
from serving.platform.tables import notes, plays, web_sessions
from serving.web.signin.routes import _local

from ...conftest import Running, serving
from ..conftest import Office, SignIn, form_token, now

BROWSER = {"Accept": "text/html"}


@pytest.mark.parametrize("path", ["/", "/portfolio", "/team", "/customers/C00001", "/customers/C00001/-/path"])
def test_a_browser_without_a_session_is_sent_to_sign_in_and_a_program_is_told(pages: Running, path: str) -> None:
    sent = httpx.get(pages.url + path, headers=BROWSER)
    assert (sent.status_code, sent.headers["location"]) == (303, f"/login?next={path}")
    told = httpx.get(pages.url + path)
    assert told.status_code == 401
    assert told.json()["type"] == "/docs/problems#not-authenticated"


def test_the_cookie_is_out_of_reach_and_ends(pages: Running, office: Office) -> None:
    answer = httpx.post(f"{pages.url}/login", data={"key": office.keys["north"], "next": "/team"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/team")
    cookie = answer.headers["set-cookie"].lower()
    assert all(part in cookie for part in ("httponly", "samesite=lax", "max-age=43200", "path=/"))


def test_a_session_serves_pages_only_and_a_key_serves_the_api_only(
    sign_in: SignIn, pages: Running, office: Office
) -> None:
    assert sign_in("admin").get("/v1/customers/C00001/score").status_code == 401
    key = {"Authorization": f"Bearer {office.keys['admin']}"}
    assert httpx.get(f"{pages.url}/portfolio", headers=key).status_code == 401


@pytest.mark.parametrize("name", ["scorer", "none", "wrong"])
def test_who_may_not_sign_in_is_told_why(pages: Running, office: Office, name: str) -> None:
    secret = {"scorer": office.keys["scorer"], "none": "", "wrong": "kw_x"}[name]
    answer = httpx.post(f"{pages.url}/login", data={"key": secret})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    said = {"scorer": "is for programs", "none": "Enter your key", "wrong": "not valid"}[name]
    assert said in answer.text


def test_a_session_ends_with_time_with_signing_out_and_with_its_key(
    sign_in: SignIn, office: Office, database: Database
) -> None:
    client = sign_in("north")
    page = client.get("/portfolio")
    assert page.status_code == 200
    kept = dict(client.cookies)
    assert client.post("/logout", data={"form_token": form_token(page.text)}).headers["location"] == "/login"
    assert (
        client.get("/portfolio", headers={"Cookie": f"keepwell_session={kept['keepwell_session']}"}).status_code == 303
    )
    late = sign_in("south")
    with database.begin() as connection:
        # Only of this session: the others of the office are signed in, too.
        newest = connection.scalar(select(web_sessions.c.digest).order_by(web_sessions.c.created_at.desc()).limit(1))
        connection.execute(
            update(web_sessions).where(web_sessions.c.digest == newest).values(expires_at=now() - timedelta(seconds=1))
        )
    assert late.get("/portfolio").status_code == 303
    keys = ApiKeys(database)
    office.keys["leaver"] = keys.add("leaver", Role.MANAGER, ("north",))
    leaver = sign_in("leaver")
    assert leaver.get("/portfolio").status_code == 200
    keys.revoke("leaver")
    assert leaver.get("/portfolio").status_code == 303


def test_a_manager_sees_their_own_a_lead_the_teams_and_an_admin_all(sign_in: SignIn) -> None:
    found = {name: set(re.findall(r'data-label="Owner" class="owner">([^<]*)<', sign_in(name).get("/portfolio").text))
             for name in ("north", "south", "lead", "admin", "nobody")}  # fmt: skip
    assert found == {
        "north": {"north"},
        "south": {"south"},
        "lead": {"north", "south"},
        "admin": {"north", "south"},
        "nobody": set(),
    }
    empty = sign_in("nobody").get("/portfolio").text
    assert "No accounts yet" in empty
    assert "--owner" in empty


@pytest.mark.parametrize("part", ["", "/-/history", "/-/path", "/-/timeline"])
def test_another_managers_account_is_404_like_nobodys(sign_in: SignIn, part: str) -> None:
    client = sign_in("north")
    theirs, nobodys = client.get(f"/customers/C00001{part}"), client.get(f"/customers/nobody{part}")
    assert (theirs.status_code, nobodys.status_code) == (404, 404)
    assert theirs.headers["content-type"].startswith("text/html")
    strip = re.compile(r"C00001|nobody|Request \w+")
    assert strip.sub("", theirs.text) == strip.sub("", nobodys.text)


FORMS = {
    "accept": {"action": "success_call"},
    "not-now": {"action": "success_call", "days": "7"},
    "wrong": {"action": "success_call", "reason": "x"},
    "outcome": {"play_id": "x", "outcome": "helped"},
    "note": {"text": "x"},
    "override": {"band": "red", "reason": "x", "days": "7"},
    "withdraw": {"note_id": "x"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_forged_form_is_refused(sign_in: SignIn, database: Database, form: str) -> None:
    client = sign_in("north")
    mine, theirs = form_token(client.get("/portfolio").text), form_token(sign_in("south").get("/portfolio").text)
    address = f"/customers/C00004/-/{form}"
    elsewhere = {"Origin": "https://elsewhere.example"}
    forged = [
        client.post(address, data=FORMS[form]),
        client.post(address, data=FORMS[form] | {"form_token": theirs}),
        client.post(address, data=FORMS[form] | {"form_token": mine}, headers=elsewhere),
        client.post(address, data=FORMS[form] | {"form_token": mine}, headers={"Sec-Fetch-Site": "cross-site"}),
        client.post(address, json=FORMS[form]),
    ]
    assert [answer.status_code for answer in forged] == [403] * 5
    assert "Not a form of this session" in forged[0].text
    # With the right token, an account of somebody else still is none.
    answer = client.post(f"/customers/C00001/-/{form}", data=FORMS[form] | {"form_token": mine})
    assert answer.status_code == 404
    with database.read() as connection:
        for table in (plays, notes):
            assert connection.execute(select(table).where(table.c.customer_id.in_(["C00001", "C00004"]))).all() == []


def test_every_page_is_strict_and_kept_by_no_cache(sign_in: SignIn) -> None:
    client = sign_in("admin")
    for path in ("/login", "/portfolio", "/team", "/customers/C00001", "/customers/nobody"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert re.findall(r"<script(?![^>]* src=)[^>]*>|<style|\sstyle=|\son\w+=", answer.text) == []
        assert re.findall(r'(?:src|href)="(https?:)?//', answer.text) == []


def test_all_that_a_page_loads_is_served_here_for_a_year(sign_in: SignIn) -> None:
    client = sign_in("admin")
    loaded = re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/team").text)
    assert {address.split("?")[0] for address in loaded} == {
        f"/static/{name}" for name in ("keepwell.svg", "keepwell.css", "keepwell.js", "htmx.js", "chart.js")
    }
    for address in loaded:
        answer = client.get(address)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
    for name in ("nothing.js", "..%2Fpages.py", "keepwell.py"):
        assert client.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("target", "goes"),
    [
        ("/team", "/team"),
        ("/customers/C1?x=1", "/customers/C1?x=1"),
        ("//elsewhere.example", "/portfolio"),
        ("/\\elsewhere.example", "/portfolio"),
        ("https://elsewhere.example/team", "/portfolio"),
        ("/logout", "/portfolio"),
        ("/docs", "/portfolio"),
        ("javascript:alert(1)", "/portfolio"),
        ("", "/portfolio"),
    ],
)
def test_after_signing_in_one_stays_on_the_pages(target: str, goes: str) -> None:
    assert _local(target) == goes


def test_who_guesses_keys_is_made_to_wait_and_nobody_else(office: Office) -> None:
    with serving(office.shop.settings) as server:
        guesses = [httpx.post(f"{server.url}/login", data={"key": f"kw_{n}"}) for n in range(12)]
        assert [guess.status_code for guess in guesses] == [401] * 10 + [429] * 2
        assert int(guesses[-1].headers["retry-after"]) >= 1
        assert "Wait" in guesses[-1].text
        good = httpx.post(f"{server.url}/login", data={"key": office.keys["north"]})
        assert good.status_code == 429
        key = {"Authorization": f"Bearer {office.shop.keys[Role.SCORER]}"}
        assert httpx.get(f"{server.url}/v1/customers/C00001/score", headers=key).status_code == 200
