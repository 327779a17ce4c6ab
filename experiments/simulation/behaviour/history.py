"""History: the window lived through day by day, with all that later becomes events, and the hidden states for the truth."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.simulation.behaviour.dynamics import begin, step
from experiments.simulation.behaviour.hazard import hazards
from experiments.simulation.customers.actions import effects, impact
from experiments.simulation.customers.causes import TROUBLES, Cause
from experiments.simulation.customers.population import Flags, Floats, Integers, Population
from experiments.simulation.scenario import WINDOW_DAYS
from experiments.simulation.truth import Moment

UPGRADE_RATE, DOWNGRADE_RATE = 0.0004, 0.0005
PRICE_RISE_FACTOR, UPGRADE_FACTOR, DOWNGRADE_FACTOR = 1.07, 1.4, 0.7


@dataclass(frozen=True, slots=True)
class Happenings:
    """Things of one kind in the order of their days: `customer` and `day` indices, and a `figure` whose meaning the kind gives."""

    customer: Integers
    day: Integers
    figure: Floats

    @property
    def size(self) -> int:
        return int(self.customer.size)


@dataclass(frozen=True, slots=True)
class History:
    """What happened in the window.

    `active`, `satisfaction`, `influence` (on the log of the whole hazard), `hard` (open difficult tickets), `grievance`,
    `unpaid` (a bill is) and `troubles` (a bit each) have the shape (days, customers) and hold the start of each day; `active` is false before
    joining and after the day of cancelling. `cancelled_at` is in days from the window's start, NaN for who stayed, and
    `cause` then −1. Figures: `renewed` and `failed` the monthly fee, `changed_*` the new fee, `touched` the action's
    index or −1, `pscore` its probability and `impact` what it adds to the log-hazard, `withdrawn` the scope's index,
    `opened_*` and `solved_*` nothing.
    """

    active: Flags
    satisfaction: npt.NDArray[np.float32]
    influence: npt.NDArray[np.float32]
    hard: npt.NDArray[np.int8]
    grievance: npt.NDArray[np.float32]
    unpaid: Flags
    troubles: npt.NDArray[np.uint8]
    cancelled_at: Floats
    cause: Integers
    opened_easy: Happenings
    opened_hard: Happenings
    solved_easy: Happenings
    solved_hard: Happenings
    renewed: Happenings
    failed: Happenings
    changed_price: Happenings
    changed_up: Happenings
    changed_down: Happenings
    touched: Happenings
    pscore: Floats
    impact: Floats
    withdrawn: Happenings
    consent_at_start: Flags
    mrr_at_end: Floats
    moments: tuple[Moment, ...]

    def troubled(self, cause: Cause, days: Integers | slice, customers: Integers | slice = slice(None)) -> Flags:
        """Whether the trouble of `cause` was there, at the start of those days for those customers."""
        return np.asarray(self.troubles[days, customers] >> cause & 1, dtype=np.bool_)


class _Diary:
    """Collects the happenings of one kind."""

    def __init__(self) -> None:
        self._customers: list[Integers] = []
        self._days: list[Integers] = []
        self._figures: list[Floats] = []

    def note(self, day: int, customers: Integers, figures: npt.NDArray[np.generic] | None = None) -> None:
        if customers.size:
            self._customers.append(customers)
            self._days.append(np.full(customers.size, day))
            self._figures.append(np.zeros(customers.size) if figures is None else figures.astype(np.float64))

    def close(self) -> Happenings:
        if not self._customers:
            return Happenings(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        return Happenings(np.concatenate(self._customers), np.concatenate(self._days), np.concatenate(self._figures))


KINDS = (
    "opened_easy",
    "opened_hard",
    "solved_easy",
    "solved_hard",
    "renewed",
    "failed",
    "changed_price",
    "changed_up",
    "changed_down",
    "touched",
    "withdrawn",
)


def live(
    population: Population,
    spread: float,
    moments: Collection[int],
    rng: np.random.Generator,
    advanced: Callable[[float], None] = lambda _: None,
) -> History:
    """Live through the window; `moments` are the day indices whose hidden states are kept for the truth."""
    size = population.size
    state = begin(population, rng)
    consent_at_start = state.consent.copy()
    cancelled_at = np.full(size, np.nan)
    mrr = population.mrr.copy()
    diaries = {kind: _Diary() for kind in KINDS}
    pscores: list[Floats] = []
    kept: list[Moment] = []
    active_days = np.zeros((WINDOW_DAYS, size), dtype=np.bool_)
    satisfaction = np.zeros((WINDOW_DAYS, size), dtype=np.float32)
    influence = np.zeros((WINDOW_DAYS, size), dtype=np.float32)
    hard = np.zeros((WINDOW_DAYS, size), dtype=np.int8)
    grievance = np.zeros((WINDOW_DAYS, size), dtype=np.float32)
    unpaid = np.zeros((WINDOW_DAYS, size), dtype=np.bool_)
    troubles = np.zeros((WINDOW_DAYS, size), dtype=np.uint8)
    cause = np.full(size, -1)
    impacts: list[Floats] = []
    bits = np.array([1 << one for one in TROUBLES], dtype=np.uint8)[:, None]
    for day in range(WINDOW_DAYS):
        active = (population.joined_day <= day) & np.isnan(cancelled_at)
        there = active & (population.joined_day < day)
        if day in moments:
            kept.append(Moment(day, state.copy(), np.flatnonzero(there)))
        active_days[day] = active
        satisfaction[day] = state.satisfaction
        rates = hazards(population, state, day)
        total = rates.sum(axis=0)
        influence[day] = -impact(rates, -state.influence)
        hard[day] = state.hard
        grievance[day] = state.grievance
        unpaid[day] = state.arrears
        troubles[day] = (state.troubles * bits).sum(axis=0)
        # who joins today is not a customer yet at midnight, and does not leave on the day
        leaving = np.flatnonzero(there & (rng.random(size) < -np.expm1(-total)))
        cancelled_at[leaving] = day + rng.random(leaving.size)
        # of competing causes, each is what made the customer leave as often as its hazard is large
        cause[leaving] = (rng.random(leaving.size) * total[leaving] >= rates[:-1, leaving].cumsum(axis=0)).sum(axis=0)
        joining = population.joined_day == day
        # until they join, customers only wait: no timer runs for them
        state.since_decision[joining] = 0
        today = step(population, state, day, active, spread, rng)
        mrr[today.price_rise[0]] *= PRICE_RISE_FACTOR
        diaries["changed_price"].note(day, today.price_rise[0], mrr[today.price_rise[0]])
        uniform = rng.random(size)
        drift = state.satisfaction
        up = np.flatnonzero(active & (uniform < UPGRADE_RATE * np.exp(0.5 * population.need + 0.4 * drift)))
        squeezed = 1.6 * state.troubles[Cause.PRICE]
        down_rate = DOWNGRADE_RATE * np.exp(0.4 * population.price_sensitivity - 0.3 * drift + squeezed)
        down = np.flatnonzero(active & (uniform > 1 - down_rate))
        mrr[up] *= UPGRADE_FACTOR
        mrr[down] *= DOWNGRADE_FACTOR
        diaries["changed_up"].note(day, up, mrr[up])
        diaries["changed_down"].note(day, down, mrr[down])
        diaries["opened_easy"].note(day, today.opened_easy[0])
        diaries["opened_hard"].note(day, today.opened_hard[0])
        diaries["solved_easy"].note(day, np.repeat(today.solved_easy[0], today.solved_easy_count))
        diaries["solved_hard"].note(day, np.repeat(today.solved_hard[0], today.solved_hard_count))
        diaries["renewed"].note(day, today.paid[0], mrr[today.paid[0]])
        diaries["failed"].note(day, today.failed[0], mrr[today.failed[0]])
        diaries["touched"].note(day, today.decided[0], today.action)
        pscores.append(today.pscore)
        who, touched = today.decided[0], today.action >= 0
        effect = effects(population.take(who), spread)[np.maximum(today.action, 0), :, np.arange(who.size)].T
        impacts.append(np.where(touched, impact(rates[:, who], effect), 0.0))
        diaries["withdrawn"].note(day, today.withdrawn[0], today.withdrawn_scope)
        advanced(1 / WINDOW_DAYS)
    if WINDOW_DAYS in moments:
        kept.append(Moment(WINDOW_DAYS, state, np.flatnonzero(np.isnan(cancelled_at))))
    return History(
        active=active_days,
        satisfaction=satisfaction,
        influence=influence,
        hard=hard,
        grievance=grievance,
        unpaid=unpaid,
        troubles=troubles,
        cancelled_at=cancelled_at,
        cause=cause,
        pscore=np.concatenate(pscores),
        impact=np.concatenate(impacts),
        consent_at_start=consent_at_start,
        mrr_at_end=mrr,
        moments=tuple(kept),
        **{kind: diary.close() for kind, diary in diaries.items()},
    )
