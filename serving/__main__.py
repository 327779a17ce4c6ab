"""The command: `python -m serving run|batch|plan|key|refresh|digest`."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from serving import cli
from serving.auth import commands
from serving.errors import ServingError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Answer: the API, the pages, batch files, digests, and API keys."
)
app.add_typer(commands.key, name="key")
app.command()(cli.batch)
app.command()(cli.plan)
app.command()(cli.refresh)
app.command()(cli.digest)


@app.command()
def run(
    workers: Annotated[int, typer.Option(min=1, help="Processes that answer; each loads the model for itself.")] = 1,
) -> None:
    """Serve the API and the pages on HOST and PORT, in the foreground."""
    from features.generation import Generation
    from serving.platform import logs
    from serving.platform.database import Database
    from serving.platform.settings import Settings
    from serving.platform.workers import listen, serve

    settings = Settings.from_environment()
    Generation.current(settings.state)
    settings.state.protect()
    listener = listen(settings)
    database = Database(settings.database)
    database.migrate()
    database.close()
    logs.configure(settings)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    typer.echo(f"keepwell serves '{settings.state.business}' on http://{shown}:{port} (pages: /, API: /docs)")
    serve(listener, settings, workers)


def main() -> None:
    """Run the command; a user's mistake is one sentence on stderr, and exit code 2."""
    from features.errors import FeaturesError
    from features.home import keep_private
    from features.mistakes import ending
    from features.words import print_any_name
    from models.errors import ModelsError

    keep_private()
    print_any_name()
    with ending(_exit, ServingError, FeaturesError, ModelsError):
        app()


def _exit(sentence: str, _: Exception) -> NoReturn:
    typer.echo(sentence, err=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
