"""A release's figures: of one customer what they are of many, to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from features.generation import Generation
from serving.releases.figures import FigureTable
from serving.releases.release import Release, ReleaseParts

from ..conftest import NEWCOMER, Shop, make_bundle

CUSTOMERS = ["C00001", "C00042", NEWCOMER, "C00001"]


@pytest.mark.parametrize(
    "gone", [(), ("interval",), ("horizons",), ("coverage",), ("interval", "horizons", "coverage")]
)
def test_of_one_as_of_many(shop: Shop, gone: tuple[str, ...]) -> None:
    bundle = replace(make_bundle(), **dict.fromkeys(gone))  # type: ignore[arg-type]
    release = Release.load(ReleaseParts(Generation.current(shop.home), "1", bundle.scorecard_proposal, bundle))
    matrix = release.store.read(CUSTOMERS).matrix(release.schema, bundle.categories)
    told = release.explain(matrix)
    figures = FigureTable.of_bundle(bundle)
    of_many = figures.of(told.probability, told.log_odds, matrix)
    for row in range(len(CUSTOMERS)):
        of_one = figures.of_one(told.probability.item(row), told.log_odds.item(row), matrix[row : row + 1])
        assert of_one == {name: column.item(row) for name, column in of_many.items()}
    assert ("coverage" in of_many, "churn_low" in of_many, "churn_30d" in of_many, "expected_days_to_churn" in of_many) == (
        "coverage" not in gone, "interval" not in gone, "horizons" not in gone, "horizons" not in gone
    )  # fmt: skip
