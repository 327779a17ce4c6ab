"""What every page shares: who looks, at which edition, and the parts that pages are made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from sqlalchemy import Connection
from starlette.responses import HTMLResponse

from serving.api.dependencies import DatabaseDep, part
from serving.errors import NoRelease
from serving.web import rendering
from serving.web.accounts.account_snapshots import Edition, Editions
from serving.web.signin.sessions import Viewer, ViewerDep


@dataclass(frozen=True, slots=True)
class PageContext:
    """One viewer's look at one edition, within one transaction that sees one moment."""

    request: Request
    viewer: Viewer
    edition: Edition
    connection: Connection

    @property
    def currency(self) -> str | None:
        """The currency of values, None where they have none."""
        currency = self.edition.figures["currency"]
        return None if currency is None else str(currency)

    def render(self, template: str, **context: Any) -> HTMLResponse:
        """A template as an answer, with what all of them show."""
        return rendering.page(
            template,
            viewer=self.viewer,
            edition=self.edition,
            currency=self.currency,
            path=self.request.scope["path"],
            **context,
        )


def _page_context(
    request: Request,
    viewer: ViewerDep,
    database: DatabaseDep,
    editions: Annotated[Editions, Depends(part(Editions))],
) -> Iterator[PageContext]:
    with database.read() as connection:
        edition = editions.newest(connection)
        if edition is None:
            raise NoRelease("There is nothing to show yet: nobody has been scored.")
        yield PageContext(request, viewer, edition, connection)


PageContextDep = Annotated[PageContext, Depends(_page_context)]
"""The signed-in viewer's look at what stands; 503 while nothing does."""
