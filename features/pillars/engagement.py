"""Engagement: whether they come, and whether they answer."""

from __future__ import annotations

from features.pillars.evidence import Evidence
from features.pillars.measures import (
    Events,
    age_of_pillar,
    count,
    counts,
    days_active,
    events,
    mean,
    rhythm,
    share,
    since,
)
from features.schema import Feature, Pillar


def pillar(evidence: Evidence) -> Pillar | None:
    """The features of sessions and touches, or None where neither is recorded."""
    name = "engagement"
    features: list[Feature] = []
    if evidence.seen("session"):
        features += counts(name, "sessions", "session", ("session",))
        features += days_active(name, "session", "session", ("session",), (7, 30, 90))
        features += rhythm(name, "session", "session", ("session",))
        if "session" in evidence.valued:
            features.append(
                Feature(
                    name="session_value_mean_90d",
                    pillar=name,
                    sentence="sessions of the last 90 days measure {value} on average",
                    missing="no measured session in the last 90 days",
                    direction=-1,
                    expression=mean(events("session", days=90)),
                )
            )
    features += _touches(name, evidence)
    features += _caps(name, evidence)
    if not features:
        return None
    if evidence.feeding(name):
        features.append(age_of_pillar(name, evidence))
    return Pillar(name, tuple(features))


def _touches(name: str, evidence: Evidence) -> list[Feature]:
    if not evidence.seen("touch"):
        return []
    features = [
        *counts(name, "touches", "touch by us", ("touch",), (30, 90), direction=0),
        since(name, "touch", "touch by us", ("touch",), direction=0),
    ]
    for kind, done in (("touch_opened", "opened"), ("touch_clicked", "clicked")):
        if evidence.seen(kind):
            features += [
                Feature(
                    name=f"{done}_touches_90d",
                    pillar=name,
                    unit="count",
                    sentence=f"{{value}} of our messages {done} in the last 90 days",
                    direction=-1,
                    expression=count(events(kind, days=90)),
                ),
                Feature(
                    name=f"touch_{done}_share_180d",
                    pillar=name,
                    unit="share",
                    sentence=f"{{value}} of our touches of the last 180 days {done}",
                    missing="no touch by us in the last 180 days",
                    direction=-1,
                    expression=share(events(kind, days=180), events("touch", days=180)),
                ),
            ]
    return features


def _caps(name: str, evidence: Evidence) -> list[Feature]:
    # Decisions read from these what a cap still allows, even before the first touch; a model that used them would
    # learn from our own policy.
    return [
        Feature(
            name=f"touches_{cap.action}_{cap.days}d",
            pillar=name,
            unit="count",
            sentence=f"{{value}} time{{s}} {cap.action} in the last {cap.days} days",
            predictive=False,
            expression=count(Events(("touch",), cap.days, "action", cap.action)),
        )
        for cap in evidence.caps
    ]
