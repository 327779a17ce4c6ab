"""How a bundle comes to be: from features and outcomes to a registered, promoted model."""

from pathlib import Path

# Models that were registered before version 0.2 name `training.served_model` as their loader: MLflow finds it there.
__path__.append(str(Path(__file__).parent / "tracking" / "former"))
