"""Who may call what: bearer keys, and their roles."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers

from serving.auth.api_keys import Principal, Role
from serving.errors import NotAuthenticated, NotPermitted

EXEMPT = ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/static", "/login")
"""What answers without a key: these paths, and what lies below them."""

PAGES = ("/portfolio", "/portfolio.csv", "/customers", "/team", "/logout")
"""What people see: these paths, "/", and what lies below them, for a session cookie instead of a key."""

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


READING = (Role.SCORER, Role.MANAGER, Role.LEAD, Role.ADMIN)
"""The roles that read scores."""
AnyRole = Annotated[Principal, Depends(require(*READING))]
"""The caller, in any role that reads: scores and the model may be read by all of them."""
DecidingRole = Annotated[Principal, Depends(require(Role.SCORER))]
"""The caller, who may decide and report outcomes; managers and leads do so on the pages."""
ManagingRole = Annotated[Principal, Depends(require(Role.MANAGER, Role.LEAD))]
"""The caller, who may see what experiments and the programme brought; a scorer may not."""
IngestingRole = Annotated[Principal, Depends(require(Role.INGEST))]
"""The caller, who may say what happened."""
AdminRole = Annotated[Principal, Depends(require(Role.ADMIN))]
"""The caller, who may do everything."""
