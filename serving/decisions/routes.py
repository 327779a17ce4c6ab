"""Decisions over HTTP: about one customer, about many, and what came of them."""

from __future__ import annotations

from fastapi import APIRouter, Security
from starlette.responses import Response

from serving.api.dependencies import DatabaseDep, RequestId
from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import DecidingRole, bearer
from serving.decisions.schemas import (
    DecisionId,
    DecisionModel,
    DecisionRequest,
    DecisionsModel,
    DecisionsRequest,
    IdempotencyKey,
    OutcomeRequest,
    decision_json,
)
from serving.decisions.service import DecisionService
from serving.scores.dependencies import ScorerDep

router = APIRouter(prefix="/v1/decisions", tags=["decisions"], dependencies=[Security(bearer)])

# Decisions wait for a disk, and so run in the threadpool (`def`, not `async def`).


@router.post(
    "",
    summary="Decide about one customer",
    response_model=DecisionModel,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
def decide(
    body: DecisionRequest,
    caller: DecidingRole,
    database: DatabaseDep,
    scorer: ScorerDep,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """The next best action, drawn and logged with its pscore before it is answered.

    Repeat a request that failed with the same Idempotency-Key: it decides at most once.
    """
    decision = DecisionService(database).decide(scorer, body.customer_id, caller, body.exclude, idempotency_key)
    return JsonResponse(decision_json(decision, request_id))


@router.post(
    "/batch",
    summary="Decide about many customers",
    response_model=DecisionsModel,
    responses=problem_responses(401, 403, 409, 413, 422, 429, 503),
)
def decide_many(
    body: DecisionsRequest,
    caller: DecidingRole,
    database: DatabaseDep,
    scorer: ScorerDep,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """A decision each, in request order, logged together; who is unknown comes with an `error` in place of one."""
    results = DecisionService(database).decide_many(scorer, body.customer_ids, caller, idempotency_key)
    return JsonResponse({"results": [decision_json(result, request_id) for result in results]})


@router.post(
    "/{decision_id}/outcome",
    summary="What came of a decision",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
def record_outcome(
    decision_id: DecisionId, body: OutcomeRequest, _caller: DecidingRole, database: DatabaseDep
) -> Response:
    """Recorded once: the same again is 204 too, another value is 409."""
    DecisionService(database).record_outcome(decision_id, body.reward, body.executed)
    return Response(status_code=204)
