"""The card says what the run found, in Markdown and in HTML, and nothing that its data say can break either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.compare import fetch_card
from training.errors import TrainingError
from training.reporting.document import Document, Section, Table
from training.run import run

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:Ignoring params argument"),
]


def test_a_card_is_made_from_its_run(build_table: Any, customers: Any, silent: Any, tmp_path: Path) -> None:
    place = build_table(tmp_path / "b", customers(200))
    report = run(place.business, place.home, silent)
    with pytest.raises(TrainingError, match="no champion"):
        fetch_card(place.home, "champion", tmp_path / "out")
    paths = fetch_card(place.home, "1", tmp_path / "out")
    assert {path.name for path in paths} == {
        "model_card.md", "model_card.html", "calibration.png", "gains.png", "shap_summary.png",
    }  # fmt: skip
    markdown, html = (
        (tmp_path / "out" / "model_card.md").read_text(),
        (tmp_path / "out" / "model_card.html").read_text(),
    )
    around = report.examination.intervals["model"]["auc"]
    assert around is not None
    for shown in (
        "Model card: churn of tiny, version 1",
        f"{report.evaluation.metrics.auc:.4f}",
        f"{around.low:.4f} to {around.high:.4f}",
        report.run_id,
        report.bundle_hash,
        "By plan",
        "calls",
        "within the 30 days",
    ):
        assert shown in html, shown
        assert shown.replace("_", "\\_") in markdown, shown
    for warning in report.warnings:
        assert warning.split("'")[0] in html
    assert html.count("data:image/png;base64,") == 3
    assert "![Observed churn over predicted probability, in ten equally full parts](calibration.png)" in markdown


def test_words_of_the_data_stay_words() -> None:
    evil = "<script>alert(1)</script> | **x** [a](b)"
    page = Document(evil, (Section(evil, (evil,), (evil,), (Table(("a", evil), ((evil, "1"),)),)),))
    assert "<script>" not in page.html()
    row = next(line for line in page.markdown().splitlines() if line.endswith("| 1 |"))
    assert row.count("|") - row.count("\\|") == 3
    assert "\n# " not in page.markdown().replace("# ", "", 1)
