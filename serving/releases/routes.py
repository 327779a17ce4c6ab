"""Which model answers."""

from __future__ import annotations

from fastapi import APIRouter, Security
from starlette.responses import Response

from serving.api.dependencies import ReleaseDep
from serving.api.responses import JsonResponse
from serving.api.schemas import Champion, champion_json, problem_responses
from serving.auth.permissions import AnyRole, bearer

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Security(bearer)])


@router.get(
    "/champion",
    summary="The model that answers",
    response_model=Champion,
    responses=problem_responses(401, 429, 503),
)
async def champion(_caller: AnyRole, release: ReleaseDep) -> Response:
    """Its version, its metrics on data that it had not seen, its scorecard, and the features that it reads."""
    return JsonResponse(champion_json(release))
