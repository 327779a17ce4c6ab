"""Value and segments in answers: the same by every way, null where the model has none, and refused where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import select

from features.generation import Generation
from features.schema import Feature, FeatureSchema
from models.registry.model_bundle import ModelBundle
from models.value.customer_value import Method, PurchaseValue, ValueModel, surviving_share
from models.value.pareto_nbd import PurchaseProcess, PurchaseSpend
from models.value.segmentation import Figure, RfmCuts, Segment, Segments
from serving.api.responses import dump
from serving.current_scores.database_table import current_scores
from serving.current_scores.record import COLUMNS, BatchRow
from serving.current_scores.refresh import refresh
from serving.current_scores.table import ScoreTable
from serving.errors import ReleaseMismatch
from serving.platform.database import Database
from serving.platform.tables import accounts
from serving.releases.follower import ReleaseSource
from serving.releases.release import Release
from serving.releases.value import ValueTable
from serving.scores.json_template import ScoreTemplate
from serving.scores.schemas import score_json
from serving.scores.scorer import CustomerScore, Scorer
from serving.web.accounts.snapshot_refresher import keep

from ..conftest import SEGMENTS, Shop, customer_ids

SOME = customer_ids()[:40]
BOUGHT = FeatureSchema(
    (
        Feature("purchase_days", "commercial"),
        Feature("purchase_recency_days", "commercial"),
        Feature("purchase_first_days", "commercial", predictive=False),
        Feature("spend_per_day_mean", "commercial"),
        Feature("spend_total", "commercial"),
    )
)


@pytest.fixture(scope="module")
def release(template: Shop) -> Release:
    source = ReleaseSource(template.settings)
    return source.load(source.newest())


def with_parts(release: Release, value: ValueModel | None, segments: Segments | None) -> Release:
    """The same release with other parts."""
    bundle = replace(release.bundle, value=value, segments=segments)
    return Release.load(replace(release.parts, bundle=bundle))


def scores(release: Release) -> list[CustomerScore]:
    return [score for score in Scorer(release).score(SOME) if isinstance(score, CustomerScore)]


@pytest.mark.parametrize("method", [Method.PRICE, Method.STATED, None])
@pytest.mark.parametrize("segments", [SEGMENTS, None])
def test_the_short_way_says_the_same(release: Release, method: Method | None, segments: Segments | None) -> None:
    chosen = with_parts(release, None if method is None else ValueModel(method), segments)
    template = ScoreTemplate(chosen)

    for score in scores(chosen):
        body, _ = template.answer(score.customer_id, "r")
        short, whole = json.loads(body), json.loads(dump(score_json(score, "r")))
        for answer in (short, whole):
            for pillar in answer["freshness"]:
                pillar.pop("age_days")
        assert short == whole
        assert (whole["value"] is None) == (method is None)
        assert (whole["segment"] is None) == (segments is None)


def test_a_price_is_weighed_with_survival(release: Release) -> None:
    for score in scores(release):
        assert score.value is not None
        price = score.features["mrr"]
        assert isinstance(price, float)
        expected = 12 * price * float(surviving_share(score.probability, 60))
        assert score.value.next_12_months == pytest.approx(expected, abs=1e-5)
        assert score.value.at_risk == pytest.approx(score.probability * expected, abs=1e-5)
        assert score.value.method is Method.PRICE


def test_rows_of_files_hold_what_scores_say(release: Release) -> None:
    table, _ = ScoreTable.as_of_now(release, SOME)
    rows = list(table.rows(["no_action"] * len(SOME)))
    arrow = table.to_arrow(["no_action"] * len(SOME))

    beside = ("value_next_12_months", "value_at_risk", "value_method", "segment", "segment_id", "rfm")
    assert set(beside) <= set(COLUMNS)
    for place, (row, score) in enumerate(zip(rows, scores(release), strict=True)):
        of_score = BatchRow.of(score, "no_action")
        for name in beside:
            assert getattr(row, name) == getattr(of_score, name)
            assert arrow[name][place].as_py() == getattr(row, name)
    assert {row.segment for row in rows} == {segment.name for segment in SEGMENTS.segments}


def test_the_pages_know_found_segments_where_the_business_names_none(shop: Shop) -> None:
    refresh(shop.settings, keep)
    database = Database(shop.settings.database)
    try:
        with database.read() as connection:
            found = set(connection.scalars(select(accounts.c.segment)))
            rows = connection.execute(select(current_scores.c.segment, current_scores.c.value_method)).all()
    finally:
        database.close()
    names = {segment.name for segment in SEGMENTS.segments}
    assert found == names
    assert {(row.segment in names, row.value_method) for row in rows} == {(True, "price_and_survival")}


def test_a_model_of_before_has_neither(release: Release) -> None:
    plain = with_parts(release, None, None)
    table, _ = ScoreTable.as_of_now(plain, SOME)

    assert {(row.value_next_12_months, row.segment, row.rfm) for row in table.rows(["no_action"] * len(SOME))} == {
        (None, None, None)
    }
    assert table.to_arrow(["no_action"] * len(SOME))["value_method"].null_count == len(SOME)


def test_a_value_that_this_build_does_not_tell_is_refused(release: Release) -> None:
    purchases = PurchaseValue(PurchaseProcess(0.6, 87.0, 0.4, 45.0), PurchaseSpend(5.4, 3.8, 18.7), 90)

    with pytest.raises(ReleaseMismatch, match="'purchase_days' for its value"):
        with_parts(release, ValueModel(Method.PURCHASES, purchases), None)
    as_number = Segments((Figure("plan", None, False, 0.0, 1.0),), (Segment("1", "one"),), ((0.0,),))
    with pytest.raises(ReleaseMismatch, match="'plan' for its segments"):
        with_parts(release, None, as_number)


def table_of_purchases(release: Release) -> ValueTable:
    """Values and RFM classes of a shop."""
    purchases = PurchaseValue(PurchaseProcess(0.6, 87.0, 0.4, 45.0), PurchaseSpend(5.4, 3.8, 18.7), 60)
    segments = Segments(
        (Figure("spend_total", None, True, 4.0, 1.0),),
        (Segment("1", "little spent"), Segment("2", "much spent")),
        ((-1.0,), (1.0,)),
        RfmCuts((5.0, 20.0, 60.0, 120.0), (1.0, 2.0, 4.0, 8.0), (10.0, 50.0, 100.0, 500.0)),
    )
    bundle: ModelBundle = replace(release.bundle, value=ValueModel(Method.PURCHASES, purchases), segments=segments)
    generation: Generation = replace(release.generation, schema=BOUGHT)
    return ValueTable(bundle, generation)


def test_who_never_bought_has_no_known_value(release: Release) -> None:
    table = table_of_purchases(release)
    columns: dict[str, list[float | None]] = {
        "purchase_days": [3.0, 0.0, 1.0],
        "purchase_recency_days": [4.0, None, 300.0],
        "purchase_first_days": [200.0, None, 300.0],
        "spend_per_day_mean": [40.0, None, 8.0],
        "spend_total": [120.0, 0.0, 8.0],
    }
    figures, probability = table.figures(columns, 3), np.array([0.1, 0.5, 0.9])

    together = table.of(figures, np.empty((3, 1), dtype=np.float32), probability, lambda _: {})

    values = [together.value(row) for row in range(3)]
    assert values[0] is not None
    assert values[2] is not None
    assert values[1] is None
    assert values[0].next_12_months > 10 * values[2].next_12_months > 0
    labels = [None if s is None or s.rfm is None else s.rfm.label for s in together.segments]
    assert labels == ["loyal", None, "hibernating"]
    for row in range(3):
        one = slice(row, row + 1)
        alone = table.of(figures[one], np.empty((1, 1), dtype=np.float32), probability[one], lambda _: {})
        assert alone.value(0) == values[row]
        assert alone.segments[0] == together.segments[row]
        short = table.of_one(figures[row], np.empty((1, 1), dtype=np.float32), float(probability[row]), dict)
        assert short == (values[row], together.segments[row])
