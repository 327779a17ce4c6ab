"""Population: who the customers are, and the hidden traits that drive them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from experiments.simulation.customers.causes import TROUBLES, Cause
from experiments.simulation.scenario import WINDOW_DAYS, Scenario
from models.inference.calibration import expit

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Any1 = TypeVar("Any1", bound=np.generic)

PLANS = ("starter", "team", "business")
PRICE_PER_SEAT = np.array([19.0, 29.0, 45.0])
ACQUISITIONS = ("referral", "sales", "search", "promotion")
USE_CASES = ("occasional", "single_task", "regular", "core_process")
REGIONS = ("north", "south", "east", "west")
SIGNUP_DISCOUNTS = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0])

LOG_HAZARD = np.array([-11.7, -11.7, -11.7, -11.7, -10.9, -10.9])
"""Log of the daily hazard of each cause, of a customer about whom nothing stands out."""

BEGINS_BY_EXPOSURE = 0.6
WEIGHS_BY_EXPOSURE = 0.45
"""How much exposure to a cause moves the log of the rate at which its trouble begins, and the cause's log-hazard."""

UPON_EVENTS = 4.0
"""How many times tickets and unpaid bills multiply the hazards of support and payments on average, roughly."""

SHARE_BEFORE = 0.55
"""The share of customers who had signed up before the window."""


@dataclass(frozen=True, slots=True)
class Population:
    """Who the customers are; every array has the shape (customers,), `exposure` (customers, causes), and never changes.

    Hidden: `need`, `exposure` to each cause of leaving and `satisfaction` (the level that satisfaction returns to) are
    standard normal or narrower, `dormant` customers pay without using, `activity` is the log of how busy an account is
    for its traits.
    Recorded by the business: the rest. `joined_day` is a day index of the window, negative before it,
    and `joined_hour` the hour of that day.
    """

    need: Floats
    exposure: Floats
    satisfaction: Floats
    dormant: Flags
    activity: Floats
    joined_day: Integers
    joined_hour: Floats
    annual: Flags
    plan: Integers
    seats: Integers
    mrr: Floats
    acquisition: Integers
    signup_discount: Floats
    use_case: Integers
    integrations: Integers
    region: Integers
    owner: Integers

    @property
    def joined_at(self) -> Floats:
        """When each customer signed up, in days from the window's start."""
        return np.asarray(self.joined_day + self.joined_hour / 24)

    @property
    def size(self) -> int:
        return int(self.need.shape[0])

    def take(self, chosen: Integers) -> Population:
        """The customers at the indices `chosen`, in that order."""
        return Population(**{name: getattr(self, name)[chosen] for name in self.__slots__})

    @property
    def care(self) -> Floats:
        """How much need and satisfaction weigh in staying: little for who does not use the product."""
        return np.where(self.dormant, 0.3, 1.0)

    @property
    def price_sensitivity(self) -> Floats:
        """The exposure to leaving over the price."""
        return np.asarray(self.exposure[:, Cause.PRICE])

    def static_log_hazards(self) -> Floats:
        """Logs (causes, customers) of the daily hazards that come from traits that never change."""
        common = -0.50 * self.care * self.need - 0.30 * self.dormant - 0.40 * self.annual
        return np.asarray(LOG_HAZARD[:, None] + WEIGHS_BY_EXPOSURE * self.exposure.T + common)

    def trouble_begins(self) -> Floats:
        """The rates a day (troubles, customers) at which troubles begin: rarely for who does not use the product."""
        rate = np.array([trouble.begins for trouble in TROUBLES.values()])[:, None]
        exposed = np.exp(BEGINS_BY_EXPOSURE * self.exposure[:, list(TROUBLES)].T)
        return np.asarray(rate * exposed * np.where(self.dormant, 0.4, 1.0))

    def usual_hazard(self) -> Floats:
        """The daily hazard that each customer has on average over good and bad times, roughly."""
        hazards = np.exp(self.static_log_hazards())
        begins = self.trouble_begins()
        for cause, trouble in TROUBLES.items():
            hazards[cause] *= 1 + np.expm1(trouble.weight) * begins[cause] / (begins[cause] + trouble.ends)
        hazards[len(TROUBLES) :] *= UPON_EVENTS
        return np.asarray(hazards.sum(axis=0) * np.exp(-0.35 * self.care * self.satisfaction))


def draw(scenario: Scenario, rng: np.random.Generator) -> Population:
    """Draw the customers of a scenario: those who are still there when the window starts, and those who join in it."""
    before = round(scenario.customers * SHARE_BEFORE)
    survivors: list[Population] = []
    found = 0
    while found < before:
        candidates = _draw_traits(4 * before + 100, rng)
        tenure = np.minimum(rng.exponential(500.0, candidates.size), 1_500.0).astype(np.int64) + 45
        stayed = rng.random(candidates.size) < np.exp(-candidates.usual_hazard() * tenure)
        chosen = np.flatnonzero(stayed)[: before - found]
        candidates.joined_day[:] = -tenure
        survivors.append(candidates.take(chosen))
        found += chosen.size
    joiners = _draw_traits(scenario.customers - before, rng)
    joiners.joined_day[:] = rng.choice(WINDOW_DAYS, size=joiners.size, p=_joining_share(scenario))
    everyone = _concatenate([*survivors, joiners])
    return everyone.take(np.argsort(everyone.joined_day, kind="stable"))


def _draw_traits(size: int, rng: np.random.Generator) -> Population:
    need = rng.standard_normal(size)
    exposure = rng.standard_normal((size, len(Cause)))
    price_sensitivity = exposure[:, Cause.PRICE]
    satisfaction = 0.95 * rng.standard_normal(size) - 0.35 * price_sensitivity
    dormant = rng.random(size) < 0.10
    scale = rng.standard_normal(size)
    whale = rng.random(size) < 0.006
    seats = np.maximum(np.round(np.exp(1.3 + 0.75 * scale) * np.where(whale, 12.0, 1.0)), 1.0)
    plan = np.digitize(scale - 0.5 * price_sensitivity + 0.6 * rng.standard_normal(size), [0.0, 1.1])
    discount = SIGNUP_DISCOUNTS[
        np.digitize(price_sensitivity + 0.25 * rng.standard_normal(size), [-1.2, -0.6, 0.0, 0.5, 1.0, 1.6])
    ]
    price = PRICE_PER_SEAT[plan] * (1 - discount / 100) * np.exp(0.12 * rng.standard_normal(size))
    return Population(
        need=need,
        exposure=exposure,
        satisfaction=satisfaction,
        dormant=dormant,
        activity=0.30 * (np.log(seats) - 1.3) + 0.12 * rng.standard_normal(size),
        joined_day=np.zeros(size, dtype=np.int64),
        joined_hour=rng.uniform(6.0, 12.0, size),
        annual=rng.random(size) < 0.10,
        plan=plan.astype(np.int64),
        seats=seats.astype(np.int64),
        mrr=np.asarray(np.round(np.maximum(seats * price, 5.0), 2), dtype=np.float64),
        acquisition=np.digitize(price_sensitivity + 0.4 * rng.standard_normal(size), [-1.2, -0.4, 0.5]).astype(
            np.int64
        ),
        signup_discount=discount,
        use_case=np.digitize(need + 0.35 * rng.standard_normal(size), [-0.9, 0.1, 1.0]).astype(np.int64),
        integrations=rng.binomial(8, expit(1.1 * need - 0.7)),
        region=rng.integers(len(REGIONS), size=size),
        owner=rng.integers(6, size=size),
    )


def _joining_share(scenario: Scenario) -> Floats:
    """The share of joiners who sign up on each day: fewer at week-ends, more in January and September."""
    day = np.arange(WINDOW_DAYS)
    weekend = (day + scenario.first_weekday) % 7 >= 5
    season = 1 + 0.25 * np.cos(2 * np.pi * 2 * (day + scenario.first_day_of_year - 15) / 365.25)
    share = season * np.where(weekend, 0.35, 1.0)
    return np.asarray(share / share.sum())


def _concatenate(parts: list[Population]) -> Population:
    return Population(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in Population.__slots__}
    )
