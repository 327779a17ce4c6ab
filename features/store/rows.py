"""Where packed rows live: what the embedded file and Redis have in common, and the catalog of views beside the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from features.errors import StoreUnavailable
from features.store.codec import RowLayout, times_of

Item = tuple[bytes, bytes]
"""An entity's key and its packed row."""


@dataclass(frozen=True, slots=True)
class View:
    """A view as the store knows it: its number, how long its rows hold, and the layouts of its rows, newest first."""

    number: int
    ttl: int
    """Microseconds; 0 is for ever."""
    layouts: tuple[RowLayout, ...]

    def is_expired(self, row: bytes, now: int) -> bool:
        """Whether the row's event time is longer ago than the view allows."""
        return bool(self.ttl) and now - times_of(row)[0] > self.ttl

    def layout_of(self, row: bytes) -> RowLayout:
        """The layout in which the row was written.

        Raises:
            StoreUnavailable: no layout of this view; the row is damaged.
        """
        for layout in self.layouts:
            if row.startswith(layout.id):
                return layout
        raise StoreUnavailable("The online store holds a damaged row: build the features again.")


class PackedRows(Protocol):
    """Rows by project, view and entity, with each project's catalog; one instance serves all threads of a process.

    Every method raises StoreUnavailable when the store does not answer.
    """

    def catalog(self, project: str) -> bytes | None:
        """The project's catalog, None before anything was declared."""

    def declare(self, project: str, catalog: bytes) -> None:
        """Replace the project's catalog."""

    def get(self, project: str, numbers: Sequence[int], keys: Sequence[bytes]) -> list[bytes | None]:
        """The rows of all keys in the first view, then in the second, and so on."""

    def get_entity(self, places: Sequence[tuple[str, int]], key: bytes) -> list[bytes | None]:
        """One entity's row at each place, a project and the number of a view in it, all as of one moment where possible."""

    def put(self, project: str, number: int, items: Sequence[Item]) -> None:
        """Write rows of one view, all or none of them where the store can do that; quickest in rising order of keys."""

    def drop(self, project: str, numbers: Sequence[int] | None = None) -> None:
        """Delete the rows of these views, or the project with its catalog."""

    def close(self) -> None:
        """Let go of connections."""


def read_catalog(rows: PackedRows, project: str) -> dict[str, View]:
    """The views of a project by name.

    Raises:
        StoreUnavailable: the catalog is damaged.
    """
    stored = rows.catalog(project)
    try:
        return {
            name: View(entry["number"], entry["ttl"], tuple(RowLayout.from_json(layout) for layout in entry["layouts"]))
            for name, entry in json.loads(stored or b"{}").items()
        }
    except (ValueError, KeyError, TypeError) as error:
        raise StoreUnavailable("The online store's catalog is damaged: build the features again.") from error


def declare_views(
    rows: PackedRows, project: str, wanted: Mapping[str, tuple[RowLayout, int]], gone: Sequence[str] = ()
) -> dict[str, View]:
    """Make the catalog know the `wanted` views (layout, ttl in microseconds), and forget those that are `gone`.

    A view whose columns changed keeps its rows: they are read in the layout in which they were written.
    """
    before = read_catalog(rows, project)
    after = {name: view for name, view in before.items() if name not in gone}
    # A number is not given twice while rows of its last holder may stand.
    dropped = [view.number for name, view in before.items() if name in gone]
    if dropped:
        rows.drop(project, dropped)
    for name, (layout, ttl) in wanted.items():
        known = after.get(name)
        if known is None:
            free = next(n for n in range(256) if all(view.number != n for view in after.values()))
            after[name] = View(free, ttl, (layout,))
        else:
            after[name] = View(known.number, ttl, (layout, *(old for old in known.layouts if old != layout)))
    if after != before:
        entries = {
            name: {
                "number": view.number,
                "ttl": view.ttl,
                "layouts": [layout.to_json() for layout in view.layouts],
            }
            for name, view in after.items()
        }
        rows.declare(project, json.dumps(entries, ensure_ascii=False).encode())
    return after
