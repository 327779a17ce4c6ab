"""The model card: what a model predicts, from what, how well, for whom not, and where it comes from; made from its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from features.schema import FeatureSchema
from models.registry.model_bundle import ModelBundle
from training.churn.gates import MEANING
from training.evaluation.slices import Part
from training.reporting.document import Document, Picture, Section, Table, figure, interval
from training.reporting.run_report import RunReport

CARD = "model_card"
MOST_FEATURES = 15
PICTURES = {
    "calibration.png": "Observed churn over predicted probability, in ten equally full parts",
    "gains.png": "The share of churners that is reached by calling a share of the customers, and the lift",
    "shap_summary.png": "What moves the risk of single customers, feature by feature",
}
FIGURES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log-loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "calibration_slope": "calibration slope",
    "lift_at_10": "lift in the top 10 %",
}


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model comes from: the generation of features, and what made the run."""

    generation: str
    commit: str | None
    lock: str | None
    parameters: dict[str, object]


def model_card(
    report: RunReport, bundle: ModelBundle, contributions: npt.NDArray[np.float64], lineage: Lineage, pictures: Path
) -> Document:
    """The card of one version.

    Args:
        contributions: of some tested rows, (n, d + 1) in log-odds as `Explainer.contributions` gives them.
        pictures: the folder where the run's pictures are; those that are not there are left out.
    """
    version = "not registered" if report.model_version is None else f"version {report.model_version}"
    shown = [Picture(pictures / name, says) for name, says in PICTURES.items() if (pictures / name).exists()]
    return Document(
        f"Model card: churn of {report.business}, {version}",
        (
            _prediction(report, bundle),
            _data(report),
            _figures(report, [one for one in shown if one.path.name != "shap_summary.png"]),
            _features(bundle, contributions, [one for one in shown if one.path.name == "shap_summary.png"]),
            *_parts(report),
            _limits(report),
            _lineage(report, bundle, lineage),
        ),
    )


def _prediction(report: RunReport, bundle: ModelBundle) -> Section:
    proposal = bundle.scorecard_proposal
    return Section(
        "What it predicts",
        texts=(
            f"The probability that a customer of {report.business} churns within the {report.horizon_days} days that follow, "
            f"as the business's TOML defines churn, from {report.n_features} features that were known at that moment.",
            "It serves to decide whom to look after. Its explanations say what goes with the risk, not what causes it, and "
            "what an action would change is not in it.",
            f"Health by the scorecard that it proposes: 50 is a churn risk of {proposal.p_ref:.1%}, {proposal.pdo:.3g} points "
            f"double the odds; red is below {proposal.red:g}, green from {proposal.green:g}.",
        ),
    )


def _data(report: RunReport) -> Section:
    if report.train_cutoffs:
        windows = (
            f"Trained at {_days(report.train_cutoffs)}; tested at {_days(report.test_cutoffs)}. A training window ends before "
            f"the first test cutoff, so nothing that was tested on had been seen."
        )
    elif report.split == "time":
        windows = "The rows stand in order of time: the last fifth tested what the rows before it had trained."
    else:
        windows = (
            "The rows have no order in time: five folds, each predicted by a model that was fitted without it; rows that are "
            "alike, or belong together, never straddle two folds. The model that serves is fitted on all rows."
        )
    return Section(
        "Data and windows",
        texts=(windows, *([report.level.sentence] if report.level else [])),
        tables=(
            Table(
                ("", "rows", "churned"),
                (
                    ("trained on", f"{report.n_train:,}", f"{report.churn_rate_train:.1%}"),
                    ("tested on", f"{report.n_test:,}", f"{report.churn_rate_test:.1%}"),
                ),
            ),
        ),
    )


def _figures(report: RunReport, pictures: Sequence[Picture]) -> Section:
    own, around = report.evaluation.metrics.to_json(), report.examination.intervals["model"]
    names = list(report.evaluation.baselines)
    others = {name: metrics.to_json() for name, metrics in report.evaluation.baselines.items()}
    rows = []
    for name, label in FIGURES.items():
        found = around[name]
        cells = (figure(own[name]), interval(None if found is None else found.to_json()))
        rows.append((label, *cells, *(figure(others[one][name]) for one in names)))
    top = report.examination.top_k
    among = "" if top.interval is None else f" (95 %: {top.interval.low:.1%} to {top.interval.high:.1%})"
    return Section(
        "How good it is",
        texts=(
            f"On {report.n_test:,} rows that no fitted part had seen. Intervals are a bootstrap of customers, 95 %.",
            f"Of the {top.k:,} customers at the top ({top.why}), {top.precision:.1%}{among} churned: {top.recall:.0%} of all "
            f"who did.",
        ),
        points=tuple(
            f"Gate {name}: {'passed' if gate.passed else 'refused'}, {gate.figure:.4g} against {gate.limit:.4g} "
            f"({MEANING.get(name, name)})."
            for name, gate in report.gates.items()
        ),
        tables=(Table(("figure", "model", "95 %", *(name.replace("_", " ") for name in names)), tuple(rows)),),
        pictures=tuple(pictures),
    )


def _features(bundle: ModelBundle, contributions: npt.NDArray[np.float64], pictures: Sequence[Picture]) -> Section:
    size = np.abs(contributions[:, :-1]).mean(axis=0)
    share = size / max(float(size.sum()), 1e-300)
    schema = FeatureSchema.from_json(bundle.schema)
    largest = np.argsort(-size, kind="stable")[:MOST_FEATURES].tolist()
    rows = []
    for column in largest:
        feature = schema.features[column]
        typical = feature.show(bundle.typical[feature.name])
        rows.append((feature.name, feature.pillar, f"{share[column]:.1%}", "–" if typical is None else typical))
    return Section(
        "What it looks at",
        texts=(
            f"The {len(rows)} features that move the log-odds of churn most, by their mean absolute SHAP value, of "
            f"{len(schema)}.",
        ),
        tables=(Table(("feature", "pillar", "share", "typical"), tuple(rows)),),
        pictures=tuple(pictures),
    )


def _parts(report: RunReport) -> list[Section]:
    sections = []
    for one in report.examination.subgroups:
        said = (
            f"Calibration differs by more than chance (p = {one.p_value:.2g})."
            if one.differs
            else f"No difference in calibration beyond chance (p = {one.p_value:.2g}, all columns considered)."
        )
        sections.append(Section(f"By {one.column}", texts=(said,), tables=(_table(one.groups),)))
    if report.examination.windows:
        sections.append(Section("Over time", tables=(_table(report.examination.windows),)))
    return sections


def _table(parts: Sequence[Part]) -> Table:
    return Table(
        ("", "rows", "churned", "predicted", "AUC", "95 %", "log-loss", "95 %"),
        tuple(
            (
                part.name,
                f"{part.rows:,}",
                f"{part.churn_rate:.1%}",
                f"{part.predicted:.1%}",
                figure(part.auc, 3),
                interval(None if part.auc_interval is None else part.auc_interval.to_json(), 3),
                figure(part.log_loss, 3),
                interval(None if part.log_loss_interval is None else part.log_loss_interval.to_json(), 3),
            )
            for part in parts
        ),
    )


def _limits(report: RunReport) -> Section:
    return Section(
        "Limits",
        texts=(
            "Figures hold for customers like those tested, in times like theirs; 'python -m training watch' says when either "
            "has changed.",
        ),
        points=(*(report.warnings or ("The run had nothing to warn of.",)), *report.notes),
    )


def _lineage(report: RunReport, bundle: ModelBundle, lineage: Lineage) -> Section:
    rows = [
        ("run", report.run_id),
        ("bundle (SHA-256)", report.bundle_hash),
        ("trained at", bundle.trained_at.strftime("%Y-%m-%d %H:%M UTC")),
        ("generation of features", lineage.generation),
        ("data (SHA-256)", bundle.data_fingerprint),
        ("commit", lineage.commit or "unknown"),
        ("locked packages (SHA-256)", lineage.lock or "unknown"),
        *(
            (name, str(value))
            for name, value in lineage.parameters.items()
            if name.startswith(("model.", "calibration."))
        ),
    ]
    return Section("Where it comes from", tables=(Table(("", ""), tuple(rows)),))


def _days(moments: Sequence[object]) -> str:
    days = [f"{moment:%Y-%m-%d}" for moment in moments]
    return ", ".join(days) if len(days) <= 6 else f"{len(days)} cutoffs from {days[0]} to {days[-1]}"
