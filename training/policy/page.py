"""The report of a policy as a page: what is served and why, what policies would have earned, what each action changes."""

from __future__ import annotations

import math

from models.decisions.off_policy import ESTIMATORS
from models.inference.interval import Estimate
from training.policy.report import PolicyReport
from training.reporting.document import Document, Section, Table

MEANING = {"ips": "IPS", "snips": "self-normalised IPS", "dm": "direct method", "dr": "doubly robust"}


def policy_page(report: PolicyReport) -> Document:
    """The page of a report; every interval is of 95 %."""
    values = Table(
        ("policy", *(MEANING[name] for name in ESTIMATORS), "effective sample size"),
        tuple(
            (
                f"{name} (served)" if name == report.served else name,
                *(_shown(getattr(value, estimator)) for estimator in ESTIMATORS),
                f"{value.effective_sample_size:,.0f}",
            )
            for name, value in report.policies.items()
        ),
    )
    actions = Table(
        ("action", "trials", f"effect against {report.reference}", "differences believed"),
        tuple(
            (
                name,
                f"{action.trials:,}",
                "not learned" if action.average is None else _shown(action.average),
                "–" if action.slope is None else f"{action.slope:.2f}",
            )
            for name, action in report.actions.items()
        ),
    )
    gates = Table(
        ("gate", "figure", "limit", ""),
        tuple(
            (name, f"{gate.figure:.5g}", f"{gate.limit:g}", "passed" if gate.passed else "refused")
            for name, gate in report.gates.items()
        ),
    )
    earned = f"The reward of a decision on {report.n_trials:,} logged ones, and the 95 % interval of each figure."
    said = (("Warnings", report.warnings), ("How the file was read", report.notes))
    return Document(
        f"Policy of {report.business}, version {report.policy_version}",
        (
            Section("What is served", (report.verdict, report.differences), tables=(gates,)),
            Section("What policies would have earned", (earned,), tables=(values,)),
            Section("What each action changes", tables=(actions,)),
            *(Section(title, points=points) for title, points in said if points),
        ),
    )


def _shown(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:.5f} ({estimate.low:.5f} to {estimate.high:.5f})"
