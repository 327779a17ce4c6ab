"""A logged bundle as MLflow's own `pyfunc`: raw features of customers in, churn probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from models.registry.model_bundle import ModelBundle
from training.churn.prediction import predict_raw


class ServedModel:
    """What `mlflow.pyfunc.load_model` gives for a version: no code is logged, so keepwell must be installed."""

    def __init__(self, bundle: ModelBundle) -> None:
        self.bundle = bundle

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """A column `churn_probability`, one row a customer; a feature that is left out is not known.

        Args:
            rows: raw features by name, numbers with NaN and words with None for null.
            params: none are taken.
        """
        known = rows.reindex(columns=list(self.bundle.feature_names))
        words = {name: known[name].astype(object) for name in self.bundle.categories}
        numbers = {name: pd.to_numeric(known[name]) for name in known.columns if name not in words}
        return pd.DataFrame(
            {"churn_probability": predict_raw(self.bundle, known.assign(**words, **numbers))}, index=rows.index
        )


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow's entry point, named in the `MLmodel` file."""
    return ServedModel(ModelBundle.load(Path(path)))
