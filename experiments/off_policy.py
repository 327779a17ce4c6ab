"""Off-policy evaluation for analysts: what any policy would have earned, from the log of another one.

The estimators are `models.decisions.off_policy`, whose interval and effective sample size every estimate carries, and the curves
`models.decisions.qini`; `ablations` adds the policies that an analyst asks for first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.decisions.logged_trials import NOTHING
from models.decisions.off_policy import (
    ESTIMATORS,
    PolicyValue,
    constant,
    deterministic,
    evaluate,
    greedy,
    interval,
)
from models.decisions.qini import UpliftCurve, uplift_curve
from models.inference.interval import Estimate
from training.policy.cross_fitting import CrossFitted

__all__ = [
    "ESTIMATORS",
    "Estimate",
    "PolicyValue",
    "UpliftCurve",
    "ablations",
    "constant",
    "deterministic",
    "evaluate",
    "greedy",
    "interval",
    "uplift_curve",
]


def ablations(found: CrossFitted) -> Mapping[str, PolicyValue]:
    """What is left of the personal policy when parts of it are taken away, all on the same trials.

    `personal` does what helps most; `average` gives everybody the action that helps most on average; `random` draws among
    what is eligible; `propensity` treats as many as `personal` does, with that action, but those first whose reward is
    the least likely without it: the rule of a score alone; `nothing` does nothing.
    """
    trials, arms = found.trials, found.trials.k + 1
    personal = greedy(found.effects, trials.eligible)
    averages = np.array([line.average for line in found.lines])
    best = int(averages.argmax()) + 1
    average = constant(best, trials.eligible)
    first = np.argsort(found.means[:, NOTHING], kind="stable")[: int((personal > 0).sum())]
    propensity = np.zeros(len(trials), dtype=np.int64)
    propensity[first] = average[first]
    dists = {
        "personal": deterministic(personal, arms),
        "average": deterministic(average, arms),
        "random": trials.eligible / trials.eligible.sum(axis=1, keepdims=True),
        "propensity": deterministic(propensity, arms),
        "nothing": deterministic(constant(NOTHING, trials.eligible), arms),
    }
    return {name: evaluate(trials, found.means, dist) for name, dist in dists.items()}
