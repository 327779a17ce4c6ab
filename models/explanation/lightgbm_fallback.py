"""A booster explained by LightGBM itself, where the compiled kernels cannot be had: the same figures, and slower."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import FloatArray
from models.explanation.lightgbm_reader import BoosterError


class LightgbmTrees:
    """What `KernelTrees` is by compiled kernels; it may be used by several threads at once.

    Raises:
        BoosterError: LightGBM cannot read the text.
    """

    def __init__(self, model_text: str) -> None:
        # Here, so that a server loads LightGBM only where there is no other way.
        import lightgbm

        try:
            self._booster: Any = lightgbm.Booster(model_str=model_text)
        except lightgbm.basic.LightGBMError as error:
            raise BoosterError(f"LightGBM refuses it: {error}.") from error

    def explain(self, rows: FloatArray, out: FloatArray) -> None:
        """Write the contributions of rows (n, d) into `out` (n, d + 1), but for the base value."""
        if len(rows):
            out[:, :-1] = self._booster.predict(rows, pred_contrib=True, num_threads=1)[:, :-1]

    def land(self, rows: FloatArray, leaves: NDArray[np.int32]) -> None:
        """Write the leaf that each row (n, d) reaches in each tree into `leaves` (n, trees)."""
        if len(rows):
            leaves[:] = np.reshape(self._booster.predict(rows, pred_leaf=True, num_threads=1), leaves.shape)
