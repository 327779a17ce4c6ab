"""The arrays that models, training and serving hand to each other, by what they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Matrix = NDArray[np.float32]
"""Rows of features, as models read them: codes for categories, NaN for null."""
Rows = NDArray[np.int64]
"""Places of rows."""
Flags = NDArray[np.bool_]
