"""The shapes of what is served over HTTP: the model, and whether it can answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field

from serving.releases.release import Release


class ScorecardModel(BaseModel):
    """What freezes the meaning of health."""

    version: str
    p_ref: float
    pdo: float
    bands: dict[str, float]
    base: float = Field(description="The health of a customer about whom nothing stands out.")


class FeatureModel(BaseModel):
    """A feature that the model reads."""

    name: str
    pillar: str
    dtype: Literal["float", "string"]
    unit: str
    typical: float | str | None


class GateModel(BaseModel):
    """What a gate measured when the model was trained."""

    passed: bool
    figure: float
    limit: float


class Champion(BaseModel):
    """The model that answers."""

    name: str
    version: str
    trained_at: datetime
    horizon_days: int
    metrics: dict[str, float | None]
    gates: dict[str, GateModel]
    scorecard: ScorecardModel
    features: list[FeatureModel]
    generation: str
    features_as_of: datetime
    population: int


class Ready(BaseModel):
    """What it answers from."""

    status: Literal["ready"]
    generation: str
    model_version: str
    scorecard_version: str
    not_taken_up: str | None = Field(description="Why a newer build or champion is not served, or null.")


def champion_json(release: Release) -> dict[str, object]:
    """The served model, as `Champion` documents it."""
    bundle, card = release.bundle, release.scorecard
    return {
        "name": f"keepwell-{bundle.business}",
        "version": release.model_version,
        "trained_at": bundle.trained_at.astimezone(UTC),
        "horizon_days": bundle.horizon_days,
        "metrics": dict(bundle.metrics),
        "gates": dict(bundle.gates),
        "scorecard": {
            "version": card.version,
            "p_ref": card.p_ref,
            "pdo": card.pdo,
            "bands": {"red": card.red, "green": card.green},
            "base": release.base,
        },
        "features": [
            {
                "name": feature.name,
                "pillar": feature.pillar,
                "dtype": feature.dtype.value,
                "unit": feature.unit,
                "typical": bundle.typical.get(feature.name),
            }
            for feature in release.schema
        ],
        "generation": release.generation.id,
        "features_as_of": release.generation.as_of,
        "population": int(release.population.size),
    }
