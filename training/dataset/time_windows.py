"""Labelled windows in time: which came when, and what was known when one began."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from models.arrays import Rows

Fold = tuple[Rows, Rows]

# An ordered table has no cutoffs: so many equal parts of it stand for windows.
PARTS = 5
MOST_FOLDS = 3
_YEAR = timedelta(days=365.25)


@dataclass(frozen=True, slots=True)
class Windows:
    """The labelled windows of training rows, numbered from the oldest.

    `number` has each row's window, shape (n,); `ended[w]` are the windows whose outcome was known when window w began, and
    `began[w]` is when that was, in horizons after the first. `year` is as long as a year, in horizons; None where rows
    have an order and no dates.
    """

    number: Rows
    ended: tuple[tuple[int, ...], ...]
    began: tuple[float, ...]
    year: float | None = None

    def until(self, window: int) -> Windows:
        """The rows of windows that had ended when a window began, and these windows."""
        ended = self.ended[window]
        kept = max(ended, default=-1) + 1
        rows = np.isin(self.number, ended)
        return Windows(self.number[rows], self.ended[:kept], self.began[:kept], self.year)

    @classmethod
    def of_cutoffs(cls, number: Rows, cutoffs: Sequence[datetime], horizon_days: int) -> Windows:
        """The windows that begin at `cutoffs`, oldest first, and last for the horizon."""
        horizon = timedelta(days=horizon_days)
        ended = tuple(
            tuple(w for w, earlier in enumerate(cutoffs) if earlier + horizon <= cutoff) for cutoff in cutoffs
        )
        began = tuple((cutoff - cutoffs[0]) / horizon for cutoff in cutoffs)
        return cls(number, ended, began, _YEAR / horizon)

    @classmethod
    def of_order(cls, rank: Rows) -> Windows:
        """Five equal parts of rows that stand in time order; rows of equal rank are in one part."""
        edges = np.quantile(rank, np.arange(1, PARTS) / PARTS, method="lower")
        number = np.unique(np.searchsorted(edges, rank, side="left"), return_inverse=True)[1].astype(np.int64)
        parts = range(int(number.max()) + 1)
        return cls(number, tuple(tuple(range(w)) for w in parts), tuple(map(float, parts)))

    def folds(self, y: npt.NDArray[np.int8]) -> list[Fold]:
        """Each of the newest windows (three at most) held out from those that had ended when it began.

        Windows that leave one class only on either side are passed over.
        """
        folds: list[Fold] = []
        for window in reversed(range(len(self.ended))):
            seen = np.flatnonzero(np.isin(self.number, self.ended[window]))
            held_out = np.flatnonzero(self.number == window)
            if len(np.unique(y[seen])) == 2 and len(np.unique(y[held_out])) == 2:
                folds.append((seen, held_out))
            if len(folds) == MOST_FOLDS:
                break
        return folds
