"""The web application, built from its settings."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Match

from features.errors import FeaturesError
from features.event_log.log import EventLog
from models.errors import ModelsError
from models.inference_log import SERVED_SCORES
from serving import openapi
from serving.api import operations
from serving.api.dependencies import Parts
from serving.api.middleware import Gate
from serving.api.problems import INTERNAL_ERROR, describe
from serving.api.responses import JsonResponse, ProblemResponse
from serving.api.unparsed import answer_to_no_request
from serving.auth.api_keys import ApiKeys
from serving.auth.rate_limit import FailedSignIns, RateLimiter
from serving.current_scores import routes as current_scores
from serving.current_scores.feed import CurrentScores
from serving.current_scores.refresh import bring_up_to_date
from serving.decisions import routes as decisions
from serving.errors import ServingError
from serving.events import routes as events
from serving.events.intake import Intake
from serving.experiments import routes as experiments
from serving.platform.bounded_connection import LIMITS, ConnectionLimits, most_connections
from serving.platform.database import Database
from serving.platform.load_shedding import Shedder
from serving.platform.metrics import Metrics
from serving.platform.settings import Settings
from serving.recommendations import routes as customers
from serving.releases import routes as models
from serving.releases.follower import Follower, ReleaseSource
from serving.scores import routes as scores
from serving.scores.fast_path import DirectScore
from serving.scores.history import ScoreHistory
from serving.scores.observers import ScoreObservers
from serving.scores.shadow import Shadow
from serving.web import pages, rendering
from serving.web.accounts.account_snapshots import Editions
from serving.web.accounts.snapshot_refresher import SnapshotRefresher
from serving.web.portfolio.listing import Portfolio

_log = structlog.get_logger(__name__)
_PATIENCE = 2.0
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def create_app(settings: Settings) -> FastAPI:
    """The app that serves `settings.home`; it starts without a model too, and takes one up when there is one."""
    app = FastAPI(
        title=openapi.TITLE,
        version=openapi.product_version(),
        lifespan=partial(_lifespan, settings=settings),
        default_response_class=JsonResponse,
        # The pages have the docs, without scripts from elsewhere: serving/web/api_docs.py.
        docs_url=None,
        redoc_url=None,
        # A wrong slash is a wrong path: a redirect would lose the key on the way.
        redirect_slashes=False,
        # What is counted of requests is counted in serving/platform/metrics.py; FastAPI's own telemetry would look for a provider with
        # each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        middleware=[Middleware(Gate, error_page=rendering.error_page), Middleware(DirectScore, route=scores.ONE)],
    )
    for router in (
        scores.router,
        current_scores.router,
        customers.router,
        decisions.router,
        events.router,
        experiments.router,
        models.router,
        models.readiness,
        operations.router,
        pages.router,
    ):
        app.include_router(router)
    for kind in (ServingError, FeaturesError, ModelsError, SQLAlchemyError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, _answer_problem)
    openapi.install(app)
    return app


def from_environment() -> FastAPI:
    """The app as the environment sets it, for servers that start workers of their own."""
    from serving.platform import logs

    settings = Settings.from_environment()
    logs.configure(settings)
    return create_app(settings)


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI, settings: Settings) -> AsyncIterator[dict[str, object]]:
    # What requests wait for, and what takes as long as it takes.
    database, unhurried = Database(settings.database, settings.statement_seconds), Database(settings.database)
    unhurried.migrate()
    keys = ApiKeys(database)
    metrics = Metrics()
    source = ReleaseSource(settings)
    follower = Follower(
        source, partial(bring_up_to_date, CurrentScores(unhurried), source), metrics, settings.poll_seconds
    )
    history = ScoreHistory(settings.state.path / SERVED_SCORES, settings.score_history_days, metrics.dropped_scores.inc)
    refresher = SnapshotRefresher(unhurried, follower, settings.poll_seconds)
    shadow = Shadow(settings, follower, metrics, settings.shadow_share) if settings.shadow_share else None
    intake = Intake(settings.state, EventLog(settings.event_log, settings.statement_seconds), metrics)
    observers = ScoreObservers(metrics, history, shadow)
    app.state.parts = Parts(
        settings,
        database,
        metrics,
        keys,
        RateLimiter(settings.rate_limit),
        FailedSignIns(),
        Shedder(settings.max_wait_ms / 1000, settings.max_waiting),
        follower,
        observers,
        CurrentScores(database),
        Editions(database),
        Portfolio(database),
        intake,
    )
    # What stands is mostly loaded in a moment: callers wait for that rather than be refused.
    await run_in_threadpool(follower.start, _PATIENCE)
    refresher.start()
    observers.start()
    keys.start()
    await run_in_threadpool(intake.start)
    try:
        yield {LIMITS: ConnectionLimits(answer_to_no_request, settings.read_seconds, most_connections())}
    finally:
        await run_in_threadpool(observers.stop)
        keys.stop()
        refresher.stop()
        follower.stop()
        intake.stop()
        database.close()
        unhurried.close()


async def _answer_problem(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 405:
        # Starlette names the methods of one of the path's routes only.
        error = HTTPException(405, headers={"Allow": ", ".join(_allowed(request))})
    detail = describe(error, request.scope["request_id"])
    if detail.problem is INTERNAL_ERROR:
        _log.error("request failed", exc_info=error)
    elif detail.problem.status >= 500:
        _log.warning("request refused", problem=detail.problem.slug, reason=str(error))
    return rendering.error_page(request, error, detail) or ProblemResponse(detail)


def _allowed(request: Request) -> list[str]:
    """The methods that this path answers; HEAD is answered where GET is, see serving/api/middleware.py."""
    answered = [
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    return [name for method in answered for name in ((method, "HEAD") if method == "GET" else (method,))]
