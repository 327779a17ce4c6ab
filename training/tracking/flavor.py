"""MLflow's own description of a logged bundle, so that its users find what they know: signature, input example, pyfunc."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from models.registry.model_bundle import ModelBundle

EXAMPLE = "input_example.json"


def describe(bundle: ModelBundle, path: Path, artifact_path: str, run_id: str) -> None:
    """Write MLflow's own description beside a saved bundle: its signature, an input example, and how `pyfunc` loads it.

    The example is a customer of whom everything is typical, so that it holds nobody's data.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's notes on its own type hints, when it is first imported
        from mlflow import pyfunc
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, Schema

    inputs = [
        ColSpec(DataType.string if name in bundle.categories else DataType.double, name, required=False)
        for name in bundle.feature_names
    ]
    example = {
        "columns": list(bundle.feature_names),
        "data": [[bundle.typical.get(name) for name in bundle.feature_names]],
    }
    (path / EXAMPLE).write_text(json.dumps(example, ensure_ascii=False))
    model = Model(
        artifact_path=artifact_path,
        run_id=run_id,
        signature=ModelSignature(Schema(inputs), Schema([ColSpec(DataType.double, "churn_probability")])),
        saved_input_example_info={"artifact_path": EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pyfunc.add_to_model(model, loader_module="training.tracking.pyfunc", env={})
    model.save(str(path / "MLmodel"))
