"""Reading a request's body: to its end, within a size and a time, before anything is kept busy by it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


async def read_body(receive: Receive, headers: Headers, limit: int, seconds: float) -> Receive:
    """A `receive` that has the whole body at hand, of at most `limit` bytes, which arrived within `seconds`.

    Raises:
        HTTPException: 413, before anything is read where the length is stated; 408; 400 if the caller went away.
    """
    too_large = f"The request body is larger than {limit} bytes."
    stated = headers.get("content-length", "")
    if stated.isdecimal() and (len(stated) > 19 or int(stated) > limit):
        raise HTTPException(413, too_large)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise HTTPException(400)
                body += message.get("body", b"")
                if len(body) > limit:
                    raise HTTPException(413, too_large)
                more = message.get("more_body", False)
    except TimeoutError:
        # What is still to come would be taken for the next request.
        sentence = f"The request body did not arrive within {seconds:g} s."
        raise HTTPException(408, sentence, {"Connection": "close"}) from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay
