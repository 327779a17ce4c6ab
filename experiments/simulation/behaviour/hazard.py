"""Hazard: how likely each customer is to leave today for each cause, from traits that stay and a state that moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from experiments.simulation.behaviour.dynamics import YEAR_DAYS, State
from experiments.simulation.customers.causes import TROUBLES, Cause
from experiments.simulation.customers.population import Population

MOST_LOG_HAZARD = -3.0
HARD_WEIGHT, GRIEVANCE_WEIGHT, ARREARS_WEIGHT = 0.6, 2.4, 5.8
LIKING = 0.35

Float32s = npt.NDArray[np.float32]


def hazards(population: Population, state: State, day: int) -> Float32s:
    """The hazards of cancelling on day index `day`, per day, with the shape (causes, *the state's)."""
    tenure = day - population.joined_day
    to_renewal = -tenure % YEAR_DAYS
    fixed = population.static_log_hazards()
    fixed += 0.35 * np.exp(-np.maximum(tenure, 0) / 45)
    fixed += np.where(population.annual & (to_renewal < 30) & (tenure > 30), 0.9, 0.0)
    # single precision is as right as hidden states need, and several times as fast
    moving = state.influence - (LIKING * population.care).astype(np.float32) * state.satisfaction
    between = (1,) * (state.satisfaction.ndim - 1)
    moving += fixed.astype(np.float32).reshape(len(Cause), *between, population.size)
    for cause, trouble in TROUBLES.items():
        moving[cause] += np.float32(trouble.weight) * state.troubles[cause]
    moving[Cause.SUPPORT] += HARD_WEIGHT * np.minimum(state.hard, 2) + GRIEVANCE_WEIGHT * np.minimum(state.grievance, 3)
    moving[Cause.PAYMENTS] += np.float32(ARREARS_WEIGHT) * state.arrears
    np.minimum(moving, np.float32(MOST_LOG_HAZARD), out=moving)
    return np.exp(moving, out=moving)
