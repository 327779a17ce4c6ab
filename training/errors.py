"""What can go wrong while a model is trained or promoted.

TrainingError                 base; its message is one sentence for the user
├── LabelError                no labelled window, or an outcome that cannot be learned
├── StaleGeneration           the current generation was not built from this TOML
├── DecisionLogError          a trial or a log of decisions from which no effect can be learned
├── NotComparable             two runs have no rows on which it would be fair to compare them
├── ExportError               the booster has something that the ONNX graph cannot express
└── GateRefused               a gate says no: carries the gate, its figure and its limit
"""

from __future__ import annotations


class TrainingError(Exception):
    """A user's mistake, or a refusal, told in one sentence."""


class LabelError(TrainingError):
    """There is no outcome to learn from, or too little of it."""


class StaleGeneration(TrainingError):
    """The feature generation that stands does not belong to the TOML that was given."""


class DecisionLogError(TrainingError):
    """A trial or a log of decisions is not what the TOML says, or has nothing to learn from."""


class NotComparable(TrainingError):
    """There are no rows on which some runs can be compared: carries the run's name, and why."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self.why = why
        super().__init__(f"{name} cannot be compared: {why}.")


class ExportError(TrainingError):
    """The trained booster cannot be written as an ONNX graph that decides alike."""


class GateRefused(TrainingError):
    """A gate refused a model; the command that asked for it exits 3."""

    def __init__(self, what: str, gate: str, figure: float, limit: float, meaning: str) -> None:
        self.gate = gate
        self.figure = figure
        self.limit = limit
        super().__init__(
            f"{what} is refused by the gate '{gate}': {figure:.6g} against a limit of {limit:.6g} ({meaning})."
        )
