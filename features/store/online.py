"""Current features of customers, read as packed rows without Feast, which need not be loaded for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.errors import StoreUnavailable, UnknownCustomer
from features.generation import Generation
from features.schema import FeatureSchema, Value
from features.store.codec import key_of_id, times_of, to_microseconds, to_moment
from features.store.connect import open_rows
from features.store.matrix_plan import PackedRow, ViewsLayout
from features.store.population import Population
from features.store.row_encoder import CustomerRow
from features.store.rows import PackedRows, View, read_catalog

Moment = Literal["now", "before"]
_PATIENCE = 1.0
"""Seconds that a Redis may take: who asks for a score does not wait for longer."""


@dataclass(frozen=True, slots=True)
class OnlineRows:
    """Features of customers as served now, in request order.

    `columns` has one list per feature, None for null. `feature_timestamps` has for each pillar the moment that its
    features describe, None where the store has no row. `unknown` are the ids that have no row at all: their columns
    are all None, and nobody may score them.
    """

    customer_ids: tuple[str, ...]
    columns: Mapping[str, list[Value]]
    feature_timestamps: Mapping[str, list[datetime | None]]
    unknown: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.customer_ids)

    def row(self, position: int) -> dict[str, Value]:
        """All features of one customer."""
        return {name: column[position] for name, column in self.columns.items()}

    def matrix(self, schema: FeatureSchema, categories: Mapping[str, Sequence[str]]) -> npt.NDArray[np.float32]:
        """What `schema.to_matrix(columns, categories)` answers, to the bit, without making the columns.

        Raises:
            SchemaMismatch: a feature is not among the columns, or holds words where numbers belong.
        """
        if isinstance(self.columns, PackedColumns):
            return self.columns.matrix(schema, categories)
        return schema.to_matrix(self.columns, categories)


class PackedColumns(Mapping[str, list[Value]]):
    """The columns of packed rows by feature, each unpacked when it is asked for."""

    __slots__ = ("_columns", "_floats", "_layout", "_n", "_rows", "_words")

    def __init__(self, layout: ViewsLayout, rows: Sequence[Sequence[bytes | None]], n: int) -> None:
        self._layout = layout
        self._rows = rows
        self._n = n
        self._floats: npt.NDArray[np.float32] | None = None
        self._words: dict[int, list[list[str | None] | None]] = {}
        self._columns: dict[str, list[Value]] = {}

    def __getitem__(self, name: str) -> list[Value]:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._unpacked(name)
        return column

    def __contains__(self, name: object) -> bool:
        return name in self._layout.places

    def __iter__(self) -> Iterator[str]:
        return iter(self._layout.places)

    def __len__(self) -> int:
        return len(self._layout.places)

    @property
    def floats(self) -> npt.NDArray[np.float32]:
        """All numbers, (n, floats): pillar by pillar, null as NaN."""
        if self._floats is None:
            self._floats = self._layout.floats(tuple(zip(*self._rows, strict=True)))
        return self._floats

    def matrix(self, schema: FeatureSchema, categories: Mapping[str, Sequence[str]]) -> npt.NDArray[np.float32]:
        """The columns of `schema`, encoded: see `OnlineRows.matrix`."""
        plan = self._layout.plan(schema, categories)
        if not plan.words:
            return self.floats.take(plan.floats, axis=1)
        matrix = np.empty((self._n, len(schema)), dtype=np.float32)
        matrix[:, plan.float_columns] = self.floats.take(plan.floats, axis=1)
        for word in plan.words:
            code, number = word.code, word.place.number
            matrix[:, word.column] = [
                np.nan if words is None else code.get(words[number], np.nan)
                for words in self._words_of(word.place.view)
            ]
        return matrix

    def _words_of(self, view: int) -> list[list[str | None] | None]:
        words = self._words.get(view)
        if words is None:
            layout = self._layout.layouts[view]
            words = [None if row is None else layout.words_of(row) for row in self._rows[view]]
            self._words[view] = words
        return words

    def _unpacked(self, name: str) -> list[Value]:
        place = self._layout.places[name]
        if place.is_word:
            return [None if words is None else words[place.number] for words in self._words_of(place.view)]
        layout, values = self._layout.layouts[place.view], self.floats[:, place.number].tolist()
        return [
            None if value != value and (row is None or layout.is_null(row, place.column)) else value
            for value, row in zip(values, self._rows[place.view], strict=True)
        ]


class OnlineStore:
    """A generation's current features; one instance serves all threads of a process."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self._layout = ViewsLayout(generation.schema)
        self._rows: PackedRows = open_rows(*generation.online_place, _PATIENCE)
        self._population = Population(generation.snapshot_file(generation.schema.pillars[0].name), generation.as_of)
        self._views: dict[str, tuple[View, ...]] = {}
        self._places: tuple[tuple[str, int], ...] = ()
        self._moments: dict[int, datetime] = {}
        self.expires = False
        """Whether rows that were checked once must be checked again: a view has a ttl."""

    def read(self, customer_ids: Sequence[str], moment: Moment = "now") -> OnlineRows:
        """The features of `customer_ids` now, or of the comparison 30 days earlier.

        A row that outlived its view's ttl is not there.

        Raises:
            StoreUnavailable: the store does not answer, or has lost a customer whom the build wrote.
        """
        ids = tuple(customer_ids)
        if not ids or (moment == "before" and self.generation.before is None):
            nothing: list[list[bytes | None]] = [[None] * len(ids) for _ in self._layout.views]
            return self._answer(ids, nothing)
        project = self.generation.project if moment == "now" else self.generation.project_before
        views = self._views.get(project) or self._declared(project)
        found = self._rows.get(project, [view.number for view in views], [key_of_id(name) for name in ids])
        n = len(ids)
        if moment == "now":
            self._check_kept(ids, found)
        rows = [
            self._whole(project, position, found[position * n : (position + 1) * n]) for position in range(len(views))
        ]
        return self._answer(ids, rows)

    def read_one(self, customer_id: str, moment: Moment = "now") -> OnlineRows:
        """The features of one customer.

        Raises:
            UnknownCustomer: the store has no row of this customer.
            StoreUnavailable: the store does not answer.
        """
        rows = self.read((customer_id,), moment)
        if rows.unknown:
            raise UnknownCustomer(rows.unknown)
        return rows

    def customer_row(self, schema: FeatureSchema, categories: Mapping[str, Sequence[str]]) -> CustomerRow:
        """How the rows that `checked` gives become the row of a model.

        Raises:
            SchemaMismatch: the build lacks a feature of the model, or has it as another type.
        """
        return CustomerRow(self._layout, schema, categories)

    def stored(self, customer_id: str) -> PackedRow:
        """One customer's rows as they are stored, those of now before those of the comparison, not looked at yet.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        return self._rows.get_entity(self._places or self._placed(), key_of_id(customer_id))

    def checked(self, stored: PackedRow) -> tuple[PackedRow, PackedRow]:
        """What `stored` gave, now and at the comparison, a view each in the order of the pillars: whole, and not expired.

        Raises:
            StoreUnavailable: a row is damaged.
        """
        size = len(self._layout.views)
        now = self._checked(self.generation.project, list(stored[:size]))
        return now, self._checked(self.generation.project_before, list(stored[size:]))

    def _placed(self) -> tuple[tuple[str, int], ...]:
        generation = self.generation
        projects = [generation.project, *([] if generation.before is None else [generation.project_before])]
        self._places = tuple(
            (project, view.number)
            for project in projects
            for view in self._views.get(project) or self._declared(project)
        )
        return self._places

    def _checked(self, project: str, rows: list[bytes | None]) -> list[bytes | None]:
        """The rows of one customer as `_whole` would give them, view by view."""
        if not rows:
            return rows
        for position, (view, layout) in enumerate(zip(self._views[project], self._layout.layouts, strict=True)):
            row = rows[position]
            if row is None:
                continue
            if view.ttl or not row.startswith(layout.id):
                rows[position : position + 1] = self._whole(project, position, [row])
            else:
                layout.check(row)
        return rows

    def ping(self) -> None:
        """Read what must be there: some of the customers whom the build wrote.

        Raises:
            StoreUnavailable: the store does not answer, or has lost some of them.
        """
        if self._rows.catalog(self.generation.project) is None:
            self._declared(self.generation.project)
        self.read(self._population.witnesses or ("",))

    def close(self) -> None:
        """Let go of the store's connections."""
        self._rows.close()

    def _check_kept(self, ids: tuple[str, ...], found: Sequence[bytes | None]) -> None:
        """Nobody whom the build wrote may be without rows: a store that was emptied or ran full knows nothing of it.

        Raises:
            StoreUnavailable: somebody is.
        """
        if None not in found:
            return
        n = len(ids)
        absent = [name for place, name in enumerate(ids) if all(row is None for row in found[place::n])]
        lost = self._population.written(absent) if absent else []
        if lost:
            raise StoreUnavailable(
                f"The online store ({self.generation.online_name}) has lost customers whom the build wrote, "
                f"{len(lost)} of the {n} asked for: build the features again."
            )

    def _declared(self, project: str) -> tuple[View, ...]:
        catalog = read_catalog(self._rows, project)
        try:
            views = tuple(catalog[name] for name in self._layout.views)
        except KeyError as error:
            where = self.generation.online_name
            if self.generation.is_embedded and not self.generation.online_file.exists():
                message = f"The online store {where} is gone: build the features again."
            else:
                message = f"The online store ({where}) does not answer: it has no view {error}."
            raise StoreUnavailable(message) from None
        self._views[project] = views
        self._places = ()
        self.expires = any(view.ttl for declared in self._views.values() for view in declared)
        return views

    def _whole(self, project: str, position: int, rows: list[bytes | None]) -> list[bytes | None]:
        """The rows as the build lays them out: expired ones gone, and those of another layout packed anew."""
        view, layout = self._views[project][position], self._layout.layouts[position]
        now = to_microseconds(datetime.now(UTC)) if view.ttl else 0
        for n, row in enumerate(rows):
            if row is None:
                continue
            if view.ttl and view.is_expired(row, now):
                rows[n] = None
            elif not row.startswith(layout.id):
                written = view.layout_of(row) if any(row.startswith(known.id) for known in view.layouts) else None
                if written is None:
                    # Feast may have changed the view since this was opened.
                    view = self._declared(project)[position]
                    written = view.layout_of(row)
                rows[n] = layout.pack(written.unpack(row), *times_of(row))
            else:
                layout.check(row)
        return rows

    def _answer(self, ids: tuple[str, ...], rows: Sequence[Sequence[bytes | None]]) -> OnlineRows:
        timestamps: dict[str, list[datetime | None]] = {
            name: [None if row is None else self._moment(row) for row in of_view]
            for name, of_view in zip(self._layout.views, rows, strict=True)
        }
        unknown = tuple(
            dict.fromkeys(name for n, name in enumerate(ids) if all(of_view[n] is None for of_view in rows))
        )
        return OnlineRows(ids, PackedColumns(self._layout, rows, len(ids)), timestamps, unknown)

    def _moment(self, row: bytes) -> datetime:
        at = times_of(row)[0]
        moment = self._moments.get(at)
        if moment is None:
            if len(self._moments) > 1_000:
                self._moments.clear()
            moment = self._moments[at] = to_moment(at)
        return moment
