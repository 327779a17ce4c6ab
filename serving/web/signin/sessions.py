"""Sign-in: a key becomes a session, kept as a hash, ended by time, by signing out, or with its key."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy import ColumnElement, delete, insert, select
from starlette.datastructures import FormData
from starlette.responses import Response

from serving.api.dependencies import DatabaseDep, RateLimiterDep
from serving.auth.api_keys import Principal, Role, digest_of
from serving.errors import FormForged, NotAuthenticated, NotPermitted
from serving.platform.database import Database
from serving.platform.settings import Settings
from serving.platform.tables import accounts, api_keys, web_sessions

COOKIE = "keepwell_session"
LIFETIME = timedelta(hours=12)
_ROLES = (Role.MANAGER, Role.LEAD, Role.ADMIN)
_CSRF = b"keepwell form"


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page, and at whose accounts; `owners` is None for all of them."""

    principal: Principal
    owners: tuple[str, ...] | None
    form_token: str
    """What a form must bring back: it is bound to the session, and no other site can know it."""

    @property
    def name(self) -> str:
        """The name of the key."""
        return self.principal.name

    def sees(self) -> ColumnElement[bool] | None:
        """The condition on `accounts` that holds for what this viewer may see; None is no condition."""
        return None if self.owners is None else accounts.c.owner.in_(self.owners)


class Sessions:
    """The sessions of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, principal: Principal, secret: str) -> str:
        """A new session of the key `secret`, as the cookie's value; those that have ended are forgotten.

        Raises:
            NotPermitted: the key's role has no pages.
        """
        if principal.role not in _ROLES:
            raise NotPermitted(principal.role.value, [role.value for role in _ROLES])
        token = secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        with self._database.begin() as connection:
            connection.execute(delete(web_sessions).where(web_sessions.c.expires_at <= now))
            connection.execute(
                insert(web_sessions).values(
                    digest=digest_of(token), key_digest=digest_of(secret), created_at=now, expires_at=now + LIFETIME
                )
            )
        return token

    def viewer(self, token: str) -> Viewer | None:
        """Whose session this is; None if it has ended, or its key was revoked."""
        with self._database.read() as connection:
            row = connection.execute(
                select(api_keys.c.name, api_keys.c.role, api_keys.c.owners)
                .join(web_sessions, web_sessions.c.key_digest == api_keys.c.digest)
                .where(
                    web_sessions.c.digest == digest_of(token),
                    web_sessions.c.expires_at > datetime.now(UTC),
                    api_keys.c.revoked_at.is_(None),
                )
            ).one_or_none()
        if row is None:
            return None
        principal = Principal(row.name, Role(row.role))
        owners = None if principal.role is Role.ADMIN else tuple(row.owners or (row.name,))
        return Viewer(principal, owners, hmac.digest(token.encode(), _CSRF, hashlib.sha256).hex())

    def close(self, token: str) -> None:
        """End a session."""
        with self._database.begin() as connection:
            connection.execute(delete(web_sessions).where(web_sessions.c.digest == digest_of(token)))


def set_cookie(response: Response, token: str, request: Request, settings: Settings) -> None:
    """Give the browser its session: no script can read it, no other site's form sends it, and it ends with the session."""
    response.set_cookie(
        COOKIE,
        token,
        max_age=round(LIFETIME.total_seconds()),
        path="/",
        httponly=True,
        samesite="lax",
        secure=request.scope["scheme"] == "https" or settings.environment == "production",
    )


def check_origin(request: Request) -> None:
    """Refuse what a browser says comes from another site.

    Raises:
        FormForged: it does.
    """
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise FormForged
    if origin is not None and origin.partition("://")[2] != request.headers.get("host"):
        raise FormForged


def _viewer(request: Request, database: DatabaseDep, limiter: RateLimiterDep) -> Viewer:
    token = request.cookies.get(COOKIE, "")
    viewer = Sessions(database).viewer(token) if token else None
    if viewer is None:
        raise NotAuthenticated(presented=False)
    limiter.take(viewer.name)
    return viewer


ViewerDep = Annotated[Viewer, Depends(_viewer)]
"""Who is signed in; a browser without a session is sent to sign in."""


async def _form(request: Request) -> FormData:
    return await request.form(max_files=0, max_fields=20)


PlainForm = Annotated[FormData, Depends(_form)]
"""The fields of a form as they came, of whoever sent them."""


def _checked_form(request: Request, viewer: ViewerDep, form: PlainForm) -> dict[str, str]:
    check_origin(request)
    token = form.get("form_token", "")
    if not isinstance(token, str) or not hmac.compare_digest(token.encode(), viewer.form_token.encode()):
        raise FormForged
    return {name: value.strip() for name, value in form.items() if isinstance(value, str)}


FormDep = Annotated[dict[str, str], Depends(_checked_form)]
"""The fields of a form that this very session was given; a forged one is refused."""
