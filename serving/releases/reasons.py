"""What a release says of features: which stand out in a customer's health, and the sentence of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.schema import Column, DType, FeatureSchema, Value
from models.registry.model_bundle import ModelBundle

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ReasonTable:
    """The features of a model, with what is typical of each."""

    schema: FeatureSchema
    typical: tuple[float | str | None, ...]
    """Per column, what the answer says is typical."""
    _beside: tuple[str, ...]
    """Per column, how a sentence says what is typical."""
    _by_name: NDArray[np.intp]
    """The columns in the order of their features' names, which breaks ties."""

    @classmethod
    def of_bundle(cls, bundle: ModelBundle, schema: FeatureSchema) -> ReasonTable:
        """The table of a model whose columns are those of `schema`."""
        typical = tuple(shortest(bundle.typical.get(name)) for name in schema.names)
        return cls(
            schema=schema,
            typical=typical,
            _beside=tuple(feature.beside(value) for feature, value in zip(schema, typical, strict=True)),
            _by_name=np.argsort(np.array(schema.names), kind="stable"),
        )

    def largest(self, points: FloatArray, count: int) -> NDArray[np.intp]:
        """Per row of points (n, d), its columns by falling |points|, ties by name: the first `count` of them."""
        order = np.argsort(-np.abs(points[:, self._by_name]), axis=1, kind="stable")[:, :count]
        chosen: NDArray[np.intp] = self._by_name[order]
        return chosen

    def sentence(self, column: int, value: Value) -> str:
        """The sentence of a reason: the feature with this value, as `shortest` gives it, and what is typical."""
        return self.schema.features[column].say(value) + self._beside[column]

    def sentences(
        self, order: NDArray[np.intp], columns: Mapping[str, Column], matrix: NDArray[np.float32], count: int
    ) -> NDArray[np.object_]:
        """The sentences (n, count) of the features in `order` (n, up to count), None where there are fewer.

        Each distinct value of a feature is said once.

        Args:
            columns: raw features by name, for words.
            matrix: (n, d) the same as the model reads them, for figures.
        """
        texts = np.full((len(matrix), count), None, dtype=object)
        for column, feature in enumerate(self.schema):
            rows, places = np.nonzero(order == column)
            if not rows.size:
                continue
            if feature.dtype is DType.STRING:
                words = columns[feature.name]
                said = {word: self.sentence(column, word) for word in {words[row] for row in rows.tolist()}}
                texts[rows, places] = [said[words[row]] for row in rows.tolist()]
            else:
                distinct, which = np.unique(matrix[rows, column], return_inverse=True)
                spoken = [self.sentence(column, shortest(value)) for value in distinct.tolist()]
                texts[rows, places] = np.array(spoken, dtype=object)[which]
        return texts


def shortest(value: Any) -> float | str | None:
    """A raw value for the answer: a stored float32 as the shortest figure that reads back as the same float32."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    if number != number:
        return None
    if number.is_integer() and abs(number) < 2**53:
        return int(number)
    single = np.float32(number)
    return float(str(single)) if float(single) == number else number
