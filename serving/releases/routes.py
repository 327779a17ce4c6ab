"""Which model answers, and whether it can."""

from __future__ import annotations

from fastapi import APIRouter, Security
from starlette.responses import Response

from features.home import check_room
from serving.api.dependencies import DatabaseDep, SettingsDep
from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import AnyRole, bearer
from serving.platform.thread_pools import Pool, within
from serving.releases.dependencies import FollowerDep, ReleaseDep
from serving.releases.schemas import Champion, Ready, champion_json

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Security(bearer)])
readiness = APIRouter(tags=["operations"])
"""Apart, because it is asked without a key."""


@router.get(
    "/champion",
    summary="The model that answers",
    response_model=Champion,
    responses=problem_responses(401, 403, 429, 503),
)
async def champion(_caller: AnyRole, release: ReleaseDep) -> Response:
    """Its version, its metrics on data that it had not seen, its scorecard, and the features that it reads."""
    return JsonResponse(champion_json(release))


@readiness.get("/readyz", summary="It can answer scores", response_model=Ready, responses=problem_responses(503))
@within(Pool.READINESS)
def readyz(follower: FollowerDep, release: ReleaseDep, database: DatabaseDep, settings: SettingsDep) -> Response:
    """200 when a model is loaded, feature store and database answer, and there is room; else 503, which says what is not."""
    release.store.ping()
    database.ping()
    check_room(settings.home)
    return JsonResponse(
        {
            "status": "ready",
            "generation": release.generation.id,
            "model_version": release.model_version,
            "scorecard_version": release.scorecard.version,
            "not_taken_up": follower.failed,
        }
    )
