"""Why a score is what it is: exact SHAP values of the served booster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import BundleError
from models.explanation.tree_shap import BoosterError, TreeShap


@dataclass(frozen=True, slots=True)
class Attribution:
    """How much one feature's value is associated with more (above 0) or less churn, in log-odds before calibration."""

    feature: str
    value: float | str | None
    contribution: float


class Explainer:
    """Exact path-dependent TreeSHAP of a LightGBM booster.

    Source: Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees.

    Args:
        model_text: the booster as `ModelBundle.model_text` holds it.

    Raises:
        BundleError: the text is no booster.
    """

    def __init__(self, model_text: str) -> None:
        try:
            self._shap = TreeShap(model_text)
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


def attributions(
    features: Sequence[str], values: Sequence[float | str | None], contributions: NDArray[np.float64]
) -> tuple[Attribution, ...]:
    """One row's contributions with the names and raw values that they belong to, in column order.

    Args:
        contributions: (d + 1,) one row of `Explainer.contributions`.
    """
    return tuple(
        Attribution(feature, value, float(contribution))
        for feature, value, contribution in zip(features, values, contributions[:-1], strict=True)
    )
