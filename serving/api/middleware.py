"""What every request passes first: its id, its key, its rate, the size of its body; and what is counted of it after."""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.dependencies import Parts
from serving.api.problems import INTERNAL_ERROR, ProblemDetail, describe
from serving.api.responses import ProblemResponse
from serving.auth.api_keys import ApiKeys
from serving.auth.permissions import is_exempt, is_page, presented_secret
from serving.auth.rate_limit import RateLimiter
from serving.errors import NotAuthenticated, Overloaded
from serving.platform.load_shedding import Shedder
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings

ErrorPage = Callable[[Request, Exception, ProblemDetail], Response | None]
"""How a person is shown an error; None where a program asks, which is answered the problem itself."""

_log = structlog.get_logger("serving.requests")
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}\Z")
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_UNROUTED = "(none)"


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

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        exempt = is_exempt(scope["path"])
        if not exempt and not shedder.enter():
            # Nothing else is done for it: it must cost next to nothing.
            parts[Metrics].shed.inc()
            await ProblemResponse(describe(Overloaded(), request_id))(scope, receive, send_with_id)
            return
        # `...` is structlog's word for a value that is not bound: the caller is known later.
        structlog.contextvars.bind_contextvars(request_id=request_id, caller=...)
        begun = time.perf_counter()
        try:
            # A page asks for its session by itself.
            if not exempt and not is_page(scope["path"]):
                await self._admit(scope, headers, parts)
            await self._app(scope, _limited(scope, receive, headers, parts[Settings].max_body_bytes), send_with_id)
        except Exception as error:
            if status:
                raise
            detail = describe(error, request_id)
            if detail.problem is INTERNAL_ERROR:
                _log.exception("request failed")
            answer = self._error_page(Request(scope), error, detail) or ProblemResponse(detail)
            await answer(scope, receive, send_with_id)
        finally:
            if not exempt:
                shedder.leave()
            self._count(scope, parts, status or 500, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, headers: Headers, parts: Parts) -> None:
        """Put the caller into the scope.

        Raises:
            NotAuthenticated, TooManyRequests, DatabaseUnavailable.
        """
        secret = presented_secret(headers)
        keys = parts[ApiKeys]
        principal = keys.remembered(secret) or await run_in_threadpool(keys.authenticate, secret)
        if principal is None:
            raise NotAuthenticated(presented=True)
        scope["principal"] = principal
        structlog.contextvars.bind_contextvars(caller=principal.name)
        parts[RateLimiter].take(principal.name)

    def _count(self, scope: Scope, parts: Parts, status: int, seconds: float) -> None:
        # The route's template, not the path: paths hold customers' ids, and there are as many as customers.
        route = getattr(scope.get("route"), "path_format", _UNROUTED)
        method = scope["method"] if route != _UNROUTED else "(any)"
        parts[Metrics].count_request(method, route, status, seconds)
        # A developer reads the log, a machine keeps it.
        say = _log.info if parts[Settings].environment == "production" else _log.debug
        say("request", method=scope["method"], route=route, status=status, ms=round(seconds * 1000, 2))


def _limited(scope: Scope, receive: Receive, headers: Headers, limit: int) -> Receive:
    """`receive`, refusing a body of more than `limit` bytes, before it is read where its length is stated.

    Raises:
        HTTPException: 413; FastAPI passes it through while it reads a body.
    """
    if scope["method"] not in _WITH_BODY:
        return receive
    sentence = f"The request body is larger than {limit} bytes."
    stated = headers.get("content-length", "")
    if stated.isdecimal() and int(stated) > limit:
        raise HTTPException(413, sentence)
    read = 0

    async def receive_limited() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413, sentence)
        return message

    return receive_limited
