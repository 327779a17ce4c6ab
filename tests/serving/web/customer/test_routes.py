"""One customer's page: figures that add up, what to do, what would help, and what people know beside the score."""

from __future__ import annotations

import re
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from models.decisions.policy import NO_ACTION
from serving.decisions.service import DecisionService
from serving.platform.database import Database
from serving.platform.tables import decisions, editions, notes, plays
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.scores.scorer import CustomerScore, Explain, Scorer
from serving.web.accounts.account_snapshots import QUANTILES
from serving.web.charts import sparkline, waterfall
from serving.web.customer.counterfactuals import MOST_CHANGES, path_to_green
from serving.web.formatting import adding_up, between, health, money, percent, sentence, signed

from ...conftest import NEWCOMER, ODD_IDS, SCHEMA, Running, customer_ids
from ..conftest import Office, SignIn, Waterfall, form_token


@pytest.fixture(scope="module")
def release(office: Office) -> Release:
    source = ReleaseSource(office.shop.settings)
    return source.load(source.newest())


def act(client: httpx.Client, customer_id: str, form: str, **fields: str) -> httpx.Response:
    """Send a form of the customer's page, as the page has it."""
    page = client.get(f"/customers/{quote(customer_id, safe='')}").text
    return client.post(
        f"/customers/{quote(customer_id, safe='')}/-/{form}", data={"form_token": form_token(page), **fields}
    )


def test_the_bars_add_up_to_the_shown_score(sign_in: SignIn, pages: Running, office: Office, full: bool) -> None:
    client = sign_in("admin")
    known = [one for one in customer_ids() if one != ".."]
    chosen = np.random.default_rng(8).choice(known, 200 if full else 40, replace=False).tolist()
    api = {"Authorization": f"Bearer {office.keys['admin']}"}
    for customer_id in chosen:
        page = client.get(f"/customers/{quote(customer_id, safe='')}").text
        score = httpx.get(f"{pages.url}/v1/customers/{quote(customer_id, safe='')}/score", headers=api).json()["health"]
        tables = Waterfall(page).tables
        assert len(tables) == (1 if score["change"] is None else 2)
        for table in tables:
            (first, *steps, last) = table
            assert (first[0], last[0]) == ("total", "total")
            assert round(first[1] + sum(points for _, points in steps), 1) == last[1] == round(score["score"], 1)
        headline = re.search(r'id="score">([\d.]+)<', page)
        assert headline is not None
        assert float(headline[1]) == tables[0][-1][1]
        assert tables[0][0][1] == round(score["base"], 1)
        if score["change"] is not None:
            moved = tables[1][-1][1] - tables[1][0][1]
            assert moved == pytest.approx(score["change"]["points"], abs=0.11)


@pytest.mark.parametrize("customer_id", [one for one in ODD_IDS if one != ".."])
def test_a_customer_is_found_by_the_address_that_the_list_gives(sign_in: SignIn, customer_id: str) -> None:
    client = sign_in("north")
    found = client.get("/portfolio", params={"q": customer_id, "sort": "name"}).text
    address = next(one for one in re.findall(r'href="(/customers/[^"]+)"', found) if quote(customer_id, safe="") in one)
    page = client.get(address)
    assert page.status_code == 200
    assert client.get(f"{address}/-/history").status_code == 200
    assert client.get(f"{address}/-/timeline?start=0").status_code == 200


def test_the_page_says_the_reasons_their_history_and_what_happened(sign_in: SignIn, office: Office) -> None:
    client = sign_in("admin")
    page = client.get("/customers/C00006").text
    assert "Session × 2" in page
    assert "NPS answer:" in page
    assert "Associated with" in page
    part = client.get("/customers/C00006/-/history").text
    # 12 weeks, 30 days ago, and now.
    times = re.search(r"&#34;times&#34;: \[(.*?)\]", part)
    assert times is not None
    assert len(times[1].split(",")) == 14
    assert part.count("<li>") == 5
    newcomer = client.get(f"/customers/{NEWCOMER}").text
    assert "What changed since" not in newcomer
    assert office.generation.as_of.strftime("%Y") in newcomer


def test_the_page_says_how_sure_the_risk_is_and_when_they_may_leave(
    sign_in: SignIn, office: Office, pages: Running
) -> None:
    page = sign_in("admin").get("/customers/C00006").text
    api = {"Authorization": f"Bearer {office.keys['admin']}"}
    churn = httpx.get(f"{pages.url}/v1/customers/C00006/score", headers=api).json()["churn"]
    assert f"of customers with this score, {between(**churn['interval'])} leave" in page
    table = page.split('<table class="horizons">')[1].split("</table>")[0]
    for one in churn["horizons"]:
        assert re.search(rf"Within {one['days']} days</th>\s*<td class=\"num\">{percent(one['probability'])}<", table)
    assert table.count('class="total"><') + table.count('<tr class="total">') == 1, (
        "the business's own horizon stands out"
    )
    assert f"Of the next 180 days, they are expected to stay {round(churn['expected_days_to_churn'])}." in page


def test_of_whom_little_is_known_the_page_says_so(sign_in: SignIn) -> None:
    client = sign_in("admin")
    page = client.get(f"/customers/{NEWCOMER}").text
    assert 'class="band insufficient_data"' in page
    assert "Insufficient data" in page
    assert "Too little of what is typically known" in page
    assert "Too little is known of them to say" in client.get(f"/customers/{NEWCOMER}/-/path").text
    assert "Choose the health" in act(client, NEWCOMER, "override", band="insufficient_data", reason="x", days="7").text


def test_an_action_is_taken_on_done_and_counted(sign_in: SignIn, database: Database) -> None:
    client = sign_in("south")
    taken = None
    for number in range(21, 121, 2):
        customer_id = f"C{number:05d}"
        page = client.get(f"/customers/{customer_id}").text
        offered = re.search(r'name="form_id" value="(\w+)"><input type="hidden" name="action" value="(\w+)"', page)
        if offered is None:
            assert "Nothing for now" in page
            continue
        form = {"form_token": form_token(page), "form_id": offered[1], "action": offered[2]}
        answers = [client.post(f"/customers/{customer_id}/-/accept", data=form) for _ in range(2)]
        # Sent twice, as impatient people do, it is one decision.
        assert [answer.status_code for answer in answers] == [303, 303]
        assert answers[0].headers["location"] == answers[1].headers["location"]
        with database.read() as connection:
            (logged,) = connection.execute(select(decisions).where(decisions.c.customer_id == customer_id)).all()
            (play,) = connection.execute(select(plays).where(plays.c.customer_id == customer_id)).all()
        assert play.decision_id == logged.decision_id
        assert logged.decided_by == "south"
        assert play.status == ("held_back" if logged.action == NO_ACTION else "accepted")
        assert logged.pscore == pytest.approx(0.05 if logged.action == NO_ACTION else 0.95)
        if play.status == "accepted":
            taken = play
            break
    assert taken is not None
    assert "taken on" in client.get("/portfolio", params={"q": taken.customer_id}).text
    assert act(client, taken.customer_id, "outcome", play_id=taken.play_id, outcome="no").status_code == 422
    for _ in range(2):
        done = act(client, taken.customer_id, "outcome", play_id=taken.play_id, outcome="no_change")
        assert done.status_code == 303
    assert act(client, taken.customer_id, "outcome", play_id=taken.play_id, outcome="helped").status_code == 422
    with database.read() as connection:
        logged = connection.execute(select(decisions).where(decisions.c.decision_id == taken.decision_id)).one()
    assert (logged.reward, logged.executed) == (0.0, True)
    team = client.get("/team").text
    assert taken.action.replace("_", " ").capitalize() in team


def offer(client: httpx.Client, customer_id: str) -> str | None:
    """The action that the page offers."""
    found = re.search(r'<p class="action"><strong>([^<]*)</strong>', client.get(f"/customers/{customer_id}").text)
    return None if found is None else found[1]


def test_not_now_silences_and_wrong_excludes(sign_in: SignIn, database: Database) -> None:
    client = sign_in("north")
    customer_id = next(
        f"C{number:05d}" for number in range(102, 240, 2) if offer(client, f"C{number:05d}") == "Success call"
    )
    assert act(client, customer_id, "wrong", action="success_call", reason=" ").status_code == 422
    assert act(client, customer_id, "wrong", action="success_call", reason="They hate <calls>").status_code == 303
    page = client.get(f"/customers/{customer_id}").text
    assert offer(client, customer_id) != "Success call"
    assert "called wrong here" in page
    assert "They hate &lt;calls&gt;" in page
    assert act(client, customer_id, "not-now", action="winback_email", days="400").status_code == 422
    assert act(client, customer_id, "not-now", action="winback_email", days="7").status_code == 303
    assert "nothing is suggested until then" in client.get(f"/customers/{customer_id}").text
    assert offer(client, customer_id) is None
    with database.read() as connection:
        assert connection.scalar(
            select(func.count()).select_from(decisions).where(decisions.c.customer_id == customer_id)
        ) == 0  # fmt: skip


def test_a_note_and_an_override_stand_beside_the_score_and_end(sign_in: SignIn, database: Database) -> None:
    client = sign_in("north")
    before = client.get("/customers/C00020").text
    assert act(client, "C00020", "override", band="blue", reason="x", days="7").status_code == 422
    assert act(client, "C00020", "override", band="red", reason="", days="7").status_code == 422
    assert act(client, "C00020", "override", band="red", reason="Their champion left", days="30").status_code == 303
    assert act(client, "C00020", "override", band="yellow", reason="Not so bad", days="7").status_code == 303
    assert act(client, "C00020", "note", text="x" * 10_001).status_code == 422
    assert act(client, "C00020", "note", text="Renewal talk in May").status_code == 303
    page = client.get("/customers/C00020").text
    assert "Not so bad" in page
    assert "Their champion left" not in page
    assert "Renewal talk in May" in page
    assert Waterfall(page).tables == Waterfall(before).tables
    assert "override: Yellow" in client.get("/portfolio?q=C00020").text
    with database.begin() as connection:
        connection.execute(update(notes).where(notes.c.band == "yellow").values(expires_at=notes.c.created_at))
        note_id = connection.scalar(select(notes.c.note_id).where(notes.c.text == "Renewal talk in May"))
    assert "Not so bad" not in client.get("/customers/C00020").text
    assert "override:" not in client.get("/portfolio?q=C00020").text
    assert act(client, "C00022", "withdraw", note_id=str(note_id)).status_code == 303
    assert "Renewal talk in May" in client.get("/customers/C00020").text, "a note of another customer stays"
    assert act(client, "C00020", "withdraw", note_id=str(note_id)).status_code == 303
    assert "Renewal talk in May" not in client.get("/customers/C00020").text


def test_a_path_to_green_is_what_the_real_scorer_says(release: Release, database: Database, pages: Running) -> None:
    assert pages.url
    with database.read() as connection:
        figures = connection.scalar(select(editions.c.figures).order_by(editions.c.edition.desc()).limit(1))
    assert figures is not None
    quantiles = figures["quantiles"]
    assert all(len(levels) == len(QUANTILES) for levels in quantiles.values())
    reached = 0
    for score in Scorer(release).score(customer_ids()[:60], Explain.TOP):
        assert isinstance(score, CustomerScore)
        if score.score >= release.scorecard.green:
            continue
        read = release.store.read([score.customer_id])
        (row,) = read.matrix(release.schema, release.bundle.categories)
        found = path_to_green(release, score, row, quantiles)
        if found is None:
            continue
        reached += found.reaches_green
        assert 1 <= len(found.steps) <= MOST_CHANGES
        assert found.score > score.score
        assert len({step.feature for step in found.steps}) == len(found.steps)
        columns = {name: list(values) for name, values in read.columns.items()}
        for step in found.steps:
            feature = SCHEMA[step.feature]
            assert feature.direction != 0
            assert feature.pillar != "relationship"
            figure = float(re.sub(r"[^\d.]", "", step.text.split(" in 30 days")[0]))
            columns[step.feature] = [figure]
            assert (figure - float(read.columns[step.feature][0])) * feature.direction < 0  # type: ignore[arg-type]
        (again,) = Scorer(release).score_rows([score.customer_id], columns)
        assert again.score == pytest.approx(found.score, abs=0.6)  # sentences round their figures
        assert again.probability == pytest.approx(found.probability, abs=0.01)
    assert reached >= 5


def test_a_program_that_recorded_another_outcome_first_wins(sign_in: SignIn, database: Database) -> None:
    client = sign_in("north")
    for number in range(122, 240, 2):
        customer_id = f"C{number:05d}"
        page = client.get(f"/customers/{customer_id}").text
        offered = re.search(r'name="form_id" value="(\w+)"><input type="hidden" name="action" value="(\w+)"', page)
        if offered and "accepted" in act(
            client, customer_id, "accept", form_id=offered[1], action=offered[2]
        ).headers.get("location", ""):
            break
    with database.read() as connection:
        play = connection.execute(select(plays).where(plays.c.customer_id == customer_id)).one()
    DecisionService(database).record_outcome(play.decision_id, 0.5, True)
    answer = act(client, customer_id, "outcome", play_id=play.play_id, outcome="helped")
    assert answer.status_code == 409


@given(st.lists(st.floats(-60, 60), max_size=12), st.floats(0, 100))
def test_what_is_shown_adds_up(parts: list[float], base: float) -> None:
    shown = adding_up(parts, sum(parts))
    assert round(sum(shown), 1) == round(sum(parts), 1) or not any(parts)
    assert all(abs(one - real) < 0.2 for one, real in zip(shown, parts, strict=True))
    assert all(one == 0 for one, real in zip(shown, parts, strict=True) if real == 0)
    bars = waterfall(("from", base), [("x", part) for part in parts], ("to", base + sum(parts)))
    if any(parts):
        assert round(sum(bar.points for bar in bars[:-1]), 1) == bars[-1].points
    assert all(0 <= bar.left <= 100 and 0 <= bar.width <= 100 for bar in bars)


def test_figures_are_said_as_people_say_them() -> None:
    assert [money(value, "EUR") for value in (4015.4, 119_600, 1_240_000, 12.5, 0.0, -3.0, None)] == [
        "€4,015", "€120k", "€1.2m", "€12.50", "€0", "−€3", "not known"
    ]  # fmt: skip
    assert (money(5, "CHF"), money(5, None)) == ("5 CHF", "5")
    bounds = [(0.0, 0.003), (0.001, 0.02), (0.1, 0.104), (0.26, 0.371), (0.9, 1.0)]
    assert [between(*one) for one in bounds] == ["under 1 %", "up to 2 %", "10 %", "26 to 37 %", "90 to 100 %"]
    assert [percent(share) for share in (0.0, 0.004, 0.314, 0.996, 1.0)] == [
        "0 %",
        "under 1 %",
        "31 %",
        "over 99 %",
        "100 %",
    ]
    assert (health(39.97), signed(-0.04), signed(-3.35), signed(2)) == ("39", "0.0", "−3.4", "+2.0")
    assert SCHEMA["days_since_session"].subject == "last session … days ago"
    assert sentence("signup_discount is 20; 10 is typical", "signup_discount") == "Signup discount is 20; 10 is typical"


def test_a_sparkline_needs_two_points() -> None:
    assert sparkline([None, None], 40.0) is None
    line = sparkline([None, 30.0, None], 40.0)
    assert line is not None
    assert (line.first, line.last, len(line.points.split())) == (30.0, 40.0, 2)
