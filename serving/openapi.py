"""The OpenAPI document: what FastAPI derives, and the problems that it cannot know of."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from models.decisions.eligibility import BLOCK_CODES
from models.decisions.policy import WHY_NOT_CODES
from serving.api.problems import PROBLEMS
from serving.api.schemas import ProblemModel
from serving.decisions.schemas import DECISION_DEGRADED_CODES, DECISION_LACKED_CODES
from serving.recommendations.service import RECOMMENDATION_LACKED_CODES

TITLE = "keepwell"

_TAGS = [
    {"name": "scores", "description": "Who is likely to leave, how healthy each relationship is, and why."},
    {"name": "customers", "description": "What suits a customer beside the score."},
    {"name": "decisions", "description": "What to do next; every decision is logged before it is answered."},
    {"name": "events", "description": "What happens, as it happens; on disk before it is acknowledged."},
    {
        "name": "experiments",
        "description": "Arms by hash, intervals that hold at every look, and what all of it earned.",
    },
    {"name": "models", "description": "What the answers come from."},
    {"name": "operations", "description": "Whether the server works. No key is needed."},
]


def product_version() -> str:
    """The version of this installation."""
    try:
        return version("keepwell")
    except PackageNotFoundError:
        return "0"


def description() -> str:
    """What the document says of the whole, with every type of problem and every code of `degraded`."""
    problems = "\n".join(f"| `{p.type}` | {p.status} | {p.title} | {p.advice} |" for p in PROBLEMS)
    codes = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in DECISION_DEGRADED_CODES.items())
    lacked = "\n".join(
        f"| `{code}` | {meaning} |"
        for code, meaning in {**DECISION_LACKED_CODES, **RECOMMENDATION_LACKED_CODES}.items()
    )
    why_not = "\n".join(f"| `{code}` | {meaning} |" for code, meaning in {**BLOCK_CODES, **WHY_NOT_CODES}.items())
    return (
        "Customer retention as a service: churn risk, explained health scores and next best actions.\n\n"
        "JSON, snake_case, UTC RFC 3339 times, figures unrounded. Send `Authorization: Bearer KEY`; "
        "send `X-Request-ID` to find a request again, or take the one that is answered.\n\n"
        "A percent-encoded slash in a path belongs to the id. A method that a path does not have is 405.\n\n"
        "## Problems\n\nErrors are `application/problem+json` (RFC 9457).\n\n"
        f"| type | status | title | what to do |\n|---|---|---|---|\n{problems}\n\n"
        f"## degraded\n\n| code | meaning |\n|---|---|\n{codes}\n\n"
        "## lacked\n\nWhat a decision or a recommendation had to do without.\n\n"
        f"| code | meaning |\n|---|---|\n{lacked}\n\n"
        "## Why not\n\nWhy an action was not drawn: first what forbids it, in the order of the filters.\n\n"
        f"| code | meaning |\n|---|---|\n{why_not}\n"
    )


def install(app: FastAPI) -> None:
    """Make `app` answer this document at /openapi.json."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=TITLE, version=product_version(), description=description(), routes=app.routes, tags=_TAGS
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            problem = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            # FastAPI's own shapes of a 422, which nothing here answers.
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
