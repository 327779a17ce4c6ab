"""One customer's packed rows as one row of a model: the short way that a single score takes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.errors import SchemaMismatch
from features.schema import DType, FeatureSchema, Value
from features.store.codec import RowLayout

PackedRow = Sequence[bytes | None]
"""A customer's rows, a view each; None where the store has none."""


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one view that a model reads."""

    view: int
    bounds: struct.Struct
    lengths_at: int
    words_at: int
    wanted: tuple[tuple[int, int, str, Mapping[bytes, float]], ...]
    """(column of the matrix, place among the view's words, stored name, code of each category)."""
    layout: RowLayout


class CustomerRow:
    """How the rows of `layouts` become the row that `FeatureSchema.to_matrix` makes of their values, prepared once.

    Args:
        built: the features as the build holds them, whose pillars are the views.
        layouts: of the views, in their order.
        schema: the model's features.
        categories: the codes of its words, by their order.

    Raises:
        SchemaMismatch: the build lacks a feature of the model, or has it as another type.
    """

    def __init__(
        self,
        built: FeatureSchema,
        layouts: Sequence[RowLayout],
        schema: FeatureSchema,
        categories: Mapping[str, Sequence[str]],
    ) -> None:
        views = [pillar.name for pillar in built.pillars]
        first = np.cumsum([0, *(len(layout.floats) for layout in layouts)]).tolist()
        floats, columns = [], []
        words: dict[int, list[tuple[int, int, str, Mapping[bytes, float]]]] = {}
        self._words_of: dict[int, tuple[int, int, str]] = {}
        for column, feature in enumerate(schema):
            if feature.name not in built or built[feature.name].dtype is not feature.dtype:
                raise SchemaMismatch(f"The build does not have '{feature.name}' as the model reads it.")
            view, stored = views.index(built[feature.name].pillar), built.stored_as[feature.name]
            if feature.dtype is DType.STRING:
                place = layouts[view].words[stored]
                code = {word.encode(): float(n) for n, word in enumerate(categories.get(feature.name, ()))}
                words.setdefault(view, []).append((column, place, stored, code))
                self._words_of[column] = (view, place, stored)
            else:
                floats.append(first[view] + layouts[view].floats[stored])
                columns.append(column)
        self._layouts = tuple(layouts)
        self._spans = tuple((layout.floats_at, layout.lengths_at, layout.no_floats) for layout in layouts)
        self._floats = np.array(floats, dtype=np.intp)
        self._columns = np.array(columns, dtype=np.intp)
        self._words = tuple(
            _Words(
                view,
                struct.Struct(f"<{len(layouts[view].words)}I"),
                layouts[view].lengths_at,
                layouts[view].words_at,
                tuple(wanted),
                layouts[view],
            )
            for view, wanted in words.items()
        )

    def fill(self, rows: PackedRow, out: npt.NDArray[np.float32]) -> None:
        """Write the model's row (d,) of a customer into `out`."""
        parts = [
            missing if row is None else row[start:end]
            for row, (start, end, missing) in zip(rows, self._spans, strict=True)
        ]
        out[self._columns] = np.frombuffer(b"".join(parts), "<f4")[self._floats]
        for view in self._words:
            row = rows[view.view]
            if row is None:
                for column, _, _, _ in view.wanted:
                    out[column] = np.nan
                continue
            lengths = view.bounds.unpack_from(row, view.lengths_at)
            for column, place, stored, code in view.wanted:
                start = view.words_at + sum(lengths[:place])
                word = row[start : start + lengths[place]]
                # An empty word may be a category, null is none.
                known = bool(word) or not view.layout.is_null(row, stored)
                out[column] = code.get(word, np.nan) if known else np.nan

    def value(self, rows: PackedRow, filled: npt.NDArray[np.float32], column: int) -> Value:
        """The raw value of one column: a word, or the figure that `fill` wrote; NaN and null are None."""
        if column in self._words_of:
            view, place, _ = self._words_of[column]
            row = rows[view]
            return None if row is None else self._layouts[view].words_of(row)[place]
        figure = float(filled[column])
        return None if figure != figure else figure
