"""What a policy's training found: effects, learners, what policies would have earned, and which one is served."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from models.decisions.off_policy import ESTIMATORS, PolicyValue
from models.decisions.qini import UpliftCurve
from models.decisions.reference import NOTHING_DONE, Reference
from models.inference.interval import Estimate
from models.registry.model_bundle import GateResult

PERSONAL, UNIFORM, BEST_CONSTANT = "personal", "uniform", "best constant"


@dataclass(frozen=True, slots=True)
class LearnerFigures:
    """One learner out of fold: its weight in what is served, and its doubly robust loss, where constant effects have 1."""

    weight: float | None
    """0 where no difference between customers is believed; None for learners that are only compared."""
    loss: float


@dataclass(frozen=True, slots=True)
class ActionFigures:
    """One action against the reference; `curve` is of the order that the effects out of fold give.

    `average` is served, shrunk to what all actions have in common; `slope` says how far the differences between customers
    that the learners foretell are believed: 0 gives everybody the average.
    """

    source: str
    trials: int
    average: Estimate | None
    slope: float | None
    curve: UpliftCurve | None


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """The outcome of `training policy`; rewards are of one decision."""

    business: str
    policy_version: str | None
    run_id: str
    unit: str
    reference: Reference
    """What effects and gains are against."""
    n_logged: int
    n_trials: int
    n_features: int
    actions: Mapping[str, ActionFigures]
    learners: Mapping[str, LearnerFigures]
    policies: Mapping[str, PolicyValue]
    """By name; `best constant` is the action that was the best without a fold's rows, judged on those."""
    best_constant: str
    gain: Estimate
    """What the personal policy earns over `best constant`, by the doubly robust estimate."""
    over_reference: Estimate
    """What the served policy earns over the reference, likewise; wider where it is the best of several actions."""
    served: str
    """`personal`, or the constant action."""
    gates: Mapping[str, GateResult]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """How the file was read."""

    @property
    def may_be_promoted(self) -> bool:
        """Whether it passed every gate but that of the champion."""
        return all(gate.passed for gate in self.gates.values())

    @property
    def verdict(self) -> str:
        """What is served, and why, in a sentence."""
        shown = _signed(self.gain)
        if self.over_reference.low <= 0.0:
            return (
                f"Nothing is proven better than {self.reference}, so promote will refuse this policy: the best that was "
                f"found, '{self.served}', earns {_signed(self.over_reference)} a decision over it."
            )
        if self.served == PERSONAL:
            return (
                f"The personal policy is served: over '{self.best_constant}' for everybody it earns {shown} a decision."
            )
        if self.gain.low == self.gain.high == 0.0:
            return f"'{self.served}' is served to everybody: what was learned chooses it for each customer."
        return f"'{self.served}' is served to everybody: no personal policy is proven better than it, with {shown} a decision."

    @property
    def differences(self) -> str:
        """Whether effects that are served differ between customers, in a sentence."""
        slopes = [action.slope for action in self.actions.values() if action.slope is not None]
        flat = sum(slope == 0.0 for slope in slopes)
        if flat == len(slopes):
            return "No difference between customers is believed: each has an action's average effect, and no learner a weight."
        weights = ", ".join(f"{name} {figures.weight:.2f}" for name, figures in self.learners.items() if figures.weight)
        alike = f"; {flat} of {len(slopes)} actions have the same effect on everybody" if flat else ""
        return (
            f"Effects differ between customers by {min(slope for slope in slopes if slope > 0.0):.2f} to {max(slopes):.2f} "
            f"of what the learners ({weights}) foretell{alike}."
        )

    def to_json(self) -> dict[str, Any]:
        """The report as API.md has it, and some more."""
        content: dict[str, Any] = _finite(
            {
                "business": self.business,
                "policy_version": self.policy_version,
                "run_id": self.run_id,
                "unit": self.unit,
                "reference": {"kind": self.reference.kind, "name": self.reference.name},
                "n_logged": self.n_logged,
                "n_trials": self.n_trials,
                "n_features": self.n_features,
                "actions": {
                    name: {
                        "source": action.source,
                        "trials": action.trials,
                        "average": None if action.average is None else action.average.to_json(),
                        "slope": action.slope,
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
                "over_reference": self.over_reference.to_json(),
                **({"over_nothing": self.over_reference.to_json()} if self.reference.kind == NOTHING_DONE else {}),
                "served": self.served,
                "verdict": self.verdict,
                "differences": self.differences,
                "gates": {name: asdict(gate) for name, gate in self.gates.items()},
                "warnings": list(self.warnings),
                "notes": list(self.notes),
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
