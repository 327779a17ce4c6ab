"""Support: tickets opened and resolved."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import Happenings, History
from experiments.simulation.customers.population import Flags, Floats, Integers
from experiments.simulation.records.batches import EventBatch, texts, working_hours

EASY_TOPICS = ("how_to", "access", "invoice", "settings")
HARD_TOPICS = ("bug", "data_loss", "performance", "integration")


def support(history: History, rng: np.random.Generator) -> list[EventBatch]:
    """Tickets with the properties `ticket`, `topic` and, once resolved, `contacts` and `first_contact`."""
    easy = _match(history.opened_easy, history.solved_easy)
    hard = _match(history.opened_hard, history.solved_hard)
    customer = np.concatenate([history.opened_easy.customer, history.opened_hard.customer])
    day = np.concatenate([history.opened_easy.day, history.opened_hard.day])
    solved_day = np.concatenate([easy, hard])
    is_hard = np.repeat([False, True], [easy.size, hard.size])
    opened_at = day + working_hours(customer.size, rng)
    order = np.argsort(opened_at, kind="stable")
    number = np.empty(customer.size, dtype=np.int64)
    number[order] = np.arange(1, customer.size + 1)
    ticket = texts([f"T{value:06d}" for value in number])
    topic = np.where(
        is_hard,
        texts(list(HARD_TOPICS))[rng.integers(4, size=customer.size)],
        texts(list(EASY_TOPICS))[rng.integers(4, size=customer.size)],
    )
    channel = texts(["email", "phone", "chat"])[rng.choice(3, size=customer.size, p=[0.5, 0.2, 0.3])]
    solved_at = solved_day + working_hours(customer.size, rng)
    contacts = _contacts(is_hard, rng)
    solved = ~np.isnan(solved_day)
    opened = EventBatch(
        "ticket_opened", customer, opened_at, channel=channel, properties={"ticket": ticket, "topic": topic}
    )
    resolved = EventBatch(
        "ticket_resolved",
        customer,
        solved_at,
        channel=channel,
        properties={
            "ticket": ticket,
            "topic": topic,
            "contacts": texts(contacts),
            "first_contact": texts(["false", "true"])[(contacts == 1).astype(np.int64)],
        },
    )
    return [opened, resolved.keep(solved)]


def _contacts(is_hard: Flags, rng: np.random.Generator) -> Integers:
    once = rng.random(is_hard.size) < np.where(is_hard, 0.1, 0.8)
    return np.asarray(np.where(once, 1, 2 + rng.poisson(np.where(is_hard, 2.0, 0.4))))


def _match(opened: Happenings, solved: Happenings) -> Floats:
    """The day on which each opened ticket was solved, NaN for those still open.

    Every open ticket of a kind is equally likely to be solved on any day, whatever its age, so that first opened,
    first solved is as good as any other order.
    """
    days = np.full(opened.size, np.nan)
    queue = np.lexsort((opened.day, opened.customer))
    done = np.lexsort((solved.day, solved.customer))
    started = np.searchsorted(opened.customer[queue], solved.customer[done], side="left")
    first = np.searchsorted(solved.customer[done], solved.customer[done], side="left")
    turn = np.arange(done.size) - first
    days[queue[started + turn]] = solved.day[done]
    return days
