"""Billing: subscriptions, renewals, failed payments, add-ons and refunds."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import Happenings, History
from experiments.simulation.customers.causes import LABELS, Cause
from experiments.simulation.customers.population import Floats, Integers, Population
from experiments.simulation.records.batches import EventBatch, Texts, texts, working_hours

ITEMS = (
    "extra_storage",
    "extra_seats",
    "priority_support",
    "training_hour",
    "data_import",
    "custom_report",
    "sandbox",
    "audit_log",
    "backup",
    "white_label",
    "message_pack",
    "sms_pack",
)
ITEM_PRICE = np.array([12.0, 20.0, 45.0, 80.0, 60.0, 95.0, 30.0, 25.0, 15.0, 120.0, 18.0, 22.0])
ITEM_SHARE = np.array([0.18, 0.15, 0.09, 0.08, 0.07, 0.06, 0.07, 0.06, 0.09, 0.03, 0.07, 0.05])
ADDONS_A_DAY = 0.007
REFUNDS_A_DAY = 0.0009
NO_ANSWER = "no_answer"
STATES_CAUSE, STATES_NOTHING = 0.5, 0.3
"""The shares of leaving customers who state what made them leave, and who state nothing; the others state anything."""


def billing(population: Population, history: History, rng: np.random.Generator) -> list[EventBatch]:
    """All events of the billing system; `value` is money."""
    joined = np.flatnonzero(population.joined_day >= 0)
    left = np.flatnonzero(~np.isnan(history.cancelled_at))
    return [
        EventBatch("subscription_started", joined, population.joined_at[joined], value=population.mrr[joined]),
        _booked("subscription_renewed", history.renewed, rng),
        _booked("payment_failed", history.failed, rng),
        _changed(history.changed_price, "price_rise", rng),
        _changed(history.changed_up, "upgrade", rng),
        _changed(history.changed_down, "downgrade", rng),
        _addons(population, history, rng),
        _refunds(population, history, rng),
        EventBatch(
            "subscription_cancelled",
            left,
            history.cancelled_at[left],
            properties={"reason": _reasons(history, left, rng)},
        ),
    ]


def _booked(type_: str, happenings: Happenings, rng: np.random.Generator) -> EventBatch:
    # the billing run is at night; a retry may come at any hour of it
    at = happenings.day + (1.0 + 4.0 * rng.random(happenings.size)) / 24
    return EventBatch(type_, happenings.customer, at, value=np.round(happenings.figure, 2))


def _changed(happenings: Happenings, reason: str, rng: np.random.Generator) -> EventBatch:
    at = happenings.day + working_hours(happenings.size, rng)
    reasons = texts([reason] * happenings.size)
    return EventBatch(
        "subscription_changed",
        happenings.customer,
        at,
        value=np.round(happenings.figure, 2),
        properties={"reason": reasons},
    )


def _daily(
    rate: Floats, history: History, rng: np.random.Generator, in_price_trouble: float
) -> tuple[Integers, Integers]:
    """Who and on which day, for something that happens at a daily `rate` (customers,) moved by satisfaction.

    The trouble of price multiplies the rate by `in_price_trouble`.
    """
    today = rate * np.exp(0.3 * history.satisfaction)
    today *= np.where(history.troubled(Cause.PRICE, slice(None)), in_price_trouble, 1.0)
    happening = (rng.random(history.active.shape) < today) & history.active
    day, customer = np.nonzero(happening)
    return customer, day


def _addons(population: Population, history: History, rng: np.random.Generator) -> EventBatch:
    rate = ADDONS_A_DAY * np.exp(0.4 * population.need - 0.6 * population.price_sensitivity)
    rate = rate * np.where(population.dormant, 0.05, 1.0)
    customer, day = _daily(rate, history, rng, in_price_trouble=0.35)
    # every customer favours some items: two draws from the shares, the first kept for half of the purchases
    favourite = rng.choice(len(ITEMS), size=population.size, p=ITEM_SHARE)
    item = np.where(
        rng.random(customer.size) < 0.5, favourite[customer], rng.choice(len(ITEMS), size=customer.size, p=ITEM_SHARE)
    )
    quantity = 1 + rng.poisson(0.3, customer.size)
    names: Texts = texts(list(ITEMS))
    return EventBatch(
        "purchase",
        customer,
        day + working_hours(customer.size, rng),
        value=np.round(ITEM_PRICE[item] * quantity, 2),
        properties={"item": names[item]},
    )


def _refunds(population: Population, history: History, rng: np.random.Generator) -> EventBatch:
    rate = REFUNDS_A_DAY * np.exp(0.4 * population.price_sensitivity - 0.5 * population.satisfaction)
    customer, day = _daily(rate, history, rng, in_price_trouble=5.0)
    share = rng.choice([0.25, 0.5, 1.0], size=customer.size)
    return EventBatch(
        "refund", customer, day + working_hours(customer.size, rng), value=np.round(population.mrr[customer] * share, 2)
    )


def _reasons(history: History, left: Integers, rng: np.random.Generator) -> Texts:
    """The reason that a leaving customer states: what made them leave, nothing, or anything."""
    share = rng.random(left.size)
    anything = rng.integers(len(Cause), size=left.size)
    stated = np.where(share < STATES_CAUSE, history.cause[left], anything)
    stated[share >= 1 - STATES_NOTHING] = len(LABELS)
    return np.asarray(texts([*LABELS, NO_ANSWER])[stated])
