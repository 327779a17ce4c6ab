"""What is known of one customer beside the score."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.responses import Response

from serving.api.responses import JsonResponse
from serving.api.schemas import CustomerPath, problem_responses
from serving.auth.permissions import AnyRole, bearer
from serving.platform.thread_pools import Pool, within
from serving.recommendations.schemas import RecommendationsModel, RecommendationsQuery, recommendation_json
from serving.recommendations.service import recommend
from serving.releases.dependencies import ReleaseDep

router = APIRouter(prefix="/v1/customers", tags=["customers"], dependencies=[Security(bearer)])


@router.get(
    "/{customer_id:path}/recommendations",
    summary="Items that suit one customer",
    response_model=RecommendationsModel,
    responses=problem_responses(401, 403, 404, 422, 429, 503),
)
@within(Pool.SCORES)
def recommendations(
    customer_id: CustomerPath,
    query: Annotated[RecommendationsQuery, Query()],
    _caller: AnyRole,
    release: ReleaseDep,
) -> Response:
    """Items from what the customer bought, what goes with it, and what all buy; for a new customer, what is popular."""
    return JsonResponse(recommendation_json(recommend(release, customer_id, query.k), release))
