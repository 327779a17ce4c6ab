"""Billing: subscriptions, renewals, failed payments, add-ons and refunds."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import Happenings, History
from experiments.simulation.customers.population import Floats, Integers, Population
from experiments.simulation.records.batches import EventBatch, Texts, texts, working_hours
from experiments.simulation.scenario import WINDOW_DAYS

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
REASONS = ("price", "not_used", "support", "missing_feature", "payment", "no_answer")


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
            properties={"reason": _reasons(population, history, left, rng)},
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


def _daily(rate: Floats, history: History, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Who and on which day, for something that happens at a daily `rate` (customers,) moved by satisfaction."""
    happening = (rng.random(history.active.shape) < rate * np.exp(0.3 * history.satisfaction)) & history.active
    day, customer = np.nonzero(happening)
    return customer, day


def _addons(population: Population, history: History, rng: np.random.Generator) -> EventBatch:
    rate = ADDONS_A_DAY * np.exp(0.4 * population.need - 0.6 * population.price_sensitivity)
    rate *= np.where(population.dormant, 0.05, 1.0)
    customer, day = _daily(rate, history, rng)
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
    rate = REFUNDS_A_DAY * np.exp(0.8 * population.price_sensitivity - 0.7 * population.satisfaction)
    customer, day = _daily(rate, history, rng)
    share = rng.choice([0.25, 0.5, 1.0], size=customer.size)
    return EventBatch(
        "refund", customer, day + working_hours(customer.size, rng), value=np.round(population.mrr[customer] * share, 2)
    )


def _reasons(population: Population, history: History, left: Integers, rng: np.random.Generator) -> Texts:
    """The reason that a leaving customer states: what drove them, or nothing."""
    day = np.minimum(history.cancelled_at[left].astype(np.int64), WINDOW_DAYS - 1)
    pull = np.stack(
        [
            population.price_sensitivity[left],
            1.5 * population.dormant[left] - 0.5 * population.need[left],
            0.9 * history.hard[day, left] - 0.3,
            -population.need[left] - 0.5,
            np.full(left.size, -1.5),
            np.full(left.size, 0.6),
        ]
    )
    stated = (pull + rng.gumbel(size=pull.shape)).argmax(axis=0)
    return np.asarray(texts(list(REASONS))[stated])
