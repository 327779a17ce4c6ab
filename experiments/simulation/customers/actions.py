"""SimulatedAction: what the business may do for a customer, and what that does to the hazard of cancelling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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

MEAN_EFFECT = np.array([-0.60, -0.60, -0.30])
"""What each action adds to the log-hazard of the average customer, on its first day."""

HALF_LIFE_DAYS = 70.0
DECAY = float(0.5 ** (1 / HALF_LIFE_DAYS))
"""The share of an effect that is left a day later."""


def effects(population: Population, satisfaction: Floats, spread: float) -> Floats:
    """What each action, taken now, adds to each customer's log-hazard: negative helps, positive harms.

    A call helps who is unhappy, or minds the price little; a discount helps who minds the price and makes others doubt
    what they pay; a tour helps who needs the product and annoys who does not. Who pays without using is woken up by a
    call or an e-mail, and best left alone.
    `satisfaction` is today's, with the customers on its last axis; the result has the shape (actions, *satisfaction.shape).
    `spread` multiplies what differs between customers.
    """
    unhappy = np.tanh(-1.2 * (satisfaction - 0.3))
    sensitive = np.broadcast_to(np.tanh(2.0 * population.price_sensitivity), satisfaction.shape)
    needy = np.broadcast_to(np.tanh(1.2 * population.need), satisfaction.shape)
    dormant = np.broadcast_to(population.dormant, satisfaction.shape)
    differing = np.stack(
        [
            np.where(dormant, 1.0, 1.3 * sensitive - 0.3 * unhappy),
            np.where(dormant, 1.5, -1.5 * sensitive),
            np.where(dormant, 0.25, -0.6 * needy),
        ]
    )
    mean = MEAN_EFFECT.reshape(-1, *([1] * satisfaction.ndim))
    return np.asarray(mean + spread * differing)
