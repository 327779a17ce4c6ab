"""The only table from an error to the RFC 9457 problem that it is to a caller, and its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy.exc
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from features.errors import (
    DatabaseUnavailable,
    SchemaMismatch,
    StorageFull,
    StoreUnavailable,
    UnknownCustomer,
)
from serving.errors import (
    ExperimentConflict,
    ExperimentOutcomeConflict,
    FormForged,
    FormInvalid,
    IdempotencyConflict,
    InvalidCursor,
    InvalidExperiment,
    NoEventLog,
    NoRelease,
    NotAuthenticated,
    NotPermitted,
    OutcomeConflict,
    Overloaded,
    ReleaseMismatch,
    TooManyRequests,
    TooManySignIns,
    UnknownAction,
    UnknownDecision,
    UnknownExperiment,
    UnknownExposure,
)

DOCS_PATH = "/docs/problems"


@dataclass(frozen=True, slots=True)
class Problem:
    """A type of problem (RFC 9457): its name in the docs, its status, and what the caller should do."""

    slug: str
    status: int
    title: str
    advice: str

    @property
    def type(self) -> str:
        """The problem's URI reference, relative to the service."""
        return f"{DOCS_PATH}#{self.slug}"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One field of a request that is not as it should be."""

    field: str
    message: str


@dataclass(frozen=True, slots=True)
class ProblemDetail:
    """One occurrence of a problem, as it is answered."""

    problem: Problem
    detail: str
    request_id: str
    errors: tuple[FieldError, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, object]:
        """The body of `application/problem+json`; `errors` only where fields are at fault."""
        body: dict[str, object] = {
            "type": self.problem.type,
            "title": self.problem.title,
            "status": self.problem.status,
            "detail": self.detail,
            "request_id": self.request_id,
        }
        if self.errors:
            body["errors"] = [{"field": error.field, "message": error.message} for error in self.errors]
        return body


def _problem(slug: str, status: int, title: str, advice: str) -> Problem:
    return Problem(slug=slug, status=status, title=title, advice=advice)


NOT_AUTHENTICATED = _problem(
    "not-authenticated", 401, "No valid API key", "Send a key that stands; do not retry without."
)
NOT_PERMITTED = _problem("not-permitted", 403, "Not permitted for this role", "Use a key whose role may do this.")
FORM_FORGED = _problem("form-forged", 403, "Not a form of this session", "Load the page again, and repeat.")
UNKNOWN_CUSTOMER = _problem(
    "unknown-customer", 404, "Unknown customer", "Check the id; a new customer is known after the next build."
)
UNKNOWN_DECISION = _problem("unknown-decision", 404, "Unknown decision", "Check the decision id.")
UNKNOWN_EXPERIMENT = _problem(
    "unknown-experiment", 404, "Unknown experiment", "Check the name; a customer meets an experiment by its assignment."
)
NOT_FOUND = _problem("not-found", 404, "No such route", "Check the path against the OpenAPI document.")
METHOD_NOT_ALLOWED = _problem(
    "method-not-allowed", 405, "Method not allowed", "Use a method that the header Allow lists."
)
OUTCOME_CONFLICT = _problem(
    "outcome-conflict",
    409,
    "Another outcome is recorded",
    "Do not retry: the first outcome stands; an admin corrects it with PUT.",
)
EXPERIMENT_CONFLICT = _problem(
    "experiment-conflict", 409, "Another experiment is in the way", "Take another name, or another time."
)
IDEMPOTENCY_CONFLICT = _problem(
    "idempotency-conflict", 409, "Idempotency-Key used before", "Use a new key for a new request."
)
NO_EVENT_LOG = _problem(
    "no-event-log", 409, "The business has no event log", "Do not retry: a table of customers takes no events."
)
BODY_TOO_LARGE = _problem(
    "body-too-large", 413, "Request body too large", "Send fewer customers or events per request."
)
MALFORMED_REQUEST = _problem(
    "malformed-request", 400, "This is no request", "Send HTTP/1.1, with a body that is what its headers say."
)
REQUEST_TIMEOUT = _problem(
    "request-timeout", 408, "The request did not arrive in time", "Send head and body of a request without a pause."
)
HEAD_TOO_LARGE = _problem(
    "head-too-large", 431, "Request head too large", "Send fewer or shorter headers, or a shorter address."
)
INVALID_REQUEST = _problem(
    "invalid-request", 422, "Invalid request", "Correct the fields that 'errors' lists; do not retry as is."
)
UNKNOWN_ACTION = _problem("unknown-action", 422, "Unknown action", "Exclude only actions of this business.")
INVALID_EXPERIMENT = _problem(
    "invalid-experiment", 422, "Experiment that cannot be", "Correct what 'detail' says; do not retry as is."
)
INVALID_CURSOR = _problem(
    "invalid-cursor", 422, "Invalid or expired cursor", "Start again with changed_since, without a cursor."
)
TOO_MANY_REQUESTS = _problem(
    "too-many-requests", 429, "Too many requests", "Wait for the seconds in Retry-After, then retry."
)
INTERNAL_ERROR = _problem(
    "internal-error", 500, "Internal error", "Report the request_id; a retry may or may not help."
)
OVERLOADED = _problem(
    "overloaded", 503, "Too much is asked at once", "Wait for the seconds in Retry-After, then retry."
)
NO_CHAMPION = _problem(
    "no-champion",
    503,
    "No model is being served yet",
    "Retry later: nobody has built features and promoted a model, or it is loading.",
)
STORAGE_FULL = _problem(
    "storage-full",
    503,
    "The disk is full",
    "Tell whoever runs keepwell; nothing was recorded, scores may still answer.",
)
STORE_UNAVAILABLE = _problem(
    "store-unavailable", 503, "The feature store does not answer", "Retry later: no score is made up in its place."
)
DATABASE_UNAVAILABLE = _problem(
    "database-unavailable",
    503,
    "The database does not answer",
    "Retry later; repeat a decision with its Idempotency-Key, events with their event_id.",
)

PROBLEMS: tuple[Problem, ...] = (
    NOT_AUTHENTICATED,
    NOT_PERMITTED,
    FORM_FORGED,
    UNKNOWN_CUSTOMER,
    UNKNOWN_DECISION,
    UNKNOWN_EXPERIMENT,
    NOT_FOUND,
    METHOD_NOT_ALLOWED,
    OUTCOME_CONFLICT,
    EXPERIMENT_CONFLICT,
    IDEMPOTENCY_CONFLICT,
    NO_EVENT_LOG,
    MALFORMED_REQUEST,
    REQUEST_TIMEOUT,
    BODY_TOO_LARGE,
    HEAD_TOO_LARGE,
    INVALID_REQUEST,
    UNKNOWN_ACTION,
    INVALID_EXPERIMENT,
    INVALID_CURSOR,
    TOO_MANY_REQUESTS,
    INTERNAL_ERROR,
    OVERLOADED,
    NO_CHAMPION,
    STORE_UNAVAILABLE,
    DATABASE_UNAVAILABLE,
    STORAGE_FULL,
)

PROBLEM_OF: Mapping[type[Exception], Problem] = {
    NotAuthenticated: NOT_AUTHENTICATED,
    NotPermitted: NOT_PERMITTED,
    TooManyRequests: TOO_MANY_REQUESTS,
    TooManySignIns: TOO_MANY_REQUESTS,
    FormForged: FORM_FORGED,
    FormInvalid: INVALID_REQUEST,
    UnknownCustomer: UNKNOWN_CUSTOMER,
    UnknownDecision: UNKNOWN_DECISION,
    OutcomeConflict: OUTCOME_CONFLICT,
    IdempotencyConflict: IDEMPOTENCY_CONFLICT,
    UnknownExperiment: UNKNOWN_EXPERIMENT,
    UnknownExposure: UNKNOWN_EXPERIMENT,
    InvalidExperiment: INVALID_EXPERIMENT,
    ExperimentConflict: EXPERIMENT_CONFLICT,
    ExperimentOutcomeConflict: OUTCOME_CONFLICT,
    UnknownAction: UNKNOWN_ACTION,
    InvalidCursor: INVALID_CURSOR,
    RequestValidationError: INVALID_REQUEST,
    Overloaded: OVERLOADED,
    NoEventLog: NO_EVENT_LOG,
    NoRelease: NO_CHAMPION,
    ReleaseMismatch: NO_CHAMPION,
    SchemaMismatch: NO_CHAMPION,
    StoreUnavailable: STORE_UNAVAILABLE,
    DatabaseUnavailable: DATABASE_UNAVAILABLE,
    StorageFull: STORAGE_FULL,
    sqlalchemy.exc.OperationalError: DATABASE_UNAVAILABLE,
    sqlalchemy.exc.InterfaceError: DATABASE_UNAVAILABLE,
    sqlalchemy.exc.TimeoutError: DATABASE_UNAVAILABLE,
}

_PROBLEM_OF_STATUS: Mapping[int, Problem] = {
    400: INVALID_REQUEST,
    401: NOT_AUTHENTICATED,
    403: NOT_PERMITTED,
    404: NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
    408: REQUEST_TIMEOUT,
    413: BODY_TOO_LARGE,
    422: INVALID_REQUEST,
    429: TOO_MANY_REQUESTS,
}


def describe(error: Exception, request_id: str) -> ProblemDetail:
    """The problem that an error is to the caller; an error that nobody foresaw is `internal-error`, without its text."""
    if isinstance(error, RequestValidationError):
        fields = tuple(_field_error(item) for item in error.errors())
        detail = "; ".join(f"{item.field}: {item.message}" for item in fields[:3])
        return ProblemDetail(INVALID_REQUEST, f"The request is not valid: {detail}.", request_id, fields)
    if isinstance(error, HTTPException):
        problem = _PROBLEM_OF_STATUS.get(error.status_code)
        if problem is not None:
            return ProblemDetail(problem, _sentence(error), request_id, headers=tuple((error.headers or {}).items()))
    for kind in type(error).__mro__:
        found = PROBLEM_OF.get(kind)
        if found is not None:
            return ProblemDetail(found, _text(error, found), request_id, headers=_headers(error, found))
    return ProblemDetail(INTERNAL_ERROR, "Something failed that should not have; the log has the cause.", request_id)


def _text(error: Exception, problem: Problem) -> str:
    if problem is DATABASE_UNAVAILABLE:
        # Its text names hosts, statements and parameters, which are nobody's business outside.
        return "The service's database does not answer; try again later."
    if isinstance(error, UnknownCustomer):
        return f"No customer has the id {', '.join(repr(customer_id) for customer_id in error.customer_ids)}."
    if problem is STORE_UNAVAILABLE:
        return "The feature store does not answer, so there is nothing to score from; try again later."
    return str(error) or problem.title


def _headers(error: Exception, problem: Problem) -> tuple[tuple[str, str], ...]:
    if isinstance(error, NotAuthenticated):
        challenge = 'Bearer realm="keepwell"'
        return (("WWW-Authenticate", f'{challenge}, error="invalid_token"' if error.presented else challenge),)
    if isinstance(error, TooManyRequests | TooManySignIns):
        return (("Retry-After", str(max(1, round(error.retry_after + 0.5)))),)
    if problem.status == 503:
        return (("Retry-After", "1" if problem is OVERLOADED else "5"),)
    return ()


def _sentence(error: HTTPException) -> str:
    sentences = {
        400: "The request's body cannot be read as JSON.",
        404: "Nothing is served at this path; /openapi.json lists what is.",
        405: "This path does not answer that method; the header Allow lists those that it does.",
        413: str(error.detail),
    }
    return sentences.get(error.status_code, str(error.detail))


def _field_error(item: Mapping[str, object]) -> FieldError:
    location = item.get("loc", ())
    parts = [str(part) for part in location] if isinstance(location, list | tuple) else []
    # The first part says where the field stood ("body", "query", "path", "header"); alone, it is the field.
    return FieldError(field=".".join(parts[1:] or parts), message=str(item.get("msg", "not valid")))
