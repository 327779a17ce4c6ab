"""Every error is a problem of a listed type, with nothing of the inside in it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import features.errors
import serving.errors
from features.errors import DatabaseUnavailable, SchemaMismatch, StoreUnavailable, UnknownCustomer
from serving.api.problems import INTERNAL_ERROR, PROBLEM_OF, PROBLEMS, describe
from serving.errors import (
    CommandError,
    NotAuthenticated,
    ServingError,
    TooManyRequests,
)

from ..conftest import Running


def descendants(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_every_error_that_a_request_can_meet_has_its_problem() -> None:
    of_commands = {CommandError, *descendants(CommandError)}
    for kind in descendants(ServingError):
        if kind not in of_commands:
            assert any(base in PROBLEM_OF for base in kind.__mro__), kind


def test_every_problem_is_listed_once_with_a_status_of_the_contract() -> None:
    assert len({problem.slug for problem in PROBLEMS}) == len(PROBLEMS)
    assert set(PROBLEM_OF.values()) <= set(PROBLEMS)
    assert {problem.status for problem in PROBLEMS} == {400, 401, 403, 404, 405, 408, 409, 413, 422, 429, 431, 500, 503}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert serving.errors.__doc__ is not None
    drawn = set(re.findall(r"[└├]── (\w+)", serving.errors.__doc__))
    real = {kind.__name__ for kind in descendants(ServingError) if kind.__module__ == "serving.errors"}
    assert drawn == real


def test_every_type_is_listed_where_it_points_to(running: Running) -> None:
    page = httpx.get(f"{running.url}/docs/problems")
    assert page.headers["content-type"].startswith("text/html")
    described = httpx.get(f"{running.url}/openapi.json").json()["info"]["description"]
    for problem in PROBLEMS:
        path, _, anchor = problem.type.partition("#")
        assert path == "/docs/problems"
        assert f'id="{anchor}"' in page.text
        assert f"`{problem.type}` | {problem.status}" in described


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (UnknownCustomer(("C1",)), 404, "unknown-customer"),
        (StoreUnavailable("redis://secret:6379 timed out"), 503, "store-unavailable"),
        (SchemaMismatch("The rows lack 'x'."), 503, "no-champion"),
        (DatabaseUnavailable("The database postgresql://host/x does not answer."), 503, "database-unavailable"),
        (sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("host")), 503, "database-unavailable"),
        (NotAuthenticated(presented=True), 401, "not-authenticated"),
        (HTTPException(405, headers={"Allow": "GET"}), 405, "method-not-allowed"),
        (HTTPException(400, "There was an error parsing the body"), 422, "invalid-request"),
        (HTTPException(418), 500, "internal-error"),
        (features.errors.ConfigError("/srv/keepwell/telco.toml is wrong"), 500, "internal-error"),
        (ZeroDivisionError("secret"), 500, "internal-error"),
        (KeyError("secret"), 500, "internal-error"),
    ],
)
def test_an_error_becomes_its_problem(error: Exception, status: int, slug: str) -> None:
    detail = describe(error, "r-1")
    body = detail.to_json()
    assert body["status"] == detail.problem.status == status
    assert body["type"] == f"/docs/problems#{slug}"
    assert list(body) == ["type", "title", "status", "detail", "request_id"]
    assert body["request_id"] == "r-1"
    assert "secret" not in str(body)
    assert "host" not in str(body)
    assert "/srv" not in str(body)
    assert str(body["detail"]).endswith(".")


def test_headers_tell_machines_what_to_do() -> None:
    assert dict(describe(TooManyRequests(0.02), "r").headers) == {"Retry-After": "1"}
    assert dict(describe(TooManyRequests(20.0), "r").headers)["Retry-After"] in ("20", "21")
    assert dict(describe(NotAuthenticated(presented=False), "r").headers) == {
        "WWW-Authenticate": 'Bearer realm="keepwell"'
    }
    assert dict(describe(HTTPException(405, headers={"Allow": "GET"}), "r").headers) == {"Allow": "GET"}


def test_an_invalid_request_lists_its_fields() -> None:
    error = RequestValidationError(
        [
            {"loc": ("body", "customer_ids", 3), "msg": "too short", "type": "x"},
            {"loc": ("query", "limit"), "msg": "too large", "type": "x"},
            {"loc": ("body",), "msg": "missing", "type": "x"},
        ]
    )
    body = describe(error, "r").to_json()
    assert body["errors"] == [
        {"field": "customer_ids.3", "message": "too short"},
        {"field": "limit", "message": "too large"},
        {"field": "body", "message": "missing"},
    ]
    assert body["detail"] == "The request is not valid: customer_ids.3: too short; limit: too large; body: missing."


def test_what_nobody_foresaw_is_the_internal_error() -> None:
    assert describe(RuntimeError("x"), "r").problem is INTERNAL_ERROR


def test_over_http_too(client: httpx.Client) -> None:
    missing = client.get("/v1/nowhere")
    assert (missing.status_code, missing.json()["type"]) == (404, "/docs/problems#not-found")
    wrong = client.delete("/v1/scores")
    assert (wrong.status_code, wrong.json()["type"]) == (405, "/docs/problems#method-not-allowed")
    assert wrong.headers["allow"] == "GET, HEAD, POST"
    assert client.put("/v1/decisions/batch").headers["allow"] == "POST"
    assert client.post("/livez").headers["allow"] == "GET, HEAD"
    for content in (b"{", b"\xff\xfe", b"", b"[1, 2]", b"null", b'"text"', b"{" * 100_000):
        response = client.post("/v1/scores", content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 422, content[:10]
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["errors"] or response.json()["detail"]
    assert client.post("/v1/scores", content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 422
    for response in (missing, wrong):
        body = response.json()
        assert set(body) == {"type", "title", "status", "detail", "request_id"}
        assert body["request_id"] == response.headers["x-request-id"]
