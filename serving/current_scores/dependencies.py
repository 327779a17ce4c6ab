"""What routes ask of the current scores, by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from serving.api.dependencies import part
from serving.current_scores.feed import CurrentScores

CurrentScoresDep = Annotated[CurrentScores, Depends(part(CurrentScores))]
