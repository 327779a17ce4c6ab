"""The team's figures, each with how sure it is: answers, the lost, value at risk, what actions earned, how good the score was."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select

from models.decisions.policy import NO_ACTION
from models.inference.interval import Z95, Estimate, wilson
from models.scorecard import Band
from serving.platform.tables import accounts, decisions, plays
from serving.web.accounts.account_snapshots import Edition
from serving.web.portfolio.listing import visible
from serving.web.signin.sessions import Viewer
from serving.web.tasks import Outcome, Status

FEWEST_ANSWERS = 3
FEWEST_COMPARED = 20
"""Customers on each side, below which a difference is not told."""


@dataclass(frozen=True, slots=True)
class Observed(Estimate):
    """A figure with its 95 % interval, from `n` observations."""

    n: int


@dataclass(frozen=True, slots=True)
class SurveySeries:
    """One survey's answers month by month ("2026-11"), and all of them together."""

    survey: str
    title: str
    unit: str
    months: tuple[tuple[str, Observed], ...]
    overall: Observed


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's accounts and the value at risk in them."""

    name: str | None
    count: int
    value_at_risk: float
    red: int


@dataclass(frozen=True, slots=True)
class Called:
    """Those who were called a band a quarter ago, and the share of them that left since."""

    band: str
    count: int
    left: int
    share: Observed


@dataclass(frozen=True, slots=True)
class LookedBack:
    """What became of everybody since a quarter ago, and the top reasons of those who left."""

    cutoff: datetime
    until: datetime
    called: tuple[Called, ...]
    reasons: tuple[tuple[str, int, float], ...]
    """Feature, how many of the lost it was the top reason of, and their share."""


@dataclass(frozen=True, slots=True)
class ActionResult:
    """One action: what the team recorded, and what the log of decisions says it earned against doing nothing."""

    action: str
    taken_on: int
    done: int
    helped: int
    compared: int
    """Decisions with an outcome."""
    effect: Observed | None
    """Change of the mean reward against no action; None where there are too few to tell."""


def surveys(edition: Edition, viewer: Viewer) -> tuple[SurveySeries, ...]:
    """NPS, CSAT and CES month by month, of the customers that the viewer sees."""
    rows = [row for row in edition.figures["team"]["surveys"] if _sees(viewer, row["owner"])]
    found = []
    for survey, title, unit in (
        ("nps", "NPS: promoters less detractors", "points"),
        ("csat", "CSAT: satisfied, 4 or 5 of 5", "%"),
        ("ces", "CES: effort, mean answer", "mean"),
    ):
        months = defaultdict(list)
        for row in rows:
            if row["survey"] == survey:
                months[row["month"]].append(row)
        series = tuple(
            (month, _answered(survey, months[month]))
            for month in sorted(months)
            if sum(row["n"] for row in months[month]) >= FEWEST_ANSWERS
        )
        if series:
            everything = [row for of_month in months.values() for row in of_month]
            found.append(SurveySeries(survey, title, unit, series, _answered(survey, everything)))
    return tuple(found)


def looked_back(edition: Edition, viewer: Viewer) -> LookedBack | None:
    """How good the score has been: of those called red a quarter ago, how many left."""
    told = edition.figures["team"]["looked_back"]
    if told is None:
        return None
    counts: Counter[tuple[str, bool]] = Counter()
    for row in told["called"]:
        if _sees(viewer, row["owner"]):
            counts[row["band"], row["left"]] += row["n"]
    called = []
    for band in Band:
        left = counts[band.value, True]
        count = left + counts[band.value, False]
        if count:
            called.append(Called(band.value, count, left, share_of(left, count)))
    reasons: Counter[str] = Counter()
    for row in told["reasons"]:
        if _sees(viewer, row["owner"]):
            reasons[row["feature"]] += row["n"]
    lost = sum(reasons.values())
    return LookedBack(
        datetime.fromisoformat(told["cutoff"]),
        datetime.fromisoformat(told["until"]),
        tuple(called),
        tuple((feature, n, n / lost) for feature, n in reasons.most_common(8)),
    )


def segments(connection: Connection, edition: Edition, viewer: Viewer) -> tuple[Segment, ...]:
    """Value at risk by segment, the largest first."""
    red = func.sum(case((accounts.c.band == Band.RED.value, 1), else_=0))
    rows = connection.execute(
        select(accounts.c.segment, func.count(), func.sum(accounts.c.value_at_risk), red)
        .where(visible(edition, viewer))
        .group_by(accounts.c.segment)
    )
    found = [Segment(name, n, float(value), int(of_red)) for name, n, value, of_red in rows]
    return tuple(sorted(found, key=lambda segment: -segment.value_at_risk))


def actions(connection: Connection, edition: Edition, viewer: Viewer) -> tuple[ActionResult, ...]:
    """What each action earned: the team's own records, and the log's mean reward against customers left alone.

    Both means are weighted by 1/pscore (Hájek), so that who was drawn for what does not matter.
    """
    seen = select(accounts.c.customer_id).where(visible(edition, viewer))
    taken: Counter[str] = Counter()
    done: Counter[str] = Counter()
    helped: Counter[str] = Counter()
    for action, outcome, n in connection.execute(
        select(plays.c.action, plays.c.outcome, func.count())
        .where(plays.c.status == Status.ACCEPTED.value, plays.c.customer_id.in_(seen))
        .group_by(plays.c.action, plays.c.outcome)
    ):
        taken[action] += n
        done[action] += n if outcome in (Outcome.HELPED.value, Outcome.NO_CHANGE.value) else 0
        helped[action] += n if outcome == Outcome.HELPED.value else 0
    rewards: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for action, reward, pscore in connection.execute(
        select(decisions.c.action, decisions.c.reward, decisions.c.pscore).where(
            decisions.c.reward.is_not(None), decisions.c.pscore > 0.0, decisions.c.customer_id.in_(seen)
        )
    ):
        rewards[action].append((float(reward), float(pscore)))
    names = sorted({*taken, *rewards} - {NO_ACTION}, key=lambda name: (-taken[name], name))
    return tuple(
        ActionResult(
            name,
            taken[name],
            done[name],
            helped[name],
            len(rewards[name]),
            _effect(rewards[name], rewards[NO_ACTION]),
        )
        for name in names
    )


def left_alone(connection: Connection, edition: Edition, viewer: Viewer) -> int:
    """How many decisions with an outcome were to do nothing: what actions are compared with."""
    seen = select(accounts.c.customer_id).where(visible(edition, viewer))
    return (
        connection.scalar(
            select(func.count())
            .select_from(decisions)
            .where(decisions.c.action == NO_ACTION, decisions.c.reward.is_not(None), decisions.c.customer_id.in_(seen))
        )
        or 0
    )


def share_of(successes: int, n: int) -> Observed:
    """A share with its interval, which stays within 0 to 1."""
    share = successes / n
    low, high = wilson(share, n)
    return Observed(share, float(low), float(high), n)


def _answered(survey: str, rows: Iterable[Mapping[str, Any]]) -> Observed:
    rows = list(rows)
    total = {
        name: sum(row[name] for row in rows)
        for name in ("n", "total", "squares", "promoters", "detractors", "satisfied")
    }
    n = int(total["n"])
    if survey == "csat":
        share = share_of(int(total["satisfied"]), n)
        return Observed(100 * share.value, 100 * share.low, 100 * share.high, n)
    if survey == "nps":
        promoters, detractors = total["promoters"] / n, total["detractors"] / n
        value = 100 * (promoters - detractors)
        variance = promoters + detractors - (promoters - detractors) ** 2
        half = 100 * Z95 * math.sqrt(variance / n)
        return Observed(value, max(-100.0, value - half), min(100.0, value + half), n)
    mean = total["total"] / n
    half = Z95 * math.sqrt(max(0.0, total["squares"] / n - mean**2) / max(1, n - 1))
    return Observed(mean, mean - half, mean + half, n)


def _effect(treated: Sequence[tuple[float, float]], alone: Sequence[tuple[float, float]]) -> Observed | None:
    if min(len(treated), len(alone)) < FEWEST_COMPARED:
        return None
    (one, variance_one), (other, variance_other) = _weighted(treated), _weighted(alone)
    half = Z95 * math.sqrt(variance_one + variance_other)
    return Observed(one - other, one - other - half, one - other + half, len(treated) + len(alone))


def _weighted(rewards: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The self-normalised mean of (reward, pscore), and its variance."""
    weights = [1.0 / pscore for _, pscore in rewards]
    total = sum(weights)
    mean = sum(weight * reward for weight, (reward, _) in zip(weights, rewards, strict=True)) / total
    variance = sum((weight * (reward - mean)) ** 2 for weight, (reward, _) in zip(weights, rewards, strict=True))
    return mean, variance / total**2


def _sees(viewer: Viewer, owner: str | None) -> bool:
    return viewer.owners is None or owner in viewer.owners
