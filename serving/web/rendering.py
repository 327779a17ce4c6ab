"""From a template to a page: escaped, under a strict Content-Security-Policy, never kept by a cache."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from serving.api.problems import ProblemDetail
from serving.auth.permissions import is_page
from serving.errors import NotAuthenticated
from serving.web import assets, formatting
from serving.web.charts import HEIGHT, WIDTH, sparkline

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "Cookie, HX-Request",
}
_ADVICE = {
    401: "Sign in, and you will see it.",
    403: "If you think that you should see it, ask whoever gave you your key.",
    404: "It may be somebody else's account, or no customer any more. The portfolio lists yours.",
    422: "Go back, correct it, and try again.",
    429: "Wait a moment, then try again.",
    503: "The service is starting, or a part of it does not answer. Try again in a minute.",
}


@lru_cache(maxsize=1)
def environment() -> Environment:
    """The templates, with what they show figures by; all that they print into HTML is escaped."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        # Plain text is no HTML; all else is escaped.
        autoescape=lambda name: name is None or not name.endswith(".txt"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "health": formatting.health,
        "tenths": formatting.tenths,
        "whole": formatting.whole,
        "signed": formatting.signed,
        "percent": formatting.percent,
        "between": formatting.between,
        "money": formatting.money,
        "day": formatting.day,
        "oneline": lambda text: " ".join(str(text).split()),
        "iso": lambda moment: moment.isoformat(),
        "words": formatting.words,
        "sentence": formatting.sentence,
    }
    made.globals |= {
        "asset": assets.address,
        "customer_address": customer_address,
        "sparkline": sparkline,
        "spark_width": WIDTH,
        "spark_height": HEIGHT,
        "age": lambda moment: formatting.age(moment, datetime.now(UTC)),
    }
    return made


def customer_address(customer_id: str) -> str:
    """Where a customer's page is; an id may hold any character."""
    return f"/customers/{quote(customer_id, safe='')}"


def render(template: str, **context: Any) -> str:
    """The text of a template."""
    return environment().get_template(template).render(context)


def page(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A template as an answer."""
    return HTMLResponse(render(template, **context), status, HEADERS)


def see_other(address: str) -> RedirectResponse:
    """Where to go on after a form."""
    return RedirectResponse(address, 303, HEADERS)


def error_page(request: Request, error: Exception, detail: ProblemDetail) -> Response | None:
    """What a person sees of an error: what it is, and what to do; who is not signed in is sent to sign in.

    Returns:
        None where no person looks: the path is no page, or no browser asks for it.
    """
    is_browser = "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers
    if not (is_browser and is_page(request.scope["path"])):
        return None
    status = detail.problem.status
    if isinstance(error, NotAuthenticated):
        target = f"/login?next={quote(request.scope['path'])}" if request.method == "GET" else "/login"
        if "hx-request" in request.headers:
            return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/login"})
        return see_other(target)
    return page(
        "error.html",
        status=status,
        viewer=None,
        edition=None,
        title=detail.problem.title,
        detail=detail.detail,
        advice=_ADVICE.get(status, "Try again; if it stays, tell whoever runs keepwell the number below."),
        request_id=detail.request_id,
    )
