"""Answers: surveys and comments, whose figures and words follow satisfaction, with noise."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import History
from experiments.simulation.behaviour.wording import ABOUT, Topic, write
from experiments.simulation.customers.causes import TROUBLES, Cause
from experiments.simulation.customers.population import Floats, Integers, Population
from experiments.simulation.records.batches import EventBatch, texts, working_hours

NPS_EVERY_DAYS = 45
NPS_ANSWERED = 0.50
CSAT_ANSWERED = 0.45
CES_A_DAY = 0.0030
COMMENTS_A_DAY = 0.0018
DORMANT_SHARE = 0.1
WITH_TEXT = 0.45
CONTACT_GONE_SHARE = 0.25
TROUBLE_SHOWS = 0.6
"""What a trouble takes, as so much satisfaction, from what is answered and written while it lasts."""
TROUBLE_WORRIES = 3.2
"""How much a trouble pulls what is written towards it."""


def answers(population: Population, history: History, rng: np.random.Generator) -> list[EventBatch]:
    """Survey answers (property `survey`, value, some with text) and comments (text)."""
    speaking = np.where(population.dormant, DORMANT_SHARE, 1.0)
    # who answered for the account is gone: hardly anybody else does
    speaking = speaking * np.where(history.troubled(Cause.CONTACT_LEFT, slice(None)), CONTACT_GONE_SHARE, 1.0)
    tenure = np.arange(history.active.shape[0])[:, None] - population.joined_day
    asked = history.active & (tenure > 0) & (tenure % NPS_EVERY_DAYS == 20)
    day, customer = np.nonzero(asked & (rng.random(asked.shape) < NPS_ANSWERED * speaking))
    nps = _survey(
        "nps", customer, day, _scale(history, customer, day, 7.0, 2.1, 0.8, 0, 10, rng), population, history, rng
    )

    solved = [history.solved_easy, history.solved_hard]
    customer = np.concatenate([one.customer for one in solved])
    day = np.concatenate([one.day for one in solved])
    hard = np.repeat([0.0, 1.0], [one.size for one in solved])
    replied = rng.random(customer.size) < CSAT_ANSWERED
    customer, day, hard = customer[replied], day[replied], hard[replied]
    figure = _scale(history, customer, day, 4.0 - 0.8 * hard, 0.8, 0.5, 1, 5, rng)
    # the question comes a while after the ticket was closed
    csat = _survey("csat", customer, day, figure, population, history, rng, delay=1.0)

    day, customer = np.nonzero(history.active & (rng.random(asked.shape) < CES_A_DAY * speaking))
    ces = _survey(
        "ces", customer, day, _scale(history, customer, day, 5.0, 1.1, 0.7, 1, 7, rng), population, history, rng
    )

    day, customer = np.nonzero(history.active & (rng.random(asked.shape) < COMMENTS_A_DAY * speaking))
    mood = _mood(history, customer, day) + 0.5 * rng.standard_normal(customer.size)
    comments = EventBatch(
        "comment",
        customer,
        day + working_hours(customer.size, rng),
        channel=texts(["web", "email", "chat"])[rng.integers(3, size=customer.size)],
        text=write(mood, _topics(population, history, customer, day, rng), rng),
    )
    return [nps, csat, ces, comments]


def _scale(
    history: History,
    customer: Integers,
    day: Integers,
    centre: float | Floats,
    slope: float,
    noise: float,
    lowest: int,
    highest: int,
    rng: np.random.Generator,
) -> Floats:
    mood = _mood(history, customer, day)
    answer = centre + slope * mood + noise * rng.standard_normal(customer.size)
    return np.asarray(np.clip(np.round(answer), lowest, highest), dtype=np.float64)


def _survey(
    survey: str,
    customer: Integers,
    day: Integers,
    value: Floats,
    population: Population,
    history: History,
    rng: np.random.Generator,
    delay: float = 0.0,
) -> EventBatch:
    mood = _mood(history, customer, day) + 0.4 * rng.standard_normal(customer.size)
    words = write(mood, _topics(population, history, customer, day, rng), rng)
    words[rng.random(customer.size) >= WITH_TEXT] = None
    at = day + working_hours(customer.size, rng) + delay
    return EventBatch(
        "survey_answered",
        customer,
        at,
        value=value,
        channel="email",
        text=words,
        properties={"survey": texts([survey] * customer.size)},
    )


def _mood(history: History, customer: Integers, day: Integers) -> Floats:
    """How the author feels on the day: satisfaction, less what troubles them."""
    mood = history.satisfaction[day, customer].astype(np.float64)
    for cause in TROUBLES:
        mood -= TROUBLE_SHOWS * history.troubled(cause, day, customer) * (TROUBLES[cause].mood > 0)
    return mood - 0.4 * np.minimum(history.grievance[day, customer], 2)


def _topics(
    population: Population, history: History, customer: Integers, day: Integers, rng: np.random.Generator
) -> Integers:
    """What each author writes about: what troubles them, what concerns them otherwise, or anything."""
    pull = np.full((len(Topic), customer.size), -1.8)
    pull[Topic.PRODUCT] = 0.6
    pull[Topic.USE] = -0.5 * population.need[customer] - 0.5
    pull[Topic.PRICE] = 0.5 * population.price_sensitivity[customer] - 0.6
    pull[Topic.SUPPORT] = 1.3 * np.minimum(history.hard[day, customer] + history.grievance[day, customer], 2) - 0.5
    for cause, topic in ABOUT.items():
        pull[topic] += TROUBLE_WORRIES * history.troubled(cause, day, customer)
    pull[Topic.PAYMENT] += TROUBLE_WORRIES * history.unpaid[day, customer]
    return np.asarray((pull + rng.gumbel(size=pull.shape)).argmax(axis=0))
