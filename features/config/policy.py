"""The tables of a TOML that say what may be done for customers: actions, levers, limits, recommendations."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from features.config.data import Cap, Names, Section, Text
from features.words import shown

LEVER_BOUNDS = (0.5, 2.0)


def _clock(value: object) -> object:
    """A time of day such as "20:00"."""
    if not isinstance(value, str):
        return value
    try:
        moment = time.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{shown(value)} is no time of day such as '20:00'") from None
    if moment.tzinfo is not None:
        raise ValueError(f"{value!r} must have no zone: the business's own counts")
    return moment


def _bounds(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 0.0 < value[0] <= 1.0 <= value[1]:
        raise ValueError("it must be two figures, above 0 and at most 1, and at least 1, such as [0.5, 2.0]")
    return value


Clock = Annotated[time, BeforeValidator(_clock)]
Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Days = Annotated[int, Field(gt=0, le=3650)]


class ActionSpec(Section):
    """An action as the TOML declares it; `prior_effect` is the share of churn probability it is believed to remove.

    `cap` is for one customer, `capacity` over all; `minutes` are of staff; `where` is a condition over attributes and
    features; `channels` maps channels that do as well as `channel` to the consent scope that each needs ("" is none);
    an action with `recommends` names the item that suits the customer best.
    """

    name: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f]+$")]
    channel: Text
    cost: Amount
    prior_effect: Share
    consent: Text | None = None
    cap: Cap | None = None
    capacity: Cap | None = None
    minutes: Amount = 0.0
    where: Text | None = None
    channels: dict[Text, str] = Field(default_factory=dict)
    recommends: bool = False


class LeverSpec(Section):
    """A weight that the business puts on the value of actions: of `actions`, or all; where `where` holds, or always."""

    name: Text
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    where: Text | None = None
    actions: Names = ()


class MoneyBudget(Section):
    """At most `amount` of the business's currency within `days`, over all customers."""

    amount: Amount
    days: Days


class StaffTime(Section):
    """At most `minutes` of staff within `days`, over all customers."""

    minutes: Amount
    days: Days


class QuietHours(Section):
    """No touch from `start` to `end`, by the clock of the business's time zone, on `channels`, or on all.

    `timezone` names an attribute that holds the customer's own time zone; who has none lives by the business's.
    """

    start: Clock
    end: Clock
    channels: Names = ()
    timezone: Text | None = None


class Policy(Section):
    """How decisions are made.

    `confidence` is the one-sided confidence of the lower bound that actions are ranked on: 0.5 is the estimate itself.
    `exploration` is the share of decisions drawn uniformly among the allowed actions, each of which has at least `floor`.
    `holdout` is the share of customers that are never treated. `reward` says what an outcome's reward is: `money`, or
    `retained`, the share of the value at stake that was kept.
    """

    confidence: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    exploration: Share = 0.10
    floor: Share = 0.01
    holdout: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    cap: Cap | None = None
    budget: MoneyBudget | None = None
    staff: StaffTime | None = None
    quiet_hours: QuietHours | None = None
    lever_bounds: Annotated[tuple[float, float], BeforeValidator(_bounds), AfterValidator(_rising)] = LEVER_BOUNDS
    reward: Literal["money", "retained"] = "money"


class Recommendations(Section):
    """How items are recommended: with the consent scope `consent`, if one is named.

    An item that was bought within `exclude_days` is left out unless it is one that people buy again: one that at least
    `repeatable` of its buyers did.
    """

    consent: Text | None = None
    exclude_days: Days = 30
    repeatable: Share = 0.05
