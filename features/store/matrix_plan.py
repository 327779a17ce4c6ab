"""Where each column of a model's matrix lies in a customer's packed rows: planned here once, for one row and for many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import SchemaMismatch
from features.schema import DType, FeatureSchema
from features.store.codec import RowLayout

PackedRow = Sequence[bytes | None]
"""A customer's rows, a view each; None where the store has none."""

_KEPT = 8


@dataclass(frozen=True, slots=True)
class Place:
    """Where a feature lies: its view, its column there, and its number among the view's words or all views' floats."""

    view: int
    column: str
    number: int
    is_word: bool


@dataclass(frozen=True, slots=True)
class WordColumn:
    """A column of the matrix that encodes words."""

    column: int
    place: Place
    code: Mapping[str | None, float]
    """Of each word that the model knows; the others, and null, are NaN."""


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """Where each column of one matrix comes from; it keeps what it was made of, so that it is known by it."""

    schema: FeatureSchema
    categories: Mapping[str, Sequence[str]]
    floats: npt.NDArray[np.intp]
    """Numbers among all floats, in the order of `float_columns`."""
    float_columns: npt.NDArray[np.intp]
    words: tuple[WordColumn, ...]


class ViewsLayout:
    """How the rows of all views of a build stand side by side, and each feature's place in them."""

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self.views = tuple(pillar.name for pillar in schema.pillars)
        stored_as = schema.stored_as
        self.layouts = tuple(
            RowLayout(tuple((stored_as[feature.name], feature.dtype) for feature in pillar.features))
            for pillar in schema.pillars
        )
        self._spans = tuple((layout.floats_at, layout.lengths_at, layout.no_floats) for layout in self.layouts)
        first = np.cumsum([0, *(len(layout.floats) for layout in self.layouts)]).tolist()
        self.n_floats: int = first[-1]
        self.places: dict[str, Place] = {}
        for feature in schema:
            view, column = self.views.index(feature.pillar), stored_as[feature.name]
            layout, is_word = self.layouts[view], feature.dtype is DType.STRING
            number = layout.words[column] if is_word else first[view] + layout.floats[column]
            self.places[feature.name] = Place(view, column, number, is_word)
        self._plans: list[MatrixPlan] = []

    def floats(self, rows: Sequence[PackedRow]) -> npt.NDArray[np.float32]:
        """All numbers of customers, (n, n_floats): view by view, null as NaN."""
        parts = [
            missing if row is None else row[start:end]
            for of_customer in rows
            for row, (start, end, missing) in zip(of_customer, self._spans, strict=True)
        ]
        return np.frombuffer(b"".join(parts), "<f4").reshape(len(rows), self.n_floats)

    def plan(self, schema: FeatureSchema, categories: Mapping[str, Sequence[str]]) -> MatrixPlan:
        """Where the columns of `schema.to_matrix(columns, categories)` come from; made once for the same two objects.

        Raises:
            SchemaMismatch: the build lacks a feature of the model, or has it as another type.
        """
        for plan in self._plans:
            if plan.schema is schema and plan.categories is categories:
                return plan
        floats, float_columns, words = [], [], []
        for column, feature in enumerate(schema):
            place = self.places.get(feature.name)
            if place is None or place.is_word is not (feature.dtype is DType.STRING):
                raise SchemaMismatch(f"The build does not have '{feature.name}' as the model reads it.")
            if place.is_word:
                known = categories.get(feature.name, ())
                words.append(WordColumn(column, place, {word: float(code) for code, word in enumerate(known)}))
            else:
                floats.append(place.number)
                float_columns.append(column)
        plan = MatrixPlan(
            schema, categories, np.array(floats, dtype=np.intp), np.array(float_columns, dtype=np.intp), tuple(words)
        )
        self._plans = [plan, *self._plans[: _KEPT - 1]]
        return plan
