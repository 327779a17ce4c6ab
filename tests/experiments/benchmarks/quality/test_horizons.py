"""The benchmark of horizons and intervals, small: one simulated business beside its truth."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from experiments.benchmarks.quality import horizons
from experiments.simulation.records.company import Company
from experiments.simulation.scenario import HORIZON_DAYS, Scenario
from features.config.search_budget import Budget
from training.churn.tuning import Tuner

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.slow
def test_horizons_lean_on_the_truth_as_the_headline_does(tmp_path: Path) -> None:
    measured = horizons.measure(2, 800, Tuner(Budget.parse("1 trial")))
    fits = {fit.days: fit for fit in measured.horizons}
    assert list(fits) == [30, 60, 90, 180]
    own = fits[HORIZON_DAYS]
    for fit in measured.horizons:
        # Few customers make a rough headline; the horizons beside it may not add to that.
        assert fit.slope == pytest.approx(own.slope, abs=0.1)
        assert fit.foretold / own.foretold == pytest.approx(fit.truth / own.truth, rel=0.15)
    assert measured.held >= 0.85
    console = Console(record=True, width=160)
    horizons.show(console, [measured])
    assert f"{own.slope:.3f}" in console.export_text()
    horizons.write(tmp_path / "horizons.json", [measured])
    assert json.loads((tmp_path / "horizons.json").read_text()) == [
        dataclasses.asdict(measured) | {"horizons": [dataclasses.asdict(fit) for fit in measured.horizons]}
    ]


def test_the_truth_of_several_horizons_is_that_of_each() -> None:
    # Troubles begin rarely and weigh much, so that it takes many futures until the figures of two draws of them agree.
    company = Company.simulate(Scenario(200, 3, datetime(2026, 6, 1, tzinfo=UTC), truth_rollouts=512))
    who, within = company.churn_within((30, HORIZON_DAYS, 180), 512, np.random.default_rng(1))
    assert within.shape == (3, len(who))
    assert (np.diff(within, axis=0) > 0).all()
    told = company.truth(cutoffs=[company.scenario.test_cutoff]).to_pandas()
    told = told[told["action"] == "no_action"]
    told = told.set_index("customer_id").loc[who.to_pylist()]
    assert within[1].mean() == pytest.approx(told["churn_probability"].mean(), rel=0.03)
    assert np.corrcoef(within[1], told["churn_probability"])[0, 1] > 0.98
