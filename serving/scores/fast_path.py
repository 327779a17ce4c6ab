"""The short way to the answer that is asked for most, one customer's score: past routing, dependencies and threads.

The route in serving/scores/routes.py is what this answers for, word by word, and what everything else falls back to: a
query that is not plain, a store behind a network, every error.
"""

from __future__ import annotations

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import FeaturesError, UnknownCustomer
from models.errors import ModelsError
from serving.api.dependencies import Parts
from serving.api.responses import dump
from serving.auth.api_keys import Principal
from serving.auth.permissions import READING
from serving.errors import ServingError
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.releases.follower import Follower
from serving.releases.release import Release
from serving.scores.json_template import ScoreTemplate
from serving.scores.observers import ScoreObservers
from serving.scores.schemas import score_json
from serving.scores.scorer import Explain, Scorer

PREFIX, SUFFIX = "/v1/customers/", "/score"
_LONGEST = 512
_QUERIES = {
    b"": Explain.TOP,
    b"explain=top": Explain.TOP,
    b"explain=all": Explain.ALL,
    b"explain=none": Explain.NONE,
}


class DirectScore:
    """ASGI middleware behind the gate: answers `GET /v1/customers/{customer_id}/score` by itself where it can.

    It scores on the event loop: one customer takes a fraction of a millisecond from the embedded store, less than a
    change of threads would cost under load. Redis may keep one waiting, and so is read by the route, in a thread.

    Args:
        route: the route that it answers for, as `scope["route"]` names it.
    """

    def __init__(self, app: ASGIApp, route: Any) -> None:
        self._app = app
        self._route = route
        self._template: ScoreTemplate | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = self._answer(scope)
        if body is None:
            await self._app(scope, receive, send)
            return
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Scope) -> bytes | None:
        """The body, or None where the route must answer."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope.get("root_path"):
            return None
        path: str = scope["path"]
        if not (path.startswith(PREFIX) and path.endswith(SUFFIX)):
            return None
        customer_id = path[len(PREFIX) : -len(SUFFIX)]
        explain = _QUERIES.get(scope["query_string"])
        if explain is None or not 0 < len(customer_id) <= _LONGEST or "\x00" in customer_id:
            return None
        principal = scope.get("principal")
        if not isinstance(principal, Principal) or principal.role not in READING:
            return None
        parts = Parts.of(scope)
        try:
            release = parts[Follower].release
            if not release.generation.is_embedded:
                return None
            if explain is Explain.TOP:
                return self._by_template(scope, parts, release, customer_id)
            (score,) = Scorer(release).score((customer_id,), explain)
        except (ServingError, FeaturesError, ModelsError):
            return None
        if isinstance(score, UnknownCustomer):
            return None
        body = dump(score_json(score, scope["request_id"]))
        scope["route"] = self._route
        parts[ScoreObservers].note(score)
        return body

    def _by_template(self, scope: Scope, parts: Parts, release: Release, customer_id: str) -> bytes:
        observers = parts[ScoreObservers]
        template = self._template
        if template is None or template.release is not release:
            template = self._template = ScoreTemplate(
                release,
                parts[Settings].remembered_mb * 2**20,
                parts[Metrics].count_remembered,
                observers.history.note,
            )
        body, degraded = template.answer(customer_id, scope["request_id"])
        scope["route"] = self._route
        observers.count(customer_id, Explain.TOP, degraded)
        return body
