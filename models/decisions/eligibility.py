"""Hard filters: what may not be done for a customer now, why, and what would lift it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.decisions.actions import Action, Budget, Cap
from models.errors import PolicyError

BLOCK_CODES: Mapping[str, str] = {
    "excluded": "The caller ruled the action out.",
    "holdout": "The customer is in the holdout, which is never treated, so that the programme's worth can be measured.",
    "experiment_arm": "The customer's arm of a running experiment does not have the action.",
    "no_consent": "No consent for the channel is on record.",
    "consent_withdrawn": "The consent for the channel was withdrawn.",
    "not_eligible": "The action's condition (`where`) does not hold for the customer.",
    "eligibility_unknown": "The action's condition reads what is not known of the customer.",
    "cap": "The customer had the action as often as its cap allows.",
    "cap_over_all": "The customer was touched as often as the cap over all actions allows.",
    "quiet_hours": "It is quiet hours on every channel that the action may take.",
    "capacity": "The action's capacity over all customers is used up.",
    "staff_time": "The staff's time is used up.",
    "budget": "The budget is used up.",
}
"""The codes of `blocked_by_code`, in the order in which the filters are asked."""


@dataclass(frozen=True, slots=True)
class Block:
    """One filter that an action does not pass for one customer."""

    code: str
    text: str
    lifted_by: str
    """What would have to change."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a business allows over all its actions; None is no limit."""

    cap: Cap | None = None
    """Touches of one customer, by whatever action."""
    budget: Budget | None = None
    """Money, over all customers."""
    staff: Budget | None = None
    """Minutes of staff, over all customers."""


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of the limits over all customers at the moment of a decision; None, or absent, is no limit."""

    budget: float | None = None
    staff: float | None = None
    capacity: Mapping[str, int] = field(default_factory=dict)
    """By action."""


UNLIMITED = Remaining()


@dataclass(frozen=True, slots=True)
class Arm:
    """The arm of a running experiment that a customer belongs to, as far as it bears on a decision."""

    experiment: str
    name: str
    actions: frozenset[str] | None = None
    """The actions it has; None is all."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What an action changes for one customer: by how much it lowers the churn probability."""

    estimate: float
    low: float
    """The lower confidence bound that actions are ranked on."""
    interval: tuple[float, float] | None = None
    """95 %; None for a belief."""
    learned: bool = True
    """Whether it is learned from outcomes, or the prior that the TOML states."""


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """What a decision about one customer depends on; the pscore is exact given this, whole."""

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
    touches_over_all: int = 0
    """How often anything was done within the window of the cap over all actions."""
    eligible: Mapping[str, bool | None] = field(default_factory=dict)
    """By action: whether its condition holds; None not known, absent no condition."""
    conditions: Mapping[str, str] = field(default_factory=dict)
    """By action: the condition, as it is written."""
    quiet: Mapping[str, str] = field(default_factory=dict)
    """By channel that is in quiet hours now: until when, as "08:00"."""
    remaining: Remaining = UNLIMITED
    holdout: bool = False
    arm: Arm | None = None
    levers: Mapping[str, float] = field(default_factory=dict)
    """By action: the bounded product of the business's levers; absent is 1."""
    effects: Mapping[str, Effect] = field(default_factory=dict)
    """By action: what was learned of this customer; absent, the action's prior stands in."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.churn_probability <= 1.0:
            raise PolicyError(
                f"The churn probability of customer '{self.customer_id}' is {self.churn_probability}, not in 0 to 1."
            )


def blocks(action: Action, context: DecisionContext, limits: Limits = NO_LIMITS) -> Iterator[Block]:
    """Every filter that the action does not pass for this customer, in the order of `BLOCK_CODES`."""
    if action.name in context.exclude:
        yield Block("excluded", "excluded by the caller", "a request that does not exclude it")
    if context.holdout:
        yield Block("holdout", "in the holdout that is never treated", "nothing: who is in the holdout stays in it")
    arm = context.arm
    if arm is not None and arm.actions is not None and action.name not in arm.actions:
        text = f"not in arm '{arm.name}' of experiment '{arm.experiment}'"
        yield Block("experiment_arm", text, "the end of the experiment")
    yield from _channel(action, context)
    yield from _eligibility(action, context)
    yield from _caps(action, context, limits)
    yield from _remaining(action, context.remaining, limits)


def open_channels(action: Action, context: DecisionContext) -> list[str]:
    """The channels that consent and quiet hours leave to the action, the declared one first."""
    return [
        channel
        for channel, scope in action.channels.items()
        if channel not in context.quiet and _consent_block(scope, context) is None
    ]


def _channel(action: Action, context: DecisionContext) -> Iterator[Block]:
    refused = {channel: _consent_block(scope, context) for channel, scope in action.channels.items()}
    allowed = [channel for channel, block in refused.items() if block is None]
    if not allowed:
        # Of several channels the declared one says why.
        block = refused[action.channel]
        assert block is not None
        yield block
        return
    if all(channel in context.quiet for channel in allowed):
        until = context.quiet[allowed[0]]
        yield Block("quiet_hours", f"quiet hours until {until}", f"asking again after {until}")


def _consent_block(scope: str | None, context: DecisionContext) -> Block | None:
    if scope is None:
        return None
    consent = context.consents.get(scope)
    if consent is None or math.isnan(consent):
        return Block("no_consent", f"no consent for {scope}", f"an event consent_given with the scope '{scope}'")
    if consent <= 0.0:
        lifted_by = f"a new event consent_given with the scope '{scope}'"
        return Block("consent_withdrawn", f"consent for {scope} withdrawn", lifted_by)
    return None


def _eligibility(action: Action, context: DecisionContext) -> Iterator[Block]:
    holds = context.eligible.get(action.name, True)
    if holds:
        return
    condition = context.conditions.get(action.name, "its condition")
    if holds is None:
        text = f"not known whether {condition}"
        yield Block("eligibility_unknown", text, f"knowing what this reads: {condition}")
    else:
        yield Block("not_eligible", f"only where {condition}", f"this becoming true: {condition}")


def _caps(action: Action, context: DecisionContext, limits: Limits) -> Iterator[Block]:
    later = "or the outcome executed=false of a touch that was not made"
    cap = action.cap
    if cap is not None and context.touches.get(action.name, 0) >= cap.count:
        lifted_by = f"the touches growing older than {_window(cap)}, {later}"
        yield Block("cap", f"cap of {cap} reached", lifted_by)
    cap = limits.cap
    if cap is not None and context.touches_over_all >= cap.count:
        lifted_by = f"the touches growing older than {_window(cap)}, {later}"
        yield Block("cap_over_all", f"cap of {cap} over all actions reached", lifted_by)


def _remaining(action: Action, left: Remaining, limits: Limits) -> Iterator[Block]:
    if action.capacity is not None and left.capacity.get(action.name, action.capacity.count) < 1:
        lifted_by = f"decisions growing older than {_window(action.capacity)}, or a larger capacity"
        yield Block("capacity", f"capacity of {action.capacity} used up", lifted_by)
    if limits.staff is not None and left.staff is not None and action.minutes > left.staff:
        text = (
            f"staff time of {limits.staff} leaves {max(0.0, left.staff):g} minutes of the {action.minutes:g} it takes"
        )
        yield Block("staff_time", text, f"decisions growing older than {_window(limits.staff)}, or more staff time")
    if limits.budget is not None and left.budget is not None and action.cost > left.budget:
        text = f"budget of {limits.budget} leaves {max(0.0, left.budget):g} of the {action.cost:g} it costs"
        yield Block("budget", text, f"decisions growing older than {_window(limits.budget)}, or a larger budget")


def _window(limit: Cap | Budget) -> str:
    return f"{limit.days} {'day' if limit.days == 1 else 'days'}"


def consent_of(value: Any) -> float | None:
    """A consent as a feature says it, in figures or in words: 1 given, 0 withdrawn, None not known."""
    if isinstance(value, str):
        return 1.0 if value.strip().lower() in ("1", "true", "yes", "y") else 0.0
    return None if value is None else float(value)
