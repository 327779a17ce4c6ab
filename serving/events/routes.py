"""Events over HTTP: on disk before they are acknowledged."""

from __future__ import annotations

from fastapi import APIRouter, Security
from starlette.responses import Response

from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import IngestingRole, bearer
from serving.events.dependencies import IntakeDep
from serving.events.schemas import EventsAnswer, EventsRequest, verdicts_json
from serving.platform.thread_pools import Pool, within

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Security(bearer)])


@router.post(
    "/events",
    summary="What happened",
    status_code=202,
    response_model=EventsAnswer,
    responses=problem_responses(401, 403, 409, 413, 422, 429, 503),
)
@within(Pool.EVENTS)
def take(body: EventsRequest, _caller: IngestingRole, intake: IntakeDep) -> Response:
    """Each event is accepted, a duplicate, or rejected with the field and the reason; what is accepted is on disk.

    With an `event_id` a retry is safe: the same again is a duplicate, something else under that id a `conflict`. An event without one
    counts as often as it is sent. The next build counts what was accepted.
    """
    return JsonResponse(verdicts_json(intake.take(body.events)), status_code=202)
