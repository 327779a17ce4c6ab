"""Requests that make no sense, from whoever has no key; and what the pages for strangers load and let through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from experiments.benchmarks.faults.business import Ground
from experiments.benchmarks.faults.seen import Seen, counted
from experiments.benchmarks.faults.servers import Server, attacked, score_of, status_of
from serving.auth.api_keys import Role

_LONG = "a" * 5000
_FORM = "Content-Type: application/x-www-form-urlencoded"
ODD: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("GET", f"/static/{_LONG}.js", ()),
    ("GET", "/static/" + "a/" * 2000 + "x.js", ()),
    ("GET", "/static/%00.js", ()),
    ("GET", "/static/%ff%fe.js", ()),
    ("GET", "/static/..%2f..%2fapp.py", ()),
    ("POST", "/login", ("Origin: http://[::1", _FORM)),
    ("POST", "/login", ("Origin: null", _FORM)),
    ("POST", "/login", ("Origin: http://x:99999999", _FORM)),
    ("POST", "/login", ("Content-Type: multipart/form-data; boundary=[",)),
    ("POST", "/logout", ("Origin: http://[::1", "Cookie: keepwell_session=[;;=", _FORM)),
    ("GET", "/login?next=//[", ()),
    ("GET", "/login?next=http://[::1", ()),
    ("GET", "/login?next=%00%ff", ()),
    ("GET", "/portfolio?page=99999999999999999999", ("Accept: text/html",)),
    ("GET", f"/customers/{_LONG}", ("Accept: text/html",)),
    ("GET", f"/v1/customers/{_LONG}/score", ()),
    ("GET", "/v1/customers/%00/score", ()),
    ("GET", "/v1/customers/%ff/score", ("Authorization: Bearer \u00ff",)),
    ("GET", "//[", ()),
    ("GET", "/docs/%2e%2e/", ()),
    ("HEAD", f"/static/{_LONG}.js", ()),
    ("OPTIONS", "*", ()),
    ("PROPFIND", "/", ()),
)
"""Method, path and headers; the first, the sixth and the eleventh were answered 500 once, and the others are of their kind."""
_NONSENSE = (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET /livez HTTP/9.9\r\n\r\n", b"\r\n\r\nnothing\r\n\r\n")
_SIGN_INS = 40


def odd_requests(ground: Ground) -> Iterator[Seen]:
    """Nothing that a stranger sends is a failure of ours, or an answer that a program cannot read."""
    with attacked(ground.home("odd-requests")) as server:
        odd = [status_of(server.raw(_request(*one))) for one in ODD]
        yield Seen(
            f"{len(ODD)} odd requests without a key",
            "none is answered with a 5xx, each is answered",
            counted(odd),
            all(0 < status < 500 for status in odd),
        )
        answers = [server.raw(nonsense) for nonsense in _NONSENSE]
        yield Seen(
            f"{len(answers)} times bytes that are no request",
            "each is answered 400, as a problem in JSON",
            counted(status_of(answer) for answer in answers),
            all(status_of(answer) == 400 and _is_problem(answer) for answer in answers),
        )
        yield from _headers(ground, server)
        yield _sign_ins(server)


def docs_page(ground: Ground) -> Iterator[Seen]:
    """The page of the API's documentation needs no network, and its policy lets nothing else in."""
    with attacked(ground.home("docs")) as server:
        page = server.ask("/docs", None)
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.body.decode())
        statuses = server.statuses(loaded, None)
        outside = [address for address in loaded if not re.match(r"/(?!/)", address)]
        yield Seen(
            "/docs, and all that it loads",
            "everything comes from this server",
            f"{len(loaded)} files, {len(outside)} from elsewhere; {counted(statuses)}",
            bool(loaded) and not outside and set(statuses) == {200},
        )
        policy = page.headers.get("content-security-policy", "")
        scripts = policy.partition("script-src")[2].partition(";")[0]
        yield Seen(
            "/docs",
            "a policy allows its own scripts only",
            policy or "no policy",
            "default-src 'none'" in policy and scripts.strip() == "'self'",
        )


def _headers(ground: Ground, server: Server) -> Iterator[Seen]:
    answers = [
        server.ask("/livez", None),
        server.ask(score_of(ground.customers[0])),
        server.ask("/v1/nowhere"),
        server.ask("/v1/scores", None),
        server.ask("/login", None),
    ]
    held = sum(
        answer.headers.get("x-content-type-options") == "nosniff"
        and "no-store" in answer.headers.get("cache-control", "")
        for answer in answers
    )
    yield Seen(
        "answers of API and pages",
        "nosniff and no-store on each",
        f"on {held} of {len(answers)}",
        held == len(answers),
    )
    secure = server.ask("/livez", None, **{"X-Forwarded-Proto": "https"}).headers.get("strict-transport-security")
    yield Seen("an answer over https", "strict-transport-security", secure or "none", secure is not None)


def _sign_ins(server: Server) -> Seen:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    statuses = [
        status_of(
            server.raw(
                _request(
                    "POST", "/login", tuple(f"{name}: {value}" for name, value in headers.items()), b"key=kw_guess"
                )
            )
        )
        for _ in range(_SIGN_INS)
    ]
    known = server.ask("/v1/scores?limit=1", Role.ADMIN).status
    return Seen(
        f"{_SIGN_INS} guesses at the sign-in",
        "most are answered 429, and a key serves on",
        f"{counted(statuses)}; {known}",
        statuses.count(429) >= _SIGN_INS // 2 and known == 200,
    )


def _request(method: str, path: str, headers: tuple[str, ...], body: bytes = b"key=x") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
    if method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body if method == "POST" else b"")


def _is_problem(answer: bytes) -> bool:
    try:
        return bool(json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 400)
    except (ValueError, KeyError):
        return False
