"""What operators and machines ask of the server itself; no key is needed."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

from serving.api.dependencies import MetricsDep
from serving.api.problems import DOCS_PATH, PROBLEMS
from serving.api.responses import JsonResponse
from serving.api.schemas import Alive
from serving.platform.metrics import CONTENT_TYPE
from serving.platform.thread_pools import Pool, within

_STYLE = (
    "body{font:16px/1.5 sans-serif;margin:2rem}td,th{padding:.3rem .8rem;text-align:left}tr:target{background:#fe9}"
)
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "frame-ancestors 'none'"
)

router = APIRouter(tags=["operations"])


@router.get("/livez", summary="The process answers", response_model=Alive)
async def livez() -> Response:
    """200 as long as the process is up, whatever it is able to do."""
    return JsonResponse({"status": "alive"})


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
@within(Pool.FIGURES)
def metrics(figures: MetricsDep) -> Response:
    """Requests, latencies, scores, the release being served and the age of its features."""
    return Response(figures.text(), media_type=CONTENT_TYPE)


@router.get(DOCS_PATH, include_in_schema=False)
async def problems() -> Response:
    """Every type of problem, where the `type` of an error points to."""
    rows = "".join(
        f'<tr id="{problem.slug}"><td><code>{escape(problem.type)}</code></td><td>{problem.status}</td>'
        f"<td>{escape(problem.title)}</td><td>{escape(problem.advice)}</td></tr>"
        for problem in PROBLEMS
    )
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Problems</title>'
        f"<style>{_STYLE}</style></head><body><h1>Problems</h1>"
        "<p>Errors are <code>application/problem+json</code> (RFC 9457) with these types.</p>"
        f"<table><tr><th>type</th><th>status</th><th>title</th><th>what to do</th></tr>{rows}</table></body></html>",
        headers={"Content-Security-Policy": _POLICY},
    )
