"""One version of a business's model, as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from models.scorecard import Scorecard


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """One version of a business's model, as the registry knows it."""

    name: str
    version: str
    run_id: str
    artifact_path: str
    bundle_hash: str | None
    scorecard: Scorecard | None
    """Set by its promotion; None while it never was champion."""
    previous: str | None
    """The champion that its promotion replaced: where `rollback` goes."""
    aliases: frozenset[str]
    registered_at: datetime

    def to_json(self) -> dict[str, Any]:
        """This version as plain JSON."""
        return {
            **{field.name: getattr(self, field.name) for field in fields(self)},
            "scorecard": None if self.scorecard is None else self.scorecard.to_json(),
            "aliases": sorted(self.aliases),
            "registered_at": self.registered_at.isoformat(),
        }

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> RegisteredModel:
        """The version that `to_json` gave; a ValueError, KeyError or TypeError if it is none."""
        return cls(
            **{
                **content,
                "scorecard": None if content["scorecard"] is None else Scorecard.from_json(content["scorecard"]),
                "aliases": frozenset(content["aliases"]),
                "registered_at": datetime.fromisoformat(content["registered_at"]),
            }
        )
