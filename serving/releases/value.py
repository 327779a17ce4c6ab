"""What customers are worth and which segment they are in: a release's two parts beside risk and health."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.config.business import Business
from features.config.expression import Expression
from features.generation import Generation
from features.schema import Column, FeatureSchema, Value
from features.store.online import PackedColumns
from models.arrays import FloatArray
from models.registry.model_bundle import ModelBundle
from models.value.customer_value import (
    DECIMALS,
    MONTHS,
    PRICE,
    PURCHASE_FIGURES,
    CustomerValue,
    Method,
    Valuer,
    at_risk,
    rounded,
    surviving_share_of_one,
)
from models.value.pareto_nbd import PurchaseHistories
from models.value.segmentation import CustomerSegment, Rfm, Segmenter


@dataclass(frozen=True, slots=True)
class CustomerValues:
    """Of n customers: money, NaN where it is not known, and segments; what a release has not is None."""

    method: Method | None
    next_12_months: FloatArray | None
    at_risk: FloatArray | None
    segments: tuple[CustomerSegment | None, ...]

    def value(self, row: int) -> CustomerValue | None:
        """One customer's value; None where it is not known."""
        if self.method is None or self.next_12_months is None or self.at_risk is None:
            return None
        year = float(self.next_12_months[row])
        return None if math.isnan(year) else CustomerValue(year, float(self.at_risk[row]), self.method)


class ValueTable:
    """How a release values customers and tells segments, from a few figures of theirs and what the model reads.

    Attributes:
        schema: the figures, in the order of `figures`'s columns; it may have none.
        categories: the words that segments ask for.
        places: of the figures, by name.
    """

    def __init__(self, bundle: ModelBundle, generation: Generation) -> None:
        """Make ready.

        Raises:
            SchemaMismatch: the build lacks a figure.
        """
        self._horizon_days = bundle.horizon_days
        self._valuer = None if bundle.value is None else Valuer(bundle.value)
        self._stated: Expression | None = None
        names: dict[str, None] = {}
        if bundle.value is not None:
            names |= dict.fromkeys(bundle.value.figures)
            if bundle.value.method is Method.STATED:
                business = Business.of(generation)
                if business.value is not None:
                    self._stated = Expression.parse(business.value.at_stake, f"{business.path}: [value] at_stake")
                    names |= dict.fromkeys(sorted(self._stated.columns))
        if bundle.segments is not None:
            names |= dict.fromkeys(bundle.segments.features)
        self.schema: FeatureSchema = generation.schema.select(tuple(names))
        self.categories: Mapping[str, tuple[str, ...]] = {} if bundle.segments is None else bundle.segments.words
        self._segmenter = None if bundle.segments is None else Segmenter(bundle.segments, self.schema.names)
        self.places = {name: place for place, name in enumerate(self.schema.names)}
        self._named: dict[tuple[int, Rfm | None], CustomerSegment] = {}

    def figures(self, columns: Mapping[str, Column], n: int) -> NDArray[np.float32]:
        """The figures (n, columns of `schema`) of n customers' raw features.

        Raises:
            SchemaMismatch: one is missing.
        """
        if not len(self.schema):
            return np.empty((n, 0), dtype=np.float32)
        if isinstance(columns, PackedColumns):
            return columns.matrix(self.schema, self.categories)
        return self.schema.to_matrix(columns, self.categories)

    def of(
        self,
        figures: NDArray[np.float32],
        matrix: NDArray[np.float32],
        probability: FloatArray,
        features: Callable[[int], Mapping[str, Value]],
    ) -> CustomerValues:
        """What n customers are worth, and their segments.

        Args:
            matrix: (n, d) the rows of the churn model.
            probability: (n,) of leaving within the horizon.
            features: gives one customer's raw features, for the business's own [value].
        """
        year = self._next_12_months(figures, matrix, probability, features)
        return CustomerValues(
            method=None if self._valuer is None else self._valuer.method,
            next_12_months=None if year is None else np.round(year, DECIMALS),
            at_risk=None if year is None else np.round(at_risk(year, probability), DECIMALS),
            segments=self.segments(figures),
        )

    def of_one(
        self,
        figures: NDArray[np.float32],
        row: NDArray[np.float32],
        probability: float,
        features: Callable[[], Mapping[str, Value]],
    ) -> tuple[CustomerValue | None, CustomerSegment | None]:
        """What `of` says of one customer, sooner: `figures` (columns,) and the churn model's `row` (1, d)."""
        known: list[float] = figures.tolist()
        segment = None
        if self._segmenter is not None:
            segment = self._segment_of(self._segmenter.assign_one(known), self._segmenter.rfm_one(known))
        valuer = self._valuer
        if valuer is None:
            return None, segment
        year = self._year_of_one(valuer, known, row, probability, features)
        if year is None or math.isnan(year):
            return None, segment
        risk = max(year, 0.0) * probability
        return CustomerValue(rounded(year), rounded(risk), valuer.method), segment

    def _year_of_one(
        self,
        valuer: Valuer,
        known: list[float],
        row: NDArray[np.float32],
        probability: float,
        features: Callable[[], Mapping[str, Value]],
    ) -> float | None:
        if valuer.method is Method.PRICE:
            a_year: float | None = known[self.places[PRICE]] * MONTHS
        elif valuer.method is Method.STATED:
            a_year = None if self._stated is None else self._stated.evaluate(features())
        else:
            count, first, last, mean = (known[self.places[name]] for name in PURCHASE_FIGURES)
            if not count > 0.0:
                return None
            first = max(first, 0.0)
            return valuer.of_one(count, first, min(max(last, 0.0), first) if count > 1.0 else first, mean, row)
        return None if a_year is None else a_year * surviving_share_of_one(probability, self._horizon_days)

    def _next_12_months(
        self,
        figures: NDArray[np.float32],
        matrix: NDArray[np.float32],
        probability: FloatArray,
        features: Callable[[int], Mapping[str, Value]],
    ) -> FloatArray | None:
        valuer = self._valuer
        if valuer is None:
            return None
        if valuer.method is Method.PRICE:
            price = figures[:, self.places[PRICE]].astype(np.float64) * MONTHS
            return valuer.of_price(price, probability, self._horizon_days)
        if valuer.method is Method.STATED:
            if self._stated is None:
                return None
            stated = [self._stated.evaluate(features(row)) for row in range(len(figures))]
            yearly = np.array([math.nan if one is None else one for one in stated], dtype=np.float64)
            return valuer.of_price(yearly, probability, self._horizon_days)
        columns = [figures[:, self.places[name]].astype(np.float64) for name in PURCHASE_FIGURES]
        bought = columns[0] > 0.0
        if bought.all():
            return valuer.of_purchases(PurchaseHistories.of(*columns), matrix)[1]
        # Who never bought has no history that could be worth anything, or nothing.
        year = np.full(len(figures), math.nan)
        if bought.any():
            histories = PurchaseHistories.of(*(column[bought] for column in columns))
            year[bought] = valuer.of_purchases(histories, matrix[bought])[1]
        return year

    def segments(self, figures: NDArray[np.float32]) -> tuple[CustomerSegment | None, ...]:
        """Which segment each of n customers is in."""
        segmenter = self._segmenter
        if segmenter is None:
            return (None,) * len(figures)
        places = segmenter.assign(figures).tolist()
        return tuple(map(self._segment_of, places, segmenter.rfm(figures)))

    def _segment_of(self, place: int, rfm: Rfm | None) -> CustomerSegment:
        named = self._named.get((place, rfm))
        if named is None:
            assert self._segmenter is not None
            segment = self._segmenter.segments[place]
            named = self._named[place, rfm] = CustomerSegment(segment.id, segment.name, rfm)
        return named
