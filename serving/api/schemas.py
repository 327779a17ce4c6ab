"""What the shapes of requests and answers share: times, ids, strictness, and problems as they are documented."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from features.errors import UnknownCustomer
from features.moments import NoMoment, moment
from features.words import word
from serving.api.problems import PROBLEMS, ProblemDetail
from serving.api.responses import PROBLEM_MEDIA_TYPE

EXAMPLE_CUSTOMER = "C00042"
MAX_CUSTOMERS = 1000


def _moment(value: object) -> datetime:
    """An RFC 3339 time as UTC."""
    try:
        return moment(value if isinstance(value, str) else "")
    except NoMoment as error:
        raise ValueError(f"{error} (write + as %2B in a URL)") from None


def _cleaned(customer_id: str) -> str:
    """An id as files' ids are read."""
    found = word(customer_id)
    if not found:
        raise ValueError("nothing but blanks is nobody's id")
    return found


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Reward = Annotated[
    float,
    Field(allow_inf_nan=False, ge=-1e9, le=1e9, description="Sums and squares of many must stay figures."),
]
CustomerId = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=512, pattern=r"^[^\x00]+$"),
    AfterValidator(_cleaned),
    Field(description="A string; whole numbers without decimals.", examples=[EXAMPLE_CUSTOMER]),
]
CustomerPath = Annotated[CustomerId, Path(description="Percent-encoded, a slash as %2F.")]


class Query(BaseModel):
    """A query string, in which nothing unknown passes in silence."""

    model_config = ConfigDict(extra="forbid")


class Body(BaseModel):
    """A JSON body, in which nothing unknown passes in silence and no type is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ProblemModel(BaseModel):
    """RFC 9457; every `type` is listed at /docs/problems."""

    class FieldErrorModel(BaseModel):
        """A field of the request that is at fault."""

        field: str
        message: str

    type: str = Field(
        examples=["/docs/problems#unknown-customer"], json_schema_extra={"enum": [p.type for p in PROBLEMS]}
    )
    title: str
    status: int
    detail: str
    request_id: str
    errors: list[FieldErrorModel] | None = None


class CustomerError(BaseModel):
    """A customer of whom there is no score, and why."""

    customer_id: str
    error: ProblemModel


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"]


_MEANINGS = {
    401: "No valid API key.",
    403: "The key's role may not do this.",
    404: "Nobody, or nothing, by that id.",
    409: "It conflicts with what is recorded.",
    408: "The request body did not arrive in time.",
    413: "The request body is too large.",
    422: "The request is not valid; `errors` names the fields.",
    429: "The key is over its request rate; wait for the seconds in Retry-After.",
    503: "No model is served yet, or a store does not answer; retry later.",
}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of these error statuses, for a route's `responses`; what reads a body may wait in vain for it."""
    if 413 in statuses:
        statuses = (*statuses, 408)
    return {
        status: {
            "description": _MEANINGS[status],
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted(statuses)
    }


def customer_error_json(unknown: UnknownCustomer, detail: ProblemDetail) -> dict[str, object]:
    """A customer without a score, as `CustomerError` documents it."""
    return {"customer_id": unknown.customer_ids[0], "error": detail.to_json()}
