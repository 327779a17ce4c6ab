"""What every request passes first: its id, its key, its rate, its body; and what is counted of it after."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.dependencies import Parts
from serving.api.headers import guarded
from serving.api.problems import INTERNAL_ERROR, ProblemDetail, describe
from serving.api.request_body import WITH_BODY, read_body
from serving.api.responses import ProblemResponse
from serving.auth.api_keys import ApiKeys, Principal
from serving.auth.permissions import is_exempt, is_page, presented_secret
from serving.auth.rate_limit import RateLimiter
from serving.errors import NotAuthenticated, Overloaded
from serving.platform.load_shedding import Shedder
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.platform.thread_pools import Pool, run_in

ErrorPage = Callable[[Request, Exception, ProblemDetail], Response | None]
"""How a person is shown an error; None where a program asks, which is answered the problem itself."""

_log = structlog.get_logger("serving.requests")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}\Z")
_UNROUTED = "(none)"
_MOST_FORM_BYTES = 262_144
"""The largest body of who has shown no key: a page's form."""
_STRANGER = ""
"""Everybody whose key is not known yet, and the pages: they share one caller's share of the places."""


class Gate:
    """ASGI middleware around the whole app; every error that leaves it is a problem with the request's id."""

    def __init__(self, app: ASGIApp, error_page: ErrorPage) -> None:
        self._app = app
        self._error_page = error_page
        # Random once: to ask the kernel for each request costs as much as half of what else is done here.
        self._prefix, self._numbers = secrets.token_hex(10), itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        parts = Parts.of(scope)
        shedder = parts[Shedder]
        headers = Headers(scope=scope)
        presented = headers.get("x-request-id", "")
        request_id = presented if _REQUEST_ID.match(presented) else f"{self._prefix}{next(self._numbers):012x}"
        scope["request_id"] = request_id
        status = 0
        is_head, secure = scope["method"] == "HEAD", scope["scheme"] == "https"
        if is_head:
            scope = {**scope, "method": "GET"}

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = guarded(message.get("headers", ()), request_id, secure=secure)
            elif is_head:
                message["body"] = b""
            await send(message)

        exempt = is_exempt(scope["path"])
        principal = None if exempt else _remembered(headers, parts[ApiKeys])
        caller = _STRANGER if principal is None else principal.name
        admitted = exempt or shedder.enter(caller)
        if not admitted:
            # Nothing else is done for it: it must cost next to nothing.
            parts[Metrics].shed.inc()
            await ProblemResponse(describe(Overloaded(), request_id))(scope, receive, send_guarded)
            return
        # `...` is structlog's word for a value that is not bound: the caller is known later.
        structlog.contextvars.bind_contextvars(request_id=request_id, caller=...)
        begun = time.perf_counter()
        try:
            # A page asks for its session by itself.
            if not exempt and not is_page(scope["path"]):
                await self._admit(scope, headers, parts, principal)
            has_body, name = scope["method"] in WITH_BODY, scope["principal"].name if "principal" in scope else caller
            if not exempt and (has_body or name != caller):
                # A body that is slow to arrive, or never does, must not take a place from those who are there.
                shedder.leave(caller)
                admitted = False
            if has_body:
                receive = await self._body(scope, receive, headers, parts[Settings])
            if not admitted:
                caller = name
                admitted = shedder.enter(caller)
                if not admitted:
                    parts[Metrics].shed.inc()
                    raise Overloaded
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            if status:
                raise
            detail = describe(error, request_id)
            if detail.problem is INTERNAL_ERROR:
                _log.exception("request failed")
            answer = self._error_page(Request(scope), error, detail) or ProblemResponse(detail)
            await answer(scope, receive, send_guarded)
        finally:
            if admitted and not exempt:
                shedder.leave(caller)
            self._count(scope, parts, status or 500, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, headers: Headers, parts: Parts, principal: Principal | None) -> None:
        """Put the caller into the scope: `principal`, or whose key the database says it is.

        Raises:
            NotAuthenticated, TooManyRequests, DatabaseUnavailable.
        """
        if principal is None:
            principal = await run_in(Pool.KEYS, parts[ApiKeys].authenticate, presented_secret(headers))
        if principal is None:
            raise NotAuthenticated(presented=True)
        scope["principal"] = principal
        structlog.contextvars.bind_contextvars(caller=principal.name)
        parts[RateLimiter].take(principal.name)

    async def _body(self, scope: Scope, receive: Receive, headers: Headers, settings: Settings) -> Receive:
        """`receive`, with the whole body at hand.

        Raises:
            HTTPException: 400, 408, 413.
        """
        most = settings.max_body_bytes
        if "principal" not in scope:
            most = min(most, _MOST_FORM_BYTES)
        return await read_body(receive, headers, most, settings.read_seconds)

    def _count(self, scope: Scope, parts: Parts, status: int, seconds: float) -> None:
        # The route's template, not the path: paths hold customers' ids, and there are as many as customers.
        route = getattr(scope.get("route"), "path_format", _UNROUTED)
        method = scope["method"] if route != _UNROUTED else "(any)"
        parts[Metrics].count_request(method, route, status, seconds)
        # A developer reads the log, a machine keeps it.
        say = _log.info if parts[Settings].environment == "production" else _log.debug
        say("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))


def _remembered(headers: Headers, keys: ApiKeys) -> Principal | None:
    """Whose key a request came with, if that can be told without waiting."""
    try:
        return keys.remembered(presented_secret(headers))
    except NotAuthenticated:
        return None
