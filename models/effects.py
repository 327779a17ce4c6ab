"""The effect of each action on each customer, as a server loads it: plain data, no training library.

Positive is good: the reduction of the churn probability by an action against doing nothing or, for a trial with another
reward, the rise of its mean. An effect is `average + slope · (score − centre)`: the score comes from members that were
fitted for it, and the line was fitted to doubly robust scores of rows that the members had not seen, its slope shrunk
towards 0 by its noise. So thin data give every customer the average effect.

The interval is the line's: that of the mean effect among customers with such a score, not of one customer's own.
Source of the line: Chernozhukov, Demirer, Duflo and Fernández-Val (2018), "Generic machine learning inference on
heterogeneous treatment effects", section 3.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np

from models.calibration import Calibration, expit
from models.design import Design, FloatArray, Matrix
from models.errors import EffectError
from models.predictor import ChurnPredictor

LEARNED: Final = "learned"
PRIOR: Final = "prior"
CHURN_PROBABILITY: Final = "churn_probability"
REWARD: Final = "reward"

LINEAR: Final = "linear"
LOGIT: Final = "logit"
TREES: Final = "trees"
DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class ActionEffect:
    """What was found out about one action against doing nothing."""

    name: str
    source: Literal["learned", "prior"]
    """`prior` where there were too few trials: then `prior_effect` is all there is."""
    prior_effect: float
    """The share of the churn probability that it is believed to remove, from the TOML; 0 where nothing is stated."""
    n_trials: int
    average: float = 0.0
    average_variance: float = 0.0
    centre: float = 0.0
    slope: float = 0.0
    slope_variance: float = 0.0
    covariance: float = 0.0
    """Of average and slope."""


@dataclass(frozen=True, slots=True)
class Member:
    """One fitted part of the score of every learned action.

    `linear`: coefficients (k, p), intercepts (k,): the effect is their line over the design. `logit`: rows for doing
    nothing and each action, (1 + k, p) and (1 + k,): the effect is the difference of their probabilities.
    `trees`: one ONNX graph an action, whose sum with the intercept is the effect.
    """

    kind: Literal["linear", "logit", "trees"]
    weight: float
    intercepts: FloatArray
    coefficients: FloatArray | None = None
    graphs: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class EffectEstimate:
    """The effects of all actions on n customers; every array has the shape (n, actions), in the order of `actions`.

    `standard_error`, `lower` and `upper` are NaN in the columns of actions whose `source` is `prior`: nobody measured
    those. `effect` is NaN there too where the churn probability was not given.
    """

    actions: tuple[str, ...]
    sources: tuple[Literal["learned", "prior"], ...]
    effect: FloatArray
    standard_error: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class EffectModel:
    """Effects of the actions of one business or trial; it never changes, and may be used from several threads.

    Features come as `FeatureSchema.from_json(model.schema).to_matrix(columns, model.categories)` encodes them.
    """

    unit: Literal["churn_probability", "reward"]
    schema: Mapping[str, Any]
    """`FeatureSchema.to_json()`, in column order."""
    feature_names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    actions: tuple[ActionEffect, ...]
    """All actions but doing nothing, learned or not."""
    design: Design
    members: tuple[Member, ...]
    learners: tuple[str, ...] = field(default=())
    """Which learner each member came from."""

    def __post_init__(self) -> None:
        names = [action.name for action in self.actions]
        if len(set(names)) != len(names):
            raise EffectError("An effect model has every action once.")
        learned = len(self.learned)
        for member in self.members:
            rows = learned + (member.kind == LOGIT)
            shape = None if member.coefficients is None else member.coefficients.shape
            expected = None if member.kind == TREES else (rows, len(self.design))
            graphs = learned if member.kind == TREES else 0
            if member.intercepts.shape != (rows,) or shape != expected or len(member.graphs) != graphs:
                raise EffectError(f"A member of kind '{member.kind}' does not fit {learned} learned actions.")

    @property
    def learned(self) -> tuple[ActionEffect, ...]:
        """The actions with enough trials."""
        return tuple(action for action in self.actions if action.source == LEARNED)

    def score(self, X: Matrix) -> FloatArray:
        """The members' weighted sum (n, learned actions): what the lines of the actions are over."""
        total = np.zeros((X.shape[0], len(self.learned)))
        Z = self.design.transform(X)
        for member, predictors in zip(self.members, self._predictors, strict=True):
            total += member.weight * _effects(member, Z, X, predictors)
        return total

    def predict(
        self, X: Matrix, churn_probability: FloatArray | None = None, confidence: float = DEFAULT_CONFIDENCE
    ) -> EffectEstimate:
        """The effect of every action on each customer, with two-sided intervals.

        Args:
            X: encoded features, float32 (n, d).
            churn_probability: (n,); what a prior is a share of.
            confidence: of the intervals, between 0 and 1.
        """
        if X.ndim != 2 or X.shape[1] != len(self.feature_names):
            raise EffectError(f"The model reads rows of {len(self.feature_names)} features, not {X.shape}.")
        n, k = X.shape[0], len(self.actions)
        effect, error = np.full((n, k), np.nan), np.full((n, k), np.nan)
        scores = iter(self.score(X).T)
        for position, action in enumerate(self.actions):
            if action.source == PRIOR:
                if churn_probability is not None:
                    effect[:, position] = np.asarray(churn_probability) * action.prior_effect
                continue
            distance = next(scores) - action.centre
            effect[:, position] = action.average + action.slope * distance
            variance = (
                action.average_variance
                + 2.0 * action.covariance * distance
                + action.slope_variance * np.square(distance)
            )
            error[:, position] = np.sqrt(np.maximum(variance, 0.0))
        reach = NormalDist().inv_cdf(0.5 + confidence / 2.0) * error
        lower, upper = effect - reach, effect + reach
        if self.unit == CHURN_PROBABILITY:
            effect, lower, upper = (np.clip(figure, -1.0, 1.0) for figure in (effect, lower, upper))
        return EffectEstimate(
            actions=tuple(action.name for action in self.actions),
            sources=tuple(action.source for action in self.actions),
            effect=effect,
            standard_error=error,
            lower=np.asarray(np.where(np.isnan(error), np.nan, lower)),
            upper=np.asarray(np.where(np.isnan(error), np.nan, upper)),
        )

    def to_json(self) -> dict[str, Any]:
        """The model as plain JSON."""
        return {
            "unit": self.unit,
            "schema": dict(self.schema),
            "feature_names": list(self.feature_names),
            "categories": {name: list(words) for name, words in self.categories.items()},
            "actions": [asdict(action) for action in self.actions],
            "design": self.design.to_json(),
            "members": [
                {
                    "kind": member.kind,
                    "weight": member.weight,
                    "intercepts": member.intercepts.tolist(),
                    "coefficients": None if member.coefficients is None else member.coefficients.tolist(),
                    "graphs": [base64.b64encode(graph).decode() for graph in member.graphs],
                }
                for member in self.members
            ],
            "learners": list(self.learners),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EffectModel:
        """The model from the JSON of `to_json`.

        Raises:
            EffectError: it lacks or mangles something.
        """
        try:
            learned = sum(action["source"] == LEARNED for action in data["actions"])
            return cls(
                unit=data["unit"],
                schema=data["schema"],
                feature_names=tuple(data["feature_names"]),
                categories={name: tuple(words) for name, words in data["categories"].items()},
                actions=tuple(ActionEffect(**action) for action in data["actions"]),
                design=Design.from_json(data["design"]),
                members=tuple(_member(member, learned) for member in data["members"]),
                learners=tuple(data["learners"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EffectError(f"The effect model lacks or mangles {error}.") from error

    @cached_property
    def _predictors(self) -> tuple[tuple[ChurnPredictor, ...], ...]:
        """Sessions of the members' graphs, opened at the first use."""
        plain = Calibration(1.0, 0.0)
        return tuple(tuple(ChurnPredictor(graph, plain) for graph in member.graphs) for member in self.members)


def _effects(member: Member, Z: FloatArray, X: Matrix, predictors: tuple[ChurnPredictor, ...]) -> FloatArray:
    if member.kind == TREES:
        return np.column_stack([trees.margins(X) for trees in predictors]) + member.intercepts
    assert member.coefficients is not None
    lines = Z @ member.coefficients.T + member.intercepts
    if member.kind == LINEAR:
        return np.asarray(lines)
    p = expit(lines)
    return np.asarray(p[:, 1:] - p[:, :1])


def _member(data: Mapping[str, Any], learned: int) -> Member:
    coefficients = data["coefficients"]
    rows = learned + (data["kind"] == LOGIT)
    return Member(
        kind=data["kind"],
        weight=float(data["weight"]),
        intercepts=np.asarray(data["intercepts"], dtype=np.float64),
        coefficients=None if coefficients is None else np.asarray(coefficients, dtype=np.float64).reshape(rows, -1),
        graphs=tuple(base64.b64decode(graph, validate=True) for graph in data["graphs"]),
    )
