"""Decisions over HTTP: about one customer, about many, and what came of them."""

from __future__ import annotations

from fastapi import APIRouter, Security
from starlette.responses import Response

from serving.api.dependencies import DatabaseDep, RequestId
from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import AdminRole, DecidingRole, bearer
from serving.decisions.schemas import (
    CorrectionRequest,
    DecisionId,
    DecisionModel,
    DecisionRequest,
    DecisionsModel,
    DecisionsRequest,
    IdempotencyKey,
    OutcomeModel,
    OutcomeRequest,
    decision_json,
)
from serving.decisions.service import DecisionService
from serving.experiments.schemas import corrections_json
from serving.platform.thread_pools import Pool, within
from serving.scores.dependencies import ScorerDep

router = APIRouter(prefix="/v1/decisions", tags=["decisions"], dependencies=[Security(bearer)])

# Decisions wait for a disk, and so run in threads.


@router.post(
    "",
    summary="Decide about one customer",
    response_model=DecisionModel,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
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
@within(Pool.DATABASE)
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
@within(Pool.DATABASE)
def record_outcome(
    decision_id: DecisionId, body: OutcomeRequest, _caller: DecidingRole, database: DatabaseDep
) -> Response:
    """Recorded once: the same again is 204 too, another value is 409."""
    DecisionService(database).record_outcome(decision_id, body.reward, body.executed)
    return Response(status_code=204)


@router.put(
    "/{decision_id}/outcome",
    summary="Correct what came of a decision",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def correct_outcome(
    decision_id: DecisionId, body: CorrectionRequest, caller: AdminRole, database: DatabaseDep
) -> Response:
    """Whatever was recorded before, which is kept with who changed it and why."""
    DecisionService(database).correct_outcome(decision_id, body.reward, body.executed, body.reason, caller)
    return Response(status_code=204)


@router.get(
    "/{decision_id}/outcome",
    summary="What came of a decision, and how that was corrected",
    response_model=OutcomeModel,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
@within(Pool.DATABASE)
def show_outcome(decision_id: DecisionId, _caller: AdminRole, database: DatabaseDep) -> Response:
    """What is recorded, and what was before."""
    outcome, corrections = DecisionService(database).outcome(decision_id)
    body = {
        "decision_id": decision_id,
        "reward": outcome.reward,
        "executed": outcome.executed,
        "corrections": corrections_json(corrections),
    }
    return JsonResponse(body)
