"""The Monday list: each owner's accounts that need somebody this week, as HTML and as plain text, ready for mail."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, and_, select

from features.atomic_write import write_atomically
from models.scorecard import Band
from serving.auth.api_keys import Principal, Role
from serving.errors import CommandError
from serving.platform.database import Database
from serving.platform.tables import accounts, plays
from serving.web.accounts.account_snapshots import Edition, Editions
from serving.web.portfolio.listing import Marks, Overview, Portfolio, marks
from serving.web.rendering import customer_address, render
from serving.web.signin.sessions import Viewer
from serving.web.tasks import Status

LISTED = 12
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Digest:
    """One owner's week: the accounts to begin with, those that fell into red, and the actions still open."""

    owner: str
    overview: Overview
    first: Sequence[Row[Any]]
    fell: Sequence[Row[Any]]
    open_plays: Sequence[Row[Any]]
    marks: dict[str, Marks]


def write_digests(database: Database, folder: Path, address: str, owners: Sequence[str] = ()) -> list[Path]:
    """Write `<owner>.html` and `<owner>.txt` for every owner, or those named; links lead to `address`.

    Raises:
        CommandError: nobody was scored yet, or an owner has no accounts.
        DatabaseUnavailable: the database does not answer.
    """
    written: list[Path] = []
    with database.read() as connection:
        edition = Editions(database).newest(connection)
        if edition is None:
            raise CommandError("There is nothing to write yet: nobody has been scored.")
        known = connection.scalars(
            select(accounts.c.owner)
            .where(accounts.c.edition == edition.number, accounts.c.owner.is_not(None))
            .distinct()
            .order_by(accounts.c.owner)
        ).all()
        unheard_of = [owner for owner in owners if owner not in known]
        if unheard_of:
            raise CommandError(f"'{unheard_of[0]}' has no accounts: the owners are {', '.join(known) or 'none'}.")
        if not known:
            raise CommandError("No customer has an owner: the customers' file of [data.customers] tells them.")
        portfolio = Portfolio(database)
        folder.mkdir(parents=True, exist_ok=True)
        names = dict(_file_names(known))
        for owner in owners or known:
            digest = _digest(connection, portfolio, edition, owner)
            for ending, template in (("html", "digest.html"), ("txt", "digest.txt")):
                path = folder / f"{names[owner]}.{ending}"
                write_atomically(path, _render(template, digest, edition, address.rstrip("/")))
                written.append(path)
    return written


def _digest(connection: Connection, portfolio: Portfolio, edition: Edition, owner: str) -> Digest:
    mine = and_(accounts.c.edition == edition.number, accounts.c.owner == owner)
    viewer = Viewer(Principal(owner, Role.MANAGER), (owner,), "")
    first = connection.execute(
        select(accounts)
        .where(mine, accounts.c.band.in_([Band.RED.value, Band.YELLOW.value]))
        .order_by(accounts.c.value_at_risk.desc(), accounts.c.customer_id)
        .limit(LISTED)
    ).all()
    fell = connection.execute(
        select(accounts)
        .where(mine, accounts.c.band == Band.RED.value, accounts.c.band_before != Band.RED.value)
        .order_by(accounts.c.value_at_risk.desc(), accounts.c.customer_id)
        .limit(LISTED)
    ).all()
    open_plays = connection.execute(
        select(plays, accounts.c.name)
        .join(accounts, accounts.c.customer_id == plays.c.customer_id)
        .where(mine, plays.c.status == Status.ACCEPTED.value, plays.c.closed_at.is_(None))
        .order_by(plays.c.created_at)
        .limit(50)
    ).all()
    shown = [row.customer_id for row in (*first, *fell)]
    return Digest(
        owner, portfolio.overview(connection, edition, viewer), first, fell, open_plays, marks(connection, shown)
    )


def _render(template: str, digest: Digest, edition: Edition, address: str) -> str:
    return render(
        template,
        digest=digest,
        edition=edition,
        address=address,
        currency=edition.figures["currency"],
        week=datetime.now(UTC) - timedelta(days=datetime.now(UTC).weekday()),
        link=lambda customer_id: address + customer_address(customer_id),
    )


def _file_names(owners: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A file name for each owner; owners whose names differ only in what a file name can't hold are numbered."""
    taken: set[str] = set()
    for owner in owners:
        plain = _UNSAFE.sub("-", owner).strip("-.") or "owner"
        name, copy = plain, 1
        while name.lower() in taken:
            copy += 1
            name = f"{plain}-{copy}"
        taken.add(name.lower())
        yield owner, name
