"""How sure a probability is and when a customer leaves, looked up: what each answer adds to the headline."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.arrays import FloatArray
from models.inference.calibration import expit
from models.registry.model_bundle import ModelBundle

_FARTHEST = 35.0
"""Where the table ends: no log-odds lie further, `logit` sees to that."""
_PER_LOG_ODDS = 128
"""Entries per unit of log-odds; between them, a straight line is off by less than 1e-5 of the figure."""


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """What is said beside n probabilities; None where the model's bundle has no such part.

    `low` and `high` (n,) bound the churn rate among customers with this score; `within` (n, days) is the probability of
    churn within each of `UncertaintyTable.days`, and `expected` (n,) the days until then, those beyond the limit not counted.
    """

    low: FloatArray | None
    high: FloatArray | None
    within: FloatArray | None
    expected: FloatArray | None

    @property
    def columns(self) -> list[FloatArray]:
        """What there is, (n,) each, in the order of `UncertaintyTable.of_one`."""
        days = () if self.within is None else self.within.T
        return [column for column in (self.low, self.high, *days, self.expected) if column is not None]


@dataclass(frozen=True, slots=True)
class UncertaintyTable:
    """A bundle's interval and horizons, tabulated by log-odds when a release is loaded.

    The headline is no table's: the horizon that is the business's own is answered with the probability itself, and what
    must not lie above or below the probability does not, to the last bit.
    """

    days: tuple[int, ...]
    """The horizons that are answered, rising; empty where the bundle has none."""
    has_interval: bool
    _table: FloatArray = field(repr=False)
    """(entries, 2 · columns): the columns that p caps (`low`, and horizons up to its own), those that p is a floor of,
    `expected`; then how much each rises to the next entry."""
    _capped: int
    """How many columns p caps; they come first, `low` before the horizons."""
    _floored: int
    """How many columns p is a floor of; `high` is the last of them."""
    _own: bool
    """Whether the last column that p caps is the business's own horizon, whose figure p is."""

    @classmethod
    def of_bundle(cls, bundle: ModelBundle) -> UncertaintyTable:
        """The table of a bundle, of as many parts as it has."""
        z = np.linspace(-_FARTHEST, _FARTHEST, round(2 * _FARTHEST * _PER_LOG_ODDS) + 1)
        p = expit(z)
        capped: list[FloatArray] = []
        floored: list[FloatArray] = []
        expected: list[FloatArray] = []
        days: tuple[int, ...] = ()
        if bundle.interval is not None:
            low, high = bundle.interval.bounds(p, z)
            capped.append(low)
            floored.append(high)
        if bundle.horizons is not None and bundle.horizons.days:
            days = bundle.horizons.days
            within, restricted_mean = bundle.horizons.outlook(p, z)
            early = sum(at <= bundle.horizon_days for at in days)
            capped += list(within.T[:early])
            floored = [*within.T[early:], *floored]
            expected.append(restricted_mean)
        table = np.column_stack([*capped, *floored, *expected]) if capped or floored else np.empty((len(z), 0))
        return cls(
            days=days,
            has_interval=bundle.interval is not None,
            _table=np.hstack([table, np.diff(table, axis=0, append=table[-1:])]),
            _capped=len(capped),
            _floored=len(floored),
            _own=bundle.horizon_days in days,
        )

    def of(self, p: FloatArray, log_odds: FloatArray) -> Uncertainty:
        """What is said beside probabilities (n,), given with their log-odds."""
        columns = self._table.shape[1] // 2
        if columns == 0:
            return Uncertainty(None, None, None, None)
        at = np.minimum(np.maximum((log_odds + _FARTHEST) * _PER_LOG_ODDS, 0.0), len(self._table) - 1.0)
        entry = at.astype(np.intp)
        found = self._table[entry]
        found = found[:, :columns] + found[:, columns:] * (at - entry)[:, None]
        headline = p[:, None]
        capped, floored = found[:, : self._capped], found[:, self._capped : self._capped + self._floored]
        np.minimum(capped, headline, out=capped)
        np.maximum(floored, headline, out=floored)
        if self._own:
            capped[:, -1] = p
        first = int(self.has_interval)
        return Uncertainty(
            low=found[:, 0] if self.has_interval else None,
            high=floored[:, -1] if self.has_interval else None,
            within=found[:, first : first + len(self.days)] if self.days else None,
            expected=found[:, -1] if self.days else None,
        )

    def of_one(self, p: float, log_odds: float) -> list[float]:
        """The same of one probability, to the bit: `low`, `high`, `within` and `expected`, as far as there are any.

        A single customer would pay for arrays of one: 126 µs instead of 5.
        """
        columns = self._table.shape[1] // 2
        if columns == 0:
            return []
        at = min(max((log_odds + _FARTHEST) * _PER_LOG_ODDS, 0.0), len(self._table) - 1.0)
        entry = int(at)
        row: list[float] = self._table[entry].tolist()
        part, capped, floored = at - entry, self._capped, self._capped + self._floored
        found = [figure + rise * part for figure, rise in zip(row[:columns], row[columns:], strict=True)]
        found[:capped] = [min(figure, p) for figure in found[:capped]]
        found[capped:floored] = [max(figure, p) for figure in found[capped:floored]]
        if self._own:
            found[capped - 1] = p
        if self.has_interval:
            # `high` is the last of those that p is a floor of.
            found.insert(1, found.pop(floored - 1))
        return found
