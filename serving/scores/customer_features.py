"""One customer's raw features out of the columns of many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from features.schema import Column, Value


class CustomerFeatures(Mapping[str, Value]):
    """One customer's raw features by name, read from the columns of all; null and NaN are None."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: Mapping[str, Column], row: int) -> None:
        self._columns = columns
        self._row = row

    def __getitem__(self, name: str) -> Value:
        value = self._columns[name][self._row]
        if value is None or isinstance(value, str):
            return value
        number = float(value)
        return None if math.isnan(number) else number

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)
