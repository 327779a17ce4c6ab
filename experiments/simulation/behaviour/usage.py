"""Usage: sessions and the features used in them, more of both the more a customer needs and likes the product."""

from __future__ import annotations

import numpy as np

from experiments.simulation.behaviour.history import History
from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Flags, Floats, Integers, Population
from experiments.simulation.records.batches import EventBatch, Texts, texts, working_hours
from experiments.simulation.scenario import WINDOW_DAYS, Scenario
from models.inference.calibration import expit

FEATURES = (
    "dashboard",
    "search",
    "report",
    "export",
    "sharing",
    "alerts",
    "automation",
    "integration",
    "api",
    "forecast",
)
POPULARITY = np.array([1.0, 0.8, 0.7, 0.45, 0.4, 0.35, 0.35, 0.3, 0.25, 0.25])
DIFFICULTY = np.array([-3.0, -2.0, -1.2, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 1.2])
WEEKDAY = np.array([1.15, 1.2, 1.2, 1.15, 1.0, 0.35, 0.3])
SESSIONS_A_DAY = 0.09
FEATURES_A_SESSION = 0.8
DORMANT_SHARE = 0.008
RHYTHM = 4
"""Only every fourth tick of the clock is a session: people come more regularly than chance would have them."""
CHUNK_DAYS = 64
SESSIONS_IN_TROUBLE = {Cause.CONTACT_LEFT: -1.5, Cause.COMPETITOR: -0.5}
"""What a trouble adds to the log of how often they come: who knew the product is gone, or works elsewhere as well."""
USES_IN_TROUBLE = {Cause.MISSING_FEATURE: -0.9}
"""What a trouble adds to the log of how many features a session uses."""


def usage(population: Population, history: History, scenario: Scenario, rng: np.random.Generator) -> list[EventBatch]:
    """All sessions (value: minutes) and uses of features (property `feature`) of the window."""
    customers, days = [], []
    passed = rng.integers(0, RHYTHM, population.size)
    steady = population.activity + 0.38 * population.need + np.where(population.dormant, np.log(DORMANT_SHARE), 0.0)
    day = np.arange(WINDOW_DAYS)
    season = 1 - 0.12 * np.exp(-(((_day_of_year(day, scenario) - 212) / 25.0) ** 2)) - 0.4 * _year_end(day, scenario)
    calendar = np.log(SESSIONS_A_DAY * WEEKDAY[(day + scenario.first_weekday) % 7] * season)
    for start in range(0, WINDOW_DAYS, CHUNK_DAYS):
        chunk = slice(start, start + CHUNK_DAYS)
        moving = 0.20 * history.satisfaction[chunk] - 0.22 * history.influence[chunk]
        for cause, added in SESSIONS_IN_TROUBLE.items():
            moving += added * history.troubled(cause, chunk)
        rate = np.exp(moving + steady + calendar[chunk, None]) * history.active[chunk]
        ticks = passed + np.cumsum(rng.poisson(RHYTHM * rate), axis=0)
        count = np.diff(ticks // RHYTHM, axis=0, prepend=(passed // RHYTHM)[None, :])
        passed = ticks[-1]
        at_day, customer = np.nonzero(count)
        times = count[at_day, customer]
        customers.append(np.repeat(customer, times))
        days.append(np.repeat(at_day + start, times))
    customer, at_day = np.concatenate(customers), np.concatenate(days)
    at = at_day + working_hours(customer.size, rng)
    mood = history.satisfaction[at_day, customer].astype(np.float64)
    moved = 0.30 * mood + 0.60 * population.need[customer] - 0.40 * history.influence[at_day, customer]
    minutes = np.exp(2.4 + moved + 0.40 * rng.standard_normal(customer.size))
    sessions = EventBatch(
        "session",
        customer,
        at,
        value=np.asarray(np.round(minutes, 1), dtype=np.float64),
        channel=_devices(customer.size, rng),
    )
    for cause, added in USES_IN_TROUBLE.items():
        moved += 2 * added * history.troubled(cause, at_day, customer)
    uses = rng.poisson(FEATURES_A_SESSION * np.exp(0.5 * moved))
    user = np.repeat(customer, uses)
    used_at = np.repeat(at, uses) + rng.random(user.size) * np.repeat(minutes, uses) / 1_440
    chosen = _choose(_shares(population), user, rng)
    names = texts(list(FEATURES))
    return [sessions, EventBatch("feature_used", user, used_at, properties={"feature": names[chosen]})]


def _shares(population: Population) -> Floats:
    """How each customer's use divides over the features, cumulated, with the shape (customers, features)."""
    mastered = expit(2.0 * (population.need[:, None] - DIFFICULTY))
    weight = POPULARITY * mastered
    return np.asarray(np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1))


def _choose(cumulative: Floats, who: Integers, rng: np.random.Generator) -> Integers:
    uniform = rng.random(who.size)
    chosen = np.zeros(who.size, dtype=np.int64)
    for column in range(cumulative.shape[1] - 1):
        chosen += uniform > cumulative[who, column]
    return chosen


def _devices(size: int, rng: np.random.Generator) -> Texts:
    return texts(["web", "mobile"])[(rng.random(size) < 0.3).astype(np.int64)]


def _day_of_year(day: Integers, scenario: Scenario) -> Integers:
    return (day + scenario.first_day_of_year) % 365


def _year_end(day: Integers, scenario: Scenario) -> Flags:
    of_year = _day_of_year(day, scenario)
    return (of_year >= 356) | (of_year < 2)
