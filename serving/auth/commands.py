"""The commands of `key`. What is slow to load is loaded when it is needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from serving.auth.api_keys import ApiKeys

ROLES = ("scorer", "manager", "lead", "ingest", "admin")

key = typer.Typer(no_args_is_help=True, help="API keys: add, list, revoke.")


def _printable(name: str) -> str:
    from serving.errors import CommandError

    if not name.strip() or len(name) > 200 or not name.isprintable():
        raise CommandError("--name must be 1 to 200 printable characters.")
    return name


_Name = Annotated[str, typer.Option("--name", help="Who holds the key.", callback=_printable)]


@key.command()
def add(
    name: _Name,
    role: Annotated[str, typer.Option("--role", help=f"What the key may do: {', '.join(ROLES)}.")],
    owner: Annotated[
        list[str] | None,
        typer.Option("--owner", help="Whose accounts the pages show; may be repeated. By default, those of NAME."),
    ] = None,
) -> None:
    """Make a key and show it, once."""
    from serving.auth.api_keys import Role
    from serving.errors import CommandError

    if role not in ROLES:
        raise CommandError(f"There is no role '{role}': it is one of {', '.join(ROLES)}.")
    if role == "lead" and not owner:
        raise CommandError("A lead sees the accounts of a team: name its owners with --owner, once each.")
    if owner and role not in ("manager", "lead"):
        raise CommandError(f"--owner is for managers and leads: the role '{role}' has no accounts of its own.")
    if not all(one.isprintable() for one in owner or ()):
        raise CommandError("--owner must be printable characters.")
    with _keys() as keys:
        typer.echo(keys.add(name, Role(role), owner or ()))


@key.command(name="list")
def show() -> None:
    """Show who holds which key, since when; never the keys."""
    with _keys() as keys:
        found = keys.list()
    width = max((len(held.name) for held in found), default=0)
    for held in found:
        until = "" if held.revoked_at is None else f"  revoked {held.revoked_at:%Y-%m-%d %H:%M}"
        sees = f"  sees {', '.join(held.owners)}" if held.owners else ""
        typer.echo(f"{held.name:<{width}}  {held.role.value:<7}  {held.created_at:%Y-%m-%d %H:%M}{sees}{until}")


@key.command()
def revoke(name: _Name) -> None:
    """Refuse a key from now on; a running server follows within seconds."""
    with _keys() as keys:
        keys.revoke(name)


@contextlib.contextmanager
def _keys() -> Iterator[ApiKeys]:
    from serving.auth.api_keys import ApiKeys
    from serving.platform.database import Database
    from serving.platform.settings import Settings

    database = Database(Settings.from_environment().database)
    try:
        database.migrate()
        yield ApiKeys(database)
    finally:
        database.close()
