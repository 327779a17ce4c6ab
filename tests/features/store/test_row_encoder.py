"""One customer's packed rows fill the row that `to_matrix` makes of their values, whatever they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.errors import SchemaMismatch
from features.schema import DType, Feature, FeatureSchema, Value
from features.store.matrix_plan import ViewsLayout
from features.store.row_encoder import CustomerRow

BUILT = FeatureSchema(
    (
        Feature("visits", "engagement"),
        Feature("plan", "relationship", dtype=DType.STRING),
        Feature("spend", "commercial"),
        Feature("region__x", "relationship", dtype=DType.STRING),
        Feature("tenure", "relationship"),
    )
)
READ = FeatureSchema(tuple(BUILT[name] for name in ("region__x", "tenure", "visits", "plan")))
CATEGORIES = {"plan": ("basic", "", "größe"), "region__x": ("north", "south")}
LAYOUT = ViewsLayout(BUILT)

floats = st.one_of(st.none(), st.floats(width=32, allow_nan=True))
words = st.one_of(st.none(), st.sampled_from(["basic", "", "größe", "north", "other"]))
rows = st.fixed_dictionaries({feature.name: words if feature.dtype is DType.STRING else floats for feature in BUILT})


@given(values=rows, absent=st.sets(st.integers(0, len(LAYOUT.layouts) - 1)))
def test_fills_what_to_matrix_makes(values: dict[str, Value], absent: set[int]) -> None:
    stored = BUILT.stored_as
    packed = [
        None
        if place in absent
        else layout.pack({stored[feature.name]: values[feature.name] for feature in pillar.features}, 1, None)
        for place, (layout, pillar) in enumerate(zip(LAYOUT.layouts, BUILT.pillars, strict=True))
    ]
    known = {
        feature.name: None if place in absent else values[feature.name]
        for place, pillar in enumerate(BUILT.pillars)
        for feature in pillar.features
    }
    row = CustomerRow(LAYOUT, READ, CATEGORIES)
    filled = np.empty(len(READ), dtype=np.float32)
    row.fill(packed, filled)
    expected = READ.to_matrix({name: [value] for name, value in known.items()}, CATEGORIES)
    assert filled.tobytes() == expected[0].tobytes()
    for column, feature in enumerate(READ):
        raw = known[feature.name]
        missing = raw is None or (isinstance(raw, float) and math.isnan(raw))
        assert row.value(packed, filled, column) == (None if missing else raw)


def test_refuses_a_build_without_the_models_features() -> None:
    missing = FeatureSchema((*READ.features, Feature("tickets", "support")))
    with pytest.raises(SchemaMismatch, match="tickets"):
        CustomerRow(LAYOUT, missing, CATEGORIES)
    other = FeatureSchema((Feature("plan", "relationship"),))
    with pytest.raises(SchemaMismatch, match="plan"):
        CustomerRow(LAYOUT, other, CATEGORIES)
