"""What is sent to who sent no request: there is none that a route, or the gate, could be asked about."""

from __future__ import annotations

import uuid
from http import HTTPStatus

from serving.api.headers import guarded
from serving.api.problems import HEAD_TOO_LARGE, MALFORMED_REQUEST, OVERLOADED, REQUEST_TIMEOUT, ProblemDetail
from serving.api.responses import ProblemResponse

_SENTENCES = {
    MALFORMED_REQUEST: "What came is no HTTP request.",
    REQUEST_TIMEOUT: "The head of the request did not arrive in time.",
    HEAD_TOO_LARGE: "The address or the headers of the request are too long, or there are too many of them.",
    OVERLOADED: "There are too many connections: try again later.",
}
_OF_STATUS = {problem.status: problem for problem in _SENTENCES}


def answer_to_no_request(status: int) -> bytes:
    """A whole answer of HTTP/1.1 with this status, after which the connection is closed."""
    problem = _OF_STATUS[status]
    request_id = uuid.uuid4().hex
    retry = (("Retry-After", "1"),) if problem is OVERLOADED else ()
    response = ProblemResponse(ProblemDetail(problem, _SENTENCES[problem], request_id, headers=retry))
    headers = guarded([*response.raw_headers, (b"connection", b"close")], request_id, secure=False)
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    return b"\r\n".join([*lines, b"", bytes(response.body)])
