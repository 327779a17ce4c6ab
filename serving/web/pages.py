"""The pages for all accounts: signing in and out, the portfolio, and its export."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response, StreamingResponse

from serving.api.dependencies import ApiKeysDep, DatabaseDep, RateLimiterDep, SettingsDep
from serving.auth.permissions import is_page
from serving.errors import NotPermitted
from serving.web import rendering
from serving.web.context import LookDep
from serving.web.portfolio.listing import NOBODY, SORTS, Filters
from serving.web.signin.sessions import COOKIE, FormDep, Sessions, check_origin, set_cookie

router = APIRouter(include_in_schema=False)

_CSV_COLUMNS = {
    "customer_id": "Customer",
    "name": "Name",
    "owner": "Owner",
    "segment": "Segment",
    "band": "Band",
    "score": "Health",
    "change": "Change since last week",
    "probability": "Churn risk",
    "value_at_stake": "Value",
    "value_at_risk": "Value at risk",
    "reason": "Top reason",
    "action": "Next best action",
}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@router.get("/")
def home(_look: LookDep) -> Response:
    """The morning starts with the portfolio."""
    return rendering.see_other("/portfolio")


@router.get("/login")
def sign_in_page(request: Request) -> HTMLResponse:
    """Where a key is asked for."""
    return _sign_in(request.query_params.get("next", ""))


async def _fields(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=20)


@router.post("/login")
def sign_in(
    request: Request,
    settings: SettingsDep,
    database: DatabaseDep,
    keys: ApiKeysDep,
    limiter: RateLimiterDep,
    form: Annotated[FormData, Depends(_fields)],
) -> Response:
    """A good key opens a session."""
    check_origin(request)
    target, secret = (str(form.get(name, "")).strip() for name in ("next", "key"))
    principal = keys.authenticate(secret) if secret else None
    if principal is None:
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


@router.get("/portfolio")
def portfolio(look: LookDep, request: Request) -> HTMLResponse:
    """Accounts by what is at stake; a search as one types asks for the list alone."""
    filters = Filters.of(request.query_params)
    partly = "hx-request" in request.headers and "hx-history-restore-request" not in request.headers
    response = look.page(
        "_accounts.html" if partly else "portfolio.html",
        filters=filters,
        overview=look.portfolio.overview(look.connection, look.edition, look.viewer),
        found=look.portfolio.page(look.connection, look.edition, look.viewer, filters),
        sorts={name: sort.label for name, sort in SORTS.items()},
        subjects=look.edition.figures["subjects"],
        nobody=NOBODY,
    )
    # The address bar then shows what is filtered, without the empty fields of the form.
    response.headers["HX-Push-Url"] = filters.address(page=filters.page)
    return response


@router.get("/portfolio.csv")
def export(look: LookDep, request: Request) -> Response:
    """The accounts of the filters, all pages, as a spreadsheet opens them."""
    filters = Filters.of(request.query_params)
    rows = look.portfolio.everything(look.connection, look.edition, look.viewer, filters)
    name = f"portfolio-{look.edition.as_of:%Y-%m-%d}.csv"
    headers = {**rendering.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    # Read whole before the first byte leaves: the transaction ends with this function.
    return StreamingResponse(iter(list(_lines(rows))), headers=headers, media_type="text/csv; charset=utf-8")


def _lines(rows: Iterator[Any]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    # The mark at the front is what makes spreadsheets read UTF-8.
    buffer.write("\ufeff")
    writer.writerow(_CSV_COLUMNS.values())
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in _CSV_COLUMNS])
        if buffer.tell() > 65_536:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> object:
    """A cell that no spreadsheet takes for a formula."""
    if isinstance(value, float):
        return round(value, 4)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _sign_in(target: str, problem: str | None = None) -> HTMLResponse:
    return rendering.page(
        "sign_in.html",
        status=200 if problem is None else 401,
        viewer=None,
        edition=None,
        next=_local(target),
        problem=problem,
    )


def _local(target: str) -> str:
    """A page of ours to go on to, whatever an address bar was given."""
    parts = urlsplit(target)
    plain = target.startswith("/") and not target.startswith(("//", "/\\")) and not parts.netloc
    return target if plain and is_page(parts.path) and parts.path != "/logout" else "/portfolio"
