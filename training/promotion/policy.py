"""Which policy serves: promoted on what the log shows, and back again."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from features.errors import SchemaMismatch
from features.home import Home
from features.schema import DType, FeatureSchema
from models.arrays import FloatArray, Rows
from models.decisions.off_policy import interval, unseen
from models.decisions.reference import Reference
from models.registry.model_bundle import GateResult
from models.registry.policy_bundle import PolicyBundle
from models.registry.registered_model import RegisteredModel
from models.registry.registry import PolicyRegistry
from training.errors import GateRefused, TrainingError
from training.policy.train import CHOSEN, DECISIONS, FEATURE, REST
from training.tracking.runs import Tracker

_SCORE = "score "
MEANING = {
    "effective_sample_size": "how many logged decisions it rests on",
    "gain_over_nothing": "the lower bound (95 %) of what it earns a decision over doing nothing, which must be above 0: that "
    "it helps is not proven",
    "gain_over_reference": "the lower bound (95 %) of what it earns a decision over {what}, which must be above 0: that it is "
    "better is not proven",
    "dr_lower_bound": "the lower bound (95 %) of what it earns a decision over what {what} earns, which must be above 0",
}


OF_ANOTHER_REWARD = (
    "The service's decisions go on as they were: they weigh what actions change of churn, and this policy was learned from "
    "another reward. What it does stands in 'training policy CONFIG --choices FILE', and PolicyBundle.choose decides by it."
)


def promote_policy(home: Home, version: str | None = None) -> str:
    """Make a policy the champion, by default the newest challenger; returns what to tell the user.

    It must be proven to earn more than doing nothing and more than the champion: the doubly robust estimate of the
    difference, on the same decisions, must have an interval (95 %) above 0.

    Raises:
        TrainingError: no policy was trained yet, or what it was learned from is gone.
        GateRefused: a gate was not passed.
        HomeError: another promotion is running.
        ModelsError: the registry or a bundle refused.
    """
    registry = _registry(home)
    with home.lock("promote-policy"):
        model = registry.challenger() if version is None else registry.version(version)
        if model is None:
            raise TrainingError("There is no policy to promote: run 'python -m training policy CONFIG' first.")
        bundle = registry.load(model.version, home.path / "bundles")
        for name, gate in bundle.gates.items():
            if not gate.passed:
                _refuse(model, name, gate, str(bundle.reference))
        champion = registry.champion()
        instead = ""
        if champion is None or champion.version != model.version:
            gate, what = _compared(home, registry, model, champion, bundle)
            if not gate.passed:
                _refuse(model, "dr_lower_bound", gate, what)
            instead = f" in place of {what}: it earns at least {gate.figure:.5f} more a decision"
        registry.promote(model.version, None)
    serves = "its personal choice" if bundle.constant_action is None else f"'{bundle.constant_action}' for everybody"
    said = f"Version {model.version} is the champion of {model.name}{instead}. It serves {serves}."
    return said if bundle.is_of_churn else f"{said} {OF_ANOTHER_REWARD}"


def rollback_policy(home: Home) -> str:
    """Make the policy that served before the champion serve again; returns what to tell the user.

    Raises:
        HomeError: a promotion is running, or nothing lives here.
        ModelsError: there is nothing to go back to.
    """
    registry = _registry(home)
    with home.lock("promote-policy"):
        model = registry.rollback()
    return f"Version {model.version} is the champion of {model.name} again."


def _compared(
    home: Home, registry: PolicyRegistry, model: RegisteredModel, champion: RegisteredModel | None, bundle: PolicyBundle
) -> tuple[GateResult, str]:
    """The gate, and what it compares with."""
    reference = bundle.reference
    with tempfile.TemporaryDirectory() as scratch:
        path = Tracker(home, registry.model_name).artifact(model.run_id, DECISIONS, Path(scratch))
        if path is None:
            raise TrainingError(
                f"The decisions that version {model.version} was learned from are gone: train it again."
            )
        decisions = pd.read_parquet(path)
    if CHOSEN not in decisions:
        raise TrainingError(f"What version {model.version} would have done is not known: train it again.")
    if champion is None:
        instead, what = np.full(len(decisions), reference.served, dtype=object), str(reference)
    else:
        what = f"version {champion.version}"
        policy = registry.load(champion.version, home.path / "bundles")
        if policy.is_of_churn and not bundle.is_of_churn:
            raise TrainingError(
                f"Version {model.version} was learned from another reward than churn, and cannot take the place of {what}, by "
                f"which the service decides: train it in a home of its own (KEEPWELL_HOME)."
            )
        try:
            instead = _choices(policy, decisions)
        except SchemaMismatch as error:
            raise TrainingError(
                f"Version {model.version} cannot be compared with the champion, {what}, which reads other features: {error}"
            ) from error
    chosen = decisions[CHOSEN].to_numpy(dtype=object)
    lacking = {name for name in np.unique(instead.astype(str)) if f"{_SCORE}{name}" not in decisions}
    if lacking:
        raise TrainingError(
            f"Version {model.version} cannot be compared with the champion, {what}, which serves what its decisions never "
            f"tried: {', '.join(sorted(lacking))}."
        )
    gain = _earned(decisions, chosen) - _earned(decisions, instead)
    group = np.unique(decisions["customer_id"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64)
    lower = interval(gain, group, unseen=_unseen(decisions, chosen, instead, reference)).low
    return GateResult(lower > 0.0, lower, 0.0), what


def _unseen(
    decisions: pd.DataFrame,
    chosen: np.ndarray[tuple[int], Any],
    instead: np.ndarray[tuple[int], Any],
    reference: Reference,
) -> float:
    """What the variance of a gain lacks where rewards are rare; nothing is known of it in older tables."""
    if REST not in decisions:
        return 0.0
    names = [name.removeprefix(_SCORE) for name in decisions.columns if name.startswith(_SCORE)]
    done = np.array(names, dtype=object)[decisions["action"].to_numpy()]
    inverse = 1.0 / decisions["pscore"].to_numpy()
    one, other = (
        np.where(what == done, inverse, 0.0 if reference.is_choice else (what == reference.served).astype(np.float64))
        for what in (chosen, instead)
    )
    return unseen(one - other, decisions[REST].to_numpy())


def _choices(policy: PolicyBundle, decisions: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """What a policy does for the rows of a table of decisions, by name."""
    effects = policy.effects
    schema = FeatureSchema.from_json(effects.schema)
    columns = {}
    for feature in schema:
        stored = decisions.get(f"{FEATURE}{feature.name}")
        if stored is None:
            raise SchemaMismatch(f"The decisions lack the column '{feature.name}'.")
        words = feature.dtype is DType.STRING
        columns[feature.name] = (
            stored.where(stored.notna(), None).to_numpy(dtype=object) if words else stored.to_numpy()
        )
    names = [policy.reference.served, *(action.name for action in effects.actions)]
    eligible = np.column_stack(
        [
            decisions.get(f"eligible {name}", pd.Series(False, index=decisions.index)).to_numpy(dtype=bool)
            for name in names
        ]
    )
    chosen: Rows = policy.choose(schema.to_matrix(columns, effects.categories), eligible)
    return np.array(names, dtype=object)[chosen]


def _earned(decisions: pd.DataFrame, chosen: np.ndarray[tuple[int], np.dtype[np.object_]]) -> FloatArray:
    """What choices would have earned, decision by decision (n,), by their doubly robust scores."""
    scores = np.empty(len(decisions))
    for name in np.unique(chosen.astype(str)):
        mine = chosen == name
        scores[mine] = decisions.loc[mine, f"{_SCORE}{name}"].to_numpy()
    return scores


def _refuse(model: RegisteredModel, name: str, gate: GateResult, what: str) -> None:
    meaning = MEANING.get(name, name).format(what=what)
    raise GateRefused(f"Policy version {model.version}", name, gate.figure, gate.limit, meaning)


def _registry(home: Home) -> PolicyRegistry:
    name = home.business
    if name is None:
        raise TrainingError(f"{home.path} holds no business yet: run 'python -m training policy CONFIG' first.")
    return PolicyRegistry(home.tracking_uri, name)
