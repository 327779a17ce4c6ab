"""Explained scores of many customers column by column: what files hold, and the table of current scores, made in bulk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sqlalchemy import Connection

from features.schema import Column
from models.arrays import FloatArray
from models.decisions.policy import NO_ACTION
from models.scorecard import COLOURS, Band
from serving.current_scores.record import FIGURES, REASONS, TYPES, BatchRow, value_columns
from serving.decisions.playbook import Playbook
from serving.releases.release import Release
from serving.releases.value import CustomerValues
from serving.scores.customer_features import CustomerFeatures

_ARROW = {str: pa.string(), float: pa.float64(), datetime: pa.timestamp("us", "UTC")}
SCHEMA = pa.schema([(name, _ARROW[column.kind]) for name, column in TYPES.items()])
"""The columns of `BatchRow` in Arrow's types."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a suggestion depends on."""

    customer_id: str
    probability: float
    features: CustomerFeatures


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The scores of n customers from one release, in their order; `reasons` (n, 3) holds None where there are fewer.

    The figures and sentences are the `Scorer`'s with `top`, and the rows that `BatchRow.of` makes of them.
    """

    release: Release
    customer_ids: Sequence[str]
    columns: Mapping[str, Column]
    """Raw features by name."""
    probability: FloatArray
    score: FloatArray
    figures: Mapping[str, FloatArray]
    """The release's figures (n,) by name; one that it does not tell is absent."""
    reasons: NDArray[np.object_]
    feature_timestamps: Sequence[datetime | None]
    scored_at: datetime
    values: CustomerValues

    @classmethod
    def of(
        cls,
        release: Release,
        customer_ids: Sequence[str],
        columns: Mapping[str, Column],
        matrix: NDArray[np.float32],
        feature_timestamps: Sequence[datetime | None] | None = None,
    ) -> ScoreTable:
        """Score rows (n, d) of the model's matrix; without moments, the features are of now."""
        parts = release.explain(matrix)
        now = datetime.now(UTC)
        return cls(
            release=release,
            customer_ids=customer_ids,
            columns=columns,
            probability=parts.probability,
            score=parts.score,
            figures=release.figures.of(parts.probability, parts.log_odds, matrix),
            reasons=release.reasons.sentences(release.reasons.largest(parts.points, REASONS), columns, matrix, REASONS),
            feature_timestamps=[now] * len(customer_ids) if feature_timestamps is None else feature_timestamps,
            scored_at=now,
            values=release.values.of(
                release.values.figures(columns, len(customer_ids)),
                matrix,
                parts.probability,
                lambda row: CustomerFeatures(columns, row),
            ),
        )

    @classmethod
    def as_of_now(cls, release: Release, customer_ids: Sequence[str]) -> tuple[ScoreTable, list[int]]:
        """The scores of those whom the store knows, and their places among `customer_ids`.

        Raises:
            StoreUnavailable: the feature store does not answer; nobody is scored then.
        """
        read = release.store.read(customer_ids)
        unknown = set(read.unknown)
        places = [place for place, customer_id in enumerate(customer_ids) if customer_id not in unknown]
        if unknown:
            read = release.store.read([customer_ids[place] for place in places])
        pillars = [read.feature_timestamps[name] for name in release.pillars]
        moments = [min((at for at in of if at is not None), default=None) for of in zip(*pillars, strict=True)]
        matrix = read.matrix(release.schema, release.bundle.categories)
        return cls.of(release, read.customer_ids, read.columns, matrix, moments), places

    def __len__(self) -> int:
        return len(self.customer_ids)

    def suggestions(self, playbook: Playbook, connection: Connection) -> list[str]:
        """The action that the playbook suggests for each."""
        if not playbook.actions:
            return [NO_ACTION] * len(self)
        probabilities = zip(self.customer_ids, self.probability.tolist(), strict=True)
        scored = [
            Scored(customer_id, probability, CustomerFeatures(self.columns, row))
            for row, (customer_id, probability) in enumerate(probabilities)
        ]
        return playbook.suggest(connection, scored, self.scored_at)

    def rows(self, actions: Sequence[str]) -> Iterator[BatchRow]:
        """A row each, with the action that is suggested."""
        version, card = self.release.model_version, self.release.scorecard.version
        unknown = [None] * len(self)
        figures = [self.figures[name].tolist() if name in self.figures else unknown for name in FIGURES]
        values = zip(map(self.values.value, range(len(self))), self.values.segments, strict=True)
        for customer_id, probability, score, band, (one, two, three), action, moment, beside, (value, segment) in zip(
            self.customer_ids, self.probability.tolist(), self.score.tolist(), self._bands().tolist(),
            self.reasons.tolist(), actions, self.feature_timestamps, zip(*figures, strict=True), values, strict=True,
        ):  # fmt: skip
            yield BatchRow(
                customer_id, probability, score, band, one, two, three, action, version, card, moment, self.scored_at,
                **dict(zip(FIGURES, beside, strict=True)), **value_columns(value, segment),
            )  # fmt: skip

    def to_arrow(self, actions: Sequence[str]) -> dict[str, pa.Array]:
        """The columns of `BatchRow` by name, in the types of `SCHEMA`; figures that the release does not tell are null."""
        n = len(self)
        columns: dict[str, Any] = {
            "customer_id": self.customer_ids,
            "churn_probability": self.probability,
            "health_score": self.score,
            "health_band": self._bands(),
            **{f"reason_{place + 1}": self.reasons[:, place] for place in range(REASONS)},
            "action": actions,
            "model_version": self.release.model_version,
            "scorecard_version": self.release.scorecard.version,
            "feature_timestamp": self.feature_timestamps,
            "scored_at": self.scored_at,
            **{name: self.figures.get(name) for name in FIGURES},
            **self._value(),
        }
        return {field.name: _arrow(columns[field.name], field.type, n) for field in SCHEMA}

    def _value(self) -> dict[str, pa.Array]:
        values, n = self.values, len(self)
        named = [value_columns(None, segment) for segment in values.segments]
        unknown = pa.nulls(n, pa.float64())
        year, risk, method = unknown, unknown, pa.nulls(n, pa.string())
        if values.method is not None and values.next_12_months is not None and values.at_risk is not None:
            year = pa.array(values.next_12_months, from_pandas=True)
            risk = pa.array(values.at_risk, from_pandas=True)
            method = pc.if_else(year.is_valid(), pa.scalar(values.method.value), pa.scalar(None, pa.string()))
        return {
            "value_next_12_months": year,
            "value_at_risk": risk,
            "value_method": method,
            **{name: pa.array([row[name] for row in named], pa.string()) for name in ("segment", "segment_id", "rfm")},
        }

    def _bands(self) -> NDArray[np.object_]:
        card = self.release.scorecard
        names = np.array([band.value for band in COLOURS], dtype=object)
        found: NDArray[np.object_] = names[(self.score >= card.red).astype(np.intp) + (self.score >= card.green)]
        if "coverage" in self.figures:
            found[self.figures["coverage"] < self.release.minimum_coverage] = Band.INSUFFICIENT_DATA.value
        return found


def _arrow(column: Any, kind: pa.DataType, n: int) -> pa.Array:
    """A column of n rows, of one value throughout where `column` is one."""
    if column is None or isinstance(column, str | datetime):
        return pa.repeat(pa.scalar(column, kind), n)
    return column if isinstance(column, pa.Array) else pa.array(column, kind)
