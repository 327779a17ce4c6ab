"""The short way to a score says what the route says, word by word, and leaves to it what it cannot."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.types import Scope

from serving.direct import DirectScore

from .conftest import NEWCOMER, ODD_IDS


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
