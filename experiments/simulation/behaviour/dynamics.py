"""State: what changes in a customer from day to day.

The same `step` makes the log and the futures behind the truth: `State`'s arrays have the shape (customers,) or
(rollouts, customers), and the population is always (customers,).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from experiments.simulation.behaviour import troubles
from experiments.simulation.customers.actions import ACTIONS, DECAY, SCOPE_OF_ACTION, SCOPES, effects
from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Flags, Floats, Integers, Population
from models.inference.calibration import expit

RETURN_RATE = 1 / 120
NOISE = 0.22 * np.sqrt(2 * RETURN_RATE)
TICKET_RATE = 0.010
HARD_SHARE = 0.25
SOLVED_HARD, SOLVED_EASY = 0.08, 0.65
BILLING_DAYS = 30
YEAR_DAYS = 365
RETRY = 0.25
PRICE_RISE, UPSETS = 0.6, 0.10
GRIEVANCE_A_DAY, GRIEVANCE_AFTER = 0.04, 0.30
FORGETTING = float(0.5 ** (1 / 60))
"""The share of a grievance that is left a day later."""
DECISION_GAP_DAYS = 30
DECISION_RATE = 1 / 60
WITHDRAWAL_RATE = 0.0002
CONSENT_SHARE = (0.75, 0.88, 0.97)


@dataclass(slots=True)
class State:
    """The hidden state of every customer at the start of a day.

    `satisfaction` moves around the customer's own level; `troubles` has the shape (troubles, …); `easy` and `hard` count
    open tickets, and `grievance` is what is left of hard ones; `arrears` is an unpaid bill; `influence` (causes, …) is
    what is left of past touches' effects on each cause's log-hazard; `since_decision` counts days; `consent` has the
    shape (3, …), one row a scope.
    """

    satisfaction: Floats
    troubles: Flags
    easy: Integers
    hard: Integers
    grievance: npt.NDArray[np.float32]
    arrears: Flags
    influence: npt.NDArray[np.float32]
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
        troubles=troubles.usual(population, rng) & there,
        easy=np.zeros(size, dtype=np.int64),
        hard=np.zeros(size, dtype=np.int64),
        grievance=np.zeros(size, dtype=np.float32),
        arrears=np.zeros(size, dtype=np.bool_),
        influence=np.zeros((len(Cause), size), dtype=np.float32),
        since_decision=np.where(there, rng.integers(0, 60, size), 0),
        consent=rng.random((len(SCOPES), size)) < np.array(CONSENT_SHARE)[:, None],
    )


def step(population: Population, state: State, day: int, active: Flags, spread: float, rng: np.random.Generator) -> Day:
    """Let a day pass: change `state` in place and tell what happened among the `active`, without cancelling anyone."""
    shape = state.satisfaction.shape
    tenure = day - population.joined_day
    satisfaction = state.satisfaction
    satisfaction += RETURN_RATE * (population.satisfaction - satisfaction)
    satisfaction += NOISE * rng.standard_normal(shape)
    satisfaction -= 0.012 * state.hard
    troubles.move(population, state.troubles, satisfaction, active, rng)
    state.grievance *= np.float32(FORGETTING)
    state.grievance += np.float32(GRIEVANCE_A_DAY) * np.minimum(state.hard, 2)

    solved_easy, solved_easy_count = _solve(state.easy, SOLVED_EASY, rng)
    solved_hard, solved_hard_count = _solve(state.hard, SOLVED_HARD, rng)
    satisfaction[solved_easy] += 0.05
    satisfaction[solved_hard] -= 0.12 * solved_hard_count
    state.grievance[solved_hard] += GRIEVANCE_AFTER * solved_hard_count

    # one uniform serves two rare, exclusive happenings: a ticket at its low end, a withdrawn consent at its high end
    uniform = rng.random(shape)
    rate = TICKET_RATE * np.exp(0.4 * population.exposure[:, Cause.SUPPORT]) * np.where(population.dormant, 0.1, 1.0)
    opened = np.nonzero(active & (uniform < rate * np.exp(-0.25 * satisfaction)))
    # the more is built upon the product, the more of what goes wrong is hard
    exposed = np.exp(0.8 * population.exposure[opened[-1], Cause.SUPPORT])
    hard = rng.random(opened[0].shape) < np.minimum(HARD_SHARE * exposed, 0.9)
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
    minding = 1 + np.tanh(population.price_sensitivity[rise[-1]])
    satisfaction[rise] -= 0.15 * minding
    troubles.upset(
        state.troubles, Cause.PRICE, _where(rise, rng.random(minding.shape) < UPSETS * minding), satisfaction
    )

    state.influence *= np.float32(DECAY)
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
    lacking = population.exposure[:, Cause.PAYMENTS]
    worked = rng.random(retried[0].shape) < expit(-0.85 - 1.0 * lacking[retried[-1]])
    failing = expit(1.1 * lacking[charged[-1]] - 3.7)
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
    # each distinct customer's effects are worked out once, however many futures decide about them today
    distinct, place = np.unique(customers, return_inverse=True)
    effect = effects(population.take(distinct), spread)
    added = np.where(touched[:, None], effect[np.maximum(action, 0), :, place], 0.0)
    for cause in Cause:
        state.influence[cause][decided] += added[:, cause]
    state.since_decision[decided] = 0
    assert len(ACTIONS) == allowed.shape[0]
    return action, np.asarray(1.0 / choices)


def _where(who: tuple[Integers, ...], flags: Flags) -> tuple[Integers, ...]:
    return tuple(axis[flags] for axis in who)


def _join(one: tuple[Integers, ...], other: tuple[Integers, ...]) -> tuple[Integers, ...]:
    return tuple(np.concatenate(pair) for pair in zip(one, other, strict=True))
