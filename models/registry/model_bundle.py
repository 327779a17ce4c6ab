"""All that a server needs of a model, as plain data: no pickle, no code, one hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from models.errors import BundleError
from models.inference.calibration import Calibration
from models.inference.coverage import Coverage
from models.inference.survival import Hazard
from models.inference.venn_abers import ProbabilityInterval
from models.registry.folder import BundleFolder, canonical
from models.scorecard import Scorecard
from models.value.customer_value import ValueModel
from models.value.segmentation import Segments


class Part(Protocol):
    """A part of a bundle that is figures alone."""

    def to_json(self) -> dict[str, Any]:
        """This part as plain JSON."""
        ...

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Part:
        """The part that `to_json` wrote; a ValueError, KeyError or TypeError if it is none."""
        ...


_FOLDER = BundleFolder("bundle", "bundle.json", indent=1)
_MODEL = "model.txt"
_ONNX = "model.onnx"
_RECOMMENDER = "recommender.npz"
_PARTS: Mapping[str, type[Part]] = {
    "coverage": Coverage,
    "horizons": Hazard,
    "interval": ProbabilityInterval,
    "segments": Segments,
    "value": ValueModel,
}
"""What a bundle may have beside the model, each a field of it and a JSON file of that name; those of old have none."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What one gate measured, and against which limit."""

    passed: bool
    figure: float
    limit: float


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A trained churn model, with everything that turns a customer's raw features into an explained answer."""

    business: str
    horizon_days: int
    schema: Mapping[str, Any]
    """`FeatureSchema.to_json()`, in column order."""
    feature_names: tuple[str, ...]
    """The columns of the matrix, in order; the booster calls them f0, f1, …"""
    categories: Mapping[str, tuple[str, ...]]
    """Per string feature: its categories, whose index is the code."""
    typical: Mapping[str, float | str | None]
    """Per feature: the training median, or mode."""
    prior: float
    """The churn rate of the rows that calibrated it."""
    model_text: str
    """The LightGBM booster, as text: what explains."""
    onnx: bytes
    """The same trees as ONNX, float32 features to the raw margin: what scores."""
    calibration: Calibration
    scorecard_proposal: Scorecard
    """The scorecard to freeze if the business has none yet."""
    metrics: Mapping[str, float | None]
    gates: Mapping[str, GateResult]
    data_fingerprint: str
    trained_at: datetime
    run_id: str | None = field(default=None)
    commit: str | None = field(default=None)
    recommender: bytes | None = field(default=None, repr=False)
    """`Recommender.to_bytes()`; None where no purchase names an item."""
    interval: ProbabilityInterval | None = field(default=None, repr=False)
    """How sure a probability is."""
    horizons: Hazard | None = field(default=None, repr=False)
    """When they leave; None for a table, which has no time."""
    coverage: Coverage | None = field(default=None, repr=False)
    """What is typically known of a customer."""
    value: ValueModel | None = field(default=None, repr=False)
    """What customers are worth; None where nothing says what one brings."""
    segments: Segments | None = field(default=None, repr=False)
    """Which customers are alike; None where too few are known."""

    def __post_init__(self) -> None:
        if len(set(self.feature_names)) != len(self.feature_names) or not self.feature_names:
            raise BundleError("A bundle needs at least one feature, and every feature name once.")
        if self.trained_at.tzinfo is None:
            raise BundleError("A bundle's trained_at needs a time zone.")
        unknown = sorted((set(self.categories) | set(self.typical)) - set(self.feature_names))
        if unknown:
            raise BundleError(
                f"The bundle has categories or typical values of '{unknown[0]}', which is no feature of it."
            )

    @property
    def hash(self) -> str:
        """SHA-256 of what the model is and answers; run id, times and commit are left out."""
        digest = hashlib.sha256()
        recommender = () if self.recommender is None else (self.recommender,)
        more = [part for name, text in self._parts().items() for part in (name.encode(), text)]
        for part in (canonical(self.content()).encode(), self.model_text.encode(), self.onnx, *recommender, *more):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write the bundle as the new folder `path`, whole or not at all.

        Raises:
            BundleError: something already stands there, a figure is not finite, or the disk refuses.
        """
        files = {_MODEL: self.model_text.encode(), _ONNX: self.onnx}
        files |= {f"{name}.json": text + b"\n" for name, text in self._parts().items()}
        if self.recommender is not None:
            files[_RECOMMENDER] = self.recommender
        _FOLDER.save(path, self, files)

    @classmethod
    def load(cls, path: Path) -> ModelBundle:
        """The bundle that `save` wrote, verified against its hash.

        Raises:
            BundleError: a file is missing, damaged or changed, or of another format.
        """

        def parse(content: Mapping[str, Any], run: dict[str, Any]) -> ModelBundle:
            there = [name for name in _PARTS if (path / f"{name}.json").exists()]
            parts: dict[str, Any] = {
                name: _PARTS[name].of_json(json.loads((path / f"{name}.json").read_bytes())) for name in there
            }
            return cls(
                business=content["business"],
                horizon_days=content["horizon_days"],
                schema=content["schema"],
                feature_names=tuple(content["feature_names"]),
                categories={name: tuple(values) for name, values in content["categories"].items()},
                typical=content["typical"],
                prior=content["prior"],
                model_text=(path / _MODEL).read_bytes().decode(),
                onnx=(path / _ONNX).read_bytes(),
                calibration=Calibration(**content["calibration"]),
                scorecard_proposal=Scorecard.from_json(json.dumps(content["scorecard_proposal"])),
                metrics=content["metrics"],
                gates={name: GateResult(**gate) for name, gate in content["gates"].items()},
                data_fingerprint=content["data_fingerprint"],
                recommender=(path / _RECOMMENDER).read_bytes() if (path / _RECOMMENDER).exists() else None,
                **run,
                **parts,
            )

        return _FOLDER.load(path, parse)

    def _parts(self) -> dict[str, bytes]:
        """The parts that it has beside the model, by name, as canonical JSON."""
        return {
            name: canonical(part.to_json()).encode() for name in _PARTS if (part := getattr(self, name)) is not None
        }

    def content(self) -> dict[str, Any]:
        """What the hash covers, beside the two models."""
        return {
            "business": self.business,
            "horizon_days": self.horizon_days,
            "schema": dict(self.schema),
            "feature_names": list(self.feature_names),
            "categories": {name: list(values) for name, values in self.categories.items()},
            "typical": {name: _plain(value) for name, value in self.typical.items()},
            "prior": self.prior,
            "calibration": {"slope": self.calibration.slope, "intercept": self.calibration.intercept},
            "scorecard_proposal": json.loads(self.scorecard_proposal.to_json()),
            "metrics": dict(self.metrics),
            "gates": {name: asdict(gate) for name, gate in self.gates.items()},
            "data_fingerprint": self.data_fingerprint,
        }


def _plain(value: float | str | None) -> float | str | None:
    """A typical value as JSON has it: NaN is null."""
    return None if isinstance(value, float) and math.isnan(value) else value
