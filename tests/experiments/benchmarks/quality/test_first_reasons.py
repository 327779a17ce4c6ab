"""The benchmark of first reasons, small: what customers in red are told, and what truly threatens them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from rich.console import Console

from experiments.benchmarks.quality import first_reasons
from experiments.simulation.customers.causes import LABELS
from features.config.search_budget import Budget

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.mark.slow
def test_customers_in_red_have_more_than_one_reason(tmp_path: Path) -> None:
    found = first_reasons.measure(1, 1_000, Budget.parse("1 trial"), rollouts=8)
    assert found.red == sum(found.reasons.values()) == sum(found.causes.values()) > 40
    # The goal, for as many customers as benchmarks have, is 30 %; so few leave four standard deviations of chance.
    assert found.largest_share < 0.30 + 4 * (0.3 * 0.7 / found.red) ** 0.5
    assert sum(n >= 0.05 * found.red for n in found.causes.values()) >= 5
    firsts = {label: next(iter(found.by_cause[label]), None) for label in LABELS}
    assert len(set(firsts.values())) >= 4, "causes do not show in reasons"
    console = Console(record=True, width=160)
    first_reasons.show(console, found)
    assert f"first reasons of {found.red} in red" in console.export_text()
    first_reasons.write(tmp_path / "reasons.json", [found])
    assert json.loads((tmp_path / "reasons.json").read_text()) == [dataclasses.asdict(found)]
