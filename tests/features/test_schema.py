"""Features, their words, and the one place that knows column order."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import SchemaMismatch
from features.schema import ALL_PILLARS, DType, Feature, FeatureSchema

OPEN = Feature("tickets_open", "support", unit="count", sentence="{value} open ticket{s}", direction=1)
NPS = Feature("nps_latest", "sentiment", sentence="the latest NPS answer is {value}", missing="no NPS answer yet")
PLAN = Feature("plan", "relationship", dtype=DType.STRING, sentence="on the plan {value}", missing="no plan known")
SHARE = Feature("opened", "engagement", unit="share", sentence="{value} opened")
SCHEMA = FeatureSchema((OPEN, NPS, PLAN))


@pytest.mark.parametrize(
    ("feature", "value", "typical", "said"),
    [
        (OPEN, 4, 0, "4 open tickets; 0 is typical"),
        (OPEN, 1.0, 2.0, "1 open ticket; 2 is typical"),
        (OPEN, 12345.6, 0.5, "12,346 open tickets; 0.5 is typical"),
        (NPS, None, 9, "no NPS answer yet; 9 is typical"),
        (NPS, math.nan, 9, "no NPS answer yet; 9 is typical"),
        (NPS, -0.0, 8.449, "the latest NPS answer is 0; 8.45 is typical"),
        (NPS, 0.00012, 99.96, "the latest NPS answer is 0.00012; 100 is typical"),
        (PLAN, "{s}", None, "on the plan {s}; none is typical"),
        (PLAN, "", "pro", "on the plan (empty); pro is typical"),
        (SHARE, 0.456, 1.0, "45.6 % opened; 100 % is typical"),
    ],
)
def test_describe_says_it_to_a_person(feature: Feature, value: object, typical: object, said: str) -> None:
    assert feature.describe(value, typical) == said


def test_a_column_whose_name_looks_like_a_slot_is_said_as_it_is() -> None:
    assert Feature("{value}", "other").describe(2.0, 3.0) == "{value} is 2; 3 is typical"


@pytest.mark.parametrize(
    ("sentence", "subject"),
    [
        ("{value} day{s} since the last session", "days since the last session"),
        ("the unpaid bills: {value}", "the unpaid bills"),
        ("{name} is {value}", "Price"),
    ],
)
def test_the_subject_of_a_sentence_is_what_it_says_without_the_figure(sentence: str, subject: str) -> None:
    assert Feature("price", "commercial", sentence=sentence).subject == subject


def test_to_matrix_keeps_the_declared_order_and_encodes_words() -> None:
    matrix = SCHEMA.to_matrix(
        {
            "plan": ["pro", "basic", "new", None],
            "nps_latest": [None, 9.0, math.nan, -0.0],
            "tickets_open": [1, 2, 3, 4],
            "extra": [],
        },
        {"plan": ("basic", "pro")},
    )
    assert matrix.dtype == np.float32
    assert matrix.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(
        matrix, np.array([[1, np.nan, 1], [2, 9, 0], [3, np.nan, np.nan], [4, -0.0, np.nan]], dtype=np.float32)
    )
    assert math.copysign(1, matrix[3, 1]) == -1


def test_to_matrix_takes_arrays_as_well_as_lists() -> None:
    columns = {
        "tickets_open": np.array([1.0, np.nan]),
        "nps_latest": np.array([1, 2], dtype=np.float32),
        "plan": np.array(["pro", None], dtype=object),
    }
    assert SCHEMA.to_matrix(columns, {"plan": ("pro",)}).tolist()[0] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"tickets_open": [1.0], "plan": ["a"]}, "The rows lack column 'nps_latest'."),
        ({}, "The rows lack columns 'tickets_open', 'nps_latest', 'plan'."),
        (
            {"tickets_open": ["many"], "nps_latest": [1.0], "plan": ["a"]},
            "Column 'tickets_open' holds something that is no number.",
        ),
        (
            {"tickets_open": [1.0], "nps_latest": [1.0, 2.0], "plan": ["a"]},
            "Column 'nps_latest' has 2 rows where others have 1.",
        ),
    ],
)
def test_to_matrix_names_what_does_not_fit(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(SchemaMismatch) as caught:
        SCHEMA.to_matrix(columns, {})
    assert str(caught.value) == message


@given(st.lists(st.one_of(st.none(), st.floats(allow_infinity=False, width=32))))
def test_to_matrix_keeps_every_float32_bit_for_bit(values: list[float | None]) -> None:
    matrix = FeatureSchema((OPEN,)).to_matrix({"tickets_open": values}, {})
    for value, stored in zip(values, matrix[:, 0], strict=True):
        if value is None or math.isnan(value):
            assert np.isnan(stored)
        else:
            assert struct.pack("f", value) == struct.pack("f", stored)


def test_json_carries_a_schema_there_and_back() -> None:
    schema = FeatureSchema((*SCHEMA, Feature("consent_email", "relationship", predictive=False)))
    assert FeatureSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_a_feature_is_declared_once() -> None:
    with pytest.raises(SchemaMismatch, match="'plan' is declared twice"):
        FeatureSchema((PLAN, PLAN))


def test_predictive_select_and_pillars() -> None:
    schema = FeatureSchema((PLAN, Feature("consent_email", "relationship", predictive=False), OPEN))
    assert schema.predictive.names == ("plan", "tickets_open")
    assert schema.select(["tickets_open", "plan"]).names == ("tickets_open", "plan")
    assert [pillar.name for pillar in schema.pillars] == ["support", "relationship"]
    assert "plan" in schema
    with pytest.raises(SchemaMismatch, match="'nobody'"):
        schema.select(["nobody"])


@given(st.lists(st.text(min_size=1), unique=True, max_size=12))
def test_stored_names_are_distinct_whatever_the_case_and_carry_no_reserved_sign(names: list[str]) -> None:
    stored = FeatureSchema(tuple(Feature(name, ALL_PILLARS[0]) for name in names)).stored_as
    assert list(stored) == names
    columns = list(stored.values())
    assert len({column.lower() for column in columns}) == len(columns)
    assert not any("__" in column or ":" in column or '"' in column for column in columns)


def test_ordinary_names_are_stored_as_they_are() -> None:
    names = ("Call  Failure", "emp.var.rate", "sessions_30d", "Charge (USD)")
    assert FeatureSchema(tuple(Feature(name, "other") for name in names)).stored_as == dict(
        zip(names, names, strict=True)
    )


def test_a_count_is_witnessed_by_what_is_null_until_something_happens() -> None:
    schema = FeatureSchema(
        (
            Feature("sessions_30d", "engagement", sentence="{value} session{s}"),
            Feature("session_recency_days", "engagement", sentence="{value} days ago", missing="no session yet"),
            Feature("tickets_open", "support", sentence="{value} open"),
            Feature("support_age_days", "support", sentence="{value} days", missing="nothing is known"),
            Feature("ticket_recency_days", "support", sentence="{value} days", missing="no ticket yet"),
            Feature("tenure_days", "relationship", sentence="{value} days", missing="not known since when"),
            Feature("renewals", "relationship", sentence="{value} renewals"),
            Feature("region", "other", dtype=DType.STRING),
            Feature("coupons_30d", "other", sentence="{value} coupons"),
            Feature("coupon_recency_days", "other", sentence="{value} days", missing="no coupon yet"),
        )
    )
    witnesses = {name: schema.names[column] for name, column in zip(schema.names, schema.witnesses, strict=True)}
    assert {name: witness for name, witness in witnesses.items() if name != witness} == {
        "sessions_30d": "session_recency_days",
        "tickets_open": "support_age_days",
        "coupons_30d": "coupon_recency_days",
    }
