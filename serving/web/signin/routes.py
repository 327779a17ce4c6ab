"""Signing in and out."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from serving.api.dependencies import ApiKeysDep, DatabaseDep, FailedSignInsDep, RateLimiterDep, SettingsDep
from serving.auth.permissions import is_page
from serving.errors import NotPermitted, TooManySignIns
from serving.web import rendering
from serving.web.signin.sessions import COOKIE, FormDep, PlainForm, Sessions, check_origin, set_cookie

router = APIRouter(include_in_schema=False)


@router.get("/login")
def sign_in_page(request: Request) -> HTMLResponse:
    """Where a key is asked for."""
    return _sign_in(request.query_params.get("next", ""))


@router.post("/login")
def sign_in(
    request: Request,
    settings: SettingsDep,
    database: DatabaseDep,
    keys: ApiKeysDep,
    limiter: RateLimiterDep,
    failures: FailedSignInsDep,
    form: PlainForm,
) -> Response:
    """A good key opens a session."""
    check_origin(request)
    target, secret = (str(form.get(name, "")).strip() for name in ("next", "key"))
    address = "" if request.client is None else request.client.host
    try:
        failures.check(address)
    except TooManySignIns as error:
        return _sign_in(target, str(error), 429, {"Retry-After": f"{error.retry_after:.0f}"})
    principal = keys.authenticate(secret) if secret else None
    if principal is None:
        if secret:
            failures.note(address)
        return _sign_in(target, "This key is not valid: it was mistyped or revoked." if secret else "Enter your key.")
    limiter.take(principal.name)
    try:
        token = Sessions(database).open(principal, secret)
    except NotPermitted:
        return _sign_in(
            target, f"The key '{principal.name}' is for programs: the pages take a manager's, lead's or admin's."
        )
    response = rendering.see_other(_local(target))
    set_cookie(response, token, request, settings)
    return response


@router.post("/logout")
def sign_out(request: Request, database: DatabaseDep, _form: FormDep) -> Response:
    """The session ends, here and in the database."""
    Sessions(database).close(request.cookies.get(COOKIE, ""))
    response = rendering.see_other("/login")
    response.delete_cookie(COOKIE, path="/")
    return response


def _sign_in(
    target: str, problem: str | None = None, refused: int = 401, headers: Mapping[str, str] | None = None
) -> HTMLResponse:
    answer = rendering.page(
        "sign_in.html",
        status=200 if problem is None else refused,
        viewer=None,
        edition=None,
        next=_local(target),
        problem=problem,
    )
    answer.headers.update(headers or {})
    return answer


def _local(target: str) -> str:
    """A page of ours to go on to, whatever an address bar was given."""
    path = target.partition("?")[0].partition("#")[0]
    return target if is_page(path) and path != "/logout" else "/portfolio"
