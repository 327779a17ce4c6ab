"""The page of all accounts, and its export."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from serving.web import rendering
from serving.web.context import PageContextDep
from serving.web.portfolio.dependencies import PortfolioDep
from serving.web.portfolio.export import lines
from serving.web.portfolio.listing import NOBODY, SORTS, Filters

router = APIRouter(include_in_schema=False)


@router.get("/portfolio")
def show(page: PageContextDep, portfolio: PortfolioDep, request: Request) -> HTMLResponse:
    """Accounts by what is at stake; a search as one types asks for the list alone."""
    filters = Filters.of(request.query_params)
    partly = "hx-request" in request.headers and "hx-history-restore-request" not in request.headers
    response = page.render(
        "_accounts.html" if partly else "portfolio.html",
        filters=filters,
        overview=portfolio.overview(page.connection, page.edition, page.viewer),
        found=portfolio.page(page.connection, page.edition, page.viewer, filters),
        sorts={name: sort.label for name, sort in SORTS.items()},
        subjects=page.edition.figures["subjects"],
        nobody=NOBODY,
    )
    # The address bar then shows what is filtered, without the empty fields of the form.
    response.headers["HX-Push-Url"] = filters.address(page=filters.page)
    return response


@router.get("/portfolio.csv")
def export(page: PageContextDep, portfolio: PortfolioDep, request: Request) -> Response:
    """The accounts of the filters, all pages, as a spreadsheet opens them."""
    filters = Filters.of(request.query_params)
    rows = portfolio.everything(page.connection, page.edition, page.viewer, filters)
    name = f"portfolio-{page.edition.as_of:%Y-%m-%d}.csv"
    headers = {**rendering.HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    # Read whole before the first byte leaves: the transaction ends with this function.
    return StreamingResponse(iter(list(lines(rows))), headers=headers, media_type="text/csv; charset=utf-8")
