"""What a customer is worth over the next 12 months, and the part of it that is at risk."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.arrays import FloatArray
from models.inference.calibration import Calibration
from models.inference.onnx_predictor import ChurnPredictor
from models.value.pareto_nbd import PurchaseHistories, PurchaseProcess, PurchaseSpend

YEAR_DAYS = 365
MONTHS = 12
PURCHASE_FIGURES = ("purchase_days", "purchase_first_days", "purchase_recency_days", "spend_per_day_mean")
"""The features that a purchase history is read from, in the order of `PurchaseHistories.of`."""
PRICE = "mrr"
DECIMALS = 6
"""Of money: what is cut off is what one row and a thousand may differ by."""

_UNITS = 10.0**DECIMALS
_MOST_REMEMBERED = 100_000


class Method(StrEnum):
    """How a value was found."""

    PURCHASES = "purchase_process"
    PURCHASES_AND_TREES = "purchase_process_and_trees"
    TREES = "trees"
    PRICE = "price_and_survival"
    STATED = "stated_value_and_survival"


METHODS: Mapping[Method, str] = {
    Method.PURCHASES: "Pareto/NBD and Gamma-Gamma: when the customer buys again, and what a purchase brings.",
    Method.PURCHASES_AND_TREES: "The same, corrected by trees that read all features.",
    Method.TREES: "Trees that read all features, drawn out to a year as Pareto/NBD has it.",
    Method.PRICE: "The monthly price of 12 months, each weighed with the probability of still being a customer.",
    Method.STATED: "The business's own [value] as a year's worth, weighed with the probability of still being a customer.",
}


@dataclass(frozen=True, slots=True)
class CustomerValue:
    """Money to expect of one customer in the next 12 months, and the part of it that leaving within the horizon endangers."""

    next_12_months: float
    at_risk: float
    method: Method


def surviving_share(probability: ArrayLike, horizon_days: int) -> FloatArray:
    """The mean probability, over the next 12 months, of still being a customer.

    Args:
        probability: of leaving within the horizon; the hazard is taken to stay as it is within it.
    """
    p = np.clip(np.asarray(probability, dtype=np.float64), 0.0, 1.0 - 1e-12)
    hazard = -np.log1p(-p) * (YEAR_DAYS / horizon_days)
    return np.asarray(np.where(hazard < 1e-9, 1.0, -np.expm1(-hazard) / np.maximum(hazard, 1e-9)))


@dataclass(frozen=True, slots=True)
class PurchaseValue:
    """What a purchase history is worth: a process, and trees that correct it or stand in its place.

    Trees foretell the logarithm of the spend within the horizon, as a multiple of the process's where they correct it.
    `factor` makes their total the process's, at the moment that they were tested at: the whole is the process's to say.
    """

    process: PurchaseProcess
    spend: PurchaseSpend
    horizon_days: int
    trees: bytes | None = field(default=None, repr=False)
    """An ONNX graph, as the churn model's: the model's features to the logarithm."""
    corrects: bool = True
    factor: float = 1.0

    @property
    def method(self) -> Method:
        """How it is found."""
        if self.trees is None:
            return Method.PURCHASES
        return Method.PURCHASES_AND_TREES if self.corrects else Method.TREES

    def within(self, histories: PurchaseHistories, days: float) -> FloatArray:
        """What the process alone expects of the next `days`, (n,)."""
        return self.process.expected_purchases(histories, days) * self.spend.expected(histories)


@dataclass(frozen=True, slots=True)
class ValueModel:
    """What a bundle says of value: how, and for purchases by which figures; a price is read from the customer."""

    method: Method
    purchases: PurchaseValue | None = None

    def __post_init__(self) -> None:
        if (self.purchases is not None) != (self.method in _OF_PURCHASES):
            raise ValueError(f"the value by the method '{self.method}' does not fit its parts")

    @property
    def figures(self) -> tuple[str, ...]:
        """The features that it reads, beside those of the trees."""
        if self.purchases is not None:
            return PURCHASE_FIGURES
        return (PRICE,) if self.method is Method.PRICE else ()

    def to_json(self) -> dict[str, Any]:
        """The model as plain JSON; trees are ONNX in base64."""
        content: dict[str, Any] = {"method": self.method.value}
        if self.purchases is not None:
            trees = self.purchases.trees
            content |= {
                "process": self.purchases.process.to_json(),
                "spend": self.purchases.spend.to_json(),
                "horizon_days": self.purchases.horizon_days,
                "factor": self.purchases.factor,
                "corrects": self.purchases.corrects,
                "trees": None if trees is None else base64.b64encode(trees).decode(),
            }
        return content

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> ValueModel:
        """What `to_json` gave; a ValueError, KeyError or TypeError if it is none."""
        method = Method(content["method"])
        purchases = None
        if method in _OF_PURCHASES:
            trees = content["trees"]
            purchases = PurchaseValue(
                process=PurchaseProcess.of_json(content["process"]),
                spend=PurchaseSpend.of_json(content["spend"]),
                horizon_days=int(content["horizon_days"]),
                trees=None if trees is None else base64.b64decode(trees, validate=True),
                corrects=bool(content["corrects"]),
                factor=float(content["factor"]),
            )
        return cls(method, purchases)


_OF_PURCHASES = frozenset({Method.PURCHASES, Method.PURCHASES_AND_TREES, Method.TREES})


class Valuer:
    """A model of value that is ready to answer, for one customer in microseconds; it may be used by several threads.

    Raises:
        BundleError: the trees are no graph.
    """

    def __init__(self, model: ValueModel) -> None:
        self.method = model.method
        self._purchases = purchases = model.purchases
        self._trees = None
        if purchases is not None and purchases.trees is not None:
            self._trees = ChurnPredictor(purchases.trees, Calibration(1.0, 0.0))
        # Customers are alike by the thousand in when they bought: the integrals are done once for each kind.
        self._expected = lru_cache(maxsize=_MOST_REMEMBERED)(self._of_one)

    def of_purchases(self, histories: PurchaseHistories, matrix: NDArray[np.float32]) -> tuple[FloatArray, FloatArray]:
        """What n histories are expected to bring within the horizon and within 12 months, both (n,).

        Args:
            matrix: (n, d) the churn model's rows, for the trees; without any, it is not looked at.
        """
        assert self._purchases is not None
        purchases = self._purchases
        times, which = np.unique(np.stack(_times(histories), axis=1), axis=0, return_inverse=True)
        kinds = PurchaseHistories.of(times[:, 0], times[:, 1], times[:, 2], np.full(len(times), np.nan))
        days = (purchases.horizon_days, YEAR_DAYS)
        expected = np.stack([purchases.process.expected_purchases(kinds, within) for within in days])[:, which.ravel()]
        soon_spend, year_spend = expected * purchases.spend.expected(histories)
        if self._trees is None:
            return soon_spend, year_spend
        said = purchases.factor * np.exp(self._trees.margins(matrix))
        if purchases.corrects:
            return soon_spend * said, year_spend * said
        return said, said * year_spend / np.maximum(soon_spend, 1e-12)

    def of_one(self, count: float, first: float, last: float, mean: float, row: NDArray[np.float32]) -> float:
        """What `of_purchases` says of one history's 12 months, in a few microseconds where one like it was asked before.

        Args:
            row: (1, d) the churn model's row.
        """
        assert self._purchases is not None
        purchases, spend = self._purchases, self._purchases.spend
        soon, year = self._expected(count, first, last)
        known = mean > 0.0
        weight = spend.p * count if known else 0.0
        a_day = (spend.gamma * spend.p + (weight * mean if known else 0.0)) / (weight + spend.q - 1.0)
        if self._trees is None:
            return year * a_day
        said = purchases.factor * math.exp(float(self._trees.margins(row)[0]))
        return year * a_day * said if purchases.corrects else said * year / max(soon, 1e-12 / a_day)

    def of_price(self, a_year: ArrayLike, probability: ArrayLike, horizon_days: int) -> FloatArray:
        """What a price of so much a year brings, (n,), as far as customers stay; NaN where the price is not known."""
        return np.asarray(a_year, dtype=np.float64) * surviving_share(probability, horizon_days)

    def _of_one(self, count: float, first: float, last: float) -> tuple[float, float]:
        assert self._purchases is not None
        history = PurchaseHistories.of([count], [first], [last], [math.nan])
        process, days = self._purchases.process, self._purchases.horizon_days
        return (
            float(process.expected_purchases(history, days)[0]),
            float(process.expected_purchases(history, YEAR_DAYS)[0]),
        )


def surviving_share_of_one(probability: float, horizon_days: int) -> float:
    """What `surviving_share` says of one customer, in 0.5 µs instead of 7."""
    hazard = -math.log1p(-min(max(probability, 0.0), 1.0 - 1e-12)) * (YEAR_DAYS / horizon_days)
    return 1.0 if hazard < 1e-9 else -math.expm1(-hazard) / hazard


def rounded(money: float) -> float:
    """An amount to `DECIMALS`, as NumPy rounds it."""
    return round(money * _UNITS) / _UNITS


def at_risk(next_12_months: FloatArray, probability: FloatArray) -> FloatArray:
    """The part of a value that leaving within the horizon endangers: its share is the churn probability."""
    return np.maximum(next_12_months, 0.0) * probability


def _times(histories: PurchaseHistories) -> tuple[FloatArray, FloatArray, FloatArray]:
    return histories.count, histories.first, histories.last
