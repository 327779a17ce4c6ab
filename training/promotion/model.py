"""Which version serves: the gates, the comparison with the champion, and the scorecard that goes with it."""

from __future__ import annotations

from dataclasses import dataclass

from features.after_change import rewrite_current_scores
from features.home import Home
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.registered_model import RegisteredModel
from models.registry.registry import Registry
from models.scorecard import Scorecard
from training.churn.gates import MEANING, TECHNICAL, lacking, refused
from training.errors import GateRefused, TrainingError
from training.tracking.promotion_log import note

FORCED = "forced_because"
OVERRULED = "overruled"
LONGEST_TAG = 5000


@dataclass(frozen=True, slots=True)
class Promotion:
    """What a promotion, or a rollback, changed."""

    model: RegisteredModel
    previous: str | None
    scorecard: Scorecard
    warnings: tuple[str, ...]


def promote(
    home: Home, version: str | None = None, *, new_scorecard: bool = False, force: str | None = None
) -> Promotion:
    """Make a version the champion, by default the newest challenger, if every gate is passed.

    Args:
        force: why the gates of quality are overruled; noted on the version and in the home's log of promotions. That
            ONNX, booster and explanation agree cannot be overruled.

    Raises:
        TrainingError: nothing was trained yet.
        GateRefused: a gate was not passed, or the champion is better.
        HomeError: another promotion is running, or nothing was built yet.
        ModelsError: the registry or the bundle refused.
    """
    registry = _registry(home)
    with home.lock("promote"):
        model = registry.challenger() if version is None else registry.version(version)
        if model is None:
            raise TrainingError("There is no challenger to promote: run 'python -m training run CONFIG' first.")
        bundle = registry.load(model.version, home.path / "bundles")
        for name in lacking(bundle.gates):
            raise TrainingError(f"Version {model.version} was never asked by the gate '{name}': train it again.")
        overruled: list[str] = []
        for name in refused(bundle.gates):
            _judge(model.version, name, bundle.gates[name], None if name in TECHNICAL else force, overruled)
        champion = registry.champion()
        warnings: list[str] = []
        if champion is not None and champion.version != model.version:
            # What compares takes seconds to import, and a first champion has nothing to be compared with.
            from training.comparison.compare import compare

            comparison = compare(home, registry, model, champion)
            if comparison.gate is not None and not comparison.gate.passed:
                _judge(model.version, "better_than_champion", comparison.gate, force, overruled)
            if comparison.warning is not None:
                warnings.append(comparison.warning)
        scorecard = scorecard_for(registry, champion, bundle, new_scorecard=new_scorecard)
        previous = champion.version if champion else None
        if overruled:
            assert force is not None
            registry.tag(model.version, {FORCED: force, OVERRULED: " ".join(overruled)[:LONGEST_TAG]})
            warnings += [f"Promoted all the same ({force}): {sentence}" for sentence in overruled]
        # Written first: a promotion that nobody can look up afterwards does not happen.
        note(home, "promote", model.version, previous, forced=force if overruled else None, overruled=overruled)
        promoted = registry.promote(model.version, scorecard)
        warnings += rewrite_current_scores(home)
    return Promotion(promoted, previous, scorecard, tuple(warnings))


def rollback(home: Home) -> Promotion:
    """Make the version that served before the champion serve again, by its own scorecard.

    Raises:
        HomeError: a promotion is running, or nothing was built yet.
        ModelsError: there is nothing to go back to.
    """
    registry = _registry(home)
    with home.lock("promote"):
        before = registry.champion()
        model = registry.rollback()
        assert model.scorecard is not None
        note(home, "rollback", model.version, before.version if before else None)
        warnings = rewrite_current_scores(home)
    return Promotion(model, before.version if before else None, model.scorecard, tuple(warnings))


def scorecard_for(
    registry: Registry, champion: RegisteredModel | None, bundle: ModelBundle, *, new_scorecard: bool
) -> Scorecard:
    """The champion's scorecard, so that health keeps its meaning; the bundle's proposal at first, or if asked for."""
    if champion is not None and champion.scorecard is not None and not new_scorecard:
        return champion.scorecard
    # After a rollback the newest scorecard is not the champion's: no number is given twice.
    given = [int(model.scorecard.version) for model in registry.history() if model.scorecard is not None]
    return bundle.scorecard_proposal.renamed(str(max(given, default=0) + 1))


def _judge(version: str, name: str, gate: GateResult, force: str | None, overruled: list[str]) -> None:
    """Refuse, or add what the gate said to what was overruled."""
    refusal = GateRefused(f"Version {version}", name, gate.figure, gate.limit, MEANING.get(name, name))
    if force is None:
        raise refusal
    overruled.append(str(refusal))


def _business(home: Home) -> str:
    name = home.business
    if name is None:
        raise TrainingError(f"{home.path} holds no business yet: run 'python -m features build CONFIG' first.")
    return name


def _registry(home: Home) -> Registry:
    return Registry(home.tracking_uri, _business(home))
