"""What the gates are, and what it takes to pass them all."""

from __future__ import annotations

from collections.abc import Mapping

from models.registry.model_bundle import GateResult

MEANING = {
    "onnx_leaves": "leaves that differ between LightGBM and ONNX",
    "onnx_parity": "the largest difference between LightGBM's and ONNX's probability",
    "explanation_additivity": "the largest difference between an explanation's sum and the score",
    "log_loss_vs_base_rate": "its log-loss, which must be below that of the base rate",
    "ece": "its expected calibration error",
    "better_than_champion": "its log-loss where both models can be judged, against the champion's and the noise",
}
# Every bundle carries these; whether it is better than the champion is asked when it is promoted.
REQUIRED = ("onnx_leaves", "onnx_parity", "explanation_additivity", "log_loss_vs_base_rate", "ece")
# A model that fails one of these is not what was tested, and is not registered at all.
TECHNICAL = ("onnx_leaves", "onnx_parity", "explanation_additivity")


def at_most(figure: float, limit: float) -> GateResult:
    """A gate that is passed up to its limit, and never by NaN."""
    return GateResult(bool(figure <= limit), figure, limit)


def refused(gates: Mapping[str, GateResult]) -> list[str]:
    """The names of the gates that were not passed, the technical ones first."""
    return [name for name in MEANING if name in gates and not gates[name].passed]


def lacking(gates: Mapping[str, GateResult]) -> list[str]:
    """The names of the gates that were never asked."""
    return [name for name in REQUIRED if name not in gates]
