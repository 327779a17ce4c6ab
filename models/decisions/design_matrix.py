"""Design: encoded features as the columns of a linear model; no NaN, all of one scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray, Matrix

NUMBER, LOG, MISSING, CATEGORY = "number", "log", "missing", "category"
SKEWED = 1.0
"""A number that is more skewed than this counts by its logarithm."""
REACH = 3.0
"""How many standard deviations from the mean a number counts at most: beyond, a line is not to be trusted."""


@dataclass(frozen=True, slots=True)
class DesignColumn:
    """One column, made of one feature.

    `kind` is `number`, `log` (of its magnitude, with its sign), `missing` (1 where it is null) or `category` (1 where
    its code is `code`; −1 is a null, or a word that was never seen). All are then `(value − mean) / scale`, where a
    null number counts as the mean.
    """

    feature: int
    kind: str
    mean: float
    scale: float
    code: int = 0


@dataclass(frozen=True, slots=True)
class Design:
    """The columns of a linear model, in order."""

    columns: tuple[DesignColumn, ...]

    def __len__(self) -> int:
        return len(self.columns)

    def transform(self, X: Matrix) -> FloatArray:
        """The design (n, columns) of encoded features (n, d)."""
        made = np.empty((X.shape[0], len(self.columns)))
        for position, column in enumerate(self.columns):
            made[:, position] = (_raw(X[:, column.feature], column.kind, column.code) - column.mean) / column.scale
        return np.clip(np.nan_to_num(made, copy=False, nan=0.0), -REACH, REACH, out=made)

    @classmethod
    def fit(cls, X: Matrix, n_categories: Mapping[int, int], fewest: int = 20) -> Design:
        """The columns that the rows of X (n, d) tell apart.

        Args:
            n_categories: by feature, how many codes it has; absent for numbers.
            fewest: a flag that fewer rows have, or lack, makes no column.
        """
        columns: list[DesignColumn] = []
        for feature in range(X.shape[1]):
            values = X[:, feature]
            missing = np.isnan(values)
            if feature in n_categories:
                codes = range(-1, n_categories[feature])
                flags = [(CATEGORY, code) for code in codes]
            else:
                known = values[~missing].astype(np.float64)
                column = _number(feature, known)
                columns += [] if column is None else [column]
                flags = [(MISSING, 0)]
            for kind, code in flags:
                flag = _raw(values, kind, code)
                having = int(flag.sum())
                if min(having, len(flag) - having) >= fewest:
                    columns.append(DesignColumn(feature, kind, float(flag.mean()), float(flag.std()), code))
        return cls(tuple(columns))

    def to_json(self) -> list[list[Any]]:
        """The design as plain JSON."""
        return [[c.feature, c.kind, c.mean, c.scale, c.code] for c in self.columns]

    @classmethod
    def from_json(cls, data: list[list[Any]]) -> Design:
        """The design from the JSON of `to_json`."""
        return cls(tuple(DesignColumn(*column) for column in data))


def _raw(values: NDArray[Any], kind: str, code: int) -> FloatArray:
    if kind == MISSING:
        missing: FloatArray = np.isnan(values).astype(np.float64)
        return missing
    if kind == CATEGORY:
        return np.asarray(np.nan_to_num(values, nan=-1.0) == code, dtype=np.float64)
    numbers: FloatArray = values.astype(np.float64)
    if kind == NUMBER:
        return numbers
    return np.asarray(np.sign(numbers) * np.log1p(np.abs(numbers)))


def _number(feature: int, known: FloatArray) -> DesignColumn | None:
    """The column of a number, by its logarithm where it is skewed; None where it does not vary."""
    if len(known) < 2 or known.min() == known.max():
        return None
    kind = NUMBER if _skewness(_inner(known)) < SKEWED else LOG
    made = _raw(known, kind, 0)
    inner = _inner(made)
    chosen = inner if inner.std() > 0 else made
    return DesignColumn(feature, kind, float(chosen.mean()), float(chosen.std()))


def _inner(values: FloatArray) -> FloatArray:
    """The values without their extremes: a few huge ones must not set the scale of all others."""
    return np.clip(values, *np.quantile(values, [0.005, 0.995]))


def _skewness(values: FloatArray) -> float:
    spread = values.std()
    return float(abs(((values - values.mean()) ** 3).mean()) / spread**3) if spread > 0 else 0.0
