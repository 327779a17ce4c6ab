"""The tables of a business's TOML that say how its models are judged and watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from features.config.data import Names, Section


class Evaluation(Section):
    """How a run is examined; what is left out is chosen by the data."""

    top_k: Annotated[int, Field(ge=1)] | None = None
    """Customers that a team can call in one go; by default what [[actions]] have capacity for, or a tenth."""
    subgroups: Names = ()
    """Columns by whose values figures are given; by default those with few words."""


class Watch(Section):
    """From where on `training watch` says that a model should be trained again."""

    psi: Annotated[float, Field(gt=0)] = 0.2
    """Population stability index of a feature or of the score."""
    missing: Annotated[float, Field(gt=0, le=1)] = 0.1
    """How far the share of missing values may move."""
    importance: Annotated[float, Field(ge=0, le=1)] = 0.25
    """The share of all contributions that features which moved may carry together."""
    auc_drop: Annotated[float, Field(gt=0, le=0.5)] = 0.05
    ece: Annotated[float, Field(gt=0, le=1)] = 0.08
    min_outcomes: Annotated[int, Field(ge=1)] = 100
    """So many customers whose outcome is known are judged; with fewer, nothing is concluded."""
