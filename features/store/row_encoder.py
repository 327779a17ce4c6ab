"""One customer's packed rows as one row of a model: the short way that a single score takes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.schema import FeatureSchema, Value
from features.store.codec import RowLayout
from features.store.matrix_plan import PackedRow, Place, ViewsLayout


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one view that a model reads."""

    view: int
    layout: RowLayout
    lengths: struct.Struct
    wanted: tuple[tuple[int, Place, Mapping[bytes, float]], ...]
    """(column of the matrix, its place, code of each category)."""


class CustomerRow:
    """How one customer's rows become the row that `FeatureSchema.to_matrix` makes of their values, prepared once.

    Args:
        built: the build's rows.
        schema: the model's features.
        categories: the codes of its words, by their order.

    Raises:
        SchemaMismatch: the build lacks a feature of the model, or has it as another type.
    """

    def __init__(self, built: ViewsLayout, schema: FeatureSchema, categories: Mapping[str, Sequence[str]]) -> None:
        plan = built.plan(schema, categories)
        self._built = built
        self._floats, self._columns = plan.floats, plan.float_columns
        self._word_places = {word.column: word.place for word in plan.words}
        by_view: dict[int, list[tuple[int, Place, Mapping[bytes, float]]]] = {}
        for word in plan.words:
            code = {known.encode(): number for known, number in word.code.items() if known is not None}
            by_view.setdefault(word.place.view, []).append((word.column, word.place, code))
        self._words = tuple(
            _Words(view, built.layouts[view], struct.Struct(f"<{len(built.layouts[view].words)}I"), tuple(wanted))
            for view, wanted in by_view.items()
        )

    def fill(self, rows: PackedRow, out: npt.NDArray[np.float32]) -> None:
        """Write the model's row (d,) of a customer into `out`."""
        out[self._columns] = self._built.floats((rows,))[0][self._floats]
        for view in self._words:
            row = rows[view.view]
            if row is None:
                for column, _, _ in view.wanted:
                    out[column] = np.nan
                continue
            lengths = view.lengths.unpack_from(row, view.layout.lengths_at)
            for column, place, code in view.wanted:
                start = view.layout.words_at + sum(lengths[: place.number])
                word = row[start : start + lengths[place.number]]
                # An empty word may be a category, null is none.
                known = bool(word) or not view.layout.is_null(row, place.column)
                out[column] = code.get(word, np.nan) if known else np.nan

    def value(self, rows: PackedRow, filled: npt.NDArray[np.float32], column: int) -> Value:
        """The raw value of one column: a word, or the figure that `fill` wrote; NaN and null are None."""
        place = self._word_places.get(column)
        if place is not None:
            row = rows[place.view]
            return None if row is None else self._built.layouts[place.view].words_of(row)[place.number]
        figure = float(filled[column])
        return None if figure != figure else figure
