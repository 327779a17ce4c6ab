"""What pages load, all from this server: our style and script, and the libraries of static/vendor."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

_STATIC = Path(__file__).with_name("static")
_VENDOR = _STATIC / "vendor"
"""Files of others, unchanged; libraries.json there says which, of which version, under which licence."""
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_YEAR = "public, max-age=31536000, immutable"

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Asset:
    """A file as it is sent: its bytes, the same compressed, its type, and a digest that changes with it."""

    content: bytes
    compressed: bytes
    media_type: str
    digest: str


@lru_cache(maxsize=32)
def asset(name: str) -> Asset | None:
    """The file `name`, or None; it is read once."""
    path = _files().get(name)
    if path is None:
        return None
    content = path.read_bytes()
    return Asset(
        content=content,
        compressed=gzip.compress(content, mtime=0),
        media_type=f"{_TYPES[path.suffix]}; charset=utf-8",
        digest=hashlib.sha256(content).hexdigest()[:12],
    )


@lru_cache(maxsize=1)
def _files() -> dict[str, Path]:
    """All that may be sent, by name: no name that is asked for ever reaches the file system."""
    return {path.name: path for folder in (_VENDOR, _STATIC) for path in folder.iterdir() if path.suffix in _TYPES}


def address(name: str) -> str:
    """Where a page finds the file; the address changes with its content, so that a browser may keep it."""
    found = asset(name)
    assert found is not None, name
    return f"/static/{name}?v={found.digest}"


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """A file that pages load."""
    found = asset(name)
    if found is None:
        raise HTTPException(404)
    headers = {"Cache-Control": _YEAR, "X-Content-Type-Options": "nosniff", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(found.compressed, 200, {**headers, "Content-Encoding": "gzip"}, found.media_type)
    return Response(found.content, 200, headers, found.media_type)
