"""Keys, roles and rates at the gate."""

from __future__ import annotations

import httpx
import pytest

from serving.auth.api_keys import ApiKeys, Role
from serving.auth.permissions import EXEMPT, is_exempt
from serving.platform.database import Database

from ..conftest import Running, Shop, serving, settings_of

PATHS = ["/v1/customers/C00001/score", "/v1/scores", "/v1/models/champion", "/v1/nowhere", "/nowhere", "/"]


@pytest.mark.parametrize("path", PATHS)
def test_everything_but_the_exempt_asks_for_a_key(running: Running, path: str) -> None:
    response = httpx.get(running.url + path)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer realm="keepwell"'
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "/docs/problems#not-authenticated"


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "kw_0123", "Bearer kw_0123", "Bearer \t", "bearer x y"]
)
def test_a_wrong_key_is_no_key(running: Running, header: str) -> None:
    response = httpx.get(f"{running.url}/v1/models/champion", headers={"Authorization": header.strip() or "x"})
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_key_is_checked_before_the_body_is_read(running: Running) -> None:
    for content in (b"{", b"x" * 3_000_000):
        response = httpx.post(f"{running.url}/v1/scores", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/problems"])
def test_the_exempt_need_no_key(running: Running, path: str) -> None:
    assert httpx.get(running.url + path).status_code == 200


def test_exempt_is_a_path_and_what_lies_below() -> None:
    assert all(is_exempt(path) for path in (*EXEMPT, "/static/a/b.css", "/docs/problems"))
    assert not any(
        is_exempt(path) for path in ("/", "/livezz", "/docsx", "/v1/livez", "/v1/scores", "", "//livez", "/LIVEZ")
    )


def test_a_score_is_for_every_role_that_reads_and_a_decision_for_two(running: Running, template: Shop) -> None:
    for role in set(Role) - {Role.INGEST}:
        headers = template.headers(role)
        assert httpx.get(f"{running.url}/v1/customers/C00001/score", headers=headers).status_code == 200
        assert httpx.get(f"{running.url}/v1/models/champion", headers=headers).status_code == 200
        response = httpx.post(f"{running.url}/v1/decisions", headers=headers, json={"customer_id": "C00001"})
        if role in (Role.MANAGER, Role.LEAD):
            assert response.status_code == 403
            assert response.json()["type"] == "/docs/problems#not-permitted"
            assert role.value in response.json()["detail"]
        else:
            assert response.status_code == 200


def test_a_revoked_key_is_refused_at_once_by_a_server_that_has_not_seen_it(shop: Shop) -> None:
    database = Database(shop.settings.database)
    ApiKeys(database).revoke("test-scorer")
    database.close()
    with serving(shop.settings) as running:
        response = httpx.get(f"{running.url}/v1/models/champion", headers=shop.headers())
        assert response.status_code == 401
        assert 'error="invalid_token"' in response.headers["www-authenticate"]


def test_a_key_over_its_rate_waits_and_another_does_not(shop: Shop) -> None:
    settings = settings_of(shop.home, rate_limit=0.05)  # three requests a minute
    with serving(settings) as running:
        url = f"{running.url}/v1/models/champion"
        assert [httpx.get(url, headers=shop.headers()).status_code for _ in range(3)] == [200, 200, 200]
        refused = httpx.get(url, headers=shop.headers())
        assert refused.status_code == 429
        assert refused.json()["type"] == "/docs/problems#too-many-requests"
        assert 1 <= int(refused.headers["retry-after"]) <= 21
        assert httpx.get(url, headers=shop.headers(Role.ADMIN)).status_code == 200
        assert httpx.get(f"{running.url}/readyz").status_code == 200
