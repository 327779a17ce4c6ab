"""Files that people sent, from ../shared/findings: what their README says should happen, does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from features.config.business import Business
from features.ingestion.run import ingest
from tests.features.ingestion.ingested import NOW, SHARED, Result

pytestmark = pytest.mark.data
FINDINGS = SHARED.parent / "findings" / "files"


def finding(name: str, out: Path) -> Result:
    if not FINDINGS.exists():
        pytest.skip("the findings are not in ../shared/findings")
    return Result(out, ingest(Business.load(FINDINGS / name / "business.toml"), out, NOW))


def test_words_are_trimmed(tmp_path: Path) -> None:
    result = finding("07-words-not-trimmed", tmp_path)
    assert {row["plan"] for row in result.customers} == {"gold", "silver", "free"}
    assert result.summary.rows_accepted == 600


def test_missing_markers_leave_a_number_a_number(tmp_path: Path) -> None:
    result = finding("08-missing-markers", tmp_path)
    spends = [row["spend"] for row in result.customers]
    assert spends[:3] == [None, 62.31, 44.29]
    assert {type(spend) for spend in spends} == {float, type(None)}
    assert not result.rejected
    (note,) = result.summary.notes
    assert f"column 'spend': '\\N' ({spends.count(None)}) counts as missing" in note


def test_seconds_since_1970_are_times(tmp_path: Path) -> None:
    result = finding("09-epoch-times", tmp_path)
    assert result.summary.first_event == datetime.fromtimestamp(1672912800, UTC)
    assert result.summary.rows_accepted == 40
    assert any("'occurred_at' is read as seconds since 1970" in note for note in result.summary.notes)
