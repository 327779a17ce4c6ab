"""Trials: logged decisions as arrays, what effects are learned from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from models.arrays import Flags, FloatArray, Matrix, Rows
from models.errors import EffectError

NOTHING = 0
"""The code of what effects are against: doing nothing, or whatever the `Reference` of the log is."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What was known, what was done, with which probability, and what came of it; one row a decision.

    Shapes: `X` float32 (n, d) with codes for categories and NaN for null; `action` (n,), 0 for doing nothing and
    1 … k for the actions; `y` (n,) the reward, more of it being better; `pscore` (n,) the probability of the action
    that was taken; `eligible` (n, 1 + k) what might have been taken; `group` (n,) equal for one customer's rows.
    """

    X: Matrix
    action: Rows
    y: FloatArray
    pscore: FloatArray
    eligible: Flags
    group: Rows
    n_categories: Mapping[int, int] = field(default_factory=dict)
    """By column of X: how many codes it has; absent for numbers."""
    response: FloatArray | None = None
    """Whether the customer answered to the action, as by a click (n,): 1, 0, or NaN where that is not known."""
    against_policy: bool = False
    """Code 0 is then nothing that could be done: it stands for the policy that made the log, and every row is its trial."""

    def __post_init__(self) -> None:
        n = len(self.X)
        if not len(self.action) == len(self.y) == len(self.pscore) == len(self.eligible) == len(self.group) == n:
            raise EffectError("Trials need as many actions, rewards, propensities and groups as rows.")
        if not n:
            raise EffectError("There are no trials.")
        if not (np.isfinite(self.y).all() and (self.pscore > 0).all() and (self.pscore <= 1).all()):
            raise EffectError("Every trial needs a finite reward, and a propensity above 0 and at most 1.")
        if not self.eligible[np.arange(n), self.action].all():
            raise EffectError("An action was taken that is said not to have been eligible.")

    def __len__(self) -> int:
        return len(self.action)

    @property
    def k(self) -> int:
        """How many actions there are beside doing nothing."""
        return int(self.eligible.shape[1]) - 1

    @property
    def is_binary(self) -> bool:
        """Whether the reward is 0 or 1."""
        return bool(np.isin(self.y, (0.0, 1.0)).all())

    def take(self, rows: Rows | Flags) -> Trials:
        """Some of the rows."""
        return Trials(
            self.X[rows],
            self.action[rows],
            self.y[rows],
            self.pscore[rows],
            self.eligible[rows],
            self.group[rows],
            self.n_categories,
            None if self.response is None else self.response[rows],
            self.against_policy,
        )

    def rows_of(self, arm: int) -> Rows:
        """The rows that are trials of a code."""
        if self.against_policy and arm == NOTHING:
            return np.arange(len(self))
        return np.flatnonzero(self.action == arm)

    def counts(self) -> Rows:
        """How many trials each code has (1 + k,)."""
        return np.array([len(self.rows_of(arm)) for arm in range(self.k + 1)], dtype=np.int64)

    def folds(self, n_folds: int, seed: int) -> Iterator[tuple[Rows, Rows]]:
        """Rows to fit on and rows to hold out; the rows of a group stay together, actions and rewards are spread evenly."""
        fold = self.fold_numbers(n_folds, seed)
        for number in range(n_folds):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

    def fold_numbers(self, n_folds: int, seed: int) -> Rows:
        """The fold (n,) of each row."""
        rng = np.random.default_rng(seed)
        first = np.unique(self.group, return_index=True)[1]
        # Groups in the order of what was done in them and came of it, dealt round after a shuffle, n_folds at a time.
        order = first[np.lexsort((rng.random(len(first)), self.y[first], self.action[first]))]
        dealt = np.empty(len(order), dtype=np.int64)
        for start in range(0, len(order), n_folds):
            some = order[start : start + n_folds]
            dealt[start : start + n_folds] = rng.permutation(n_folds)[: len(some)]
        by_group = dict(zip(self.group[order].tolist(), dealt.tolist(), strict=True))
        return np.array([by_group[group] for group in self.group.tolist()], dtype=np.int64)

    def fold_numbers_by_chance(self, n_folds: int, seed: int) -> Rows:
        """The fold (n,) of each row by chance alone, the rows of a group together: what a choice is judged on.

        Where rewards are spread evenly, every fold repeats what the others say, and flatters whoever listened to them.
        """
        rng = np.random.default_rng(seed)
        members = np.unique(self.group, return_inverse=True)[1]
        n_groups = int(members.max()) + 1
        return (rng.permutation(n_groups) % n_folds)[members].astype(np.int64)


def doubly_robust(trials: Trials, means: FloatArray) -> FloatArray:
    """Each row's doubly robust score of the mean reward of every action, (n, 1 + k).

    Its mean over rows is an unbiased estimate of what the action earns on them, whatever `means` are, if the pscores
    are right. What the policy that made the log earns needs no model: it is the reward itself.
    Source: Dudík, Langford and Li (2011), "Doubly robust policy evaluation and learning".

    Args:
        means: the mean reward of every action (n, 1 + k), by models that did not see the row.
    """
    scores = means.copy()
    rows = np.arange(len(trials))
    taken = trials.action
    scores[rows, taken] += (trials.y - means[rows, taken]) / trials.pscore
    if trials.against_policy:
        scores[:, NOTHING] = trials.y
    return scores
