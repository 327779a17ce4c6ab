"""Scores over HTTP: of one customer, and of many."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.responses import Response

from features.errors import UnknownCustomer
from serving.api.dependencies import RequestId
from serving.api.problems import describe
from serving.api.responses import JsonResponse
from serving.api.schemas import CustomerPath, customer_error_json, problem_responses
from serving.auth.permissions import AnyRole, bearer
from serving.platform.thread_pools import Pool, within
from serving.scores.dependencies import ScoreObserversDep, ScorerDep
from serving.scores.schemas import Score, ScoreQuery, Scores, ScoresRequest, score_json

router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Security(bearer)])

# Scoring runs in threads of its own: one explained score holds a processor for about a
# millisecond and a thousand for a second, in which /livez must still answer.


@router.get(
    "/customers/{customer_id:path}/score",
    summary="One customer's score, explained",
    response_model=Score,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
@within(Pool.SCORES)
def score_one(
    customer_id: CustomerPath,
    query: Annotated[ScoreQuery, Query()],
    _caller: AnyRole,
    observers: ScoreObserversDep,
    scorer: ScorerDep,
    request_id: RequestId,
) -> Response:
    """The risk, the health and its reasons; an unknown customer is 404, never a score of nulls."""
    (result,) = scorer.score([customer_id], query.explain)
    observers.note(result)
    if isinstance(result, UnknownCustomer):
        raise result
    return JsonResponse(score_json(result, request_id))


ONE = next(route for route in router.routes if getattr(route, "endpoint", None) is score_one)
"""The route of one customer's score, for which serving/scores/fast_path.py answers too."""


@router.post(
    "/scores",
    summary="Many customers' scores",
    response_model=Scores,
    responses=problem_responses(401, 403, 413, 422, 429, 503),
)
@within(Pool.SCORES)
def score_many(
    body: ScoresRequest, _caller: AnyRole, observers: ScoreObserversDep, scorer: ScorerDep, request_id: RequestId
) -> Response:
    """In request order; who is unknown comes with an `error` in place of a score."""
    results = scorer.score(body.customer_ids, body.explain)
    for result in results:
        observers.note(result)
    return JsonResponse(
        {
            "results": [
                customer_error_json(result, describe(result, request_id))
                if isinstance(result, UnknownCustomer)
                else score_json(result, request_id)
                for result in results
            ]
        }
    )
