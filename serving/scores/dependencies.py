"""What routes ask of the scores, by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from serving.api.dependencies import part
from serving.releases.dependencies import ReleaseDep
from serving.scores.observers import ScoreObservers
from serving.scores.scorer import Scorer


async def _scorer(release: ReleaseDep) -> Scorer:
    return Scorer(release)


ScorerDep = Annotated[Scorer, Depends(_scorer)]
"""Scores by the release that this request is answered from; 503 while there is none."""
ScoreObserversDep = Annotated[ScoreObservers, Depends(part(ScoreObservers))]
