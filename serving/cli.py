"""The commands beside `run` and `key`: current scores, and files of customers. What is slow to load is loaded when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def refresh() -> None:
    """Score everybody anew if a build or a promotion made the current scores those of the past."""
    from serving.after_change import refresh_if_promoted
    from serving.platform.settings import Settings

    typer.echo(refresh_if_promoted(Settings.from_environment()))


def batch(
    input: Annotated[Path, typer.Option("--input", help="Customers: .csv, .csv.gz or .parquet.")],
    output: Annotated[Path, typer.Option("--output", help="Where their scores go: .csv, .csv.gz or .parquet.")],
    decide: Annotated[
        bool, typer.Option("--decide", help="Decide about each customer, and log it; the same file again goes on.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Decide again about a file that was decided about in the last 24 hours.")
    ] = False,
) -> None:
    """Score a file of customers: each row comes back in its place, a bad one with its error."""
    from serving.batch.reader import check, ending
    from serving.platform.settings import Settings

    settings = Settings.from_environment()
    ending(output)
    check(input)
    from serving.batch.job import score_file  # loads models and stores, so a misspelt name is told before

    typer.echo(score_file(settings, input, output, decide=decide, anew=anew))


def plan(
    output: Annotated[Path, typer.Option("--output", help="Where the plan goes: .csv.")],
    input: Annotated[
        Path | None, typer.Option("--input", help="Customers: .csv with customer_id; default all.")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="Money, instead of what [policy] leaves.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Staff time, instead of what [policy] leaves.")] = None,
    capacity: Annotated[list[str] | None, typer.Option(help="ACTION=COUNT, instead of what the TOML leaves.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long to look for the best plan, at most.")] = 60.0,
) -> None:
    """Choose who gets which action under budgets, staff time and capacities: the best assignment, not the greedy one."""
    from serving.platform.settings import Settings

    settings = Settings.from_environment()
    counts = tuple(_count(text) for text in capacity or ())
    from serving.batch.plan import Overrides, write_plan

    typer.echo(write_plan(settings, output, input, Overrides(budget, minutes, counts), seconds))


def _count(text: str) -> tuple[str, int]:
    from serving.errors import CommandError

    name, _, count = text.rpartition("=")
    if not name or not count.isdecimal():
        raise CommandError(f"--capacity is {text!r}, but reads ACTION=COUNT, such as success_call=40.")
    return name, int(count)


def digest(
    output: Annotated[Path, typer.Option("--output", help="The folder to write to.")] = Path("digest"),
    owner: Annotated[
        list[str] | None, typer.Option("--owner", help="Only this owner; may be repeated. By default, all.")
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where the pages are; by default, HOST and PORT.")] = None,
) -> None:
    """Write the Monday list of each owner, as HTML and as plain text, ready for mail."""
    from serving.errors import CommandError
    from serving.platform.database import Database
    from serving.platform.settings import Settings
    from serving.web.team.digest import write_digests

    settings = Settings.from_environment()
    if output.exists() and not output.is_dir():
        raise CommandError(f"--output is {output}, which is no folder: give one to write to.")
    pages = url or f"http://{settings.host}:{settings.port}"
    if not pages.startswith(("http://", "https://")) or not pages.isprintable():
        raise CommandError(f"--url is {pages!r}, which is no address such as https://keepwell.example.com.")
    database = Database(settings.database)
    try:
        database.migrate()
        written = write_digests(database, output, pages, owner or ())
    finally:
        database.close()
    typer.echo(f"{len(written)} files in {output}, two for each owner.")
