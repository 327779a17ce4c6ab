"""The next best action: what is allowed, what it is worth, and with which probability it was drawn."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.errors import PolicyError

NO_ACTION = "no_action"
MISSING_VALUE = "missing_value"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` touches by an action in `days` days."""

    count: int
    days: int

    def __post_init__(self) -> None:
        if self.count < 0 or self.days < 1:
            raise PolicyError(f"A cap of {self.count} in {self.days} days makes no sense: count ≥ 0 and days ≥ 1.")


@dataclass(frozen=True, slots=True)
class Action:
    """Something that can be done for a customer; costs are in the business's currency."""

    name: str
    channel: str
    cost: float
    prior_effect: float
    """The share of the churn probability that it is believed to remove; below 0 where it does harm."""
    consent: str | None = None
    """The consent scope that it needs; None needs none."""
    cap: Cap | None = None

    def __post_init__(self) -> None:
        if not self.name or self.name == NO_ACTION:
            raise PolicyError(f"An action cannot be named '{self.name}': '{NO_ACTION}' is always there by itself.")
        if not (math.isfinite(self.cost) and self.cost >= 0.0):
            raise PolicyError(f"The cost of action '{self.name}' is {self.cost}, but must be 0 or more.")
        if not -1.0 <= self.prior_effect <= 1.0:
            raise PolicyError(f"The prior_effect of action '{self.name}' is {self.prior_effect}, but lies in −1 to 1.")


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What a decision about one customer depends on."""

    customer_id: str
    churn_probability: float
    value_at_stake: float | None
    """In the business's currency; None where it is not known."""
    consents: Mapping[str, float | None] = field(default_factory=dict)
    """By scope: 1 given, 0 withdrawn; None, or absent, not known."""
    touches: Mapping[str, int] = field(default_factory=dict)
    """By action: how often it was used within its cap's window; absent is never."""
    exclude: frozenset[str] = frozenset()
    """Actions that the caller rules out."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.churn_probability <= 1.0:
            raise PolicyError(
                f"The churn probability of customer '{self.customer_id}' is {self.churn_probability}, not in 0 to 1."
            )


@dataclass(frozen=True, slots=True)
class Alternative:
    """An action that was not drawn: what it would have been worth, or why it is not allowed."""

    action: str
    expected_gain: float | None
    blocked_by: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """One action for one customer, with the exact probability with which it was drawn."""

    action: str
    channel: str | None
    pscore: float
    uplift: float
    """How much of the churn probability the action is expected to remove."""
    uplift_interval: tuple[float, float] | None
    """None until effects are learned from decisions."""
    value_at_stake: float | None
    cost: float
    expected_gain: float | None
    alternatives: tuple[Alternative, ...]
    degraded: tuple[str, ...]
    policy_version: str


@dataclass(frozen=True, slots=True)
class _Option:
    """An action as it stands for one customer."""

    name: str
    channel: str | None
    cost: float
    uplift: float
    expected_gain: float | None
    blocked_by: str | None


class NextBestActionPolicy:
    """Ranks eligible actions by `probability × prior_effect × value_at_stake − cost`, and explores a little.

    Args:
        actions: in the order that breaks ties.
        exploration: the share of decisions drawn uniformly over the eligible actions and `no_action`.
        version: what tells this list of actions from another; `policy_version` is `prior-<version>`.

    Raises:
        PolicyError: two actions of one name, or an exploration outside 0 to 1.
    """

    def __init__(self, actions: Sequence[Action], exploration: float = 0.10, version: str = "1") -> None:
        names = [action.name for action in actions]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise PolicyError(f"The action '{twice}' is declared twice: give each action a name of its own.")
        if not 0.0 <= exploration <= 1.0:
            raise PolicyError(f"The exploration is {exploration}, but a share lies in 0 to 1.")
        self.actions = tuple(actions)
        self.exploration = exploration
        self.policy_version = f"prior-{version}"

    def action_dist(self, context: DecisionContext) -> dict[str, float]:
        """The probability with which `decide` draws each action, `no_action` among them; blocked ones have 0."""
        options = self._options(context)
        return {option.name: self._pscore(option, options) for option in options}

    def decide(self, context: DecisionContext, rng: np.random.Generator) -> Decision:
        """Draw an action: the best one, or with probability `exploration` any that is allowed, uniformly."""
        options = self._options(context)
        eligible = [option for option in options if option.blocked_by is None]
        explores = rng.random() < self.exploration
        chosen = eligible[int(rng.integers(len(eligible)))] if explores else _best(options)
        return self._decision(chosen, options, self._pscore(chosen, options), context)

    def best(self, context: DecisionContext) -> Decision:
        """The best allowed action without exploration, so with pscore 1: a suggestion."""
        options = self._options(context)
        return self._decision(_best(options), options, 1.0, context)

    def _options(self, context: DecisionContext) -> list[_Option]:
        value = _value(context)
        options = [_Option(NO_ACTION, None, 0.0, 0.0, 0.0, None)]
        for action in self.actions:
            uplift = context.churn_probability * action.prior_effect
            gain = None if value is None else uplift * value - action.cost
            options.append(
                _Option(action.name, action.channel, action.cost, uplift, gain, _blocked_by(action, context))
            )
        return options

    def _pscore(self, option: _Option, options: Sequence[_Option]) -> float:
        if option.blocked_by is not None:
            return 0.0
        share = self.exploration / sum(other.blocked_by is None for other in options)
        return share + (1.0 - self.exploration if option.name == _best(options).name else 0.0)

    def _decision(
        self, chosen: _Option, options: Sequence[_Option], pscore: float, context: DecisionContext
    ) -> Decision:
        value = _value(context)
        return Decision(
            action=chosen.name,
            channel=chosen.channel,
            pscore=pscore,
            uplift=chosen.uplift,
            uplift_interval=None,
            value_at_stake=value,
            cost=chosen.cost,
            expected_gain=chosen.expected_gain,
            alternatives=tuple(
                Alternative(
                    action=option.name,
                    expected_gain=option.expected_gain if option.blocked_by is None else None,
                    blocked_by=option.blocked_by,
                )
                for option in options
                if option.name != chosen.name
            ),
            degraded=() if value is not None else (MISSING_VALUE,),
            policy_version=self.policy_version,
        )


def _value(context: DecisionContext) -> float | None:
    """The value at stake, None where it is no finite number."""
    value = context.value_at_stake
    return None if value is None or not math.isfinite(value) else float(value)


def _best(options: Sequence[_Option]) -> _Option:
    """The allowed option of the largest known gain; the first of equals, so `no_action` at 0."""
    known = [option for option in options if option.blocked_by is None and option.expected_gain is not None]
    return max(known, key=lambda option: -math.inf if option.expected_gain is None else option.expected_gain)


def _blocked_by(action: Action, context: DecisionContext) -> str | None:
    """Why the action is not allowed for this customer, or None."""
    if action.name in context.exclude:
        return "excluded by the caller"
    if action.consent is not None:
        consent = context.consents.get(action.consent)
        if consent is None or math.isnan(consent):
            return f"no consent for {action.consent}"
        if consent <= 0.0:
            return f"consent for {action.consent} withdrawn"
    cap = action.cap
    if cap is not None and context.touches.get(action.name, 0) >= cap.count:
        return f"cap of {cap.count} in {cap.days} {'day' if cap.days == 1 else 'days'} reached"
    return None
