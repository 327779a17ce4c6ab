"""One training run, from a generation of features to a registered challenger."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from features.config.business import Business, TableData
from features.config.environment import user_cache
from features.config.search_budget import Budget
from features.generation import Generation
from features.home import Home
from features.schema import DType
from features.store.offline import OfflineStore
from models.arrays import Rows
from models.explanation.explainer import Explainer
from models.inference.calibration import logit
from models.registry.model_bundle import GateResult, ModelBundle
from models.registry.registry import Registry
from models.scorecard import Scorecard, propose
from training.churn.fit import FittedModel, fit_and_test
from training.churn.gates import (
    ECE_LIMIT_OUT_OF_FOLD,
    ECE_LIMIT_TIME,
    MEANING,
    TECHNICAL,
    ServedModel,
    model_gates,
    quality_gates,
    refused,
)
from training.churn.onnx_export import margin_graph
from training.churn.survival import learned_hazard
from training.churn.tuning import DEFAULT, Tuner
from training.churn.uncertainty import learned_coverage, learned_interval
from training.dataset.leakage import changed_values
from training.dataset.prepare import Prepared, current_generation, prepare
from training.dataset.split import SEED
from training.dataset.training_set import TrainingSet
from training.errors import GateRefused
from training.evaluation.drift import Snapshot
from training.evaluation.held_out import HeldOutPredictions
from training.evaluation.plots import MOST_ROWS, plot_calibration, plot_gains, plot_shap_summary
from training.evaluation.slices import examine
from training.recommender import learned_recommender
from training.reporting.model_card import CARD, Lineage, model_card
from training.reporting.progress import Progress
from training.reporting.report_file import write_json
from training.reporting.run_report import RunReport
from training.tracking.runs import (
    PREDICTIONS,
    REPORT,
    SNAPSHOT,
    TEST_ROWS,
    WORTH,
    RunArtifacts,
    TrackedRun,
    TrackedTrial,
    Tracker,
    environment_tags,
)
from training.tracking.system_metrics import SystemWatch
from training.value.customer_value import champions_segments, learned_worth

FIRST_SCORECARD = "1"
OUTCOME = "churned"


def run(
    business: Business, home: Home, progress: Progress, report_file: Path | None = None, budget: Budget | None = None
) -> RunReport:
    """Train on the current generation, track the run, and register the model as `challenger`.

    Args:
        budget: of the search for a recipe; None takes what [training] says, else 10 trials.

    A model that fails a gate of quality is registered all the same, and `promote` refuses it.

    Raises:
        FeaturesError: there is no generation, or the home is another business's.
        StaleGeneration: the generation was not built from this TOML.
        LabelError: there is nothing to learn from.
        GateRefused: ONNX, the booster and the explanation do not agree; nothing was registered.
        ModelsError: the registry refused.
    """
    generation = current_generation(business, home)
    registry = Registry(home.tracking_uri, business.name)
    with progress.step("Reading features and outcomes") as advance:
        prepared = prepare(generation, business)
        advance()
    budget = budget or business.training.budget or DEFAULT
    searches = len(prepared.split.folds) + (0 if prepared.split.is_time else 1)
    tuner = Tuner(budget.shared(searches), home.path / "tuning.journal")
    system = SystemWatch(home.tracking_uri)
    with system, progress.step("Tuning, training and testing", searches * (budget.trials or 1)) as advance:
        told = advance if budget.trials else lambda: None
        model, fitted_on, tested = fit_and_test(prepared.data, prepared.split, prepared.windows, told, tuner)
    evaluation = tested.evaluate(prepared.data.y)
    with progress.step("Examining the figures") as advance:
        examination = examine(business, prepared, tested, evaluation)
        leaks = (*prepared.leaks, *changed_values(generation, home, prepared.everything))
        advance()
    booster = model.classifier.booster_
    with progress.step("Checking the exported model against the trained one") as advance:
        served = ServedModel(booster, booster.model_to_string(), margin_graph(booster), model.classifier.calibration_)
        gates = {
            **model_gates(served, prepared.data.X(tested.rows, model.categories)),
            **quality_gates(evaluation, examination, time_split=prepared.split.is_time),
        }
        advance()
    with progress.step("Learning what customers buy") as advance:
        recommender = learned_recommender(generation)
        advance()
    with progress.step("Learning how sure it is, and when customers leave") as advance:
        interval, coverage = learned_interval(prepared, model, tested), learned_coverage(prepared, model)
        horizons = learned_hazard(generation, business, prepared, model)
        advance()
    scorecard = proposed_scorecard(business, prepared, tested)
    with progress.step("Learning what customers are worth") as advance:
        former = champions_segments(registry, home)
        worth = learned_worth(generation, business, prepared, model, tested, scorecard, former)
        advance()
    bundle = ModelBundle(
        business=business.name,
        horizon_days=generation.horizon_days,
        schema=prepared.data.schema.to_json(),
        feature_names=prepared.data.schema.names,
        categories=model.categories,
        typical=prepared.data.typical(fitted_on),
        prior=float(model.classifier.prior_),
        model_text=served.model_text,
        onnx=served.onnx,
        calibration=served.calibration,
        scorecard_proposal=scorecard,
        metrics=evaluation.metrics.to_json(),
        gates=gates,
        data_fingerprint=generation.fingerprint,
        trained_at=datetime.now(UTC),
        recommender=recommender,
        interval=interval,
        horizons=horizons,
        coverage=coverage,
        value=worth.value_model,
        segments=worth.segment_model,
    )
    with progress.step("Tracking the run") as advance:
        tags = environment_tags()
        tracked = Tracker(home, registry.model_name).start(_params(generation, prepared, model), tags)
        bundle = replace(bundle, run_id=tracked.run_id, commit=tags["git_commit"])
        try:
            report = RunReport(
                business=business.name,
                model_version=None,
                run_id=tracked.run_id,
                bundle_hash=bundle.hash,
                n_train=len(fitted_on),
                n_test=len(tested.rows),
                split=prepared.split.kind.value,
                horizon_days=generation.horizon_days,
                train_cutoffs=prepared.cutoffs.train,
                test_cutoffs=prepared.cutoffs.test,
                churn_rate_train=float(prepared.data.y[fitted_on].mean()),
                churn_rate_test=float(prepared.data.y[tested.rows].mean()),
                n_features=len(prepared.data.schema),
                evaluation=evaluation,
                gates=gates,
                warnings=(
                    *prepared.warnings,
                    *(leak.sentence for leak in leaks[len(prepared.leaks) :]),
                    *examination.warnings,
                    *worth.warnings,
                    *_gate_warnings(gates, time_split=prepared.split.is_time),
                ),
                notes=prepared.notes,
                examination=examination,
                leaks=leaks,
                worth=worth,
                level=None if model.level is None else model.level.rate(tested.p, prepared.data.y[tested.rows]),
            )
            tracked.log_system(system.figures)
            _log_datasets(tracked, business, prepared, fitted_on, tested, generation)
            report = _track(tracked, bundle, report, prepared, model, tested, registry, generation)
        except BaseException:
            tracked.fail()
            raise
        tracked.finish()
        advance()
    if report_file is not None:
        write_json(report_file, report.to_json())
    for name in refused(gates):
        if name in TECHNICAL:
            raise GateRefused("The model of this run", name, gates[name].figure, gates[name].limit, MEANING[name])
    return report


def proposed_scorecard(business: Business, prepared: Prepared, tested: HeldOutPredictions) -> Scorecard:
    """The scorecard to freeze if the business has none: what [health] says, else what the newest labelled window says."""
    rows = tested.rows
    newest = np.ones(len(rows), dtype=np.bool_)
    if prepared.cutoffs.test:
        timestamp = prepared.data.labels.event_timestamp[rows]
        newest = timestamp == timestamp.max()
    p_ref = business.health.p_ref
    return propose(
        logit(tested.p[newest]),
        float(prepared.data.y[rows[newest]].mean()) if p_ref is None else p_ref,
        version=FIRST_SCORECARD,
        pdo=business.health.pdo,
        red=business.health.bands.red,
        green=business.health.bands.green,
    )


def _params(generation: Generation, prepared: Prepared, model: FittedModel) -> dict[str, object]:
    return {
        **{f"model.{name}": value for name, value in model.classifier.get_params().items()},
        # With so many trials instead of minutes, the same data give the same model.
        "tuning.trials": len(model.tuned.trials),
        "tuning.log_loss": model.tuned.chosen.log_loss,
        "tuning.best_log_loss": model.tuned.best.log_loss,
        "model.trees": model.classifier.booster_.num_trees(),
        "calibration.slope": model.classifier.calibration_.slope,
        "calibration.intercept": model.classifier.calibration_.intercept,
        "split": prepared.split.kind.value,
        "split.seed": SEED,
        "horizon_days": generation.horizon_days,
        "train_cutoffs": " ".join(cutoff.date().isoformat() for cutoff in prepared.cutoffs.train),
        "test_cutoffs": " ".join(cutoff.date().isoformat() for cutoff in prepared.cutoffs.test),
        "n_features": len(prepared.data.schema),
        "n_rows": len(prepared.data),
        "generation": generation.id,
        "data_fingerprint": generation.fingerprint,
        "configuration": generation.configuration,
    }


def _track(
    tracked: TrackedRun,
    bundle: ModelBundle,
    report: RunReport,
    prepared: Prepared,
    model: FittedModel,
    tested: HeldOutPredictions,
    registry: Registry,
    generation: Generation,
) -> RunReport:
    """Log all that the run found, then register; returns the report with the version."""
    tracked.log_metrics(report.evaluation.metrics.to_json())
    for name, baseline in report.evaluation.baselines.items():
        tracked.log_metrics({f"{name}.{figure}": value for figure, value in baseline.to_json().items()})
    tracked.log_metrics({f"gate.{name}": gate.figure for name, gate in report.gates.items()})
    tracked.log_trials(
        [
            TrackedTrial(
                trial.parameters,
                {"log_loss": trial.log_loss, "trees": trial.trees, "size": trial.size},
                finished=trial.finished,
            )
            for trial in model.tuned.trials
        ]
    )
    tracked.log_bundle(bundle)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = RunArtifacts(folder)
        files.write_json("features.json", list(prepared.data.schema.names))
        files.write_json(WORTH, report.worth_json())
        files.write_table(PREDICTIONS, predictions(prepared.data, tested))
        files.write_table(TEST_ROWS, raw_rows(prepared.everything, tested.rows))
        plot_calibration(report.evaluation, tested.p, folder / "calibration.png")
        plot_gains(report.examination.gains, report.examination.top_k, report.n_test, folder / "gains.png")
        sample = tested.rows[np.linspace(0, len(tested.rows) - 1, min(MOST_ROWS, len(tested.rows))).astype(np.int64)]
        X = prepared.data.X(sample, model.categories)
        contributions = Explainer(bundle.model_text, cache=user_cache()).contributions(X)
        plot_shap_summary(contributions, X, bundle.feature_names, folder / "shap_summary.png")
        files.write_json(
            SNAPSHOT,
            Snapshot.of(prepared.data.take(tested.rows), tested.p, contributions, bundle.feature_names).to_json(),
        )
        tracked.log_folder(folder)
        if not any(name in TECHNICAL for name in refused(report.gates)):
            version = tracked.register(registry, bundle)
            registry.tag(version, _version_tags(report, bundle))
            OfflineStore(generation).register_service(f"churn_{version}", bundle.feature_names)
            report = replace(report, model_version=version)
        params = _params(generation, prepared, model)
        lineage = Lineage(generation.id, bundle.commit, environment_tags()["lock_fingerprint"], params)
        card = model_card(report, bundle, contributions, lineage, folder)
        with tempfile.TemporaryDirectory() as last:
            files = RunArtifacts(Path(last))
            files.write_json(REPORT, report.to_json())
            files.write_text(f"{CARD}.md", card.markdown())
            files.write_text(f"{CARD}.html", card.html())
            tracked.log_folder(Path(last))
    return report


def _log_datasets(
    tracked: TrackedRun,
    business: Business,
    prepared: Prepared,
    fitted_on: Rows,
    tested: HeldOutPredictions,
    generation: Generation,
) -> None:
    """What trained and what tested, as MLflow's datasets: schema, size, fingerprint and source."""
    data = business.data
    assert data is not None
    path = data.path if isinstance(data, TableData) else data.events[0].path
    for use, rows in (("training", fitted_on), ("testing", tested.rows)):
        frame = pd.DataFrame({**prepared.data.take(rows), OUTCOME: prepared.data.y[rows].astype(np.float64)})
        tracked.log_dataset(business.name, frame, OUTCOME, generation.fingerprint, str(path), use)


def _version_tags(report: RunReport, bundle: ModelBundle) -> dict[str, str]:
    """What people filter versions by."""
    known = {
        "business": report.business,
        "split": report.split,
        "horizon_days": report.horizon_days,
        "auc": f"{report.evaluation.metrics.auc:.4f}",
        "log_loss": f"{report.evaluation.metrics.log_loss:.4f}",
        "ece": f"{report.evaluation.metrics.ece:.4f}",
        "gates": "passed" if not refused(report.gates) else f"refused: {' '.join(refused(report.gates))}",
        "leaks": " ".join(leak.feature for leak in report.leaks),
        "data_fingerprint": bundle.data_fingerprint,
        "git_commit": bundle.commit or "",
    }
    return {name: str(value) for name, value in known.items() if value != ""}


def predictions(data: TrainingSet, tested: HeldOutPredictions) -> pa.Table:
    """Who was tested when, what was predicted without them, and what happened: how two models are compared."""
    labels = data.labels
    return pa.table(
        {
            "customer_id": pa.array(labels.customer_id[tested.rows], pa.string()),
            "event_timestamp": pa.array(labels.event_timestamp[tested.rows], pa.timestamp("us", "UTC")),
            "y": pa.array(labels.y[tested.rows], pa.int8()),
            "p": pa.array(tested.p, pa.float64()),
        }
    )


def raw_rows(data: TrainingSet, rows: Rows) -> pa.Table:
    """The raw features of some rows, so that another model can be asked about them too."""
    columns = data.take(rows)
    arrays: Mapping[str, pa.Array] = {
        feature.name: pa.array(
            columns[feature.name], pa.string() if feature.dtype is DType.STRING else pa.float64(), from_pandas=True
        )
        for feature in data.schema
    }
    return pa.table(arrays)


def _gate_warnings(gates: Mapping[str, GateResult], *, time_split: bool) -> list[str]:
    ece = gates["ece"]
    widened = ece.limit > (ECE_LIMIT_TIME if time_split else ECE_LIMIT_OUT_OF_FOLD)
    return [
        *(
            [
                f"On so few rows even perfect probabilities show an ECE of up to {ece.limit:.3f}, so that is the limit of "
                f"the gate 'ece'."
            ]
            if widened
            else []
        ),
        *_refusals(gates),
    ]


def _refusals(gates: Mapping[str, GateResult]) -> list[str]:
    return [
        f"The gate '{name}' is not passed, so promote will refuse this model: {gates[name].figure:.4g} against a limit of "
        f"{gates[name].limit:.4g} ({MEANING[name]})."
        for name in refused(gates)
    ]
