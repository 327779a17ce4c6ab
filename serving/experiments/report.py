"""What an experiment shows so far, and what the whole programme earned against the holdout, in money."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, case, func, select

from features.config.business import Business
from models.experiments.sequential_test import SAMPLE_RATIO_ALPHA, Comparison, compare, sample_ratio
from serving.experiments.service import REWARD, Experiment, exposed
from serving.platform.database import Database
from serving.platform.tables import decisions, exposures


@dataclass(frozen=True, slots=True)
class ArmReport:
    """One arm so far; `mean` is of the raw outcomes, None while there are none."""

    name: str
    share: float
    exposed: int
    outcomes: int
    mean: float | None


@dataclass(frozen=True, slots=True)
class ArmComparison:
    """One arm against the first."""

    arm: str
    against: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """What an experiment shows at a moment; it may be looked at at any time."""

    experiment: Experiment
    status: str
    arms: tuple[ArmReport, ...]
    sample_ratio_p_value: float
    comparisons: tuple[ArmComparison, ...]

    @property
    def sample_ratio_holds(self) -> bool:
        """Whether the arms have the shares that they should; if not, no comparison can be trusted."""
        return self.sample_ratio_p_value >= SAMPLE_RATIO_ALPHA


@dataclass(frozen=True, slots=True)
class ProgrammeReport:
    """What the programme earned against the holdout, in the business's currency; costs are taken off.

    Units are customers with an outcome: what their decisions brought, less what they cost.
    """

    holdout_share: float
    customers: int
    held_out: int
    sample_ratio_p_value: float
    comparison: Comparison
    """Per customer, the programme less the holdout."""
    earned: tuple[float, float, float] | None
    """Of all customers of the programme with an outcome: estimate, and the always-valid 95 % interval; None until there is
    an estimate. Ends that are not finite are not known yet."""
    cost: float
    """What the decisions of these customers cost."""
    currency: str | None
    since: datetime | None

    @property
    def sample_ratio_holds(self) -> bool:
        """Whether the holdout has the share that it should."""
        return self.sample_ratio_p_value >= SAMPLE_RATIO_ALPHA


def report(database: Database, experiment: Experiment, now: datetime) -> ExperimentReport:
    """What the exposures and outcomes of an experiment say by now.

    Every arm is compared with the first; with several, each interval is widened so that all hold together (Bonferroni).
    """
    outcome = decisions.c.reward if experiment.primary_outcome == REWARD else exposures.c.outcome
    rows = exposures.outerjoin(decisions, decisions.c.decision_id == exposures.c.decision_id)
    with database.read() as connection:
        counts = exposed(connection, experiment.name)
        found = connection.execute(
            select(exposures.c.arm, outcome.label("outcome"), exposures.c.pre_period)
            .select_from(rows)
            .where(exposures.c.experiment == experiment.name, outcome.is_not(None))
        ).all()
    arm = np.array([row.arm for row in found], dtype=object)
    y = np.array([row.outcome for row in found], dtype=np.float64)
    before = np.array([math.nan if row.pre_period is None else row.pre_period for row in found], dtype=np.float64)
    first, *others = experiment.arms
    shares = dict(zip((one.name for one in experiment.arms), experiment.shares, strict=True))
    comparisons = []
    for other in others:
        both = np.isin(arm, [first.name, other.name])
        comparison = compare(
            y[both],
            arm[both] == other.name,
            shares[other.name] / (shares[first.name] + shares[other.name]),
            before[both],
            experiment.alpha / len(others),
            experiment.planned_units,
        )
        p_value = min(1.0, comparison.p_value * len(others))
        comparisons.append(ArmComparison(other.name, first.name, replace(comparison, p_value=p_value)))
    return ExperimentReport(
        experiment=experiment,
        status=experiment.status(now),
        arms=tuple(
            ArmReport(
                name=one.name,
                share=shares[one.name],
                exposed=counts.get(one.name, 0),
                outcomes=int((arm == one.name).sum()),
                mean=float(y[arm == one.name].mean()) if (arm == one.name).any() else None,
            )
            for one in experiment.arms
        ),
        sample_ratio_p_value=sample_ratio([counts.get(one.name, 0) for one in experiment.arms], experiment.shares),
        comparisons=tuple(comparisons),
    )


def programme(database: Database, business: Business, since: datetime | None = None) -> ProgrammeReport:
    """What the decisions since a moment earned, those of customers in the holdout being what would have been anyway.

    A reward is money, or the share of the value at stake that was retained, as `[policy] reward` says. Who changed sides,
    because the holdout's share was changed, is left out.
    """
    log = decisions.c
    worth: ColumnElement[Any] = log.reward
    if business.policy.reward == "retained":
        worth = log.reward * func.coalesce(log.answer["value_at_stake"].as_float(), 0.0)
    # What was not carried out cost nothing.
    spent = case((log.executed.is_(False), 0.0), else_=log.cost)
    statement = select(
        log.customer_id,
        func.count(log.reward).label("outcomes"),
        func.sum(case((log.holdout, 1), else_=0)).label("held"),
        func.count().label("decisions"),
        func.sum(case((log.reward.is_not(None), worth), else_=0.0)).label("worth"),
        func.sum(case((log.reward.is_not(None), spent), else_=0.0)).label("spent"),
        func.min(log.decided_at).label("first"),
    ).group_by(log.customer_id)
    if since is not None:
        statement = statement.where(log.decided_at >= since)
    firsts = statement.subquery()
    risk = (
        select(log.customer_id, func.max(log.context["churn_probability"].as_float()).label("risk"))
        .join(firsts, (firsts.c.customer_id == log.customer_id) & (firsts.c.first == log.decided_at))
        .group_by(log.customer_id)
        .subquery()
    )
    with database.read() as connection:
        rows = connection.execute(
            select(firsts, risk.c.risk).outerjoin(risk, risk.c.customer_id == firsts.c.customer_id)
        ).all()
    sides = [row for row in rows if int(row.held) in (0, int(row.decisions))]
    held_out = sum(int(row.held) > 0 for row in sides)
    known = [row for row in sides if int(row.outcomes) > 0]
    treated = np.array([int(row.held) == 0 for row in known], dtype=np.bool_)
    net = np.array([float(row.worth) - float(row.spent) for row in known], dtype=np.float64)
    before = np.array([math.nan if row.risk is None else float(row.risk) for row in known], dtype=np.float64)
    share = business.policy.holdout
    comparison = compare(net, treated, 1.0 - share, before) if 0.0 < share < 1.0 else compare(net, treated, 0.5)
    n = int(treated.sum())
    return ProgrammeReport(
        holdout_share=share,
        customers=len(sides),
        held_out=held_out,
        sample_ratio_p_value=sample_ratio([held_out, len(sides) - held_out], [share, 1.0 - share])
        if share > 0.0
        else 1.0,
        comparison=comparison,
        earned=None
        if math.isnan(comparison.estimate)
        else (comparison.estimate * n, comparison.low * n, comparison.high * n),
        cost=sum(float(row.spent) for row in known),
        currency=business.currency,
        since=since,
    )
