"""Recommender: which items suit a customer, from what they bought, what goes with it, and what all buy.

An item's score is a logistic line over what is known of it and this customer, fitted to what was bought in a window
after a cutoff: how often and how lately the customer bought it and whether people buy it again, how alike it is to what
the customer bought (item-to-item cosine), and how popular it is, ever and lately. It is plain data, and pure functions.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.errors import BundleError
from models.inference.calibration import expit

Codes = NDArray[np.int64]

FIGURES = (
    "popularity", "popularity_lately", "likeness", "own", "own_times", "own_age", "own_repeat", "own_decayed", "own_rate",
    "own_popularity", "own_items",
)  # fmt: skip
"""The columns of the line; those of `own_` are 0 for an item that the customer did not buy."""

SHOWN_POPULAR = 60
SHOWN_ALIKE = 60
"""How many popular items, and how many like the customer's own, are candidates beside what was bought before."""

HALF_LIFE_DAYS = 90.0
_LEAST = 1e-4


class Why(StrEnum):
    """What speaks for an item."""

    BOUGHT_BEFORE = "bought_before"
    BOUGHT_WITH = "bought_with"
    POPULAR = "popular"


@dataclass(frozen=True, slots=True)
class OwnHistory:
    """The m distinct items that one customer bought; ages are in days."""

    items: Codes
    times: FloatArray
    """On how many days each."""
    newest: FloatArray
    """The age of the last purchase."""
    oldest: FloatArray
    decayed: FloatArray
    """The sum over purchases of a weight that halves every `HALF_LIFE_DAYS`."""

    @classmethod
    def of(cls, items: NDArray[np.integer], ages: NDArray[np.integer]) -> OwnHistory:
        """The history of purchases, item and age (n,), one per item and day."""
        distinct, inverse = np.unique(np.asarray(items, dtype=np.int64), return_inverse=True)
        age = np.asarray(ages, dtype=np.float64)
        newest, oldest = np.full(len(distinct), np.inf), np.zeros(len(distinct))
        np.minimum.at(newest, inverse, age)
        np.maximum.at(oldest, inverse, age)
        return cls(
            items=distinct,
            times=np.bincount(inverse, minlength=len(distinct)).astype(np.float64),
            newest=newest,
            oldest=oldest,
            decayed=np.bincount(inverse, 0.5 ** (age / HALF_LIFE_DAYS), len(distinct)).astype(np.float64),
        )


@dataclass(frozen=True, slots=True)
class Recommended:
    """An item, with the probability that it is bought within the window, and what speaks most for it."""

    item: str
    score: float
    why: Why
    because: str | None
    """The customer's own item that it goes with."""


@dataclass(frozen=True, slots=True)
class ItemFigures:
    """What is known of p items at a moment; neighbours are a sparse matrix by rows."""

    popularity: FloatArray
    """(p,), the share of all customers who bought it."""
    lately: FloatArray
    """(p,), the share of lately active customers who lately bought it."""
    repeat: FloatArray
    """(p,), the share of its buyers who bought it on another day again, shrunk to that of all items."""
    starts: Codes
    """(p + 1,)"""
    neighbours: NDArray[np.int32]
    likeness: NDArray[np.float32]

    def candidates(self, history: OwnHistory) -> tuple[Codes, FloatArray]:
        """The items worth scoring for a customer (c,), and their `FIGURES` (c, 11)."""
        alike = self._alike(history)
        close = np.argsort(-alike, kind="stable")[:SHOWN_ALIKE]
        popular = np.argsort(-self.lately, kind="stable")[:SHOWN_POPULAR]
        codes = np.unique(np.concatenate([history.items, close[alike[close] > 0.0], popular]))
        figures = np.zeros((len(codes), len(FIGURES)))
        figures[:, 0] = np.log(self.popularity[codes] + _LEAST)
        figures[:, 1] = np.log(self.lately[codes] + _LEAST)
        figures[:, 2] = np.log(alike[codes] + _LEAST)
        own = np.searchsorted(codes, history.items)
        repeat = self.repeat[history.items]
        figures[own, 3] = 1.0
        figures[own, 4] = np.log(history.times)
        figures[own, 5] = np.log(history.newest + 3.0)
        figures[own, 6] = np.log(repeat / (1.0 - repeat))
        figures[own, 7] = np.log(history.decayed + 1e-3)
        figures[own, 8] = np.log(history.times / (history.oldest + 15.0))
        figures[own, 9] = figures[own, 0]
        figures[own, 10] = np.log(max(1, len(history.items)))
        return codes, figures

    def _alike(self, history: OwnHistory) -> FloatArray:
        """How alike every item is to what the customer bought, lately bought weighing more."""
        alike = np.zeros(len(self.popularity))
        weights = 0.5 ** (history.newest / HALF_LIFE_DAYS)
        for code, weight in zip(history.items.tolist(), (weights / max(weights.sum(), 1e-12)).tolist(), strict=True):
            mine = slice(self.starts[code], self.starts[code + 1])
            alike[self.neighbours[mine]] += weight * self.likeness[mine]
        return alike

    def closest(self, history: OwnHistory, code: int) -> int | None:
        """The customer's own item that is most alike to `code`."""
        best, found = 0.0, None
        for own in history.items.tolist():
            mine = slice(self.starts[own], self.starts[own + 1])
            (places,) = np.nonzero(self.neighbours[mine] == code)
            if places.size and float(self.likeness[mine][places[0]]) > best:
                best, found = float(self.likeness[mine][places[0]]), own
        return found


@dataclass(frozen=True)
class Recommender:
    """What a server recommends by; it never changes."""

    items: tuple[str, ...]
    """In alphabetical order."""
    figures: ItemFigures
    weights: FloatArray | None
    """(11,), of `FIGURES`; None where there was too little to fit them: popularity is all there is then."""
    intercept: float
    window_days: int
    """How far ahead a score looks."""

    def codes(self, items: Sequence[str]) -> Codes:
        """The places (n,) of items among `items`; −1 for one that came after training."""
        return np.array([self._places.get(item, -1) for item in items], dtype=np.int64)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item: place for place, item in enumerate(self.items)}

    def rank(self, history: OwnHistory, k: int, leave_out: Codes | None = None) -> list[Recommended]:
        """The k best items for a customer, the best first; by popularity alone where nothing is known of either."""
        if self.weights is None or not len(history.items):
            return self.popular(k, leave_out)
        codes, figures = self.figures.candidates(history)
        scores = np.asarray(expit(figures @ self.weights + self.intercept))
        if leave_out is not None:
            scores = np.where(np.isin(codes, leave_out), -1.0, scores)
        best = np.argsort(-scores, kind="stable")[:k]
        found = []
        for place in best[scores[best] >= 0.0].tolist():
            code = int(codes[place])
            why, because = Why.POPULAR, None
            if figures[place, 3] == 1.0:
                why = Why.BOUGHT_BEFORE
            elif (own := self.figures.closest(history, code)) is not None:
                why, because = Why.BOUGHT_WITH, self.items[own]
            found.append(Recommended(self.items[code], float(scores[place]), why, because))
        return found

    def popular(self, k: int, leave_out: Codes | None = None) -> list[Recommended]:
        """What most of the lately active customers bought lately; ever, where nobody was active."""
        share = self.figures.lately if self.figures.lately.any() else self.figures.popularity
        order = np.argsort(-share, kind="stable")
        if leave_out is not None:
            order = order[~np.isin(order, leave_out)]
        return [Recommended(self.items[code], float(share[code]), Why.POPULAR, None) for code in order[:k].tolist()]

    def just_bought(self, history: OwnHistory, days: int, repeatable: float) -> Codes:
        """The items bought within `days` that people do not buy again: fewer than `repeatable` of their buyers did."""
        recent = history.newest < days
        return history.items[recent & (self.figures.repeat[history.items] < repeatable)]

    def to_bytes(self) -> bytes:
        """The recommender as an .npz of plain arrays: the same bytes for the same recommender."""
        names = json.dumps(list(self.items), ensure_ascii=False).encode()
        figures = self.figures
        stream = io.BytesIO()
        np.savez_compressed(
            stream,
            items=np.frombuffer(names, dtype=np.uint8),
            popularity=figures.popularity,
            lately=figures.lately,
            repeat=figures.repeat,
            starts=figures.starts,
            neighbours=figures.neighbours,
            likeness=figures.likeness,
            weights=np.empty(0) if self.weights is None else self.weights,
            intercept=np.array(self.intercept),
            window_days=np.array(self.window_days),
        )
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Recommender:
        """The recommender that `to_bytes` wrote.

        Raises:
            BundleError: it is none.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                weights = arrays["weights"]
                return cls(
                    items=tuple(json.loads(arrays["items"].tobytes())),
                    figures=ItemFigures(
                        popularity=arrays["popularity"],
                        lately=arrays["lately"],
                        repeat=arrays["repeat"],
                        starts=arrays["starts"],
                        neighbours=arrays["neighbours"],
                        likeness=arrays["likeness"],
                    ),
                    weights=weights if weights.size else None,
                    intercept=float(arrays["intercept"]),
                    window_days=int(arrays["window_days"]),
                )
        except (ValueError, KeyError, OSError) as error:
            raise BundleError(f"The recommender is damaged: {error}.") from error
