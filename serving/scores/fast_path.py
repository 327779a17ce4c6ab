"""The short way to the answer that is asked for most, one customer's score: past routing, dependencies and threads.

The route in serving/scores/routes.py is what this answers for, word by word, and what everything else falls back to: a
query that is not plain, a store behind a network, every error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from features.errors import FeaturesError, UnknownCustomer
from models.errors import ModelsError
from serving.api.dependencies import State
from serving.api.responses import dump
from serving.api.schemas import score_json
from serving.auth.api_keys import Principal
from serving.errors import ServingError
from serving.releases.release import Release
from serving.scores.json_template import ScoreTemplate
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
        if not isinstance(scope.get("principal"), Principal):
            return None
        state: State = scope["app"].state.keepwell
        try:
            release = state.follower.release
            if not release.generation.is_embedded:
                return None
            if explain is Explain.TOP:
                return self._by_template(scope, state, release, customer_id)
            (score,) = Scorer(release).score((customer_id,), explain)
        except (ServingError, FeaturesError, ModelsError):
            return None
        if isinstance(score, UnknownCustomer):
            return None
        body = dump(score_json(score, scope["request_id"]))
        state.history.note(customer_id, score.probability, score.score, score.model_version, score.scorecard_version)
        self._note(scope, state, score.explain, score.degraded, customer_id)
        return body

    def _by_template(self, scope: Scope, state: State, release: Release, customer_id: str) -> bytes:
        template = self._template
        if template is None or template.release is not release:
            template = self._template = ScoreTemplate(
                release, state.settings.remembered_mb * 2**20, state.metrics.count_remembered, state.history.note
            )
        body, degraded = template.answer(customer_id, scope["request_id"])
        self._note(scope, state, Explain.TOP, degraded, customer_id)
        return body

    def _note(self, scope: Scope, state: State, explain: Explain, degraded: Sequence[str], customer_id: str) -> None:
        scope["route"] = self._route
        if state.shadow is not None:
            state.shadow.note(customer_id)
        state.metrics.count_score(explain.value, degraded)
