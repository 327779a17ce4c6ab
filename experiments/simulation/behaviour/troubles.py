"""Troubles: how they begin and end, at most one of a customer's a day."""

from __future__ import annotations

import numpy as np

from experiments.simulation.customers.causes import TROUBLES, Cause
from experiments.simulation.customers.population import Flags, Floats, Integers, Population

ENDS = np.array([trouble.ends for trouble in TROUBLES.values()])[:, None]
MOOD = np.array([trouble.mood for trouble in TROUBLES.values()])


def usual(population: Population, rng: np.random.Generator) -> Flags:
    """Who is in which trouble (troubles, customers) on a day like any other."""
    begins = population.trouble_begins()
    return np.asarray(rng.random(begins.shape) < begins / (begins + ENDS))


def move(
    population: Population, troubles: Flags, satisfaction: Floats, active: Flags, rng: np.random.Generator
) -> None:
    """Let a day pass: change the `troubles` (troubles, …, customers) and `satisfaction` of the `active` in place."""
    begins = population.trouble_begins()
    # Few have any change on a day: one draw finds all who may, and only for them is it asked which.
    draw = rng.random(satisfaction.shape, dtype=np.float32)
    someone = np.nonzero(active & (draw < np.maximum(begins, ENDS).sum(axis=0).astype(np.float32)))
    there = np.stack([trouble[someone] for trouble in troubles])
    bounds = np.cumsum(np.where(there, ENDS, begins[:, someone[-1]]), axis=0)
    drawn = (draw[someone] >= bounds).sum(axis=0)
    changing = np.flatnonzero(drawn < len(TROUBLES))
    which = drawn[changing]
    who = tuple(axis[changing] for axis in someone)
    begun = ~there[which, changing]
    troubles[(which, *who)] = begun
    satisfaction[who] -= MOOD[which] * begun


def upset(troubles: Flags, cause: Cause, who: tuple[Integers, ...], satisfaction: Floats) -> None:
    """Begin the trouble of `cause` for those at the indices `who` in whom it is not there yet."""
    trouble = troubles[cause]
    new = ~trouble[who]
    trouble[who] = True
    satisfaction[who] -= TROUBLES[cause].mood * new
