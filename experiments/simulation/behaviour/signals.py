"""Signals: rare events that some trouble makes frequent, and that happen without it too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.simulation.behaviour.history import History
from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Population
from experiments.simulation.records.batches import EventBatch, working_hours


@dataclass(frozen=True, slots=True)
class Signal:
    """An event type with its rates a day: of an average customer, and of one in the trouble of `cause`."""

    type: str
    cause: Cause
    usually: float
    in_trouble: float


SIGNALS = (
    Signal("pricing_viewed", Cause.PRICE, 0.009, 0.10),
    Signal("feature_requested", Cause.MISSING_FEATURE, 0.005, 0.11),
    Signal("email_bounced", Cause.CONTACT_LEFT, 0.002, 0.10),
    Signal("data_exported", Cause.COMPETITOR, 0.009, 0.11),
)
DORMANT_SHARE = 0.1
BY_EXPOSURE = 0.3
"""How much a customer's exposure to the cause moves the log of the usual rate."""


def signals(population: Population, history: History, rng: np.random.Generator) -> list[EventBatch]:
    """The events of all signals, at most one of a type a day and customer."""
    return [_happening(signal, population, history, rng) for signal in SIGNALS]


def _happening(signal: Signal, population: Population, history: History, rng: np.random.Generator) -> EventBatch:
    awake = np.where(population.dormant, DORMANT_SHARE, 1.0)
    usual = signal.usually * awake * np.exp(BY_EXPOSURE * population.exposure[:, signal.cause])
    rate = np.where(history.troubled(signal.cause, slice(None)), signal.in_trouble * awake, usual)
    day, customer = np.nonzero(history.active & (rng.random(rate.shape) < rate))
    return EventBatch(signal.type, customer, day + working_hours(customer.size, rng))
