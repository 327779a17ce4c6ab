"""The team's page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from serving.web.context import PageContextDep
from serving.web.portfolio.dependencies import PortfolioDep
from serving.web.team import figures as team

router = APIRouter(include_in_schema=False)


@router.get("/team")
def team_page(page: PageContextDep, portfolio: PortfolioDep) -> HTMLResponse:
    """What customers answered, who was lost and why, and whether actions and the score were any good."""
    return page.render(
        "team.html",
        overview=portfolio.overview(page.connection, page.edition, page.viewer),
        surveys=team.surveys(page.edition, page.viewer),
        back=team.looked_back(page.edition, page.viewer),
        segments=team.segments(page.connection, page.edition, page.viewer),
        actions=team.actions(page.connection, page.edition, page.viewer),
        left_alone=team.left_alone(page.connection, page.edition, page.viewer),
        fewest=team.FEWEST_COMPARED,
        subjects=page.edition.figures["subjects"],
    )
