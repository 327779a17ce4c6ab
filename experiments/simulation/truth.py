"""Truth: the probability of cancelling within the horizon, for each customer, cutoff, action and cause.

Definition. `churn_probability` of (customer, cutoff, action) is the probability that the customer cancels in
[cutoff, cutoff + horizon), given the full hidden state at the cutoff, if `action` is taken at the cutoff on top of what
the business does anyway: tickets, bills, price rises and the random touches of the log go on by the same rules, whatever
was done at the cutoff. `no_action` is therefore the business as usual, and what the log's outcomes are drawn from.
Consent is not asked: truth tells what an action would do, not whether it is allowed.

It is the mean over simulated futures of 1 − exp(−Σ hazard), so that only the futures are random and cancelling itself is
integrated out; all actions of a customer share their futures, so that differences between actions are nearly exact.

Causes compete: the probability of cancelling for one of them is the mean of Σ (survival lost) · (its share of the hazard)
over steps of STRIDE days, in which an effect counts as its mean. The probabilities of all causes add up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.simulation.behaviour.dynamics import State, step
from experiments.simulation.behaviour.hazard import hazards
from experiments.simulation.customers.actions import DECAY, effects
from experiments.simulation.customers.causes import Cause
from experiments.simulation.customers.population import Floats, Integers, Population

BLOCK = 60_000
"""Customers × futures that advance together: as many as a processor's cache holds."""

STRIDE = 5
"""Days whose hazards are added up before they move the truth."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The hidden state of all customers at the start of day index `day`, and the indices of those who were there."""

    day: int
    state: State
    alive: Integers


def churn_probabilities(
    population: Population,
    moment: Moment,
    horizon_days: int,
    spread: float,
    rollouts: int,
    rng: np.random.Generator,
    advanced: Callable[[float], None] = lambda _: None,
) -> Floats:
    """The true probabilities at a moment by cause, with the shape (1 + actions, causes, alive); row 0 is no action.

    `advanced` is told each share of the work that is done.
    """
    blocks: list[Floats] = []
    width = max(BLOCK // rollouts, 1)
    for start in range(0, moment.alive.size, width):
        chosen = moment.alive[start : start + width]
        effect = effects(population.take(chosen), spread)
        both = np.concatenate([np.zeros((1, *effect.shape[1:])), effect])
        blocks.append(_roll(population, moment, chosen, (horizon_days,), both, spread, rollouts, rng)[0])
        advanced(chosen.size / moment.alive.size)
    return np.concatenate(blocks, axis=-1) if blocks else np.empty((1, len(Cause), 0))


def churn_within(
    population: Population,
    moment: Moment,
    horizons: Sequence[int],
    spread: float,
    rollouts: int,
    rng: np.random.Generator,
) -> Floats:
    """The true probabilities of cancelling within each of several horizons, without an action: (horizons, alive)."""
    blocks: list[Floats] = []
    width = max(BLOCK // rollouts, 1)
    for start in range(0, moment.alive.size, width):
        chosen = moment.alive[start : start + width]
        nothing = np.zeros((1, len(Cause), chosen.size))
        by_cause = _roll(population, moment, chosen, horizons, nothing, spread, rollouts, rng)[:, 0]
        blocks.append(by_cause.sum(axis=1))
    return np.concatenate(blocks, axis=1) if blocks else np.empty((len(horizons), 0))


def _roll(
    population: Population,
    moment: Moment,
    chosen: Integers,
    horizons: Sequence[int],
    effect: Floats,
    spread: float,
    rollouts: int,
    rng: np.random.Generator,
) -> Floats:
    """The probabilities (horizons, rows of `effect`, causes, chosen) where each row of `effect` moves the hazards."""
    who = population.take(chosen)
    state = moment.state.tile(rollouts, chosen)
    active = np.ones(state.satisfaction.shape, dtype=np.bool_)
    survival = np.ones((effect.shape[0], *active.shape), dtype=np.float32)
    lost = np.zeros(effect.shape)
    within: dict[int, Floats] = {}
    first, added = 0, np.zeros((len(Cause), *active.shape), dtype=np.float32)
    for passed in range(max(horizons)):
        day = moment.day + passed
        added += hazards(who, state, day)
        step(who, state, day, active, spread, rng)
        if (passed + 1) % STRIDE and passed + 1 not in horizons:
            continue
        left = float(np.mean(DECAY ** np.arange(first, passed + 1)))
        for row, factors in enumerate(np.exp(effect * left).astype(np.float32)):
            # by cause, as one array of all of them would not fit into a processor's cache
            total = np.einsum("crk,ck->rk", added, factors)
            after = survival[row] * np.exp(-total)
            lost_a_hazard = (survival[row] - after) / total
            lost[row] += factors * np.einsum("crk,rk->ck", added, lost_a_hazard)
            survival[row] = after
        first = passed + 1
        added[:] = 0
        if first in horizons:
            within[first] = lost / rollouts
    return np.stack([within[days] for days in horizons])
