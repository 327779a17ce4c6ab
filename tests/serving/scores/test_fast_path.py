"""The short way to a score says what the route says, word by word, and leaves to it what it cannot."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.types import Scope

from features.generation import Generation
from features.store.codec import key_of_id, times_of
from features.store.connect import open_rows
from serving.releases.release import Release, ReleaseParts
from serving.scores.fast_path import DirectScore
from serving.scores.json_template import ScoreTemplate

from ..conftest import NEWCOMER, ODD_IDS, Shop, make_bundle


def answer(client: httpx.Client, customer_id: str, query: str) -> dict[str, Any]:
    """A score without what differs from one moment to the next."""
    response = client.get(f"/v1/customers/{quote(customer_id, safe='')}/score{query}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    found: dict[str, Any] = response.json()
    assert found.pop("request_id") == response.headers["x-request-id"]
    for pillar in found["freshness"]:
        pillar.pop("age_days")
    return found


@pytest.mark.parametrize("explain", ["top", "all", "none"])
@pytest.mark.parametrize("customer_id", ["C00001", "C00042", NEWCOMER, *(odd for odd in ODD_IDS if odd != "..")])
def test_says_what_the_route_says(client: httpx.Client, customer_id: str, explain: str) -> None:
    # A query that is not plain is the route's: the last of two values counts.
    through_the_route = answer(client, customer_id, f"?explain=none&explain={explain}")
    assert answer(client, customer_id, f"?explain={explain}") == through_the_route


def test_answers_without_the_route(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[bytes | None] = []
    direct = DirectScore._answer

    def noted(self: DirectScore, scope: Scope) -> bytes | None:
        answered.append(direct(self, scope))
        return answered[-1]

    monkeypatch.setattr(DirectScore, "_answer", noted)
    client.get("/v1/customers/C00001/score")
    client.get("/v1/customers/nobody/score")
    client.get("/v1/customers/C00001/score?explain=some")
    assert [body is not None for body in answered] == [True, False, False]


def test_is_counted_as_the_route(client: httpx.Client) -> None:
    def counted() -> float:
        of_route = 'keepwell_http_requests_total{method="GET",route="/v1/customers/{customer_id}/score",status="200"}'
        lines = client.get("/metrics").text.splitlines()
        return float(next((line.split()[-1] for line in lines if line.startswith(of_route)), 0.0))

    before = counted()
    client.get("/v1/customers/C00001/score")
    client.get("/v1/customers/C00001/score?explain=top&explain=top")
    assert counted() == before + 2


def test_asks_for_a_key(client: httpx.Client) -> None:
    assert httpx.get(f"{client.base_url}/v1/customers/C00001/score").status_code == 401


def remembered(client: httpx.Client) -> dict[str, float]:
    """How many scores of the short way were made, and how many remembered."""
    lines = client.get("/metrics").text.splitlines()
    name = 'keepwell_remembered_scores_total{remembered="'
    return {line.removeprefix(name).split('"')[0]: float(line.split()[-1]) for line in lines if line.startswith(name)}


@pytest.mark.parametrize("customer_id", ["C00007", NEWCOMER])
def test_says_again_what_was_said(client: httpx.Client, customer_id: str) -> None:
    before = remembered(client)
    said = [answer(client, customer_id, "") for _ in range(3)]
    assert said[0] == said[1] == said[2] == answer(client, customer_id, "?explain=top&explain=top")
    after = remembered(client)
    assert after["true"] >= before["true"] + 2
    assert after["true"] + after["false"] == before["true"] + before["false"] + 3


def test_a_pushed_row_is_seen_at_once(shop: Shop) -> None:
    generation = Generation.current(shop.home)
    bundle = make_bundle()
    release = Release.load(ReleaseParts(generation, "1", bundle.scorecard_proposal, bundle))
    counted: list[bool] = []
    template, unremembering = ScoreTemplate(release, 2**20, counted.append), ScoreTemplate(release)

    def same() -> bytes:
        body, codes = template.answer("C00003", "id")
        found, expected = json.loads(body), json.loads(unremembering.answer("C00003", "id")[0])
        for pillar in (*found["freshness"], *expected["freshness"]):
            pillar.pop("age_days")
        assert found == expected
        assert codes == tuple(found["degraded"])
        return body

    first = same()
    rows, (project, number) = open_rows(*generation.online_place), release.store._places[0]
    (row,) = rows.get(project, [number], [key_of_id("C00003")])
    assert row is not None
    layout = release.store._layout.layouts[0]
    values = layout.unpack(row)
    pushed = {name: (value or 0.0) + 9.0 for name, value in values.items() if not isinstance(value, str)}
    try:
        rows.put(project, number, [(key_of_id("C00003"), layout.pack({**values, **pushed}, *times_of(row)))])
        assert same() != first
        same()
    finally:
        rows.put(project, number, [(key_of_id("C00003"), row)])
    same()
    assert counted == [False, False, True, False]


def test_an_answer_larger_than_all_that_may_be_remembered_is_made_anew(shop: Shop) -> None:
    generation, bundle = Generation.current(shop.home), make_bundle()
    release = Release.load(ReleaseParts(generation, "1", bundle.scorecard_proposal, bundle))
    counted: list[bool] = []
    template = ScoreTemplate(release, 100, counted.append)
    for _ in range(2):
        assert json.loads(template.answer("C00003", "id")[0])["customer_id"] == "C00003"
    assert counted == [False, False]
