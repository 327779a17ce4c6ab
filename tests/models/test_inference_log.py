"""What serving logs is what training reads: names, types, and the bytes of a line."""

from __future__ import annotations

from dataclasses import asdict

import orjson
import pytest

from models.inference_log import DECISIONS, DecisionRow, ShadowScore
from serving.platform import tables

SCORE = ShadowScore("2024-05-01T12:00:00+00:00", "c1", "1", "run a", "2", "run b", 0.25, 0.5)


def test_a_shadow_score_survives_its_line() -> None:
    line = orjson.dumps(SCORE)
    assert ShadowScore.from_json(line.decode()) == SCORE
    assert line == orjson.dumps(asdict(SCORE)), "in the order of its fields"


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "{}", '{"at": "now"}', orjson.dumps(SCORE).decode()[:-9]])
def test_a_line_that_is_not_whole_is_none(line: str) -> None:
    with pytest.raises(ValueError, match="not a whole line"):
        ShadowScore.from_json(line)


def test_a_probability_that_is_null_is_none() -> None:
    with pytest.raises(ValueError, match="not a whole line"):
        ShadowScore.from_json(orjson.dumps(asdict(SCORE) | {"p_challenger": None}).decode())


def test_the_table_of_decisions_has_the_columns_of_a_row() -> None:
    assert tables.decisions.name == DECISIONS
    assert set(tables.decisions.c.keys()) == set(DecisionRow.__annotations__)
