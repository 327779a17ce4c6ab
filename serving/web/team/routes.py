"""The team's page."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from serving.web.context import LookDep
from serving.web.portfolio.dependencies import PortfolioDep
from serving.web.team import figures as team

router = APIRouter(include_in_schema=False)


@router.get("/team")
def team_page(look: LookDep, portfolio: PortfolioDep) -> HTMLResponse:
    """What customers answered, who was lost and why, and whether actions and the score were any good."""
    return look.page(
        "team.html",
        overview=portfolio.overview(look.connection, look.edition, look.viewer),
        surveys=team.surveys(look.edition, look.viewer),
        back=team.looked_back(look.edition, look.viewer),
        segments=team.segments(look.connection, look.edition, look.viewer),
        actions=team.actions(look.connection, look.edition, look.viewer),
        left_alone=team.left_alone(look.connection, look.edition, look.viewer),
        fewest=team.FEWEST_COMPARED,
        subjects=look.edition.figures["subjects"],
    )
