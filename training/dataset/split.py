"""Which rows train and which rows test, so that no metric flatters."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

from models.arrays import Rows
from training.errors import LabelError

FOLDS = 5
SEED = 42
TEST_SHARE = 0.2
# Below one distinct row in ten, equal rows are a coarse table's own repeats, not copies.
FEWEST_DISTINCT = 0.1


class SplitKind(StrEnum):
    """How rows are divided: by time, or at random in five folds, with or without groups that stay together."""

    TIME = "time"
    STRATIFIED = "stratified"
    GROUPED = "grouped"


@dataclass(frozen=True, slots=True)
class Fold:
    """Row numbers to train on and to test on, sorted."""

    train: Rows
    test: Rows


@dataclass(frozen=True, slots=True)
class Split:
    """A time split has one fold; the others have five, in which every row is tested once."""

    kind: SplitKind
    folds: tuple[Fold, ...]

    @property
    def is_time(self) -> bool:
        return self.kind is SplitKind.TIME


def identical_rows(matrix: npt.NDArray[np.float32]) -> Rows:
    """Number rows so that equal rows, NaNs equal too, share a number; shape (n,).

    A table with less than one distinct row in ten is taken as coarse: there every row gets a number of its own.
    """
    # Equal numbers must have equal bytes: one NaN, and no −0.0.
    plain = np.where(np.isnan(matrix), np.float32(np.nan), matrix) + np.float32(0.0)
    rows = np.ascontiguousarray(plain).view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1]))).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    if len(first) < FEWEST_DISTINCT * len(matrix):
        return np.arange(len(matrix), dtype=np.int64)
    return np.asarray(group, dtype=np.int64).ravel()


def together(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> Rows:
    """Number rows so that those linked by either numbering, even through others, share a number; shape (n,)."""
    parent: dict[tuple[int, int], tuple[int, int]] = {}

    def root(node: tuple[int, int]) -> tuple[int, int]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        parent[root((0, a))] = root((1, b))
    numbers: dict[tuple[int, int], int] = {}
    return np.array([numbers.setdefault(root((0, a)), len(numbers)) for a in first.tolist()], dtype=np.int64)


def in_folds(y: npt.NDArray[np.int8], groups: Rows) -> Split:
    """Five folds, seed 42, stratified by outcome; rows of one group never straddle.

    Args:
        y: outcomes, shape (n,).
        groups: group numbers, shape (n,); all different where nothing has to stay together.

    Raises:
        LabelError: fewer than five groups hold a churner, or a stayer.
    """
    for outcome, what in ((1, "churned"), (0, "did not churn")):
        if len(np.unique(groups[y == outcome])) < FOLDS:
            raise LabelError(
                f"Fewer than {FOLDS} groups of rows {what}: {FOLDS} folds need at least one each, so give more data or no 'group'."
            )
    if len(np.unique(groups)) == len(y):
        pairs = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(np.zeros((len(y), 1)), y)
        return Split(SplitKind.STRATIFIED, tuple(Fold(np.sort(train), np.sort(test)) for train, test in pairs))
    return Split(SplitKind.GROUPED, dealt(y, groups))


def dealt(y: npt.NDArray[np.int8], groups: Rows) -> tuple[Fold, ...]:
    """Five folds of whole groups, with about the same outcomes and sizes in each.

    Groups are dealt like cards, in order of their churn rate and size and, among equals, by chance (seed 42).
    scikit-learn's StratifiedGroupKFold looks for the best fold of each group in turn, which takes minutes where most
    of a hundred thousand rows are groups of their own.
    """
    _, group = np.unique(groups, return_inverse=True)
    size = np.bincount(group)
    churned = np.bincount(group, weights=y)
    chance = np.random.default_rng(SEED).permutation(len(size))
    order = np.lexsort((chance, size, churned / size))
    # There and back again, so that no fold always gets the greater of two neighbours.
    cycle = np.concatenate([np.arange(FOLDS), np.arange(FOLDS)[::-1]])
    fold = np.empty(len(size), dtype=np.int64)
    fold[order] = np.resize(cycle, len(size))
    number = fold[group]
    return tuple(Fold(np.flatnonzero(number != k), np.flatnonzero(number == k)) for k in range(FOLDS))


def in_order(rank: npt.NDArray[np.int64], groups: Rows) -> Split:
    """The last 20 % of rows in time order test; training rows that share a group with them are left out.

    Args:
        rank: the rows' place in time, shape (n,); rows of equal rank stay on one side.
        groups: group numbers, shape (n,).
    """
    order = np.argsort(rank, kind="stable")
    edge = rank[order[len(rank) - max(1, round(TEST_SHARE * len(rank)))]]
    test = np.flatnonzero(rank >= edge)
    train = np.flatnonzero((rank < edge) & ~np.isin(groups, groups[test]))
    return Split(SplitKind.TIME, (Fold(train, test),))


def at_cutoffs(is_test: npt.NDArray[np.bool_]) -> Split:
    """Rows of earlier cutoffs train, rows of the test cutoffs test."""
    return Split(SplitKind.TIME, (Fold(np.flatnonzero(~is_test), np.flatnonzero(is_test)),))
