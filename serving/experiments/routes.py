"""Experiments over HTTP: registered, met, reported on; and what the programme earned against the holdout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.responses import Response

from features.config.business import Business
from features.errors import UnknownCustomer
from serving.api.dependencies import DatabaseDep
from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import AdminRole, DecidingRole, ManagingRole, bearer
from serving.experiments.report import programme, report
from serving.experiments.schemas import (
    PROGRAMME,
    AssignmentModel,
    AssignmentRequest,
    ExperimentCorrection,
    ExperimentModel,
    ExperimentOutcomeModel,
    ExperimentOutcomeQuery,
    ExperimentOutcomeRequest,
    ExperimentPath,
    ExperimentRequest,
    ExperimentsModel,
    ProgrammeModel,
    ProgrammeQuery,
    assignment_json,
    corrections_json,
    experiment_json,
    programme_json,
)
from serving.experiments.service import Experiments
from serving.platform.thread_pools import Pool, within
from serving.releases.dependencies import ReleaseDep
from serving.scores.dependencies import ScorerDep
from serving.scores.scorer import score_as_of_now

router = APIRouter(prefix="/v1/experiments", tags=["experiments"], dependencies=[Security(bearer)])


@router.post(
    "",
    summary="Register an experiment",
    status_code=201,
    response_model=ExperimentModel,
    responses=problem_responses(401, 403, 409, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def create(body: ExperimentRequest, caller: AdminRole, database: DatabaseDep, release: ReleaseDep) -> Response:
    """Its arms hold from `start` to `end`; the same again is 201 too, another one of that name is 409."""
    known = [action.name for action in Business.of(release.generation).actions]
    experiment = body.experiment()
    experiment.check_actions(known)
    Experiments(database).create(experiment, caller)
    return JsonResponse(experiment_json(report(database, experiment, datetime.now(UTC))), status_code=201)


@router.get(
    "",
    summary="All experiments",
    response_model=ExperimentsModel,
    responses=problem_responses(401, 403, 429, 503),
)
@within(Pool.DATABASE)
def show_all(_caller: ManagingRole, database: DatabaseDep) -> Response:
    """Each with what it shows so far, the newest first."""
    now = datetime.now(UTC)
    found = [report(database, experiment, now) for experiment in Experiments(database).all()]
    return JsonResponse({"results": [experiment_json(one) for one in found]})


@router.get(
    f"/{PROGRAMME}",
    summary="What the programme earned",
    response_model=ProgrammeModel,
    responses=problem_responses(401, 403, 422, 429, 503),
)
@within(Pool.DATABASE)
def show_programme(
    query: Annotated[ProgrammeQuery, Query()], _caller: ManagingRole, database: DatabaseDep, release: ReleaseDep
) -> Response:
    """All decisions with an outcome against the holdout that is never treated, in money, costs taken off."""
    return JsonResponse(programme_json(programme(database, Business.of(release.generation), query.since)))


@router.get(
    "/{name}",
    summary="One experiment",
    response_model=ExperimentModel,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
@within(Pool.DATABASE)
def show(name: ExperimentPath, _caller: ManagingRole, database: DatabaseDep) -> Response:
    """What it shows so far, with intervals that hold however often they are looked at."""
    experiment = Experiments(database).get(name)
    return JsonResponse(experiment_json(report(database, experiment, datetime.now(UTC))))


@router.post(
    "/{name}/stop",
    summary="End an experiment",
    response_model=ExperimentModel,
    responses=problem_responses(401, 403, 404, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def stop(name: ExperimentPath, _caller: AdminRole, database: DatabaseDep) -> Response:
    """Now, if it has not ended; outcomes may still come."""
    experiment = Experiments(database).stop(name)
    return JsonResponse(experiment_json(report(database, experiment, datetime.now(UTC))))


@router.post(
    "/{name}/assignments",
    summary="A customer's arm",
    response_model=AssignmentModel,
    responses=problem_responses(401, 403, 404, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def assign(
    name: ExperimentPath, body: AssignmentRequest, _caller: DecidingRole, database: DatabaseDep, scorer: ScorerDep
) -> Response:
    """By hash, so for ever the same; asking while the experiment runs counts as meeting it, and decisions count too."""
    (score,) = score_as_of_now(scorer, [body.customer_id])
    if isinstance(score, UnknownCustomer):
        raise score
    return JsonResponse(assignment_json(Experiments(database).assign(name, body.customer_id, score.probability)))


@router.post(
    "/{name}/outcomes",
    summary="A customer's outcome",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 409, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def record_outcome(
    name: ExperimentPath, body: ExperimentOutcomeRequest, _caller: DecidingRole, database: DatabaseDep
) -> Response:
    """Of one who met it, recorded once: the same again is 204 too, another value is 409."""
    Experiments(database).record_outcome(name, body.customer_id, body.value)
    return Response(status_code=204)


@router.put(
    "/{name}/outcomes",
    summary="Correct a customer's outcome",
    status_code=204,
    response_class=Response,
    responses=problem_responses(401, 403, 404, 413, 422, 429, 503),
)
@within(Pool.DATABASE)
def correct_outcome(
    name: ExperimentPath, body: ExperimentCorrection, caller: AdminRole, database: DatabaseDep
) -> Response:
    """Whatever was recorded before, which is kept with who changed it and why."""
    Experiments(database).correct_outcome(name, body.customer_id, body.value, body.reason, caller)
    return Response(status_code=204)


@router.get(
    "/{name}/outcomes",
    summary="A customer's outcome, and its corrections",
    response_model=ExperimentOutcomeModel,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
@within(Pool.DATABASE)
def show_outcome(
    name: ExperimentPath, query: Annotated[ExperimentOutcomeQuery, Query()], _caller: AdminRole, database: DatabaseDep
) -> Response:
    """What is recorded of one who met it, and what was before."""
    value, corrections = Experiments(database).outcome(name, query.customer_id)
    body = {"customer_id": query.customer_id, "value": value, "corrections": corrections_json(corrections)}
    return JsonResponse(body)
