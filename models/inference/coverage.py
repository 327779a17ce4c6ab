"""Whether enough is known of a customer to call the relationship healthy or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray

# Whoever is known as well as a minimum asks is not to miss it by an error of rounding.
_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of what is typically known of a customer is known of this one, from 0 to 1.

    Each feature counts by the share of training rows that had it: what is null for most costs its absence little. The
    sum is compared with that of the median training row, which has a coverage of 1. A count of no events is 0 whether a
    customer is quiet or new: it is known only where its `witness` is, a column that is null until something of its kind
    happens. A customer of whom no witness is known has a coverage of 0: nothing ever happened.

    Attributes:
        presence: (d,) the share of training rows of which a column was known.
        witness: (d,) per column the column that must be known too; its own where there is none.
        typical: the weighted share that the median training row had.
    """

    presence: tuple[float, ...]
    witness: tuple[int, ...]
    typical: float
    _weights: FloatArray = field(init=False, repr=False, compare=False)
    _witness: NDArray[np.intp] = field(init=False, repr=False, compare=False)
    _witnesses: NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        weights, witness = np.array(self.presence), np.array(self.witness, dtype=np.intp)
        d = len(weights)
        if not (0 < d == len(witness) and witness.min() >= 0 and witness.max() < d):
            raise ValueError("Coverage needs one witness among the columns for each column.")
        if not ((weights >= 0.0) & (weights <= 1.0)).all() or not (weights.sum() > 0.0 and 0.0 < self.typical <= 1.0):
            raise ValueError("Coverage needs shares between 0 and 1, not all of them 0.")
        object.__setattr__(self, "_weights", weights / (weights.sum() * self.typical))
        object.__setattr__(self, "_witness", witness)
        object.__setattr__(self, "_witnesses", np.unique(witness[witness != np.arange(d)]))

    def of(self, matrix: NDArray[np.float32]) -> FloatArray:
        """The coverage (n,) of rows (n, d) of the model's matrix, in which NaN is not known."""
        known = matrix == matrix
        # Products and sums in the columns' order: the same for a row whatever rows come with it.
        share = ((known & known[:, self._witness]) * self._weights).cumsum(axis=1)[:, -1]
        if self._witnesses.size:
            share *= known[:, self._witnesses].any(axis=1)
        return np.asarray(np.minimum(np.round(share, _DECIMALS), 1.0), dtype=np.float64)

    def to_json(self) -> dict[str, Any]:
        """This coverage as plain JSON."""
        return {"presence": list(self.presence), "witness": list(self.witness), "typical": self.typical}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Coverage:
        """The coverage that `to_json` wrote."""
        return cls(
            tuple(map(float, content["presence"])), tuple(map(int, content["witness"])), float(content["typical"])
        )

    @classmethod
    def fit(cls, matrix: NDArray[np.float32], witness: Sequence[int]) -> Coverage:
        """What is typically known, from the training rows (n, d) of the model's matrix."""
        known = matrix == matrix
        known &= known[:, np.array(witness, dtype=np.intp)]
        presence = known.mean(axis=0, dtype=np.float64)
        shares = (known @ presence) / presence.sum()
        # All that there is adds up to one, but for an error of rounding.
        typical = min(1.0, float(np.median(shares)) or float(shares.mean()))
        return cls(tuple(presence.tolist()), tuple(int(column) for column in witness), typical)
