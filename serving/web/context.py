"""What every page shares: who looks, at which edition, and the parts that pages are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import Connection
from starlette.responses import HTMLResponse

from serving.api.dependencies import StateDep
from serving.errors import NoRelease
from serving.web import rendering
from serving.web.accounts.account_snapshots import Edition, Editions
from serving.web.portfolio.listing import Portfolio
from serving.web.signin.sessions import Viewer, ViewerDep


@dataclass(frozen=True, slots=True)
class Pages:
    """The parts of the app that pages are made from, one for all requests."""

    editions: Editions
    portfolio: Portfolio


@dataclass(frozen=True, slots=True)
class Look:
    """One viewer's look at one edition, within one transaction that sees one moment."""

    request: Request
    viewer: Viewer
    edition: Edition
    connection: Connection
    portfolio: Portfolio

    @property
    def currency(self) -> str | None:
        """The currency of values, None where they have none."""
        currency = self.edition.figures["currency"]
        return None if currency is None else str(currency)

    def page(self, template: str, **context: Any) -> HTMLResponse:
        """A template as an answer, with what all of them show."""
        return rendering.page(
            template,
            viewer=self.viewer,
            edition=self.edition,
            currency=self.currency,
            path=self.request.url.path,
            **context,
        )


def _pages(request: Request, state: StateDep) -> Pages:
    known = getattr(request.app.state, "pages", None)
    if known is None:
        known = request.app.state.pages = Pages(Editions(state.database), Portfolio(state.database))
    assert isinstance(known, Pages)
    return known


def _look(
    request: Request, state: StateDep, viewer: ViewerDep, pages: Annotated[Pages, Depends(_pages)]
) -> Iterator[Look]:
    with state.database.read() as connection:
        edition = pages.editions.newest(connection)
        if edition is None:
            raise NoRelease("There is nothing to show yet: nobody has been scored.")
        yield Look(request, viewer, edition, connection, pages.portfolio)


LookDep = Annotated[Look, Depends(_look)]
"""The signed-in viewer's look at what stands; 503 while nothing does."""
