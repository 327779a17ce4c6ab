"""What all requests of one app share, and the names under which routes ask for it.

A subject's package names its own parts in its own dependencies.py, by `part`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

from fastapi import Depends, Request
from starlette.types import Scope

from serving.auth.api_keys import ApiKeys
from serving.auth.rate_limit import FailedSignIns, RateLimiter
from serving.platform.database import Database
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings

T = TypeVar("T")


class Parts(dict[type[Any], Any]):
    """The app's parts, made once by its lifespan: one of each type, found by its type."""

    def __init__(self, *parts: object) -> None:
        super().__init__((type(one), one) for one in parts)

    # Each request looks up some eight: a method of ours would cost several times what the dictionary's own does.
    if TYPE_CHECKING:

        def __getitem__(self, kind: type[T]) -> T: ...

    @staticmethod
    def of(scope: Scope) -> Parts:
        """The parts of the app that a request came to."""
        parts: Parts = scope["app"].state.parts
        return parts


def part(kind: type[T]) -> Callable[[Request], Coroutine[Any, Any, T]]:
    """A dependency that gives the app's part of this type."""

    async def find(request: Request) -> T:
        return Parts.of(request.scope)[kind]

    return find


async def _request_id(request: Request) -> str:
    return cast(str, request.scope["request_id"])


SettingsDep = Annotated[Settings, Depends(part(Settings))]
DatabaseDep = Annotated[Database, Depends(part(Database))]
ApiKeysDep = Annotated[ApiKeys, Depends(part(ApiKeys))]
FailedSignInsDep = Annotated[FailedSignIns, Depends(part(FailedSignIns))]
RateLimiterDep = Annotated[RateLimiter, Depends(part(RateLimiter))]
MetricsDep = Annotated[Metrics, Depends(part(Metrics))]
RequestId = Annotated[str, Depends(_request_id)]
