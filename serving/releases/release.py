"""What a server answers from: one build of the features and one model under one scorecard, loaded and swapped whole."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from features.config.business import Business
from features.config.environment import user_cache
from features.generation import Generation
from features.schema import DType, FeatureSchema
from features.store.online import OnlineStore
from models.explanation.explainer import Explainer
from models.inference.onnx_predictor import ChurnPredictor
from models.recommender import Recommender
from models.registry.model_bundle import ModelBundle
from models.registry.policy_bundle import PolicyBundle
from models.scorecard import Band, Scorecard
from serving.errors import ReleaseMismatch
from serving.releases.explanation import Explained
from serving.releases.figures import FigureTable
from serving.releases.reasons import ReasonTable
from serving.releases.value import ValueTable

DEFAULT_STALE_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class ReleaseParts:
    """All that a release is loaded from, as plain data: it pickles, so that another process loads the same one."""

    generation: Generation
    model_version: str
    scorecard: Scorecard
    bundle: ModelBundle
    stale_after: timedelta = DEFAULT_STALE_AFTER
    policy: PolicyBundle | None = None
    policy_version: str | None = None


# Two releases are the same only if they are one: what is made once for each is found by identity.
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Release:
    """A generation, a model version and a scorecard version, with all that is derived from them; it never changes.

    A request takes one release and stays with it to its end, so that probability, explanation, health and features
    always belong together.
    """

    generation: Generation
    model_version: str
    scorecard: Scorecard
    bundle: ModelBundle
    store: OnlineStore
    schema: FeatureSchema
    """The model's features, in the order of its columns."""
    predictor: ChurnPredictor
    explainer: Explainer
    base: float
    """The health of a customer about whom nothing stands out."""
    pillars: tuple[str, ...]
    """The pillars that the model reads."""
    membership: NDArray[np.float64]
    """(d, pillars), 1 where the feature belongs to the pillar."""
    population: NDArray[np.float64]
    """Churn probabilities of the current population, in rising order."""
    stale_after: timedelta
    reasons: ReasonTable
    figures: FigureTable
    minimum_coverage: float
    """What must be known of a customer, as the figure `coverage` has it, for a band that is a colour."""
    values: ValueTable
    policy: PolicyBundle | None = None
    """Learned effects; None while nothing but the TOML's priors says what actions change."""
    policy_version: str | None = None
    recommender: Recommender | None = None

    @property
    def key(self) -> str:
        """What tells this release from every other: `generation/model/scorecard`, and `/policy` if one was learned."""
        return release_key(self.generation.id, self.model_version, self.scorecard.version, self.policy_version)

    @property
    def parts(self) -> ReleaseParts:
        """What to load this release from."""
        return ReleaseParts(**{field.name: getattr(self, field.name) for field in fields(ReleaseParts)})

    def with_population(self, probabilities: NDArray[np.float64]) -> Release:
        """This release, knowing the current population's churn probabilities (n,), in any order."""
        return replace(self, population=np.sort(np.asarray(probabilities, dtype=np.float64)))

    def explain(self, matrix: NDArray[np.float32]) -> Explained:
        """The health of rows (n, d), with its parts."""
        return Explained.of(matrix, self.explainer, self.bundle.calibration, self.scorecard, self.base, self.membership)

    def band(self, score: float, coverage: float | None) -> Band:
        """The band of one health score, which is no colour where too little is known."""
        if coverage is not None and coverage < self.minimum_coverage:
            return Band.INSUFFICIENT_DATA
        return self.scorecard.band(score)

    @classmethod
    def load(cls, parts: ReleaseParts) -> Release:
        """Make a release ready to answer; its population is empty until `with_population`.

        Raises:
            ReleaseMismatch: the model reads features that this build does not have, or has otherwise.
            BundleError: the bundle cannot be loaded.
        """
        generation, bundle, scorecard, policy = parts.generation, parts.bundle, parts.scorecard, parts.policy
        model = f"Model version {parts.model_version}"
        schema = FeatureSchema.from_json(bundle.schema).select(bundle.feature_names)
        _check(generation, model, bundle.business, schema)
        if policy is not None and policy.is_of_churn:
            # No decision reads any other: see `Playbook`.
            effects = FeatureSchema.from_json(policy.effects.schema).select(policy.effects.feature_names)
            _check(generation, f"Policy version {parts.policy_version}", policy.business, effects)
        _check_parts(generation, model, bundle)
        explainer = Explainer(bundle.model_text, cache=user_cache())
        pillars = tuple(pillar.name for pillar in schema.pillars)
        membership = np.zeros((len(schema), len(pillars)))
        for column, feature in enumerate(schema):
            membership[column, pillars.index(feature.pillar)] = 1.0
        return cls(
            **{field.name: getattr(parts, field.name) for field in fields(ReleaseParts)},
            store=OnlineStore(generation),
            schema=schema,
            predictor=ChurnPredictor(bundle.onnx, bundle.calibration),
            explainer=explainer,
            base=scorecard.base(explainer.base_value, bundle.calibration),
            pillars=pillars,
            membership=membership,
            population=np.empty(0),
            reasons=ReasonTable.of_bundle(bundle, schema),
            figures=FigureTable.of_bundle(bundle),
            minimum_coverage=Business.of(generation).health.minimum_coverage,
            values=ValueTable(bundle, generation),
            recommender=None if bundle.recommender is None else Recommender.from_bytes(bundle.recommender),
        )


def release_key(
    generation_id: str, model_version: str, scorecard_version: str, policy_version: str | None = None
) -> str:
    """The key of a release, before it is loaded."""
    key = f"{generation_id}/{model_version}/{scorecard_version}"
    return key if policy_version is None else f"{key}/{policy_version}"


def _check_parts(generation: Generation, what: str, bundle: ModelBundle) -> None:
    """Value and segments read features by name alone, some of which the model does not read."""
    words = {} if bundle.segments is None else bundle.segments.words
    for part, names in (
        ("value", () if bundle.value is None else bundle.value.figures),
        ("segments", () if bundle.segments is None else bundle.segments.features),
    ):
        for name in names:
            is_word = part == "segments" and name in words
            if name not in generation.schema or (generation.schema[name].dtype is DType.STRING) != is_word:
                raise ReleaseMismatch(
                    f"{what} reads the feature '{name}' for its {part}, which the build {generation.id} does not have, or "
                    "has otherwise: train and promote a model on this build."
                )


def _check(generation: Generation, what: str, business: str, schema: FeatureSchema) -> None:
    if business != generation.business:
        raise ReleaseMismatch(f"{what} is of the business '{business}', not '{generation.business}'.")
    for feature in schema:
        if feature.name not in generation.schema:
            raise ReleaseMismatch(
                f"{what} reads the feature '{feature.name}', which the build {generation.id} does "
                "not have: train and promote a model on this build."
            )
        built = generation.schema[feature.name]
        if built.dtype is not feature.dtype:
            raise ReleaseMismatch(
                f"{what} reads '{feature.name}' as {feature.dtype.value}, but the build "
                f"{generation.id} has it as {built.dtype.value}: train and promote a model on this build."
            )
