"""Recipes tried on several folds side by side."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import lightgbm
import numpy as np
import pytest

from models.estimators.binned_logistic import LinearPart
from models.estimators.recipe import Course, Fold, LabelledRows, LinearParts, Recipe, held_out_course, trained
from models.explanation.tree_shap import TreeShap


def test_no_data_set_asks_for_more_than_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """LightGBM's number of cores is one for all threads of a process: one that raises it writes past another's memory."""
    asked: list[Any] = []
    initialise = lightgbm.Dataset._lazy_init

    def noted(self: lightgbm.Dataset, *arguments: Any, params: dict[str, Any] | None, **more: Any) -> lightgbm.Dataset:
        asked.append((params or {}).get("num_threads"))
        return initialise(self, *arguments, params=params, **more)

    monkeypatch.setattr(lightgbm.Dataset, "_lazy_init", noted)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3)).astype(np.float32)
    y = (rng.random(300) < 0.3).astype(np.int64)
    folds = [(np.flatnonzero(np.arange(300) % 3 != k), np.flatnonzero(np.arange(300) % 3 == k)) for k in range(3)]
    held_out_course(LabelledRows(X, y), folds, Recipe(max_trees=5), threads=2)
    assert len(asked) == 6
    assert set(asked) == {1}


def _drawn(seed: int = 3, n: int = 1200, levels: int = 30) -> tuple[LabelledRows, list[Fold]]:
    """A word whose levels work one way for small values of a number, and another way for great ones."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, levels, n), rng.normal(size=n)]).astype(np.float32)
    effect = rng.normal(0.0, 2.0, (2, levels))[(X[:, 1] > 0).astype(int), X[:, 0].astype(int)]
    y = (rng.random(n) < 1.0 / (1.0 + np.exp(-effect))).astype(np.int64)
    held_out = rng.permutation(n).reshape(3, -1)
    folds = [(np.setdiff1d(np.arange(n), part), np.sort(part)) for part in held_out]
    return LabelledRows(X, y, words=frozenset({0})), folds


def test_words_are_split_by_sets_of_their_levels_where_the_recipe_says_so() -> None:
    rows, folds = _drawn()
    for penalty, blended in ((None, False), (10.0, False), (10.0, True)):
        by_sets = Recipe(penalty, blended, categorical=True, min_child_samples=5, max_trees=100)
        booster = trained(rows, by_sets, held_out_course(rows, folds, by_sets).trees)
        assert 'decision_type": "=="' in json.dumps(booster.dump_model())
        points = TreeShap(booster.model_to_string()).contributions(rows.X.astype(np.float64))
        assert points.sum(axis=1) == pytest.approx(booster.predict(rows.X, raw_score=True), abs=1e-9)
        by_order = trained(rows, replace(by_sets, categorical=False), 10)
        assert 'decision_type": "=="' not in json.dumps(by_order.dump_model())


def test_a_linear_part_that_recipes_share_is_fitted_once_a_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, folds = _drawn()
    recipes = [Recipe(10.0, num_leaves=size, max_trees=20) for size in (2, 8)]
    alone = [held_out_course(rows, folds, recipe) for recipe in recipes]
    fitted: list[float] = []
    fit = LinearPart.fit

    def counted(X: Any, y: Any, *, penalty: float, **more: Any) -> LinearPart:
        fitted.append(penalty)
        return fit(X, y, penalty=penalty, **more)

    monkeypatch.setattr(LinearPart, "fit", counted)
    known = LinearParts()
    together = [held_out_course(rows, folds, recipe, linear=known) for recipe in recipes]
    assert fitted == [10.0] * len(folds)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(np.concatenate(one.margins), np.concatenate(other.margins))
    held_out_course(rows, folds, Recipe(1.0, max_trees=0), linear=known)
    assert fitted == [10.0] * len(folds) + [1.0] * len(folds)


@pytest.mark.parametrize("recipe", [Recipe(max_trees=30), Recipe(10.0, max_trees=0), Recipe(10.0, True, max_trees=30)])
def test_a_recipe_is_given_up_after_two_folds_or_runs_as_if_nobody_had_asked(recipe: Recipe) -> None:
    rows, folds = _drawn()
    whole = held_out_course(rows, folds, recipe)
    begun: list[Course] = []

    def hopeless(course: Course) -> bool:
        begun.append(course)
        return len(begun) == 2

    asked, given_up = (held_out_course(rows, folds, recipe, hopeless=hopeless) for _ in range(2))
    assert (asked.trees, asked.size) == (whole.trees, whole.size)
    assert np.array_equal(np.concatenate(asked.margins), np.concatenate(whole.margins))
    alone = held_out_course(rows, folds[:2], recipe)
    for course in (*begun, given_up):
        assert course.trees == alone.trees
        assert np.array_equal(np.concatenate(course.margins), np.concatenate(alone.margins))
    held_out_course(rows, folds[:2], recipe, hopeless=hopeless)
    assert len(begun) == 2, "there is nothing to spare where no fold is left"
