"""What a bundle predicts for raw rows, by the graph that serves."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import pandas as pd

from features.schema import FeatureSchema
from models.arrays import FloatArray
from models.inference.onnx_predictor import ChurnPredictor
from models.registry.model_bundle import ModelBundle


def predict_raw(bundle: ModelBundle, rows: pd.DataFrame) -> FloatArray:
    """Calibrated churn probabilities (n,) of rows that are not encoded yet: numbers with NaN, words with None for null.

    Raises:
        SchemaMismatch: the rows lack a feature that the model reads.
    """
    schema = FeatureSchema.from_json(bundle.schema)
    columns: dict[str, npt.NDArray[Any]] = {
        str(name): rows[name].where(rows[name].notna(), None).to_numpy(dtype=object)
        if rows[name].dtype == object
        else rows[name].to_numpy()
        for name in rows.columns
    }
    return ChurnPredictor(bundle.onnx, bundle.calibration).predict(schema.to_matrix(columns, bundle.categories))
