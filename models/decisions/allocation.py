"""Who gets which action under limits that do not suffice for all: an assignment, solved and not guessed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array, vstack

from models.decisions.eligibility import Remaining
from models.decisions.policy import Worth
from models.errors import PolicyError

CORE = 150
"""How many customers are assigned by an integer program, at most; the others as the linear program does."""

_WHOLE = 1e-6


@dataclass(frozen=True, slots=True)
class Plan:
    """An assignment; gains are in the business's currency, at the lower bounds of the effects."""

    chosen: tuple[Worth | None, ...]
    """Per customer, in order; None is nothing."""
    gain: float
    bound: float
    """No assignment can gain more."""

    @property
    def cost(self) -> float:
        """What it spends."""
        return sum(one.action.cost for one in self.chosen if one is not None)

    @property
    def minutes(self) -> float:
        """What it takes of the staff's time."""
        return sum(one.action.minutes for one in self.chosen if one is not None)


def assign(options: Sequence[Sequence[Worth]], limits: Remaining, seconds: float = 60.0) -> Plan:
    """At most one action a customer, so that the sum of gains is the largest that the limits allow.

    The linear program, solved by HiGHS, splits no more customers than there are limits. Whom it splits, and who hangs in
    the balance at its prices of the limits, an integer program assigns: exact up to `CORE` customers, and beyond that
    short of the best by some customers' gains at most, as `bound` tells. Source of the core: Balas and Zemel (1980),
    "An algorithm for large zero-one knapsack problems".

    Args:
        options: per customer, the actions that are allowed and pay.
        limits: over all customers.
        seconds: after which the best assignment found so far counts.

    Raises:
        PolicyError: no assignment was found in that time.
    """
    asking = [customer for customer, theirs in enumerate(options) if theirs]
    chosen: list[Worth | None] = [None] * len(options)
    bound, core = math.inf, asking
    if len(asking) > CORE:
        whole, core, bound = _relaxed([options[customer] for customer in asking], limits)
        for place, worth in whole.items():
            chosen[asking[place]] = worth
        core = [asking[place] for place in core]
        limits = _less(limits, [worth for worth in whole.values() if worth is not None])
    flat = [(place, worth) for place, customer in enumerate(core) for worth in options[customer]]
    if flat:
        weights, most = _constraints(flat, len(core), limits)
        solution = milp(
            -np.array([worth.ranked_on for _, worth in flat]),
            integrality=np.ones(len(flat), dtype=np.int64),
            bounds=Bounds(0.0, 1.0),
            constraints=LinearConstraint(weights, -np.inf, most),
            # Presolved, HiGHS writes of its own accord to standard output.
            options={"time_limit": seconds, "presolve": False},
        )
        if solution.x is None:
            raise PolicyError(f"No plan was found within {seconds:g} s ({solution.message}): give it more time.")
        for place in np.flatnonzero(np.round(solution.x) == 1.0).tolist():
            owner, worth = flat[place]
            chosen[core[owner]] = worth
    gain = sum(worth.ranked_on for worth in chosen if worth is not None)
    return Plan(tuple(chosen), gain, gain if math.isinf(bound) else max(gain, bound))


def _relaxed(options: Sequence[Sequence[Worth]], limits: Remaining) -> tuple[dict[int, Worth | None], list[int], float]:
    """The linear program's choice for all but the core, the core, and what no assignment exceeds."""
    flat = [(customer, worth) for customer, theirs in enumerate(options) for worth in theirs]
    gains = np.array([worth.ranked_on for _, worth in flat])
    owners = np.array([customer for customer, _ in flat])
    weights, most = _constraints(flat, len(options), limits)
    # SciPy takes sparse constraints, which its stubs do not know.
    solution = linprog(-gains, A_ub=weights, b_ub=most, bounds=(0.0, 1.0), method="highs")  # type: ignore[call-overload]
    if solution.x is None:
        raise PolicyError(f"No plan was found ({solution.message}).")
    # What each action gains once the limits have their prices; doing nothing gains 0.
    prices = -solution.ineqlin.marginals[len(options) :]
    priced = gains - weights[len(options) :].T @ prices
    balance = np.full((len(options), 2), [0.0, -np.inf])
    for customer, gain in zip(owners.tolist(), priced.tolist(), strict=True):
        first, second = balance[customer]
        if gain > first:
            balance[customer] = gain, first
        elif gain > second:
            balance[customer, 1] = gain
    split = np.zeros(len(options), dtype=np.bool_)
    split[owners[(solution.x > _WHOLE) & (solution.x < 1.0 - _WHOLE)]] = True
    lead = np.where(split, -1.0, balance[:, 0] - balance[:, 1])
    core = np.argsort(lead, kind="stable")[:CORE]
    whole: dict[int, Worth | None] = dict.fromkeys(np.setdiff1d(np.arange(len(options)), core).tolist())
    for (customer, worth), share in zip(flat, solution.x, strict=True):
        if customer in whole and share > 0.5:
            whole[customer] = worth
    return whole, core.tolist(), -float(solution.fun)


def _less(limits: Remaining, taken: Sequence[Worth]) -> Remaining:
    """What is left of the limits after these actions."""
    counts = Counter(worth.action.name for worth in taken)
    return Remaining(
        budget=None if limits.budget is None else limits.budget - sum(worth.action.cost for worth in taken),
        staff=None if limits.staff is None else limits.staff - sum(worth.action.minutes for worth in taken),
        capacity={name: most - counts[name] for name, most in limits.capacity.items()},
    )


def greedy(options: Sequence[Sequence[Worth]], limits: Remaining) -> Plan:
    """The best action of the best customer first, while it lasts: what an assignment is compared with."""
    budget, staff = limits.budget, limits.staff
    left: dict[str, int] = dict(limits.capacity)
    chosen: list[Worth | None] = [None] * len(options)
    everything = [(worth.ranked_on, -customer, worth) for customer, theirs in enumerate(options) for worth in theirs]
    for _, place, worth in sorted(everything, key=lambda item: item[:2], reverse=True):
        action = worth.action
        too_dear = budget is not None and action.cost > budget
        too_long = staff is not None and action.minutes > staff
        if chosen[-place] is not None or too_dear or too_long or left.get(action.name, 1) < 1:
            continue
        chosen[-place] = worth
        budget = None if budget is None else budget - action.cost
        staff = None if staff is None else staff - action.minutes
        if action.name in left:
            left[action.name] -= 1
    gain = sum(worth.ranked_on for worth in chosen if worth is not None)
    return Plan(tuple(chosen), gain, gain)


def _constraints(
    flat: Sequence[tuple[int, Worth]], customers: int, limits: Remaining
) -> tuple[csr_array, NDArray[np.float64]]:
    """Weights and their most: a row for each customer, then one for each limit."""
    columns = np.arange(len(flat))
    owners = np.array([customer for customer, _ in flat])
    rows: list[csr_array] = [csr_array((np.ones(len(flat)), (owners, columns)), shape=(customers, len(flat)))]
    upper: list[NDArray[np.float64]] = [np.ones(customers)]

    def limit(weights: Sequence[float], most: float) -> None:
        rows.append(csr_array(np.asarray([weights], dtype=np.float64)))
        upper.append(np.array([max(0.0, most)]))

    if limits.budget is not None:
        limit([worth.action.cost for _, worth in flat], limits.budget)
    if limits.staff is not None:
        limit([worth.action.minutes for _, worth in flat], limits.staff)
    capacity: Mapping[str, int] = limits.capacity
    for name, most in capacity.items():
        limit([float(worth.action.name == name) for _, worth in flat], most)
    return csr_array(vstack(rows, format="csr")), np.concatenate(upper)
