"""Recipes tried on several folds side by side."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from models.estimators.recipe import LabelledRows, Recipe, held_out_course


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
