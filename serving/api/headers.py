"""The headers that every answer has, unless it has its own: nothing guesses its type, keeps it, runs it or frames it."""

from __future__ import annotations

from collections.abc import Iterable

Header = tuple[bytes, bytes]

_DEFAULTS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
# Two years, as browsers ask it of sites that they know beforehand.
_SECURE: Header = (b"strict-transport-security", b"max-age=63072000")


def guarded(headers: Iterable[Header], request_id: str, *, secure: bool) -> list[Header]:
    """`headers` with the request's id, and with those that an answer has anyway; `secure` is one that goes over https."""
    complete = [*headers, (b"x-request-id", request_id.encode())]
    given = {name for name, _ in complete}
    complete += [header for header in _DEFAULTS if header[0] not in given]
    if secure:
        complete.append(_SECURE)
    return complete
