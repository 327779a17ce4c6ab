"""Exact path-dependent TreeSHAP of a LightGBM booster, fast on one row and on a million."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.explanation.forest_layout import Workspace, lay_out
from models.explanation.kernel_cache import Kernels, KernelsUnavailable, load_kernels
from models.explanation.lightgbm_fallback import LightgbmTrees
from models.explanation.lightgbm_reader import BoosterError, Forest, parse_booster

logger = logging.getLogger(__name__)

__all__ = ["BoosterError", "TreeShap"]

_CHUNK: Final = 2048
"""Rows that are converted to float64 and explained at a time: one share of a thread's work."""


class KernelTrees:
    """A forest that is walked by the compiled kernels; it may be used by several threads at once."""

    def __init__(self, forest: Forest, kernels: Kernels) -> None:
        self._kernels = kernels
        self._n_features = forest.n_features
        self._plan = lay_out(forest, kernels.lay_out)
        self._addresses = np.array(self._plan.addresses, dtype=np.int64)
        self._model = (
            forest.n_trees, len(self._plan.column_feature), len(self._plan.category_feature), self._addresses.ctypes.data
        )  # fmt: skip
        self._local = threading.local()

    def explain(self, rows: FloatArray, out: FloatArray) -> None:
        """Write the contributions of rows (n, d) into `out` (n, d + 1), but for the base value."""
        self._kernels.explain(*rows.shape, rows.ctypes.data, out.ctypes.data, *self._model, self._workspace())

    def land(self, rows: FloatArray, leaves: NDArray[np.int32]) -> None:
        """Write the leaf that each row (n, d) reaches in each tree into `leaves` (n, trees)."""
        self._kernels.land(*rows.shape, rows.ctypes.data, leaves.ctypes.data, *self._model, self._workspace())

    def _workspace(self) -> int:
        """The address of this thread's work space."""
        if not hasattr(self._local, "addresses"):
            self._local.workspace = Workspace(self._plan, self._n_features)
            self._local.addresses = np.array(self._local.workspace.addresses, dtype=np.int64)
        return int(self._local.addresses.ctypes.data)


class TreeShap:
    """Contributions of features to a booster's raw score, as `Booster.predict(pred_contrib=True)` gives them.

    Making one compiles the kernels where that was not done before, so that no later call waits for a compiler; where they
    cannot be had, LightGBM itself explains. It may be used by several threads at once.

    Args:
        model_text: what `Booster.model_to_string()` returns.
        cache: where compiled kernels are kept, see `models.explanation.kernel_cache.load_kernels`.

    Raises:
        BoosterError: the text is damaged, or of a booster whose raw score is not a sum of constant leaves in log-odds.
    """

    def __init__(self, model_text: str, *, cache: Path | None = None) -> None:
        forest = parse_booster(model_text)
        self._trees = _trees(forest, model_text, cache)
        self.n_features = forest.n_features
        self.base_value = _base_value(forest)
        """The expected score over the training rows, in log-odds."""
        self._leaf_start = forest.leaf_start[:-1]
        self._leaf_value = forest.leaf_value

    def contributions(self, X: NDArray[np.floating], *, threads: int = 1) -> NDArray[np.float64]:
        """Contributions (n, d + 1) in log-odds of rows (n, d); the last column is the base value, and a row sums to its score.

        The result does not depend on the number of threads, nor on which rows come together.

        Raises:
            ValueError: X has not one column for each feature of the booster.
        """
        self._check(X)
        out = np.empty((len(X), self.n_features + 1))
        out[:, -1] = self.base_value

        def explain(first: int) -> None:
            rows = np.ascontiguousarray(X[first : first + _CHUNK], dtype=np.float64)
            self._trees.explain(rows, out[first : first + _CHUNK])

        chunks = range(0, len(X), _CHUNK)
        if threads > 1 and len(chunks) > 1:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(explain, chunks))
        else:
            for first in chunks:
                explain(first)
        return out

    def leaves(self, X: NDArray[np.floating]) -> NDArray[np.int32]:
        """The leaf (n, trees) that each row reaches in each tree, as `Booster.predict(pred_leaf=True)` gives it."""
        self._check(X)
        leaves = np.empty((len(X), len(self._leaf_start)), dtype=np.int32)
        self._trees.land(np.ascontiguousarray(X, dtype=np.float64), leaves)
        return leaves

    def margin(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """The raw score (n,) in log-odds, summed from the leaves."""
        scores: NDArray[np.float64] = self._leaf_value[self._leaf_start + self.leaves(X)].sum(axis=1)
        return scores

    def _check(self, X: NDArray[np.floating]) -> None:
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"The rows have the shape {X.shape}, but the booster needs (n, {self.n_features}).")


def _trees(forest: Forest, model_text: str, cache: Path | None) -> KernelTrees | LightgbmTrees:
    try:
        return KernelTrees(forest, load_kernels(cache))
    except KernelsUnavailable as error:
        logger.warning("%s Explanations are LightGBM's own, and slower.", error)
        return LightgbmTrees(model_text)


def _base_value(forest: Forest) -> float:
    """What LightGBM calls the expected value: leaves weighted by their training rows."""
    sizes = np.diff(forest.leaf_start)
    weight = np.ones(len(forest.leaf_value))
    split = np.repeat(sizes > 1, sizes)
    roots = forest.node_count[forest.node_start[:-1][sizes > 1]]
    weight[split] = forest.leaf_count[split] / np.repeat(roots, sizes[sizes > 1])
    return float((weight * forest.leaf_value).sum())
