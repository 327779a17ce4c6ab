"""Training of a policy: from a log of decisions to effects, what they are proven good for, and a registered challenger."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from features.atomic_write import write_atomically
from features.config.business import Business
from features.generation import Generation
from features.home import Home
from features.schema import FeatureSchema
from models.arrays import FloatArray, Matrix, Rows
from models.decisions.design_matrix import Design
from models.decisions.effect_model import LEARNED, EffectModel
from models.decisions.logged_trials import NOTHING, Trials
from models.decisions.off_policy import (
    ESTIMATORS,
    PolicyValue,
    around,
    constant,
    deterministic,
    evaluate,
    evaluate_logging,
    greedy,
)
from models.decisions.qini import uplift_curve
from models.decisions.reference import ACTION, LOGGING, LOGGING_POLICY, NOTHING_DONE
from models.inference.interval import Estimate
from models.registry.model_bundle import GateResult
from models.registry.policy_bundle import PolicyBundle
from models.registry.registry import PolicyRegistry
from training.dataset.prepare import current_generation
from training.errors import DecisionLogError, TrainingError
from training.policy.cross_fitting import (
    FEWEST_EVENTS,
    FEWEST_POOLED_TRIALS,
    FEWEST_TRIALS,
    N_FOLDS,
    CrossFitted,
    Encoding,
    cross_fit,
    enough,
    fit_effects,
    only,
)
from training.policy.learners import SEED
from training.policy.logged_decisions import DecisionLog
from training.policy.page import policy_page
from training.policy.report import BEST_CONSTANT, PERSONAL, UNIFORM, ActionFigures, LearnerFigures, PolicyReport
from training.policy.touches import read_touches
from training.policy.trial import read_trial
from training.reporting.progress import Progress
from training.reporting.report_file import write_json
from training.tracking.runs import REPORT, RunArtifacts, TrackedRun, Tracker, environment_tags

DECISIONS = "decisions.parquet"
PAGE = "report.html"
LEAST_SAMPLE_SIZE = 200.0
_GAIN = {NOTHING_DONE: "gain_over_nothing", ACTION: "gain_over_reference", LOGGING: "gain_over_reference"}
"""The gate of the gain, by what it is over."""
CHOSEN = "chosen"
REST = "rest"
FEATURE = "feature "
"""Before the names of features, in the table of decisions that a run keeps."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a log taught: everything out of fold about the trials of the learned actions, and the model of all of them."""

    log: DecisionLog
    schema: FeatureSchema
    X: Matrix
    rows: Rows
    """The rows of the log that are trials of the reference, or of a learned action."""
    learned: npt.NDArray[np.bool_]
    found: CrossFitted
    model: EffectModel
    warnings: tuple[str, ...]

    def effects(self) -> FloatArray:
        """The effect of every action on every row of the log (n, k): out of fold where the row taught something.

        An action that is not learned has its prior share of the chance of a reward being missed, 0 where none is stated.
        """
        missed = np.clip(1.0 - self._baseline(), 0.0, 1.0)
        effects = self.model.predict(self.X, missed).effect
        effects[np.ix_(self.rows, np.flatnonzero(self.learned))] = self.found.effects
        return effects

    def chosen(self, served: str) -> Rows:
        """What the served policy does on every row of the log (n,), as codes of its actions."""
        if served != PERSONAL:
            return constant(self.log.names.index(served), self.log.eligible)
        effects = np.where(self.learned, self.effects(), -np.inf)
        return greedy(effects, self.log.eligible)

    def _baseline(self) -> FloatArray:
        """The mean reward of the reference, out of fold where the row taught something, else on average."""
        baseline = np.full(len(self.log), float(self.found.scores[:, NOTHING].mean()))
        baseline[self.rows] = self.found.means[:, NOTHING]
        return baseline


def train_policy(
    business: Business,
    home: Home,
    progress: Progress,
    report_file: Path | None = None,
    choices_file: Path | None = None,
    database_url: str | None = None,
) -> PolicyReport:
    """Learn effects from the log, prove what they are good for, track the run, and register the policy as `challenger`.

    The log is what [decisions] names, or else the business's own, with the decisions of the service's database at
    `database_url`, by default in the home: see `read_trial` and `read_touches`.

    Raises:
        FeaturesError: a file, a column or a generation is not there, or the home is another business's.
        DecisionLogError: nothing can be learned from the log.
        ModelsError: the registry refused.
    """
    with progress.step("Reading decisions") as advance:
        log = read_log(business, home, database_url)
        advance()
    with progress.step("Learning effects", N_FOLDS + 1) as advance:
        learned = learn(log, {action.name: action.prior_effect for action in business.actions}, advance)
        advance()
    with progress.step("Valuing policies") as advance:
        report = value(business.name, learned)
        advance()
    home.claim(business.name)
    registry = PolicyRegistry(home.tracking_uri, business.name)
    with progress.step("Tracking the run") as advance:
        tags = environment_tags()
        tracked = Tracker(home, registry.model_name).start(_params(learned), tags)
        try:
            bundle = PolicyBundle(
                business=business.name,
                effects=learned.model,
                constant_action=None if report.served == PERSONAL else _plain_name(report.served, log),
                reference=log.reference,
                metrics=_metrics(report),
                gates=report.gates,
                data_fingerprint=log.fingerprint,
                trained_at=datetime.now(UTC),
                run_id=tracked.run_id,
                commit=tags["git_commit"],
            )
            report = replace(report, run_id=tracked.run_id)
            report = _track(tracked, bundle, report, learned, registry)
        except BaseException:
            tracked.fail()
            raise
        tracked.finish()
        advance()
    if report_file is not None:
        write_json(report_file, report.to_json())
    if choices_file is not None:
        write_choices(choices_file, learned, report.served)
    return report


def read_log(business: Business, home: Home, database_url: str | None = None) -> DecisionLog:
    """The decisions that the TOML means."""
    if business.decisions is not None:
        return read_trial(business)
    generation: Generation = current_generation(business, home)
    return read_touches(business, generation, home, database_url)


def learn(log: DecisionLog, priors: Mapping[str, float], advance: Any = lambda: None) -> Learned:
    """Encode the log, fit the learners without each fold in turn, and fit the model to serve on all trials.

    Raises:
        DecisionLogError: no action has enough trials.
    """
    usable = log.usable()
    schema, notes = log.informative(usable)
    categories = log.categories(schema, usable)
    X = log.X(schema, categories)
    everything = log.trials(X, schema, categories, usable)
    learned = enough(everything)
    counts = everything.counts()
    few = [f"'{name}' ({counts[code + 1]})" for code, name in enumerate(log.actions) if not learned[code]]
    if not learned.any():
        raise DecisionLogError(_nothing_learned(log, everything, few))
    warnings = [*log.warnings, *notes]
    if few and not log.reference.is_choice:
        warnings.append(f"Too few trials to say anything of an action, so it is never chosen: {', '.join(few)}.")
    elif few:
        warnings.append(f"Too few trials to learn an effect, so the stated prior is all there is: {', '.join(few)}.")
    trials, taken = only(everything, learned)
    found = cross_fit(trials, advance)
    encoding = Encoding(log.unit, schema.to_json(), schema.names, categories)
    model = fit_effects(found, log.actions, priors, counts, learned, encoding)
    return Learned(log, schema, X, usable[taken], learned, found, model, tuple(warnings))


def _nothing_learned(log: DecisionLog, trials: Trials, few: Sequence[str]) -> str:
    """Why no action's effect can be learned, in a sentence."""
    counts = trials.counts()
    if trials.is_binary and (rarer := int(min(trials.y.sum(), (1.0 - trials.y).sum()))) < FEWEST_EVENTS:
        return (
            f"No action has enough trials to learn its effect: {rarer} of {len(trials):,} decisions have the rarer reward, "
            f"but {FEWEST_EVENTS} are needed."
        )
    reference = f"'{log.reference.name}' has {counts[0]}, " if log.reference.is_choice else ""
    least = FEWEST_TRIALS if log.reference.is_choice else FEWEST_POOLED_TRIALS
    return (
        f"No action has enough trials to learn its effect: {reference}{', '.join(few)}; {least} of each are needed, and "
        f"rewards that differ."
    )


def value(business: str, learned: Learned) -> PolicyReport:
    """What policies would have earned on the log's trials, and which is served.

    The personal policy is, if it is proven better than the best constant action: if the doubly robust estimate of their
    difference has an interval (95 %) above 0, and the personal policy an effective sample size of at least 200. Both are
    judged on rows that had no say in them: the best of many actions looks better than it is where it was chosen.
    """
    found, log = learned.found, learned.log
    trials = found.trials
    arms = trials.k + 1
    names = [log.names[code] for code in (0, *(np.flatnonzero(learned.learned) + 1))]
    options = range(0 if log.reference.is_choice else 1, arms)
    personal = greedy(found.effects, trials.eligible)
    best, everywhere = found.best_constant()
    choices = {PERSONAL: personal, BEST_CONSTANT: best}
    choices |= {names[arm]: constant(arm, trials.eligible) for arm in options}
    dists = {name: deterministic(chosen, arms) for name, chosen in choices.items()}
    dists[UNIFORM] = trials.eligible / trials.eligible.sum(axis=1, keepdims=True)
    Z = Design.fit(trials.X, trials.n_categories).transform(trials.X)
    policies = {LOGGING_POLICY: evaluate_logging(trials, found.means, Z)}
    policies |= {name: evaluate(trials, found.means, dist, Z) for name, dist in dists.items()}
    gain = found.gain(personal, best)
    proven = gain.low > 0.0 and policies[PERSONAL].effective_sample_size >= LEAST_SAMPLE_SIZE
    served = PERSONAL if proven else names[everywhere]
    # The best of several actions looks better than it is: its interval holds for all of them together (Bonferroni).
    over_reference = found.gain(choices[served], np.full(len(trials), NOTHING), tried=max(arms - 1, 1))
    rng = np.random.default_rng(SEED)
    actions: dict[str, ActionFigures] = {}
    arm = 0
    for code, action in enumerate(learned.model.actions):
        if action.source != LEARNED:
            actions[log.actions[code]] = ActionFigures(action.source, action.n_trials, None, None, None)
            continue
        mine = np.flatnonzero(trials.eligible[:, arm + 1] & np.isin(trials.action, (NOTHING, arm + 1)))
        curve = None
        if log.reference.is_choice:
            curve = uplift_curve(
                found.effects[mine, arm],
                trials.action[mine] == arm + 1,
                trials.y[mine],
                trials.pscore[mine],
                trials.group[mine],
                rng,
            )
        average = around(action.average, action.average_variance)
        actions[log.actions[code]] = ActionFigures(action.source, action.n_trials, average, action.slope, curve)
        arm += 1
    losses = {name: float(found.loss(effects).mean()) for name, effects in found.candidates.items()}
    size = policies[served].effective_sample_size
    return PolicyReport(
        business=business,
        policy_version=None,
        run_id="",
        unit=log.unit,
        reference=log.reference,
        n_logged=len(log),
        n_trials=len(trials),
        n_features=len(learned.schema),
        actions=actions,
        learners={
            **{
                name: LearnerFigures(found.weights[name] if found.tells_customers_apart else 0.0, loss)
                for name, loss in losses.items()
            },
            "together": LearnerFigures(None, float(found.loss(found.effects).mean())),
        },
        policies=policies,
        best_constant=names[everywhere],
        gain=gain,
        over_reference=over_reference,
        served=served,
        gates={
            "effective_sample_size": GateResult(size >= LEAST_SAMPLE_SIZE, size, LEAST_SAMPLE_SIZE),
            _GAIN[log.reference.kind]: GateResult(over_reference.low > 0.0, over_reference.low, 0.0),
        },
        warnings=learned.warnings,
        notes=log.notes,
    )


def write_choices(path: Path, learned: Learned, served: str) -> None:
    """One row a logged decision: `row`, `chosen`, and `effect_<action>`; Parquet or, by any other ending, CSV."""
    log = learned.log
    effects = learned.effects()
    chosen = learned.chosen(served)
    order = np.argsort(log.row, kind="stable")
    columns: dict[str, Any] = {
        "row": pa.array(log.row[order]),
        "chosen": pa.array([log.names[code] for code in chosen[order].tolist()]),
    }
    for position, name in enumerate(log.actions):
        columns[f"effect_{name}"] = pa.array(effects[order, position])
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    if path.suffix.lower() in (".parquet", ".pq"):
        pq.write_table(table, sink)
    else:
        pyarrow.csv.write_csv(table, sink)
    try:
        write_atomically(path, sink.getvalue().to_pybytes())
    except OSError as error:
        raise TrainingError(f"{path}: the choices cannot be written ({error.strerror or error}).") from error


def _plain_name(served: str, log: DecisionLog) -> str:
    """What whoever serves calls an action, whatever the log calls it."""
    return log.reference.served if served == log.reference.name else served


def _metrics(report: PolicyReport) -> dict[str, float | None]:
    served: PolicyValue = report.policies[report.served]
    figures = {
        "served_dr": served.dr.value,
        "served_dr_lower": served.dr.low,
        "served_effective_sample_size": served.effective_sample_size,
        "personal_dr": report.policies[PERSONAL].dr.value,
        "gain": report.gain.value,
        "gain_lower": report.gain.low,
        "over_reference": report.over_reference.value,
        "over_reference_lower": report.over_reference.low,
        **_policy_metrics(report),
        **{f"qini.{name}": action.curve.qini.value for name, action in report.actions.items() if action.curve},
    }
    return {name: figure if math.isfinite(figure) else None for name, figure in figures.items()}


def _policy_metrics(report: PolicyReport) -> dict[str, float]:
    """What policies that every log has earned, by each estimator, with the bounds and what they rest on."""
    figures: dict[str, float] = {}
    for policy in (LOGGING_POLICY, UNIFORM, BEST_CONSTANT, PERSONAL):
        value = report.policies[policy]
        for estimator in ESTIMATORS:
            estimate: Estimate = getattr(value, estimator)
            name = f"{policy.replace(' ', '_')}.{estimator}"
            figures |= {name: estimate.value, f"{name}_lower": estimate.low, f"{name}_upper": estimate.high}
        figures[f"{policy.replace(' ', '_')}.effective_sample_size"] = value.effective_sample_size
    return figures


def _params(learned: Learned) -> dict[str, object]:
    return {
        "learners": " ".join(learned.model.learners),
        "penalty": learned.found.penalty,
        "folds": N_FOLDS,
        "n_trials": len(learned.found.trials),
        "n_features": len(learned.schema),
        "actions": " ".join(learned.log.actions),
        "unit": learned.log.unit,
        "reference": str(learned.log.reference),
        "data_fingerprint": learned.log.fingerprint,
    }


def _track(
    tracked: TrackedRun, bundle: PolicyBundle, report: PolicyReport, learned: Learned, registry: PolicyRegistry
) -> PolicyReport:
    tracked.log_metrics({_metric_name(name): figure for name, figure in bundle.metrics.items()})
    tracked.log_bundle(bundle)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = RunArtifacts(folder)
        files.write_table(DECISIONS, _decisions(learned, report.served))
        version = tracked.register(registry, bundle)
        report = replace(report, policy_version=version)
        files.write_json(REPORT, report.to_json())
        files.write_text(PAGE, policy_page(report).html())
        tracked.log_folder(folder)
    return report


def _metric_name(name: str) -> str:
    """A name that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)


def _decisions(learned: Learned, served: str) -> pa.Table:
    """The trials with their doubly robust scores, and what the policy chooses out of fold: so it is compared with others."""
    log, found, rows = learned.log, learned.found, learned.rows
    chosen = learned.chosen(served)[rows].tolist()
    columns: dict[str, Any] = {
        "row": log.row[rows],
        CHOSEN: pa.array([_plain_name(log.names[code], log) for code in chosen]),
        "customer_id": pa.array(log.customer_id[rows].tolist()),
        "action": found.trials.action,
        "reward": found.trials.y,
        "pscore": found.trials.pscore,
        # What no model foretold of the reward.
        REST: found.rest,
    }
    names = [
        log.reference.served,
        *(name for name, is_learned in zip(log.actions, learned.learned, strict=True) if is_learned),
    ]
    for position, name in enumerate(names):
        columns[f"score {name}"] = found.scores[:, position]
        columns[f"eligible {name}"] = found.trials.eligible[:, position]
    for feature in learned.log.schema:
        values = log.columns[feature.name][rows]
        columns[f"{FEATURE}{feature.name}"] = pa.array(values.tolist()) if values.dtype == object else values
    return pa.table(columns)
