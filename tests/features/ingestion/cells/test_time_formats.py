"""Which format reads a time that is not written as ISO 8601 has it."""

from __future__ import annotations

import duckdb
import pytest

from features.ingestion.cells.time_formats import fitting


@pytest.mark.parametrize(
    ("examples", "formats"),
    [
        (["31.01.2024"], ["%d.%m.%Y"]),
        (["31.01.24 10:15"], ["%d.%m.%y %H:%M"]),
        (["01/02/2024", "1/31/2024"], ["%m/%d/%Y"]),
        (["01/02/2024", "31/1/2024"], ["%d/%m/%Y"]),
        (["01/02/2024"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["1/31/2024 3:15 PM"], ["%m/%d/%Y %I:%M %p"]),
        (["31-JAN-24"], ["%d-%b-%y"]),
        (["January 31, 2024 10:00"], ["%B %d, %Y %H:%M"]),
        (["Wed, 31 Jan 2024 10:00:00 +0100"], ["%a, %d %b %Y %H:%M:%S %z"]),
        (["31/Jan/2024:10:00:00 +0200"], ["%d/%b/%Y:%H:%M:%S %z"]),
        (["2024-01-31 10:00:00,123"], ["%Y-%m-%d %H:%M:%S,%f"]),
        (["2024.01.31"], ["%Y.%m.%d"]),
        (["2024年1月31日"], ["%Y年%m月%d日"]),
        (["202401"], ["%Y%m"]),
        (["01/2024"], ["%m/%Y"]),
        (["20240131T1015"], ["%Y%m%dT%H%M"]),
        (["31. Januar 2024"], []),
        (["31.01.2024", "2024-01-31"], []),
        (["soon", "100%"], []),
        ([""], []),
        ([], []),
    ],
)
def test_the_format_of_examples(examples: list[str], formats: list[str]) -> None:
    with duckdb.connect() as connection:
        assert fitting(connection, examples) == formats
