"""The command: `python -m serving run|batch|key|refresh`."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from typing import TYPE_CHECKING, Annotated

import typer

from serving import commands
from serving.errors import PortTaken, ServingError

if TYPE_CHECKING:
    from serving.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Answer: the API, batch files, and API keys.")
app.add_typer(commands.key, name="key")
app.command()(commands.batch)
app.command()(commands.refresh)


@app.command()
def run(
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer; each loads the model for itself.")] = 1,
) -> None:
    """Serve the API on HOST and PORT, in the foreground."""
    from features.generation import Generation
    from serving import logs
    from serving.database import Database
    from serving.settings import Settings

    settings = Settings.from_environment()
    Generation.current(settings.state)
    listener = _listen(settings)
    database = Database(settings.database)
    database.migrate()
    database.close()
    logs.configure(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"keepwell serves '{settings.state.business}' on http://{shown}:{port} (API: /docs)")
    _serve(listener, settings, workers)


def _listen(settings: Settings) -> socket.socket:
    """A socket on HOST:PORT, taken before anything slow is loaded.

    Raises:
        PortTaken: another process has it, or the host is not ours.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise PortTaken(settings.host, settings.port, error.strerror or str(error)) from None
    listener.set_inheritable(True)
    return listener


def _serve(listener: socket.socket, settings: Settings, workers: int) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    config = uvicorn.Config(
        "serving.app:from_environment",
        factory=True,
        workers=workers,
        access_log=False,
        log_config=None,
        log_level=settings.log_level,
        server_header=False,
        timeout_graceful_shutdown=30,
        # Workers load for seconds without a breath to answer their supervisor, who would kill and start them for ever.
        timeout_worker_healthcheck=120,
    )
    server = uvicorn.Server(config)
    if workers == 1:
        server.run(sockets=[listener])
        return
    with tempfile.TemporaryDirectory(prefix="keepwell-metrics-") as folder:
        # Workers inherit it, and add their figures up at each scrape.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        Multiprocess(config, sockets=[listener]).run()


def main() -> None:
    """Run the command; a user's mistake is one sentence on stderr, and exit code 2."""
    from features.errors import FeaturesError
    from models.errors import ModelsError

    try:
        app()
    except (ServingError, FeaturesError, ModelsError) as error:
        typer.echo(str(error), err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
