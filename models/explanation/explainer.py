"""Why a score is what it is: exact SHAP values of the served booster."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleError
from models.explanation.tree_shap import BoosterError, TreeShap


class Explainer:
    """Exact path-dependent TreeSHAP of a LightGBM booster.

    Source: Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees.

    Args:
        model_text: the booster as `ModelBundle.model_text` holds it.
        cache: where compiled kernels are kept, see `models.explanation.kernel_cache.load_kernels`.

    Raises:
        BundleError: the text is no booster.
    """

    def __init__(self, model_text: str, *, cache: Path | None = None) -> None:
        try:
            self._shap = TreeShap(model_text, cache=cache)
        except BoosterError as error:
            raise BundleError(f"The booster cannot be loaded: {error}") from error
        self.n_features = self._shap.n_features
        self.base_value = self._shap.base_value
        """φ₀: the margin of a customer about whom nothing stands out, the same for every row."""

    def contributions(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """SHAP values (n, d + 1) of features (n, d), in log-odds before calibration; the last column is `base_value`.

        A row's sum is its margin, within 1e-9.
        """
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"The model reads rows of {self.n_features} features, not an array of shape {X.shape}.")
        # One thread: a server scales by processes.
        return self._shap.contributions(X)
