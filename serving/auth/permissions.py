"""Who may call what: bearer keys, their roles, and their request rates."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers

from serving.auth.api_keys import Principal, Role
from serving.errors import NotAuthenticated, NotPermitted, TooManyRequests

EXEMPT = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/static", "/login")
"""What answers without a key: these paths, and what lies below them."""

PAGES = ("/portfolio", "/portfolio.csv", "/customers", "/team", "/logout")
"""What people see: these paths, "/", and what lies below them, for a session cookie instead of a key."""

_BURST_SECONDS = 60.0

# Only for the OpenAPI document: the middleware in serving/api/middleware.py asks for the key, before anything is read of a body.
bearer = HTTPBearer(auto_error=False, description="An API key, made by `python -m serving key add`.")


def is_exempt(path: str) -> bool:
    """Whether `path` answers without a key."""
    # The first question is quick, and for most requests the last.
    return path.startswith(EXEMPT) and any(path == exempt or path.startswith(f"{exempt}/") for exempt in EXEMPT)


def is_page(path: str) -> bool:
    """Whether `path` is a page, which asks for a session by itself."""
    return path == "/" or (
        path.startswith(PAGES) and any(path == page or path.startswith(f"{page}/") for page in PAGES)
    )


def presented_secret(headers: Headers) -> str:
    """The secret of the header `Authorization: Bearer KEY`.

    Raises:
        NotAuthenticated: there is none, or another scheme.
    """
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated(presented=False)
    return secret


def principal_of(request: Request) -> Principal:
    """Whose key the request came with.

    Raises:
        NotAuthenticated: none, as on the exempt paths.
    """
    principal = request.scope.get("principal")
    if not isinstance(principal, Principal):
        raise NotAuthenticated(presented=False)
    return principal


def require(*roles: Role) -> Callable[[Request], Coroutine[Any, Any, Principal]]:
    """A dependency that lets only these roles pass, and gives the caller; `admin` always passes.

    Raises (when called):
        NotPermitted: the caller has another role.
    """
    allowed = (*roles, Role.ADMIN) if Role.ADMIN not in roles else roles

    async def check(request: Request) -> Principal:
        principal = principal_of(request)
        if principal.role not in allowed:
            raise NotPermitted(principal.role.value, [role.value for role in allowed])
        return principal

    return check


AnyRole = Annotated[Principal, Depends(require(Role.SCORER, Role.MANAGER, Role.LEAD))]
"""The caller, in any role: scores and the model may be read by all."""
DecidingRole = Annotated[Principal, Depends(require(Role.SCORER))]
"""The caller, who may decide and report outcomes; managers and leads do so on the pages."""
ManagingRole = Annotated[Principal, Depends(require(Role.MANAGER, Role.LEAD))]
"""The caller, who may see what experiments and the programme brought; a scorer may not."""
AdminRole = Annotated[Principal, Depends(require(Role.ADMIN))]
"""The caller, who may do everything."""


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


class RateLimiter:
    """A token bucket per key: `rate` requests a second, in bursts of up to a minute's worth; a rate of 0 never refuses.

    Each worker counts by itself. Not locked: it is used from the event loop only.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._burst = max(1.0, rate * _BURST_SECONDS)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, name: str) -> None:
        """Count one request of the key `name`.

        Raises:
            TooManyRequests: its bucket is empty; says in how many seconds one request is free again.
        """
        if self._rate == 0:
            return
        now = self._clock()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket(self._burst, now)
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled_at) * self._rate)
        bucket.filled_at = now
        if bucket.tokens < 1.0:
            raise TooManyRequests((1.0 - bucket.tokens) / self._rate)
        bucket.tokens -= 1.0
