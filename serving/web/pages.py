"""All pages: each package of them has its own routes, and the morning starts with the portfolio."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from serving.web import api_docs, assets, rendering
from serving.web.context import PageContextDep
from serving.web.customer import routes as customer
from serving.web.portfolio import routes as portfolio
from serving.web.signin import routes as signin
from serving.web.team import routes as team

router = APIRouter(include_in_schema=False)
for package in (assets, api_docs, signin, portfolio, customer, team):
    router.include_router(package.router)


@router.get("/")
def home(_look: PageContextDep) -> Response:
    """To the portfolio."""
    return rendering.see_other("/portfolio")
