"""The least that FastAPI can do: a route that returns a constant, made ready as bytes."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI, Response


def create() -> FastAPI:
    """The app; PEER_ANSWER names the file that it returns."""
    app = FastAPI()
    body = Path(os.environ["PEER_ANSWER"]).read_bytes()

    @app.get("/constant")
    async def constant() -> Response:
        return Response(body, media_type="application/json")

    return app
