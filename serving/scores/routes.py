"""Scores over HTTP: of one customer, of many, and of everybody as they change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.responses import Response

from features.errors import UnknownCustomer
from serving.api.dependencies import RequestId, ScorerDep, State, StateDep
from serving.api.responses import JsonResponse
from serving.api.schemas import (
    CurrentScoresPage,
    CurrentScoresQuery,
    CustomerPath,
    Score,
    ScoreQuery,
    Scores,
    ScoresRequest,
    current_score_json,
    customer_error_json,
    problem_responses,
    score_json,
)
from serving.auth.permissions import AnyRole, bearer
from serving.errors import describe
from serving.scores.scorer import CustomerScore

router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Security(bearer)])

# Scoring runs in the threadpool (`def`, not `async def`): one explained score holds a processor for about a
# millisecond and a thousand for a second, in which /livez must still answer.


@router.get(
    "/customers/{customer_id:path}/score",
    summary="One customer's score, explained",
    response_model=Score,
    responses=problem_responses(401, 404, 422, 429, 503),
)
def score_one(
    customer_id: CustomerPath,
    query: Annotated[ScoreQuery, Query()],
    _caller: AnyRole,
    state: StateDep,
    scorer: ScorerDep,
    request_id: RequestId,
) -> Response:
    """The risk, the health and its reasons; an unknown customer is 404, never a score of nulls."""
    (result,) = scorer.score([customer_id], query.explain)
    _note(state, [result])
    if isinstance(result, UnknownCustomer):
        raise result
    return JsonResponse(score_json(result, request_id))


ONE = next(route for route in router.routes if getattr(route, "endpoint", None) is score_one)
"""The route of one customer's score, for which serving/scores/fast_path.py answers too."""


@router.post(
    "/scores",
    summary="Many customers' scores",
    response_model=Scores,
    responses=problem_responses(401, 413, 422, 429, 503),
)
def score_many(
    body: ScoresRequest, _caller: AnyRole, state: StateDep, scorer: ScorerDep, request_id: RequestId
) -> Response:
    """In request order; who is unknown comes with an `error` in place of a score."""
    results = scorer.score(body.customer_ids, body.explain)
    _note(state, results)
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


@router.get(
    "/scores",
    summary="Everybody's current score, as they change",
    response_model=CurrentScoresPage,
    responses=problem_responses(401, 422, 429, 503),
)
def current_scores(query: Annotated[CurrentScoresQuery, Query()], _caller: AnyRole, state: StateDep) -> Response:
    """From the durable table that every build and every change of champion rewrites.

    A row comes again when any column but `scored_at` changes, at least once; who was removed comes as `deleted`.
    Follow `next_cursor` until it is null; then come back with the time at which this round began.
    """
    page = state.current.page(query.changed_since, query.cursor, query.limit)
    return JsonResponse({"results": [current_score_json(row) for row in page.rows], "next_cursor": page.next_cursor})


def _note(state: State, results: list[CustomerScore | UnknownCustomer]) -> None:
    for result in results:
        if isinstance(result, UnknownCustomer):
            state.metrics.unknown_customers.inc()
            continue
        state.metrics.count_score(result.explain.value, result.degraded)
        state.history.note(
            result.customer_id, result.probability, result.score, result.model_version, result.scorecard_version
        )
        if state.shadow is not None:
            state.shadow.note(result.customer_id)
