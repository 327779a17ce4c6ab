"""The API's documentation as a page: Swagger UI, served by ourselves, on the OpenAPI document."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import HTMLResponse

from serving.web.assets import address
from serving.web.rendering import HEADERS, POLICY

router = APIRouter(include_in_schema=False)

# The library draws its icons from data: addresses, and sets styles by attribute.
_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace(
    "img-src 'self'", "img-src 'self' data:"
)


@router.get("/docs")
def api_docs() -> HTMLResponse:
    """Every operation, with its shapes and problems; it may be tried with a key."""
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>keepwell API</title>'
        f'<link rel="icon" href="{address("keepwell.svg")}"><link rel="stylesheet" href="{address("swagger-ui.css")}">'
        f'</head><body><div id="docs"></div><script src="{address("swagger-ui.js")}"></script>'
        f'<script src="{address("docs.js")}"></script></body></html>',
        headers={**HEADERS, "Content-Security-Policy": _POLICY},
    )
