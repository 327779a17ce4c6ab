"""Outreach: the random touches with their propensities, what customers did with them, and their consents."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import History
from experiments.simulation.customers.actions import ACTIONS, NAMES, NO_ACTION, SCOPES
from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Population
from experiments.simulation.records.batches import EventBatch, texts, working_hours
from models.inference.calibration import expit


def outreach(population: Population, history: History, rng: np.random.Generator) -> list[EventBatch]:
    """Touches (properties `action`, `pscore`), opened and clicked ones, and consents given or withdrawn (`scope`).

    A decision to do nothing is logged as a touch too, with the action `no_action` and no channel, so that the
    propensities of every decision sum to 1.
    """
    touched = history.touched
    action = touched.figure.astype(np.int64)
    at = touched.day + working_hours(touched.size, rng)
    name = texts([*NAMES, NO_ACTION])[action]
    channel = np.array([*(one.scope for one in ACTIONS), None], dtype=np.object_)[action]
    number = texts([f"D{value:06d}" for value in range(1, touched.size + 1)])
    touches = EventBatch(
        "touch",
        touched.customer,
        at,
        channel=channel,
        properties={
            "action": name,
            "pscore": texts([repr(value) for value in history.pscore.tolist()]),
            "touch": number,
        },
    )
    mood = history.satisfaction[touched.day, touched.customer].astype(np.float64)
    away = population.dormant[touched.customer] | history.troubled(Cause.CONTACT_LEFT, touched.day, touched.customer)
    opened = (action >= 0) & (rng.random(touched.size) < expit(1.4 + 0.2 * mood - 1.5 * away))
    clicked = opened & (rng.random(touched.size) < expit(-1.0 - 5.0 * history.impact))
    opened_at = at + rng.exponential(0.3, touched.size) * (channel != "phone")
    clicked_at = opened_at + rng.exponential(0.01, touched.size)
    answers = {"action": name, "touch": number}
    return [
        touches,
        EventBatch("touch_opened", touched.customer, opened_at, channel=channel, properties=answers).keep(opened),
        EventBatch("touch_clicked", touched.customer, clicked_at, channel=channel, properties=answers).keep(clicked),
        *_consents(population, history, rng),
    ]


def _consents(population: Population, history: History, rng: np.random.Generator) -> list[EventBatch]:
    scope, customer = np.nonzero(history.consent_at_start)
    # consents older than the log were taken over into it on its first day
    at = np.maximum(population.joined_at[customer], 0.0) + 0.002 * rng.random(customer.size)
    scopes = texts(list(SCOPES))
    withdrawn = history.withdrawn
    return [
        EventBatch("consent_given", customer, at, properties={"scope": scopes[scope]}),
        EventBatch(
            "consent_withdrawn",
            withdrawn.customer,
            withdrawn.day + working_hours(withdrawn.size, rng),
            properties={"scope": scopes[withdrawn.figure.astype(np.int64)]},
        ),
    ]
