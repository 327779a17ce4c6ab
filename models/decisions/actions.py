"""Actions: what can be done for a customer, and how often, at what cost, on whose terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from models.errors import PolicyError

NO_ACTION = "no_action"


@dataclass(frozen=True, slots=True)
class Cap:
    """At most `count` in `days` days."""

    count: int
    days: int

    def __post_init__(self) -> None:
        if self.count < 0 or self.days < 1:
            raise PolicyError(f"A cap of {self.count} in {self.days} days makes no sense: count ≥ 0 and days ≥ 1.")

    def __str__(self) -> str:
        return f"{self.count} in {_days(self.days)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `amount` in `days` days, over all customers: money, or minutes of staff."""

    amount: float
    days: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount >= 0.0) or self.days < 1:
            raise PolicyError(f"A budget of {self.amount} in {self.days} days makes no sense: amount ≥ 0 and days ≥ 1.")

    def __str__(self) -> str:
        return f"{self.amount:g} in {_days(self.days)}"


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
    """For one customer."""
    minutes: float = 0.0
    """Of staff."""
    capacity: Cap | None = None
    """Over all customers."""
    other_channels: Mapping[str, str | None] = field(default_factory=dict)
    """Channels that do as well, each with the consent scope that it needs."""

    def __post_init__(self) -> None:
        if not self.name or self.name == NO_ACTION:
            raise PolicyError(f"An action cannot be named '{self.name}': '{NO_ACTION}' is always there by itself.")
        for what, figure in (("cost", self.cost), ("staff time", self.minutes)):
            if not (math.isfinite(figure) and figure >= 0.0):
                raise PolicyError(f"The {what} of action '{self.name}' is {figure}, but must be 0 or more.")
        if not -1.0 <= self.prior_effect <= 1.0:
            raise PolicyError(f"The prior_effect of action '{self.name}' is {self.prior_effect}, but lies in −1 to 1.")

    @property
    def channels(self) -> dict[str, str | None]:
        """Every channel that it may take with the consent scope that each needs, the declared one first."""
        return {self.channel: self.consent, **self.other_channels}


def _days(days: int) -> str:
    return f"{days} {'day' if days == 1 else 'days'}"
