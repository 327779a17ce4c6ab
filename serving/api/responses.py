"""Bodies on the wire: JSON with figures unrounded and UTC times ending in Z."""

from __future__ import annotations

import orjson
from starlette.responses import JSONResponse, Response

from serving.api.problems import ProblemDetail

PROBLEM_MEDIA_TYPE = "application/problem+json"

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_SERIALIZE_NUMPY


def dump(content: object) -> bytes:
    """`content` as JSON: shortest figures that read back the same, RFC 3339 times with Z for UTC, NaN as null."""
    return orjson.dumps(content, option=_OPTIONS)


class JsonResponse(JSONResponse):
    """An answer in JSON; FastAPI documents the models of its subclasses only."""

    def render(self, content: object) -> bytes:
        """`content` as `dump` writes it."""
        return dump(content)


class ProblemResponse(Response):
    """An error as RFC 9457 has it."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, detail: ProblemDetail) -> None:
        super().__init__(
            content=dump(detail.to_json()),
            status_code=detail.problem.status,
            headers=dict(detail.headers),
        )
