"""What a policy's training found: effects, learners, what policies would have earned, and which one is served."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.decisions.off_policy import ESTIMATORS, PolicyValue
from models.decisions.qini import UpliftCurve
from models.inference.interval import Estimate
from models.registry.model_bundle import GateResult

PERSONAL, RANDOM = "personal", "random"


@dataclass(frozen=True, slots=True)
class LearnerFigures:
    """One learner out of fold: its weight in the score, and its doubly robust loss, where constant effects have 1."""

    weight: float | None
    """None for learners that are only compared."""
    loss: float


@dataclass(frozen=True, slots=True)
class ActionFigures:
    """One action against doing nothing; `curve` is of the order that the effects out of fold give."""

    source: str
    trials: int
    average: Estimate | None
    curve: UpliftCurve | None


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The outcome of `training policy`; rewards are of one decision."""

    business: str
    policy_version: str | None
    run_id: str
    unit: str
    n_logged: int
    n_trials: int
    n_features: int
    actions: Mapping[str, ActionFigures]
    learners: Mapping[str, LearnerFigures]
    policies: Mapping[str, PolicyValue]
    best_constant: str
    gain: Estimate
    """What the personal policy earns over the best constant action, by the doubly robust estimate."""
    over_nothing: Estimate
    """What the served policy earns over doing nothing, likewise; wider where it is the best of several actions."""
    served: str
    """`personal`, or the constant action."""
    gates: Mapping[str, GateResult]
    warnings: tuple[str, ...]

    @property
    def may_be_promoted(self) -> bool:
        """Whether it passed every gate but that of the champion."""
        return all(gate.passed for gate in self.gates.values())

    @property
    def verdict(self) -> str:
        """What is served, and why, in a sentence."""
        shown = _signed(self.gain)
        if self.over_nothing.low <= 0.0:
            return (
                f"Nothing is proven better than doing nothing, so promote will refuse this policy: the best that was found, "
                f"'{self.served}', earns {_signed(self.over_nothing)} a decision over it."
            )
        if self.served == PERSONAL:
            return (
                f"The personal policy is served: over '{self.best_constant}' for everybody it earns {shown} a decision."
            )
        return f"'{self.served}' is served to everybody: no personal policy is proven better than it, with {shown} a decision."

    def to_json(self) -> dict[str, Any]:
        """The report as API.md has it, and some more."""
        content: dict[str, Any] = _finite(
            {
                "business": self.business,
                "policy_version": self.policy_version,
                "run_id": self.run_id,
                "unit": self.unit,
                "n_logged": self.n_logged,
                "n_trials": self.n_trials,
                "n_features": self.n_features,
                "actions": {
                    name: {
                        "source": action.source,
                        "trials": action.trials,
                        "average": None if action.average is None else action.average.to_json(),
                        "qini": None if action.curve is None else action.curve.qini.to_json(),
                        "auuc": None if action.curve is None else action.curve.auuc.to_json(),
                    }
                    for name, action in self.actions.items()
                },
                "learners": {name: asdict(figures) for name, figures in self.learners.items()},
                "policies": {
                    name: {
                        **{estimator: getattr(value, estimator).to_json() for estimator in ESTIMATORS},
                        "effective_sample_size": value.effective_sample_size,
                    }
                    for name, value in self.policies.items()
                },
                "best_constant": self.best_constant,
                "gain": self.gain.to_json(),
                "over_nothing": self.over_nothing.to_json(),
                "served": self.served,
                "verdict": self.verdict,
                "gates": {name: asdict(gate) for name, gate in self.gates.items()},
                "warnings": list(self.warnings),
            }
        )
        return content


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.5f} (95 %: {estimate.low:+.5f} to {estimate.high:+.5f})"


def _finite(content: Any) -> Any:
    """The same with None for figures that are not defined: JSON has no NaN."""
    if isinstance(content, dict):
        return {name: _finite(entry) for name, entry in content.items()}
    return None if isinstance(content, float) and not math.isfinite(content) else content
