"""SimulatedAction: what the business may do for a customer, and what that does to the hazard of cancelling, by cause."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Floats, Population

SCOPES = ("phone", "email", "in_app")
NO_ACTION = "no_action"


@dataclass(frozen=True, slots=True)
class SimulatedAction:
    """One action as the business knows it; `prior_effect` is the business's belief, not the truth."""

    name: str
    scope: str
    cost: float
    cap_days: int
    prior_effect: float


ACTIONS = (
    SimulatedAction("success_call", "phone", 8.0, 30, 0.25),
    SimulatedAction("discount_10", "email", 5.0, 30, 0.20),
    SimulatedAction("feature_tour", "in_app", 0.1, 14, 0.10),
)
NAMES = tuple(action.name for action in ACTIONS)
SCOPE_OF_ACTION = np.array([SCOPES.index(action.scope) for action in ACTIONS])

AVOIDABLE_BY: dict[Cause, tuple[str, ...]] = {
    Cause.PRICE: ("discount_10",),
    Cause.MISSING_FEATURE: ("success_call", "feature_tour"),
    Cause.CONTACT_LEFT: ("success_call", "feature_tour"),
    Cause.COMPETITOR: (),
    Cause.SUPPORT: ("success_call",),
    Cause.PAYMENTS: (),
}
"""The actions that make leaving for a cause less likely for the average customer, at a spread of 1."""

MEAN_EFFECT = np.array([-0.60, -0.60, -0.30])
"""What each action adds to every log-hazard on its first day where customers and causes are all alike: at a spread of 0."""

EFFECT = np.array(
    [
        # price, missing feature, contact left, competitor, support, payments
        [0.50, -0.40, -2.00, 0.0, -2.20, 0.0],
        [-0.90, 0.00, 0.00, 0.0, 0.15, 0.0],
        [0.00, -2.00, -0.60, 0.0, 0.40, 0.0],
    ]
)
"""What each action adds to each cause's log-hazard for the average customer on its first day, at a spread of 1."""

BY_PRICE = np.array([0.50, -1.30, 0.0])
"""What it adds to the log-hazard of price, besides, for who minds the price; taken away for who does not."""

WOKEN = np.array([1.2, 1.8, 0.4])
"""What it adds to the log-hazard of price for who pays without using, who is reminded of it; nothing else moves them."""

HALF_LIFE_DAYS = 70.0
DECAY = float(0.5 ** (1 / HALF_LIFE_DAYS))
"""The share of an effect that is left a day later."""


def effects(population: Population, spread: float) -> Floats:
    """What each action, taken now, adds to each customer's log-hazards: negative helps, positive harms.

    The shape is (actions, causes, customers). A call helps whom support failed, and whose contact left; a discount helps
    who minds the price and makes others doubt what they pay; a tour helps who misses a feature and annoys who waits for
    support. `spread` multiplies what differs between customers and causes; nothing reaches a rival's offer or an empty
    account, at a spread of 1 or more.
    """
    differing = np.repeat(EFFECT[:, :, None], population.size, axis=2)
    differing[:, Cause.PRICE] += BY_PRICE[:, None] * np.tanh(2.0 * population.price_sensitivity)
    differing[:, :, population.dormant] = 0.0
    differing[:, Cause.PRICE] = np.where(population.dormant, WOKEN[:, None], differing[:, Cause.PRICE])
    mean = MEAN_EFFECT[:, None, None]
    effect = mean + spread * (differing - mean)
    beyond = [cause for cause, by in AVOIDABLE_BY.items() if not by]
    effect[:, beyond] = MEAN_EFFECT[:, None, None] * max(1.0 - spread, 0.0)
    return np.asarray(effect)


def impact(hazards: npt.NDArray[np.floating], effect: npt.NDArray[np.floating]) -> Floats:
    """What effects on each cause's log-hazard, on the first axis of both, add to the log of their sum."""
    moved = (hazards * np.exp(effect)).sum(axis=0) / hazards.sum(axis=0)
    return np.asarray(np.log(moved), dtype=np.float64)
