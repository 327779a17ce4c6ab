"""Churn probabilities by ONNX Runtime, from data alone."""

from __future__ import annotations

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.errors import BundleError
from models.inference.calibration import Calibration


class ChurnPredictor:
    """Scores float32 feature matrices: the ONNX graph gives the raw margin, the calibration the probability.

    One thread a session, because a server scales by processes; it may be called from several threads.

    Args:
        onnx: a graph from float32 (n, d) to the margin, float32 (n, 1).

    Raises:
        BundleError: the bytes are no such graph.
    """

    def __init__(self, onnx: bytes, calibration: Calibration) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Warnings of the runtime about its host are not the caller's business; errors are raised.
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
            (features,) = self._session.get_inputs()
            (margin,) = self._session.get_outputs()
            self._input, self._output = str(features.name), str(margin.name)
            self.n_features = int(features.shape[1])
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise BundleError(f"The ONNX model cannot be loaded: {str(error).splitlines()[0]}") from error
        self.calibration = calibration

    def margins(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Raw margins (n,) of features (n, d), in log-odds before calibration; summed in float32."""
        X = np.ascontiguousarray(X, dtype=np.float32)
        if X.ndim != 2 or X.shape[1] != self.n_features:
            raise ValueError(f"The model reads rows of {self.n_features} features, not an array of shape {X.shape}.")
        if X.shape[0] == 0:
            return np.empty(0, dtype=np.float64)
        (margins,) = self._session.run([self._output], {self._input: X})
        return np.asarray(margins, dtype=np.float64).reshape(X.shape[0])

    def predict(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        """Calibrated churn probabilities (n,) of features (n, d)."""
        return self.calibration.apply(self.margins(X))
