"""The portfolio: a viewer's accounts from the edition that stands, filtered, sorted, counted, and a page of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Column, ColumnElement, Connection, Row, and_, func, literal, or_, select

from models.scorecard import COLOURS, Band
from serving.platform.database import Database
from serving.platform.tables import accounts, notes, plays
from serving.web.accounts.account_snapshots import Edition
from serving.web.signin.sessions import Viewer

PAGE_ROWS = 50
NOBODY = "(none)"
"""How a filter says "without an owner" or "without a segment"."""


@dataclass(frozen=True, slots=True)
class Sort:
    """An order of accounts; ties are broken in the same direction, as an index that is read backwards has them."""

    label: str
    column: Column[Any]
    falling: bool = False
    has_index: bool = False

    def order(self, *, by_index: bool) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
        """The order; with `by_index` false, one that no index offers, so that the filters choose the way."""
        # A sum is no column of an index, in SQLite as in PostgreSQL.
        first = self.column if by_index or not self.has_index else self.column + literal(0.0)
        ordered = first.desc() if self.falling else first.asc()
        # Where there are no nulls, a word about them would keep PostgreSQL from reading its index backwards.
        ordered = ordered.nulls_last() if self.column.nullable else ordered
        return ordered, accounts.c.customer_id.desc() if self.falling else accounts.c.customer_id.asc()


SORTS: Mapping[str, Sort] = {
    "risk": Sort("Value at risk", accounts.c.value_at_risk, falling=True, has_index=True),
    "health": Sort("Lowest health", accounts.c.score, has_index=True),
    "change": Sort("Fell most since last week", accounts.c.change),
    "value": Sort("Largest value", accounts.c.value_at_stake, falling=True),
    "name": Sort("Name", accounts.c.name),
}
_SPARSE = 0.05
"""A search that finds less than this share reads what it finds, and not the list from the top."""
_LONGEST_SEARCH = 200
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the portfolio is wanted; an empty word is no filter."""

    q: str = ""
    band: str = ""
    segment: str = ""
    owner: str = ""
    reason: str = ""
    sort: str = "risk"
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """The filters of an address; what makes no sense in it is left out."""
        number = query.get("page", "1")
        return cls(
            q=query.get("q", "").strip()[:_LONGEST_SEARCH].replace("\x00", ""),
            band=query["band"] if query.get("band") in [band.value for band in Band] else "",
            segment=query.get("segment", "").replace("\x00", ""),
            owner=query.get("owner", "").replace("\x00", ""),
            reason=query.get("reason", "").replace("\x00", ""),
            sort=query["sort"] if query.get("sort") in SORTS else "risk",
            page=min(10**6, max(1, int(number))) if number.isascii() and number.isdecimal() and len(number) < 9 else 1,
        )

    def address(self, path: str = "/portfolio", **changes: Any) -> str:
        """The address of these filters with some changed; changing anything but the page goes to the first page."""
        wanted = replace(self, **({"page": 1} | changes))
        pairs = {
            name: str(getattr(wanted, name))
            for name in ("q", "band", "segment", "owner", "reason", "sort", "page")
            if getattr(wanted, name) != getattr(Filters(), name)
        }
        return f"{path}?{urlencode(pairs)}" if pairs else path

    @property
    def is_filtered(self) -> bool:
        """Whether anything is left out."""
        return any((self.q, self.band, self.segment, self.owner, self.reason))

    def condition(self) -> ColumnElement[bool] | None:
        """The filters on `accounts`."""
        column = accounts.c
        parts: list[ColumnElement[bool]] = [
            column.searched.like(f"%{_escaped(word)}%", escape="\\") for word in self.q.casefold().split()
        ]
        if self.band:
            parts.append(column.band == self.band)
        if self.reason:
            parts.append(column.reason_feature == self.reason)
        for name, wanted in (("segment", self.segment), ("owner", self.owner)):
            if wanted:
                parts.append(column[name].is_(None) if wanted == NOBODY else column[name] == wanted)
        return and_(*parts) if parts else None


@dataclass(frozen=True, slots=True)
class BandSummary:
    """A band's accounts: how many, the value at risk in them, and who moved in and out since last week."""

    band: str
    count: int
    value_at_risk: float
    entered: int
    left: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What belongs to all of a viewer's accounts: bands, and the words to filter by."""

    total: int
    value_at_risk: float
    bands: tuple[BandSummary, ...]
    segments: tuple[str, ...]
    owners: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marks:
    """What people did about an account: the action taken on, put off until, and the override that stands."""

    taken_on: str | None = None
    author: str | None = None
    put_off_until: datetime | None = None
    override: str | None = None


@dataclass(frozen=True, slots=True)
class AccountsPage:
    """One page of accounts, with how many there are in all."""

    rows: Sequence[Row[Any]]
    marks: Mapping[str, Marks]
    total: int
    pages: int
    number: int


class Portfolio:
    """Reads accounts of editions; what belongs to all of them is read once per edition and team."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._overviews: dict[tuple[int, tuple[str, ...] | None], Overview] = {}
        self._lock = threading.Lock()

    def overview(self, connection: Connection, edition: Edition, viewer: Viewer) -> Overview:
        """Bands and words to filter by, of all that the viewer sees."""
        key = (edition.number, viewer.owners)
        known = self._overviews.get(key)
        if known is None:
            known = _overview(connection, visible(edition, viewer))
            with self._lock:
                if len(self._overviews) >= _REMEMBERED:
                    self._overviews.clear()
                self._overviews[key] = known
        return known

    def page(self, connection: Connection, edition: Edition, viewer: Viewer, filters: Filters) -> AccountsPage:
        """The page of the filters that they ask for, or the last one there is."""
        condition = _with(filters, edition, viewer)
        if filters.is_filtered:
            total = connection.scalar(select(func.count()).select_from(accounts).where(condition)) or 0
        else:
            total = self.overview(connection, edition, viewer).total
        pages = max(1, -(-total // PAGE_ROWS))
        number = min(filters.page, pages)
        everybody = self.overview(connection, edition, viewer).total
        order = SORTS[filters.sort].order(by_index=total >= _SPARSE * everybody)
        ids = connection.scalars(
            select(accounts.c.customer_id)
            .where(condition)
            .order_by(*order)
            .limit(PAGE_ROWS)
            .offset((number - 1) * PAGE_ROWS)
        ).all()
        found = connection.execute(
            select(accounts).where(accounts.c.edition == edition.number, accounts.c.customer_id.in_(ids))
        )
        by_id = {row.customer_id: row for row in found}
        rows = [by_id[customer_id] for customer_id in ids]
        return AccountsPage(rows, marks(connection, ids), total, pages, number)

    def everything(
        self, connection: Connection, edition: Edition, viewer: Viewer, filters: Filters
    ) -> Iterator[Row[Any]]:
        """All accounts of the filters, in their order."""
        return iter(
            connection.execution_options(yield_per=1000).execute(
                select(accounts)
                .where(_with(filters, edition, viewer))
                .order_by(*SORTS[filters.sort].order(by_index=True))
            )
        )

    def account(self, connection: Connection, edition: Edition, viewer: Viewer, customer_id: str) -> Row[Any] | None:
        """One account, or None where there is none that this viewer may see."""
        return connection.execute(
            select(accounts).where(visible(edition, viewer), accounts.c.customer_id == customer_id)
        ).one_or_none()


def marks(connection: Connection, customer_ids: Sequence[str]) -> dict[str, Marks]:
    """What people did about these accounts and is still open."""
    now = datetime.now(UTC)
    found: dict[str, Marks] = {}
    for row in connection.execute(
        select(plays)
        .where(
            plays.c.customer_id.in_(customer_ids),
            or_(
                and_(plays.c.status == "accepted", plays.c.closed_at.is_(None)),
                and_(plays.c.status == "not_now", plays.c.until > now),
            ),
        )
        .order_by(plays.c.created_at)
    ):
        earlier = found.get(row.customer_id, Marks())
        if row.status == "accepted":
            found[row.customer_id] = replace(earlier, taken_on=row.action, author=row.author)
        else:
            found[row.customer_id] = replace(earlier, put_off_until=row.until)
    for row in connection.execute(
        select(notes)
        .where(
            notes.c.customer_id.in_(customer_ids),
            notes.c.kind == "override",
            notes.c.withdrawn_at.is_(None),
            notes.c.expires_at > now,
        )
        .order_by(notes.c.created_at)
    ):
        found[row.customer_id] = replace(found.get(row.customer_id, Marks()), override=row.band)
    return found


def visible(edition: Edition, viewer: Viewer) -> ColumnElement[bool]:
    """The condition on `accounts` that holds for those of the edition that the viewer may see."""
    seen = viewer.sees()
    mine = accounts.c.edition == edition.number
    return mine if seen is None else and_(mine, seen)


def _with(filters: Filters, edition: Edition, viewer: Viewer) -> ColumnElement[bool]:
    wanted = filters.condition()
    seen = visible(edition, viewer)
    return seen if wanted is None else and_(seen, wanted)


def _overview(connection: Connection, seen: ColumnElement[bool]) -> Overview:
    column = accounts.c
    counted = connection.execute(
        select(column.band, column.band_before, func.count(), func.sum(column.value_at_risk))
        .where(seen)
        .group_by(column.band, column.band_before)
    ).all()
    summaries = (
        BandSummary(
            band=band.value,
            count=sum(n for now, _, n, _ in counted if now == band),
            value_at_risk=float(sum(value for now, _, _, value in counted if now == band)),
            entered=sum(n for now, before, n, _ in counted if now == band and before not in (None, band.value)),
            left=sum(n for now, before, n, _ in counted if now != band and before == band.value),
        )
        for band in Band
    )
    # Where enough is known of everybody, nobody needs to hear of a fourth kind.
    bands = tuple(one for one in summaries if one.band in COLOURS or one.count or one.left)

    def words(name: str) -> tuple[str, ...]:
        found = connection.scalars(select(column[name]).where(seen).distinct()).all()
        return tuple(sorted(NOBODY if word is None else word for word in found))

    reasons = connection.execute(
        select(column.reason_feature, func.count().label("n"))
        .where(seen, column.band != Band.GREEN.value)
        .group_by(column.reason_feature)
        .order_by(func.count().desc(), column.reason_feature)
    ).all()
    return Overview(
        total=sum(band.count for band in bands),
        value_at_risk=sum(band.value_at_risk for band in bands),
        bands=bands,
        segments=words("segment"),
        owners=words("owner"),
        reasons=tuple(row.reason_feature for row in reasons),
    )


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
