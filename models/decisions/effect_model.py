"""The effect of each action on each customer, as a server loads it: plain data, no training library.

Positive is good: the reduction of the churn probability by an action against doing nothing or, for a trial with another
reward, the rise of its mean. An effect is `average + slope · (score − centre)`: the score comes from members that were
fitted for it, and the line was fitted to doubly robust scores of rows that the members had not seen, its slope shrunk
towards 0 by its noise. So thin data give every customer the average effect.

The interval is the line's: that of the mean effect among customers with such a score, not of one customer's own; how
the score itself would differ had another log taught it, it does not know, so small logs cover less than they say.
Source of the line: Chernozhukov, Demirer, Duflo and Fernández-Val (2018), "Generic machine learning inference on
heterogeneous treatment effects", section 3.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np

from models.arrays import FloatArray, Matrix
from models.decisions.design_matrix import Design
from models.errors import EffectError
from models.inference.calibration import Calibration, expit
from models.inference.interval import critical_value
from models.inference.onnx_predictor import ChurnPredictor

LEARNED: Final = "learned"
PRIOR: Final = "prior"
CHURN_PROBABILITY: Final = "churn_probability"
REWARD: Final = "reward"

LINEAR: Final = "linear"
TREES: Final = "trees"
MEANS: Final = "means"
RESPONSE: Final = "response"
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
    """One fitted part of the score of the k learned actions.

    By `kind`, with Z the design (n, p) and X the features:

    - `linear`: effects are `Z · coefficients (k, p) + intercepts (k,)`.
    - `trees`: effects are the sums of one ONNX graph an action, plus `intercepts` (k,).
    - `means`: mean rewards of doing nothing and of each action are `Z · coefficients (1 + k, p) + intercepts (1 + k,)`,
      plus the sums of 1 + k graphs if there are any, through the logistic function if `binary`; effects are differences.
    - `response`: the first of two lines, `coefficients` (1, p) and `intercepts` (1,), is the log-odds of a reward of 1
      when nothing is done, so that 1 minus it is a risk; one graph an action gives the log-odds r of a response to it, as
      a click; effects are `risk · (levels[a, 0] + levels[a, 1] · r)` with r as a probability, `levels` (k, 2).
    """

    kind: Literal["linear", "trees", "means", "response"]
    weight: float
    intercepts: FloatArray
    coefficients: FloatArray | None = None
    graphs: tuple[bytes, ...] = ()
    levels: FloatArray | None = None
    binary: bool = False

    def check(self, k: int, p: int) -> None:
        """Refuse what does not fit k learned actions and a design of p columns.

        Raises:
            EffectError: a part is missing, or has another shape.
        """
        rows = {LINEAR: k, TREES: k, MEANS: k + 1, RESPONSE: 1}[self.kind]
        graphs = {LINEAR: (0,), TREES: (k,), MEANS: (0, k + 1), RESPONSE: (k,)}[self.kind]
        coefficients = None if self.kind == TREES else (rows, p)
        levels = (k, 2) if self.kind == RESPONSE else None
        fits = (
            self.intercepts.shape == (rows,)
            and (None if self.coefficients is None else self.coefficients.shape) == coefficients
            and (None if self.levels is None else self.levels.shape) == levels
            and len(self.graphs) in graphs
        )
        if not fits:
            raise EffectError(f"A member of kind '{self.kind}' does not fit {k} learned actions.")

    def open(self) -> tuple[ChurnPredictor, ...]:
        """A session for each graph."""
        return tuple(ChurnPredictor(graph, Calibration(1.0, 0.0)) for graph in self.graphs)

    def means(self, Z: FloatArray, X: Matrix, sessions: tuple[ChurnPredictor, ...]) -> FloatArray:
        """The mean rewards (n, 1 + k), of kind `means`."""
        assert self.coefficients is not None
        margins = Z @ self.coefficients.T + self.intercepts + self._sums(X, sessions)
        return expit(margins) if self.binary else np.asarray(margins)

    def effects(self, Z: FloatArray, X: Matrix, sessions: tuple[ChurnPredictor, ...]) -> FloatArray:
        """The effects (n, k) of the learned actions, before weight and line."""
        if self.kind == MEANS:
            means = self.means(Z, X, sessions)
            return np.asarray(means[:, 1:] - means[:, :1])
        if self.coefficients is None:
            return np.asarray(self._sums(X, sessions) + self.intercepts)
        lines = Z @ self.coefficients.T + self.intercepts
        if self.levels is None:
            return np.asarray(lines)
        response = expit(self._sums(X, sessions))
        return np.asarray((1.0 - expit(lines)) * (self.levels[:, 0] + self.levels[:, 1] * response))

    def _sums(self, X: Matrix, sessions: tuple[ChurnPredictor, ...]) -> FloatArray:
        return np.column_stack([trees.margins(X) for trees in sessions]) if sessions else np.zeros((len(X), 1))


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
        for member in self.members:
            member.check(len(self.learned), len(self.design))

    @property
    def learned(self) -> tuple[ActionEffect, ...]:
        """The actions with enough trials."""
        return tuple(action for action in self.actions if action.source == LEARNED)

    def score(self, X: Matrix) -> FloatArray:
        """The members' weighted sum (n, learned actions): what the lines of the actions are over."""
        total = np.zeros((X.shape[0], len(self.learned)))
        Z = self.design.transform(X)
        for member, sessions in zip(self.members, self._sessions, strict=True):
            total += member.weight * member.effects(Z, X, sessions)
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
        reach = critical_value(confidence) * error
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
                    "levels": None if member.levels is None else member.levels.tolist(),
                    "binary": member.binary,
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
            design = Design.from_json(data["design"])
            return cls(
                unit=data["unit"],
                schema=data["schema"],
                feature_names=tuple(data["feature_names"]),
                categories={name: tuple(words) for name, words in data["categories"].items()},
                actions=tuple(ActionEffect(**action) for action in data["actions"]),
                design=design,
                members=tuple(_member(member, len(design)) for member in data["members"]),
                learners=tuple(data["learners"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EffectError(f"The effect model lacks or mangles {error}.") from error

    @cached_property
    def _sessions(self) -> tuple[tuple[ChurnPredictor, ...], ...]:
        """Opened at the first use."""
        return tuple(member.open() for member in self.members)


def _array(data: Any, columns: int | None = None) -> FloatArray | None:
    if data is None:
        return None
    array = np.asarray(data, dtype=np.float64)
    return array if columns is None else array.reshape(len(data), columns)


def _member(data: Mapping[str, Any], p: int) -> Member:
    return Member(
        kind=data["kind"],
        weight=float(data["weight"]),
        intercepts=np.asarray(data["intercepts"], dtype=np.float64),
        coefficients=_array(data["coefficients"], p),
        graphs=tuple(base64.b64decode(graph, validate=True) for graph in data["graphs"]),
        levels=_array(data["levels"], 2),
        binary=bool(data["binary"]),
    )
