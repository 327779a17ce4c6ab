"""Engagement: whether they come, and whether they answer."""

from __future__ import annotations

from features.config.data import NO_ACTION
from features.pillars.aggregations import (
    Events,
    age_of_pillar,
    count,
    counts,
    days_active,
    events,
    level,
    mean,
    recency,
    rhythm,
    share,
)
from features.pillars.data_profile import DataProfile
from features.schema import Feature, Pillar


def pillar(evidence: DataProfile) -> Pillar | None:
    """The features of sessions and touches, or None where neither is recorded."""
    name = "engagement"
    features: list[Feature] = []
    if evidence.seen("session"):
        features += counts(name, "sessions", "session", ("session",), (7, 30, 90))
        features += days_active(name, "session", "session", ("session",), (30,))
        features += rhythm(name, "session", "session", ("session",))
        if "session" in evidence.valued:
            features += _session_values(name, evidence.units.get("session", ""))
    features += _touches(name, evidence)
    features += _caps(name, evidence)
    if not features:
        return None
    if evidence.feeding(name):
        features.append(age_of_pillar(name, evidence, repeats="session"))
    return Pillar(name, tuple(features))


def _session_values(name: str, unit: str) -> list[Feature]:
    # What a session's value counts (minutes, pages) is the business's choice; how it moves says the most.
    of = f" {unit}" if unit else ""
    return [
        Feature(
            name="session_value_recent",
            pillar=name,
            unit=unit,
            sentence=f"sessions average {{value}}{of} lately",
            missing="no measured session yet",
            direction=-1,
            expression=level(events("session")),
        ),
        Feature(
            name="session_value_mean_180d",
            pillar=name,
            unit=unit,
            sentence=f"sessions of the last 180 days average {{value}}{of}",
            missing="no measured session in the last 180 days",
            direction=-1,
            expression=mean(events("session", days=180)),
        ),
    ]


def _touches(name: str, evidence: DataProfile) -> list[Feature]:
    if not evidence.seen("touch"):
        return []
    features = [
        Feature(
            name="touches_90d",
            pillar=name,
            unit="count",
            sentence="{value} touch{es} by us in the last 90 days",
            expression=count(touches(90)),
        )
    ]
    features.append(
        Feature(
            name="touch_recency_days",
            pillar=name,
            unit="days",
            sentence="{value} day{s} since our last touch",
            missing="no touch by us yet",
            expression=recency(touches()),
        )
    )
    for kind, done in (("touch_opened", "opened"), ("touch_clicked", "clicked")):
        if evidence.seen(kind):
            features.append(
                Feature(
                    name=f"touch_{done}_share_180d",
                    pillar=name,
                    unit="share",
                    sentence=f"{{value}} of our touches of the last 180 days {done}",
                    missing="no touch by us in the last 180 days",
                    direction=-1,
                    expression=share(events(kind, days=180), touches(180)),
                )
            )
    return features


def touches(days: float | None = None) -> Events:
    """What was done to a customer: a logged decision to do nothing is no touch."""
    return Events(("touch",), days, "action", differs=NO_ACTION)


def _caps(name: str, evidence: DataProfile) -> list[Feature]:
    # Decisions read from these what a cap still allows, even before the first touch; a model that used them would
    # learn from our own policy.
    windows = [] if evidence.overall_days is None else [evidence.overall_days]
    overall = [
        Feature(
            name=f"contacts_{days}d",
            pillar=name,
            unit="count",
            sentence=f"{{value}} touch{{es}} by us in the last {days} days, by whatever action",
            predictive=False,
            expression=count(touches(days)),
        )
        for days in windows
    ]
    return [
        *overall,
        *(
            Feature(
                name=f"touches_{cap.action}_{cap.days}d",
                pillar=name,
                unit="count",
                sentence=f"{{value}} time{{s}} {cap.action} in the last {cap.days} days",
                predictive=False,
                expression=count(Events(("touch",), cap.days, "action", equals=cap.action)),
            )
            for cap in evidence.caps
        ),
    ]
