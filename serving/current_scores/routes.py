"""Everybody's current scores over HTTP, as they change."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Security
from starlette.responses import Response

from serving.api.responses import JsonResponse
from serving.api.schemas import problem_responses
from serving.auth.permissions import AnyRole, bearer
from serving.current_scores.dependencies import CurrentScoresDep
from serving.current_scores.schemas import CurrentScoresPage, CurrentScoresQuery, current_score_json
from serving.platform.thread_pools import Pool, within

router = APIRouter(prefix="/v1", tags=["scores"], dependencies=[Security(bearer)])


@router.get(
    "/scores",
    summary="Everybody's current score, as they change",
    response_model=CurrentScoresPage,
    responses=problem_responses(401, 403, 422, 429, 503),
)
@within(Pool.DATABASE)
def current_scores(
    query: Annotated[CurrentScoresQuery, Query()], _caller: AnyRole, current: CurrentScoresDep
) -> Response:
    """From the durable table that every build and every change of champion rewrites.

    A row comes again when any column but `scored_at` changes, at least once; who was removed comes as `deleted`.
    Follow `next_cursor` until it is null; then come back with the time at which this round began.
    """
    page = current.page(query.changed_since, query.cursor, query.limit)
    return JsonResponse({"results": [current_score_json(row) for row in page.rows], "next_cursor": page.next_cursor})
