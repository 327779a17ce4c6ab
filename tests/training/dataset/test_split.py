"""Nothing that must stay together is divided, and nothing that tests has trained."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.arrays import Rows
from training.dataset.split import Split, SplitKind, at_cutoffs, identical_rows, in_folds, in_order, together
from training.errors import LabelError


def _no_group_straddles(split: Split, groups: Rows) -> bool:
    return all(not set(groups[fold.train]) & set(groups[fold.test]) for fold in split.folds)


@given(st.integers(0, 2**32), st.integers(30, 120), st.integers(0, 60))
def test_groups_stay_together_and_every_row_is_tested_once(seed: int, n: int, copies: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.r_[np.arange(n), rng.integers(0, n, copies)]
    y = rng.permutation(np.arange(len(groups)) % 3 == 0).astype(np.int8)
    split = in_folds(y, groups)
    assert split.kind is (SplitKind.GROUPED if copies else SplitKind.STRATIFIED)
    assert _no_group_straddles(split, groups)
    assert np.array_equal(np.sort(np.concatenate([fold.test for fold in split.folds])), np.arange(len(groups)))
    assert all(not set(fold.train) & set(fold.test) for fold in split.folds)


@given(st.integers(0, 2**32), st.integers(10, 200), st.integers(1, 50))
def test_order_is_respected(seed: int, n: int, ranks: int) -> None:
    rng = np.random.default_rng(seed)
    rank, groups = rng.integers(0, ranks, n), rng.integers(0, n, n)
    (fold,) = in_order(rank, groups).folds
    assert len(fold.test) >= 0.2 * n - 1
    assert not len(fold.train) or rank[fold.train].max() < rank[fold.test].min()
    assert not set(groups[fold.train]) & set(groups[fold.test])


def test_identical_rows_share_a_number() -> None:
    X = np.array([[1, np.nan], [0.0, 2], [1, np.nan], [-0.0, 2], [1, 2]], dtype=np.float32)
    number = identical_rows(X)
    assert number[0] == number[2]
    assert number[1] == number[3]
    assert len(set(number.tolist())) == 3


def test_a_coarse_table_has_no_copies() -> None:
    X = np.random.default_rng(0).integers(0, 2, (500, 3)).astype(np.float32)
    assert len(set(identical_rows(X).tolist())) == 500


def test_a_file_that_was_appended_twice_has_copies() -> None:
    X = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert len(set(identical_rows(np.vstack([X, X])).tolist())) == 100


def test_links_reach_through_others() -> None:
    linked = together(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2]))
    assert linked[0] == linked[1] == linked[2] != linked[3]


def test_cutoffs_divide() -> None:
    (fold,) = at_cutoffs(np.array([False, True, False])).folds
    assert fold.train.tolist() == [0, 2]
    assert fold.test.tolist() == [1]


def test_too_few_churners_for_five_folds() -> None:
    y = np.zeros(100, dtype=np.int8)
    y[:4] = 1
    with pytest.raises(LabelError, match="churned"):
        in_folds(y, np.arange(100))


def test_folds_of_groups_have_the_same_outcomes() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 300, 2000)
    y = (rng.random(300)[groups] < 0.2).astype(np.int8)
    folds = in_folds(y, groups).folds
    rates = [y[fold.test].mean() for fold in folds]
    sizes = [len(fold.test) for fold in folds]
    assert max(rates) - min(rates) < 0.06
    assert max(sizes) - min(sizes) < 80
