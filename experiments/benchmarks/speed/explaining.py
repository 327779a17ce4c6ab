"""Rows 6 and 7: exact SHAP values of one row and of many, beside LightGBM's own and woodelf's."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.benchmarks.errors import DifferentAnswers
from experiments.benchmarks.figures import PEERS_SHARE, Row, interleaved
from experiments.benchmarks.speed import reference
from features.config.environment import user_cache
from models.explanation.tree_shap import TreeShap

THREADS = 2
_SAME = 1e-9
_SAME_FLOAT32 = 1e-3


def one_row(model: reference.Reference, rounds: int) -> Row:
    """Row 6: a different row each call.

    Raises:
        DifferentAnswers: the values differ.
    """
    shap = TreeShap(model.bundle.model_text, cache=user_cache())
    rows = model.matrix(reference.draw(500, 11))
    _check(shap.contributions(rows), _lightgbm(model, rows, 1), _SAME, "pred_contrib")
    singles = [np.ascontiguousarray(rows[n : n + 1]) for n in range(len(rows))]

    def speed(explain: Callable[[Any], Any]) -> float:
        begun, done = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.5:
            explain(singles[done % len(singles)])
            done += 1
        return done / (time.perf_counter() - begun)

    mine, theirs = interleaved(
        rounds, lambda: speed(shap.contributions), lambda: speed(lambda row: _lightgbm(model, row, 1))
    )
    return Row("6", "exact SHAP, one row", "LightGBM pred_contrib, one thread", "rows/s", 5.0, mine, theirs, {})


def many_rows(model: reference.Reference, rounds: int, rows: int) -> Iterator[Row]:
    """Row 7: all rows in one call, on two threads; of LightGBM, whose cost is each row's own, a tenth of them.

    Raises:
        DifferentAnswers: the values differ.
    """
    shap = TreeShap(model.bundle.model_text, cache=user_cache())
    matrix = model.matrix(reference.draw(rows, 12))
    _check(shap.contributions(matrix[:2000]), _lightgbm(model, matrix[:2000], 1), _SAME, "pred_contrib")

    def speed(explain: Callable[[Any], Any], part: Any) -> float:
        begun = time.perf_counter()
        explain(part)
        return len(part) / (time.perf_counter() - begun)

    def ours() -> float:
        return speed(lambda part: shap.contributions(part, threads=THREADS), matrix)

    tenth = matrix[: rows // PEERS_SHARE]
    mine, theirs = interleaved(rounds, ours, lambda: speed(lambda part: _lightgbm(model, part, THREADS), tenth))
    what = f"exact SHAP, {rows:,} rows, {THREADS} threads"
    yield Row("7", what, "LightGBM pred_contrib", "rows/s", 10.0, mine, theirs, {"rows_of_the_peer": len(tenth)})
    if importlib.util.find_spec("woodelf") is None:
        return
    import pandas as pd
    from woodelf import WoodelfExplainer

    names = model.booster.feature_name()
    # In float32 it would round thresholds, and take the wrong side where a value lies between.
    frame = pd.DataFrame(matrix.astype(np.float64), columns=names)
    explainer = WoodelfExplainer(model.booster)

    def woodelf(part: Any) -> Any:
        return np.asarray(explainer.shap_values(part, verbose=False))

    _check(shap.contributions(matrix[:2000])[:, :-1], woodelf(frame[:2000]), _SAME_FLOAT32, "woodelf")
    mine, theirs = interleaved(rounds, ours, lambda: speed(woodelf, frame))
    yield Row("7w", what, "woodelf, path dependent", "rows/s", 1.5, mine, theirs, {})


def _lightgbm(model: reference.Reference, rows: Any, threads: int) -> Any:
    return model.booster.predict(rows, pred_contrib=True, num_threads=threads)


def _check(ours: Any, theirs: Any, tolerance: float, peer: str) -> None:
    worst = float(np.abs(ours - theirs).max())
    if not worst <= tolerance:
        raise DifferentAnswers(f"SHAP values differ from {peer}'s by up to {worst:.2g}.")
