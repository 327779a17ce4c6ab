"""Segments: the nearest centroid on frozen scales, and RFM levels."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.value.segmentation import CLIP, RFM_CLASSES, Figure, Rfm, RfmCuts, Segment, Segmenter, Segments

SEGMENTS = Segments(
    figures=(
        Figure("purchase_recency_days", None, False, 40.0, 0.05),
        Figure("spend_total", None, True, 4.0, 1.0),
        Figure("plan", "pro", False, 0.5, 1.0),
        Figure("plan", "free", False, 0.5, 1.0),
    ),
    segments=(Segment("1", "gone"), Segment("2", "pros"), Segment("3", "free")),
    centroids=((1.5, -1.0, 0.0, 0.0), (-1.0, 1.0, 0.5, -0.5), (-1.0, -1.0, -0.5, 0.5)),
    rfm=RfmCuts((5.0, 20.0, 60.0, 120.0), (1.0, 2.0, 4.0, 8.0), (10.0, 50.0, 100.0, 500.0)),
)
COLUMNS = ("spend_total", "plan", "purchase_recency_days", "purchase_days")


def rows(*values: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_each_customer_is_in_the_nearest_segment() -> None:
    assert SEGMENTS.words == {"plan": ("pro", "free")}
    assert SEGMENTS.features == ("purchase_recency_days", "spend_total", "plan", "purchase_days")
    segmenter = Segmenter(SEGMENTS, COLUMNS)

    found = segmenter.assign(rows((5.0, np.nan, 90.0, 1.0), (400.0, 0.0, 10.0, 9.0), (20.0, 1.0, 15.0, 2.0)))

    assert [SEGMENTS.segments[place].name for place in found] == ["gone", "pros", "free"]
    # Any rows, gaps among them: one by one as all together.
    rng = np.random.default_rng(6)
    many = rng.lognormal(3, 2, (300, 4)).astype(np.float32)
    many[:, 1] = rng.integers(0, 2, 300)
    many[rng.random((300, 4)) < 0.1] = np.nan
    assert [segmenter.assign_one(row) for row in many.tolist()] == segmenter.assign(many).tolist()
    many[:, [0, 3]] = np.nan_to_num(many[:, [0, 3]])
    assert [segmenter.rfm_one(row) for row in many.tolist()] == segmenter.rfm(many)


def test_what_is_not_known_counts_as_usual_and_what_is_extreme_no_more_than_it_may() -> None:
    scaled = Segmenter(SEGMENTS, COLUMNS).scaled(rows((np.nan, 0.0, 1e30, 1.0)))

    assert scaled[0].tolist() == [CLIP, 0.0, 0.5, -0.5]


def test_rfm_levels_rise_with_what_is_better() -> None:
    one, two, never = Segmenter(SEGMENTS, COLUMNS).rfm(
        rows((600.0, 0.0, 2.0, 9.0), (5.0, 0.0, 300.0, 1.0), (0.0, 0.0, np.nan, 0.0))
    )

    assert one == Rfm("champions", 5, 5, 5)
    assert two == Rfm("hibernating", 1, 1, 1)
    assert never is None


def test_every_level_has_a_class() -> None:
    found = {Rfm.of(r, f, m).label for r in range(1, 6) for f in range(1, 6) for m in range(1, 6)}

    assert found == set(RFM_CLASSES)


def test_they_survive_json() -> None:
    assert Segments.of_json(json.loads(json.dumps(SEGMENTS.to_json()))) == SEGMENTS


def test_segments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="centroids"):
        Segments(SEGMENTS.figures, SEGMENTS.segments, SEGMENTS.centroids[:2])
    with pytest.raises(ValueError, match="one id"):
        Segments(SEGMENTS.figures, (SEGMENTS.segments[0],) * 3, SEGMENTS.centroids)
