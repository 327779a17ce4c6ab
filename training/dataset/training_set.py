"""The rows that a model learns from and is judged on: raw features, outcomes, and what has to stay together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from features.schema import DType, FeatureSchema
from models.arrays import Rows
from training.dataset.target_encoding import RARE, Categories, fit_categories
from training.errors import LabelError

Columns = Mapping[str, npt.NDArray[Any]]

FEWEST_ROWS = 50
FEWEST_CHURNERS = 10


@dataclass(frozen=True, slots=True)
class Labels:
    """Who was judged when, and what happened to them.

    All shapes (n,): `customer_id` objects of str, `event_timestamp` datetime64[us] in UTC, `y` int8 with 1 for churned,
    `group` numbers of rows that must stay together, `rank` the rows' place in time or None.
    """

    customer_id: npt.NDArray[np.object_]
    event_timestamp: npt.NDArray[np.datetime64]
    y: npt.NDArray[np.int8]
    group: Rows
    rank: Rows | None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Labelled rows with their raw features.

    `columns` has, by feature name, float64 with NaN for null, or objects of str with None for null; each (n,).
    """

    schema: FeatureSchema
    columns: Columns
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def y(self) -> npt.NDArray[np.int8]:
        return self.labels.y

    def numbers(self) -> tuple[str, ...]:
        """The names of the float features, in column order."""
        return tuple(feature.name for feature in self.schema if feature.dtype is DType.FLOAT)

    def strings(self) -> tuple[str, ...]:
        """The names of the string features, in column order."""
        return tuple(feature.name for feature in self.schema if feature.dtype is DType.STRING)

    def take(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """The raw columns of some rows."""
        return {name: column[rows] for name, column in self.columns.items()}

    def categories(self, rows: Rows) -> Categories:
        """The category mapping that the rows given alone determine."""
        return fit_categories(self.schema, self.columns, self.y, rows)

    def X(self, rows: Rows, categories: Categories) -> npt.NDArray[np.float32]:
        """Some rows encoded as float32 (n, d), with a mapping that was fitted on training rows."""
        return self.schema.to_matrix(self.take(rows), categories)

    def typical(self, rows: Rows) -> dict[str, float | str | None]:
        """What is usual among some rows: the median of each number, the mode of each word; None where all are null."""
        usual: dict[str, float | str | None] = {}
        for feature in self.schema:
            column = self.columns[feature.name][rows]
            if feature.dtype is DType.STRING:
                counts = Counter(word for word in column.tolist() if word is not None)
                usual[feature.name] = min(counts, key=lambda word: (-counts[word], word)) if counts else None
            else:
                known = column[~np.isnan(column)]
                usual[feature.name] = float(np.median(known)) if len(known) else None
        return usual

    def select(self, schema: FeatureSchema) -> TrainingSet:
        """The same rows with fewer features."""
        return replace(self, schema=schema, columns={name: self.columns[name] for name in schema.names})


def informative(data: TrainingSet, rows: Rows) -> tuple[TrainingSet, list[str]]:
    """Leave out the features that say nothing on the training rows, and say which.

    Raises:
        LabelError: no feature is left.
    """
    missing: list[str] = []
    constant: list[str] = []
    scattered: list[str] = []
    kept: list[str] = []
    for feature in data.schema:
        column = data.columns[feature.name][rows]
        if feature.dtype is DType.STRING:
            words = column.tolist()
            distinct: set[Any] = set(words)
            is_missing = distinct == {None}
        else:
            is_missing = bool(np.isnan(column).all())
            distinct = set(np.unique(column.astype(np.float32)).tolist()) if not is_missing else set()
        if is_missing:
            missing.append(feature.name)
        elif len(distinct) <= 1:
            constant.append(feature.name)
        elif feature.dtype is DType.STRING and not _repeats(words):
            scattered.append(feature.name)
        else:
            kept.append(feature.name)
    notes = []
    if missing:
        notes.append(f"Left out, as every training row lacks a value: {_listed(missing)}.")
    if constant:
        notes.append(f"Left out, as all training rows have one value: {_listed(constant)}.")
    if scattered:
        notes.append(f"Left out, as no word occurs often enough to learn from: {_listed(scattered)}.")
    if not kept:
        raise LabelError("No feature tells one training row from another: give the model columns that differ.")
    return data.select(data.schema.select(kept)), notes


def check_labels(labels: Labels, rows: Rows, part: str) -> None:
    """Refuse what cannot be learned from, or judged on.

    Args:
        rows: the rows of one side of a split.
        part: what to call them, such as "training rows".

    Raises:
        LabelError: one class only, fewer than 50 rows, or fewer than 10 churners or stayers.
    """
    churned = int(labels.y[rows].sum())
    stayed = len(rows) - churned
    if len(rows) < FEWEST_ROWS:
        raise LabelError(f"There are {len(rows)} {part}, but at least {FEWEST_ROWS} are needed: give more data.")
    if churned == 0 or stayed == 0:
        raise LabelError(
            f"All {len(rows)} {part} {'churned' if churned else 'stayed'}: a model needs customers of both kinds, so check the "
            f"outcome or [churn]."
        )
    if min(churned, stayed) < FEWEST_CHURNERS:
        few, what = min((churned, "churned"), (stayed, "stayed"))
        raise LabelError(
            f"Only {few} of {len(rows)} {part} {what}, but at least {FEWEST_CHURNERS} must have: give more data or check [churn]."
        )


def _repeats(words: list[str | None]) -> bool:
    """Whether some word is frequent enough to get a code (see `fit_categories`)."""
    counts = Counter(word for word in words if word is not None)
    return max(counts.values()) >= RARE


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:8])
    return shown + (f" and {len(names) - 8} more" if len(names) > 8 else "")
