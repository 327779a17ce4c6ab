"""Sentiment: what they say of us."""

from __future__ import annotations

from features.pillars.aggregations import Events, age_of_pillar, counts, latest, mean, since
from features.pillars.data_profile import DataProfile
from features.schema import Feature, Pillar

# A high NPS or CSAT is good news; CES is asked both ways round (effort, ease), so its direction is left open.
DIRECTIONS = {"nps": -1, "csat": -1, "ces": 0}


def pillar(evidence: DataProfile) -> Pillar | None:
    """The features of survey answers and comments, or None where neither is recorded."""
    name = "sentiment"
    features: list[Feature] = []
    if evidence.seen("survey_answered"):
        for survey in sorted(evidence.surveys & DIRECTIONS.keys()):
            features += _survey(name, survey)
    if evidence.seen("comment"):
        features += counts(name, "comments", "comment", ("comment",), (180,), direction=0)
        features.append(since(name, "comment", "comment", ("comment",), direction=0))
    if not features:
        return None
    return Pillar(name, (*features, age_of_pillar(name, evidence, repeats="comment")))


def _survey(name: str, survey: str) -> list[Feature]:
    answers = Events(("survey_answered",), None, "survey", survey)
    label = survey.upper()
    return [
        Feature(
            name=f"{survey}_latest",
            pillar=name,
            unit="score",
            sentence=f"the latest {label} answer is {{value}}",
            missing=f"no {label} answer yet",
            direction=DIRECTIONS[survey],
            expression=latest(answers),
        ),
        Feature(
            name=f"{survey}_mean",
            pillar=name,
            unit="score",
            sentence=f"{label} answers average {{value}}",
            missing=f"no {label} answer yet",
            direction=DIRECTIONS[survey],
            expression=mean(answers),
        ),
    ]
