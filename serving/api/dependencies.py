"""What all requests of one app share, and the names under which routes ask for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from serving.auth.api_keys import ApiKeys
from serving.auth.permissions import RateLimiter
from serving.current_scores.feed import CurrentScores
from serving.platform.database import Database
from serving.platform.load_shedding import Shedder
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.releases.follower import Follower
from serving.releases.release import Release
from serving.scores.history import ScoreHistory
from serving.scores.scorer import Scorer
from serving.scores.shadow import Shadow


@dataclass(frozen=True, slots=True)
class State:
    """The app's parts, made once by its lifespan."""

    settings: Settings
    database: Database
    keys: ApiKeys
    current: CurrentScores
    follower: Follower
    metrics: Metrics
    limiter: RateLimiter
    shedder: Shedder
    history: ScoreHistory
    shadow: Shadow | None = None
    """None where no share of the answers is scored by the challenger too."""


async def _state(request: Request) -> State:
    return cast(State, request.app.state.keepwell)


async def _release(request: Request) -> Release:
    state = cast(State, request.app.state.keepwell)
    return state.follower.release


async def _scorer(release: Annotated[Release, Depends(_release)]) -> Scorer:
    return Scorer(release)


async def _request_id(request: Request) -> str:
    return cast(str, request.scope["request_id"])


StateDep = Annotated[State, Depends(_state)]
ReleaseDep = Annotated[Release, Depends(_release)]
"""The release that this request is answered from; 503 while there is none."""
ScorerDep = Annotated[Scorer, Depends(_scorer)]
RequestId = Annotated[str, Depends(_request_id)]
