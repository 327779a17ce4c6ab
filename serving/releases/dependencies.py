"""What routes ask of the releases, by name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends

from serving.api.dependencies import part
from serving.releases.follower import Follower
from serving.releases.release import Release

FollowerDep = Annotated[Follower, Depends(part(Follower))]


async def _release(follower: FollowerDep) -> Release:
    return follower.release


ReleaseDep = Annotated[Release, Depends(_release)]
"""The release that this request is answered from; 503 while there is none."""
