"""Segments that people recognise: groups of customers who behave alike, each with a name, and their RFM classes."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray

Places = NDArray[np.intp]

CLIP = 2.0
"""A figure further out than so many scales counts as that far: who is extreme in one thing is not far from everybody."""
RFM_FIGURES = ("purchase_recency_days", "purchase_days", "spend_total")
"""Recency, frequency and money, in this order."""
RFM_CLASSES: Mapping[str, str] = {
    "champions": "bought lately, often and for much",
    "loyal": "buy often or for much, and not long ago",
    "promising": "bought lately, and little so far",
    "needs_attention": "of middling worth, and a while ago",
    "at_risk": "bought often or for much, and not for long",
    "hibernating": "bought little, and not for long",
}

_LEVELS = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that tells segments apart: a number of a customer, or whether a word is one's own."""

    feature: str
    word: str | None
    is_log: bool
    centre: float
    scale: float
    """What (figure − centre) is multiplied by."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A group's id, which stays when models change, and its name, made from what sets it apart."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class RfmCuts:
    """Where the five levels of recency, frequency and money begin: four ascending figures each."""

    recency: tuple[float, ...]
    frequency: tuple[float, ...]
    money: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Rfm:
    """A customer's class, one of `RFM_CLASSES`, and the levels that it is made of: 1 to 5, the best being 5."""

    label: str
    recency: int
    frequency: int
    money: int

    @classmethod
    def of(cls, recency: int, frequency: int, money: int) -> Rfm:
        """The class of these levels."""
        return cls(_class_of(recency, (frequency + money) / 2.0), recency, frequency, money)


def _class_of(recency: int, worth: float) -> str:
    if recency >= 4:
        return "champions" if worth >= 4.0 else "loyal" if worth >= 3.0 else "promising"
    if recency >= 3:
        return "loyal" if worth >= 3.5 else "needs_attention"
    return "at_risk" if worth >= 3.0 else "hibernating"


@dataclass(frozen=True, slots=True)
class CustomerSegment:
    """The segment of one customer, and the RFM class where purchases are known."""

    id: str
    name: str
    rfm: Rfm | None


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of a business, frozen: what they are told apart by, their centroids, and RFM where purchases are known."""

    figures: tuple[Figure, ...]
    segments: tuple[Segment, ...]
    centroids: tuple[tuple[float, ...], ...]
    """Of each segment, in the figures as they are scaled."""
    rfm: RfmCuts | None = None

    def __post_init__(self) -> None:
        if len(self.centroids) != len(self.segments) or any(len(row) != len(self.figures) for row in self.centroids):
            raise ValueError("the segments do not fit their centroids")
        if len({segment.id for segment in self.segments}) != len(self.segments):
            raise ValueError("two segments have one id")

    @property
    def features(self) -> tuple[str, ...]:
        """The features that they read, each once."""
        of_rfm = () if self.rfm is None else RFM_FIGURES
        return tuple(dict.fromkeys([*(figure.feature for figure in self.figures), *of_rfm]))

    @property
    def words(self) -> dict[str, tuple[str, ...]]:
        """Per string feature: the words that are asked for, whose places are their codes."""
        found: dict[str, tuple[str, ...]] = {}
        for figure in self.figures:
            if figure.word is not None:
                found[figure.feature] = (*found.get(figure.feature, ()), figure.word)
        return found

    def to_json(self) -> dict[str, Any]:
        """The segments as plain JSON."""
        return asdict(self)

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Segments:
        """What `to_json` gave, or its JSON; a ValueError, KeyError or TypeError if it is none."""
        rfm: Mapping[str, Any] | None = content["rfm"]
        return cls(
            figures=tuple(Figure(**figure) for figure in content["figures"]),
            segments=tuple(Segment(**segment) for segment in content["segments"]),
            centroids=tuple(tuple(float(x) for x in row) for row in content["centroids"]),
            rfm=None if rfm is None else RfmCuts(**{name: tuple(cuts) for name, cuts in rfm.items()}),
        )


class Segmenter:
    """Segments that are ready to answer; it may be used by several threads.

    Args:
        columns: the features of the rows that it will be given, which hold `segments.features`; words are coded by `words`.
    """

    def __init__(self, segments: Segments, columns: Sequence[str]) -> None:
        self.segments = segments.segments
        self._places = np.array([columns.index(figure.feature) for figure in segments.figures], dtype=np.intp)
        words = segments.words
        self._codes = np.array(
            [-1 if f.word is None else words[f.feature].index(f.word) for f in segments.figures], dtype=np.float64
        )
        self._is_word = self._codes >= 0.0
        self._is_log = np.array([figure.is_log for figure in segments.figures], dtype=np.bool_)
        self._centre = np.array([figure.centre for figure in segments.figures])
        self._scale = np.array([figure.scale for figure in segments.figures])
        self._centroids = np.array(segments.centroids, dtype=np.float64).reshape(
            len(segments.segments), len(segments.figures)
        )
        self._plan = tuple(
            zip(self._places.tolist(), self._codes.tolist(), self._is_log.tolist(), self._centre.tolist(),
                self._scale.tolist(), strict=True)
        )  # fmt: skip
        self._halves = 0.5 * (self._centroids**2).sum(axis=1)
        self._rfm = segments.rfm
        self._rfm_places = [] if segments.rfm is None else [columns.index(name) for name in RFM_FIGURES]

    def scaled(self, rows: NDArray[np.float32]) -> FloatArray:
        """The figures (n, f) of rows (n, columns) on their scales; what is not known is as usual."""
        chosen = rows.take(self._places, axis=1).astype(np.float64)
        plain = np.where(self._is_log, np.sign(chosen) * np.log1p(np.abs(chosen)), chosen)
        told = np.where(self._is_word, chosen == self._codes, plain)
        scaled = np.minimum(np.maximum((told - self._centre) * self._scale, -CLIP), CLIP)
        return np.asarray(np.where(np.isnan(scaled), 0.0, scaled))

    def distances(self, rows: NDArray[np.float32]) -> FloatArray:
        """Squared distances (n, segments) of rows from each centroid."""
        scaled = self.scaled(rows)
        return np.asarray(((scaled[:, None, :] - self._centroids) ** 2).sum(axis=2))

    def assign(self, rows: NDArray[np.float32]) -> Places:
        """The place (n,) of each row's segment, the nearest."""
        return np.asarray(self.distances(rows).argmin(axis=1), dtype=np.intp)

    def assign_one(self, row: Sequence[float]) -> int:
        """What `assign` says of one row, in 6 µs instead of 88."""
        scaled = []
        for place, code, is_log, centre, scale in self._plan:
            value = row[place]
            if code >= 0.0:
                value = 1.0 if value == code else 0.0
            elif is_log:
                value = math.copysign(math.log1p(abs(value)), value)
            value = (value - centre) * scale
            scaled.append(0.0 if value != value else min(max(value, -CLIP), CLIP))
        return int((self._halves - self._centroids.dot(scaled)).argmin())

    def rfm_one(self, row: Sequence[float]) -> Rfm | None:
        """What `rfm` says of one row, in 3 µs instead of 86."""
        cuts = self._rfm
        if cuts is None:
            return None
        recency, frequency, money = (row[place] for place in self._rfm_places)
        if recency != recency:
            return None
        return Rfm.of(
            _LEVELS - bisect_left(cuts.recency, recency),
            1 + bisect_left(cuts.frequency, frequency),
            1 + bisect_left(cuts.money, money),
        )

    def rfm(self, rows: NDArray[np.float32]) -> list[Rfm | None]:
        """The RFM levels of rows; None for who never bought, or where purchases are not known at all."""
        cuts = self._rfm
        if cuts is None:
            return [None] * len(rows)
        recency, frequency, money = (rows[:, place].astype(np.float64) for place in self._rfm_places)
        levels = zip(
            (_LEVELS - np.searchsorted(cuts.recency, recency, side="left")).tolist(),
            (1 + np.searchsorted(cuts.frequency, frequency, side="left")).tolist(),
            (1 + np.searchsorted(cuts.money, money, side="left")).tolist(),
            np.isnan(recency).tolist(),
            strict=True,
        )
        return [None if never else Rfm.of(r, f, m) for r, f, m, never in levels]
