"""How features and scores were distributed when a model was tested, kept with its run; and how far they have moved since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

PARTS = 10
MOST_WORDS = 20
# Half a row in an empty part keeps the logarithm finite.
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Histogram:
    """A column in at most ten parts, or by its twenty most frequent words; what is missing is counted aside.

    `counts` has one figure a part: numbers up to and above each of `edges`, or `words` and all other words.
    """

    edges: tuple[float, ...]
    words: tuple[str, ...] | None
    counts: tuple[int, ...]
    missing: int

    @classmethod
    def of(cls, column: npt.NDArray[Any]) -> Histogram:
        """The histogram of raw values: floats with NaN, or words with None, shape (n,)."""
        if column.dtype == object:
            known = [word for word in column.tolist() if word is not None]
            names, sizes = np.unique(np.array(known, dtype=str), return_counts=True)
            order = np.lexsort((names, -sizes))[:MOST_WORDS]
            empty = cls((), tuple(names[order].tolist()), (), 0)
        else:
            numbers = column[~np.isnan(column)]
            edges = np.unique(np.quantile(numbers, np.arange(1, PARTS) / PARTS)) if len(numbers) else np.array([])
            # Nothing lies above the largest value, unless most values are that one.
            empty = cls(tuple(edges.astype(np.float64).tolist()), None, (), 0)
        return empty.filled(column)

    def filled(self, column: npt.NDArray[Any]) -> Histogram:
        """Other values in the same parts."""
        if self.words is not None:
            place = {word: number for number, word in enumerate(self.words)}
            values = column.tolist()
            at = [place.get(str(word), len(self.words)) for word in values if word is not None]
            missing = sum(word is None for word in values)
            counts = np.bincount(np.array(at, dtype=np.int64), minlength=len(self.words) + 1)
        else:
            numbers = np.asarray(column, dtype=np.float64)
            missing = int(np.isnan(numbers).sum())
            at_edge = np.searchsorted(np.array(self.edges), numbers[~np.isnan(numbers)], side="left")
            counts = np.bincount(at_edge, minlength=len(self.edges) + 1)
        return Histogram(self.edges, self.words, tuple(int(count) for count in counts), missing)

    @property
    def rows(self) -> int:
        """All rows, those with a missing value too."""
        return sum(self.counts) + self.missing

    @property
    def missing_share(self) -> float:
        """The share of rows without a value."""
        return self.missing / max(1, self.rows)

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Histogram:
        """What `to_json` wrote."""
        words = kept["words"]
        return cls(
            tuple(kept["edges"]), None if words is None else tuple(words), tuple(kept["counts"]), int(kept["missing"])
        )


def psi(reference: Histogram, current: Histogram) -> float:
    """The population stability index: the symmetric Kullback-Leibler divergence of the parts' shares, missing among them."""
    first, second = (np.array([*one.counts, one.missing], dtype=np.float64) for one in (reference, current))
    used = (first + second) > 0
    p, q = ((one[used] + HALF) / (one[used] + HALF).sum() for one in (first, second))
    return float(((q - p) * np.log(q / p)).sum())


def psi_of_chance(reference: Histogram, current: Histogram) -> float:
    """What two samples of one population show on average, doubled: (parts − 1)·(1/n + 1/m), Yurdakul (2018)."""
    parts = sum((a + b) > 0 for a, b in zip(reference.counts, current.counts, strict=True))
    parts += reference.missing + current.missing > 0
    return 2.0 * max(0, parts - 1) * (1.0 / max(1, reference.rows) + 1.0 / max(1, current.rows))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a model was tested on: every feature's histogram, the score's, and each feature's share of all contributions."""

    features: Mapping[str, Histogram]
    score: Histogram
    importance: Mapping[str, float]

    @classmethod
    def of(
        cls,
        columns: Mapping[str, npt.NDArray[Any]],
        p: npt.NDArray[np.float64],
        contributions: npt.NDArray[np.float64],
        names: Sequence[str],
    ) -> Snapshot:
        """The snapshot of tested rows.

        Args:
            columns: raw, by name.
            p: probabilities by a model that had not seen the rows.
            contributions: of some of the rows, (m, d + 1) in the order of `names`.
        """
        size = np.abs(contributions[:, :-1]).mean(axis=0)
        share = (size / max(float(size.sum()), 1e-300)).tolist()
        return cls(
            {name: Histogram.of(columns[name]) for name in names}, Histogram.of(p), dict(zip(names, share, strict=True))
        )

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "features": {name: one.to_json() for name, one in self.features.items()},
            "score": self.score.to_json(),
            "importance": dict(self.importance),
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Snapshot:
        """What `to_json` wrote."""
        return cls(
            {name: Histogram.from_json(one) for name, one in kept["features"].items()},
            Histogram.from_json(kept["score"]),
            {name: float(share) for name, share in kept["importance"].items()},
        )
