"""A log of decisions: what was known of each customer, what was done, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from features.schema import DType, FeatureSchema
from models.arrays import Flags, FloatArray, Matrix, Rows
from models.decisions.logged_trials import NOTHING, Trials
from models.decisions.reference import Reference
from training.dataset.target_encoding import RARE, Categories
from training.errors import DecisionLogError

MOST_CATEGORIES = 50
"""Of a feature's words, the most frequent get a code."""
MOST_ACTIONS = 100
FEWEST_ROWS = 100
MISTAKEN = 0.2
"""Where so many pscores cannot be, they are something else; fewer are rows that teach nothing."""


@dataclass(frozen=True, slots=True)
class DecisionLog:
    """Decisions in the order of their source, those that cannot be learned from among them.

    Shapes: `columns` by feature (n,), float64 with NaN for null or objects of str with None; `row` (n,) the place in the
    file; `action` (n,) 0 for the reference, 1 … k, or −1 where it is not known; `reward` and `pscore` (n,), NaN where
    not known; `eligible` (n, 1 + k); `customer_id` (n,) objects of str; `response` (n,) or None, see `Trials`.
    """

    unit: Literal["churn_probability", "reward"]
    schema: FeatureSchema
    columns: Mapping[str, npt.NDArray[Any]]
    actions: tuple[str, ...]
    """The names of the k actions."""
    reference: Reference
    """What code 0 stands for, and effects are against."""
    row: Rows
    action: Rows
    reward: FloatArray
    pscore: FloatArray
    eligible: Flags
    customer_id: npt.NDArray[np.object_]
    response: FloatArray | None
    fingerprint: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """How the file was read."""

    def __len__(self) -> int:
        return len(self.row)

    @property
    def names(self) -> tuple[str, ...]:
        """All actions by their codes, the reference first."""
        return (self.reference.name, *self.actions)

    def usable(self) -> Rows:
        """The rows from which something can be learned."""
        known = (self.action >= NOTHING) & np.isfinite(self.reward)
        with np.errstate(invalid="ignore"):
            return np.flatnonzero(known & (self.pscore > 0.0) & (self.pscore <= 1.0))

    def informative(self, rows: Rows) -> tuple[FeatureSchema, tuple[str, ...]]:
        """The features that tell some rows apart, perhaps none, and a sentence about those that do not."""
        kept: list[str] = []
        left_out: list[str] = []
        for feature in self.schema:
            column = self.columns[feature.name][rows]
            if feature.dtype is DType.STRING:
                counts = Counter(word for word in column.tolist() if word is not None)
                frequent = [word for word, count in counts.items() if count >= RARE]
                tells = len(frequent) > 1 or (len(frequent) == 1 and counts[frequent[0]] < len(column))
            else:
                known = column[~np.isnan(column)]
                tells = len(known) > 0 and (bool(np.ptp(known) > 0) or len(known) < len(column))
            (kept if tells else left_out).append(feature.name)
        shown = ", ".join(f"'{name}'" for name in left_out[:8])
        more = f" and {len(left_out) - 8} more" if len(left_out) > 8 else ""
        notes: tuple[str, ...] = (f"Left out, as they say nothing that repeats: {shown}{more}.",) if left_out else ()
        if not kept:
            notes = (
                *notes,
                "No column tells one decision from another: effects are averages, and no policy is personal.",
            )
        return self.schema.select(kept), notes

    def categories(self, schema: FeatureSchema, rows: Rows) -> Categories:
        """The words of each string feature that are frequent enough among some rows, by name."""
        found: Categories = {}
        for feature in schema:
            if feature.dtype is DType.STRING:
                counts = Counter(word for word in self.columns[feature.name][rows].tolist() if word is not None)
                frequent = [word for word, count in counts.most_common(MOST_CATEGORIES) if count >= RARE]
                found[feature.name] = tuple(sorted(frequent))
        return found

    def X(self, schema: FeatureSchema, categories: Categories) -> Matrix:
        """All rows encoded as float32 (n, d)."""
        return schema.to_matrix(self.columns, categories, len(self))

    def trials(self, X: Matrix, schema: FeatureSchema, categories: Categories, rows: Rows) -> Trials:
        """Some usable rows as trials."""
        return Trials(
            X=X[rows],
            action=self.action[rows],
            y=self.reward[rows],
            pscore=self.pscore[rows],
            eligible=self.eligible[rows],
            group=np.unique(self.customer_id[rows].astype(str), return_inverse=True)[1].astype(np.int64),
            n_categories={
                position: len(categories[feature.name])
                for position, feature in enumerate(schema)
                if feature.dtype is DType.STRING
            },
            response=None if self.response is None else self.response[rows],
            against_policy=not self.reference.is_choice,
        )


def check(log: DecisionLog, where: str) -> tuple[str, ...]:
    """Refuse a log from which nothing can be learned; return what a user should know about it.

    Raises:
        DecisionLogError: too few rows are whole, the reference was never tried, or the pscores are something else.
    """
    mistaken = _mistaken_pscores(log)
    if mistaken is not None:
        raise DecisionLogError(
            f"{where}: the pscores {mistaken}; a pscore is the probability, above 0 and at most 1, with which the action that "
            f"was decided was drawn."
        )
    rows = log.usable()
    if len(rows) < FEWEST_ROWS:
        raise DecisionLogError(
            f"{where}: {len(rows)} of {len(log)} decisions have an action, a reward and a pscore above 0 and at most 1, "
            f"but at least {FEWEST_ROWS} are needed."
        )
    counts = np.bincount(log.action[rows], minlength=len(log.names))
    if log.reference.is_choice and counts[NOTHING] == 0:
        raise DecisionLogError(
            f"{where}: '{log.reference.name}' was never decided, so there is nothing to compare with."
        )
    notes = []
    if len(rows) < len(log):
        notes.append(
            f"{len(log) - len(rows):,} of {len(log):,} decisions lack an action, a reward or a pscore above 0 and at "
            f"most 1: nothing is learned from them."
        )
    for code, name in enumerate(log.names):
        sample = rows[log.eligible[rows, code]]
        if not len(sample):
            continue
        figures = np.where(log.action[sample] == code, 1.0 / log.pscore[sample], 0.0)
        error = float(figures.std()) / len(figures) ** 0.5
        if abs(figures.mean() - 1.0) > max(5.0 * error, 0.03):
            notes.append(
                f"The pscores do not fit how often '{name}' was decided (1/pscore averages {figures.mean():.3f}, which "
                f"should be 1): estimates from this log may be wrong."
            )
    return tuple(notes)


def _mistaken_pscores(log: DecisionLog) -> str | None:
    """What the pscores are instead of probabilities, if most of them are."""
    drawn = np.isfinite(log.pscore) & (log.action >= NOTHING) & (log.eligible.sum(axis=1) > 1)
    chosen = log.pscore[drawn]
    if not len(chosen):
        return None
    if (chosen > 1.0).mean() > MISTAKEN:
        return f"go up to {chosen.max():g}, above 1: {_instead(chosen, float(log.eligible[drawn].sum(axis=1).mean()))}"
    if (chosen < 0.0).mean() > MISTAKEN:
        return f"go down to {chosen.min():g}, below 0: if they are logarithms, give their exponential"
    if np.isin(chosen, (0.0, 1.0)).all() and (chosen == 0.0).any():
        return "hold only 0 and 1: a flag of what was done"
    if (chosen == 1.0).all() and len(np.unique(log.action[drawn])) > 1:
        return "are all 1, as if nothing had been drawn, or a flag of what was done"
    if (chosen == 0.0).mean() > MISTAKEN:
        return f"are 0 for what was done in {(chosen == 0.0).mean():.0%} of the decisions"
    return None


def _instead(chosen: FloatArray, actions: float) -> str:
    """What to do with pscores above 1: 1/pscore averages the number of actions that might have been taken."""
    positive = chosen[chosen > 0.0]
    averages = {
        "divide per cent by 100": float((100.0 / positive).mean()),
        "divide per mille by 1000": float((1000.0 / positive).mean()),
        "they look like 1/pscore, so give the inverse": float(positive.mean()),
    }
    return min(averages, key=lambda advice: abs(float(np.log(averages[advice] / actions))))
