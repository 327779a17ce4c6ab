"""State: what changes in a customer from day to day, and the hazard of cancelling that follows from it.

The same `step` makes the log and the futures behind the truth: `State`'s arrays have the shape (customers,) or
(rollouts, customers), and the population is always (customers,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from experiments.simulation.customers.actions import ACTIONS, DECAY, SCOPE_OF_ACTION, SCOPES, effects
from experiments.simulation.customers.population import Flags, Floats, Integers, Population
from models.inference.calibration import expit

RETURN_RATE = 1 / 120
NOISE = 0.22 * np.sqrt(2 * RETURN_RATE)
MOST_LOG_HAZARD = -2.5
TICKET_RATE = 0.012
HARD_SHARE = 0.35
SOLVED_HARD, SOLVED_EASY = 0.08, 0.65
BILLING_DAYS = 30
YEAR_DAYS = 365
RETRY, RETRY_WORKS = 0.30, 0.45
PRICE_RISE = 0.6
DECISION_GAP_DAYS = 30
DECISION_RATE = 1 / 60
WITHDRAWAL_RATE = 0.0002
CONSENT_SHARE = (0.75, 0.88, 0.97)


@dataclass(slots=True)
class State:
    """The hidden state of every customer at the start of a day.

    `satisfaction` moves around the customer's own level; `easy` and `hard` count open tickets; `arrears` is an unpaid
    bill; `influence` is what is left of past touches' effects on the log-hazard; `since_decision` counts days;
    `consent` has the shape (3, …), one row a scope.
    """

    satisfaction: Floats
    easy: Integers
    hard: Integers
    arrears: Flags
    influence: Floats
    since_decision: Integers
    consent: Flags

    def tile(self, rollouts: int, chosen: Integers) -> State:
        """Copies of the customers at `chosen`, with the shape (rollouts, chosen)."""
        return State(*(np.repeat(getattr(self, name)[..., None, chosen], rollouts, axis=-2) for name in self.__slots__))

    def copy(self) -> State:
        return State(*(getattr(self, name).copy() for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Day:
    """What happened on a day besides cancelling: who (index arrays, as of `numpy.nonzero`), and how much."""

    opened_easy: tuple[Integers, ...]
    opened_hard: tuple[Integers, ...]
    solved_easy: tuple[Integers, ...]
    solved_easy_count: Integers
    solved_hard: tuple[Integers, ...]
    solved_hard_count: Integers
    paid: tuple[Integers, ...]
    failed: tuple[Integers, ...]
    price_rise: tuple[Integers, ...]
    decided: tuple[Integers, ...]
    action: Integers
    pscore: Floats
    withdrawn: tuple[Integers, ...]
    withdrawn_scope: Integers


def begin(population: Population, rng: np.random.Generator) -> State:
    """The state at the start of the window; of those who join later, the state in which they will join."""
    size = population.size
    there = population.joined_day < 0
    return State(
        satisfaction=population.satisfaction + np.where(there, 0.30 * rng.standard_normal(size) - 0.15, 0.1),
        easy=np.zeros(size, dtype=np.int64),
        hard=np.zeros(size, dtype=np.int64),
        arrears=np.zeros(size, dtype=np.bool_),
        influence=np.zeros(size),
        since_decision=np.where(there, rng.integers(0, 60, size), 0),
        consent=rng.random((len(SCOPES), size)) < np.array(CONSENT_SHARE)[:, None],
    )


def hazard(population: Population, state: State, day: int) -> Floats:
    """The hazard of cancelling on day index `day`, per day, with the shape of the state."""
    tenure = day - population.joined_day
    to_renewal = -tenure % YEAR_DAYS
    fixed = (
        population.static_log_hazard()
        + 0.35 * np.exp(-np.maximum(tenure, 0) / 45)
        + np.where(population.annual & (to_renewal < 30) & (tenure > 30), 0.9, 0.0)
    )
    liking = 1.4 * population.care * state.satisfaction
    moving = fixed - liking + 0.55 * np.minimum(state.hard, 3) + 1.5 * state.arrears + state.influence
    return np.asarray(np.exp(np.minimum(moving, MOST_LOG_HAZARD)))


def step(population: Population, state: State, day: int, active: Flags, spread: float, rng: np.random.Generator) -> Day:
    """Let a day pass: change `state` in place and tell what happened among the `active`, without cancelling anyone."""
    shape = state.satisfaction.shape
    tenure = day - population.joined_day
    satisfaction = state.satisfaction
    satisfaction += RETURN_RATE * (population.satisfaction - satisfaction)
    satisfaction += NOISE * rng.standard_normal(shape)
    satisfaction -= 0.012 * state.hard

    solved_easy, solved_easy_count = _solve(state.easy, SOLVED_EASY, rng)
    solved_hard, solved_hard_count = _solve(state.hard, SOLVED_HARD, rng)
    satisfaction[solved_easy] += 0.05
    satisfaction[solved_hard] -= 0.12 * solved_hard_count

    # one uniform serves two rare, exclusive happenings: a ticket at its low end, a withdrawn consent at its high end
    uniform = rng.random(shape)
    rate = TICKET_RATE * np.exp(0.25 * population.need) * np.where(population.dormant, 0.1, 1.0)
    opened = np.nonzero(active & (uniform < rate * np.exp(-0.35 * satisfaction)))
    hard = rng.random(opened[0].shape) < HARD_SHARE
    opened_hard, opened_easy = _where(opened, hard), _where(opened, ~hard)
    state.hard[opened_hard] += 1
    state.easy[opened_easy] += 1

    withdrawing = np.nonzero(active & (uniform > 1 - WITHDRAWAL_RATE))
    scope = rng.integers(len(SCOPES), size=withdrawing[0].shape)
    had = state.consent[(scope, *withdrawing)]
    withdrawn, scope = _where(withdrawing, had), scope[had]
    state.consent[(scope, *withdrawn)] = False

    paid, failed = _bill(population, state, tenure, active, rng)
    satisfaction[failed] -= 0.12

    anniversary = (tenure > 0) & (tenure % YEAR_DAYS == 0)
    candidates = np.nonzero(active & anniversary)
    rise = _where(candidates, rng.random(candidates[0].shape) < PRICE_RISE)
    satisfaction[rise] -= 0.15 * (1 + np.tanh(population.price_sensitivity[rise[-1]]))

    state.influence *= DECAY
    state.since_decision += 1
    ready = np.nonzero(active & (state.since_decision > DECISION_GAP_DAYS))
    decided = _where(ready, rng.random(ready[0].shape) < DECISION_RATE)
    action, pscore = _decide(population, state, decided, spread, rng)

    return Day(
        opened_easy=opened_easy,
        opened_hard=opened_hard,
        solved_easy=solved_easy,
        solved_easy_count=solved_easy_count,
        solved_hard=solved_hard,
        solved_hard_count=solved_hard_count,
        paid=paid,
        failed=failed,
        price_rise=rise,
        decided=decided,
        action=action,
        pscore=pscore,
        withdrawn=withdrawn,
        withdrawn_scope=scope,
    )


def _solve(open_tickets: Integers, share: float, rng: np.random.Generator) -> tuple[tuple[Integers, ...], Integers]:
    having = np.nonzero(open_tickets)
    solved = rng.binomial(open_tickets[having], share)
    open_tickets[having] -= solved
    some = solved > 0
    return _where(having, some), solved[some]


def _bill(
    population: Population, state: State, tenure: Integers, active: Flags, rng: np.random.Generator
) -> tuple[tuple[Integers, ...], tuple[Integers, ...]]:
    """Charge whose period ends today and retry unpaid bills; returns who paid and whose payment failed."""
    period = np.where(population.annual, YEAR_DAYS, BILLING_DAYS)
    due = (tenure > 0) & (tenure % period == 0)
    unpaid = np.nonzero(active & state.arrears)
    charged = np.nonzero(active & due & ~state.arrears)
    retried = _where(unpaid, rng.random(unpaid[0].shape) < RETRY)
    worked = rng.random(retried[0].shape) < RETRY_WORKS
    failing = expit(0.6 * population.price_sensitivity[charged[-1]] - 3.3)
    failed_now = rng.random(charged[0].shape) < failing
    state.arrears[_where(retried, worked)] = False
    state.arrears[_where(charged, failed_now)] = True
    return (
        _join(_where(retried, worked), _where(charged, ~failed_now)),
        _join(_where(retried, ~worked), _where(charged, failed_now)),
    )


def _decide(
    population: Population, state: State, decided: tuple[Integers, ...], spread: float, rng: np.random.Generator
) -> tuple[Integers, Floats]:
    """Draw an action, or none (index −1), uniformly among those that consent allows; returns it and its probability."""
    if decided[0].size == 0:
        return np.empty(0, dtype=np.int64), np.empty(0)
    customers = decided[-1]
    allowed = np.stack([state.consent[(scope, *decided)] for scope in SCOPE_OF_ACTION])
    choices = 1 + allowed.sum(axis=0)
    rank = np.floor(rng.random(customers.shape) * choices).astype(np.int64)
    # rank 0 is no action; rank k is the k-th allowed action
    chosen = (allowed.cumsum(axis=0) == rank) & allowed
    action = np.where(rank == 0, -1, chosen.argmax(axis=0))
    touched = action >= 0
    effect = effects(population.take(customers), state.satisfaction[decided], spread)
    added = effect[np.maximum(action, 0), np.arange(customers.size)]
    state.influence[decided] += np.where(touched, added, 0.0)
    state.since_decision[decided] = 0
    assert len(ACTIONS) == allowed.shape[0]
    return action, np.asarray(1.0 / choices)


def _where(who: tuple[Integers, ...], flags: Flags) -> tuple[Integers, ...]:
    return tuple(axis[flags] for axis in who)


def _join(one: tuple[Integers, ...], other: tuple[Integers, ...]) -> tuple[Integers, ...]:
    return tuple(np.concatenate(pair) for pair in zip(one, other, strict=True))
