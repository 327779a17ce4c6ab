"""What a server needs to decide by learned effects, as plain data under one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.arrays import Matrix, Rows
from models.decisions.effect_model import CHURN_PROBABILITY, EffectModel
from models.decisions.off_policy import constant, greedy
from models.decisions.reference import DOING_NOTHING, Reference
from models.errors import BundleError
from models.registry.folder import BundleFolder, canonical
from models.registry.model_bundle import GateResult

_FOLDER = BundleFolder("policy", "policy.json")


@dataclass(frozen=True, slots=True)
class PolicyBundle:
    """Learned effects, and how they may be used."""

    business: str
    effects: EffectModel
    constant_action: str | None
    """The action to serve to everybody, the reference among them as `no_action` or by its name, where no personal policy is proven better than it; None
    where the personal one is. Other actions may then still be explored, but are not the best."""
    metrics: Mapping[str, float | None]
    gates: Mapping[str, GateResult]
    data_fingerprint: str
    trained_at: datetime
    run_id: str | None = field(default=None)
    commit: str | None = field(default=None)
    reference: Reference = field(default=DOING_NOTHING)
    """What the effects are against."""

    def __post_init__(self) -> None:
        if self.trained_at.tzinfo is None:
            raise BundleError("A policy's trained_at needs a time zone.")

    def choose(self, X: Matrix, eligible: NDArray[np.bool_]) -> Rows:
        """What the policy does without costs and exploration: 0 for the reference, else the action's place from 1.

        Where the reference is the policy that made the log, that is always an action, if one is eligible.

        Args:
            X: encoded features (n, d).
            eligible: what may be done, (n, 1 + actions), the reference first.
        """
        if not self.reference.is_choice:
            eligible = np.column_stack([np.zeros(len(eligible), dtype=np.bool_), eligible[:, 1:]])
        names = [action.name for action in self.effects.actions]
        if self.constant_action is not None:
            return constant(names.index(self.constant_action) + 1 if self.constant_action in names else 0, eligible)
        return greedy(np.nan_to_num(self.effects.predict(X).effect, nan=-np.inf), eligible)

    @property
    def is_of_churn(self) -> bool:
        """Whether its effects are of churn, which is what the service's decisions weigh."""
        return self.effects.unit == CHURN_PROBABILITY

    @property
    def hash(self) -> str:
        """SHA-256 of what the policy is; run id, times and commit are left out."""
        return hashlib.sha256(canonical(self.content()).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the policy as the new folder `path`, whole or not at all.

        Raises:
            BundleError: something already stands there, a figure is not finite, or the disk refuses.
        """
        _FOLDER.save(path, self, {})

    @classmethod
    def load(cls, path: Path) -> PolicyBundle:
        """The policy that `save` wrote, verified against its hash.

        Raises:
            BundleError: it is missing, damaged or changed, or of another format.
        """

        def parse(content: Mapping[str, Any], run: dict[str, Any]) -> PolicyBundle:
            return cls(
                business=content["business"],
                effects=EffectModel.from_json(content["effects"]),
                constant_action=content["constant_action"],
                metrics=content["metrics"],
                gates={name: GateResult(**gate) for name, gate in content["gates"].items()},
                data_fingerprint=content["data_fingerprint"],
                reference=Reference(**content["reference"]) if "reference" in content else DOING_NOTHING,
                **run,
            )

        return _FOLDER.load(path, parse)

    def content(self) -> dict[str, Any]:
        """What the hash covers, as plain JSON."""
        # Policies from before there were other references keep their hash.
        reference = {} if self.reference == DOING_NOTHING else {"reference": asdict(self.reference)}
        return reference | {
            "business": self.business,
            "effects": self.effects.to_json(),
            "constant_action": self.constant_action,
            "metrics": dict(self.metrics),
            "gates": {name: asdict(gate) for name, gate in self.gates.items()},
            "data_fingerprint": self.data_fingerprint,
        }
