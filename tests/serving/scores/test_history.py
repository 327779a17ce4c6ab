"""What was told is kept in parts by the day, bounded, counted where it is dropped, and pruned by age."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.inference_log import SERVED_SCORES
from serving.scores.history import ScoreHistory

from ..conftest import Shop, serving

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


class Clock:
    now = NOON

    def __call__(self) -> float:
        return self.now


def make(folder: Path, days: int = 2, most: int = 5) -> tuple[ScoreHistory, Clock, list[int]]:
    clock, dropped = Clock(), list[int]()
    return ScoreHistory(folder, days, dropped.append, clock=clock, most=most), clock, dropped


def tell(history: ScoreHistory, *customers: str) -> None:
    for customer in customers:
        history.note(customer, 0.25, 61.5, "3", "1")


def kept(folder: Path) -> list[dict[str, object]]:
    files = sorted(folder.rglob("*.parquet"))
    rows: list[dict[str, object]] = pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()
    return rows


def test_keeps_what_was_told_a_part_a_day(tmp_path: Path) -> None:
    history, clock, dropped = make(tmp_path)
    tell(history, "a", "b")
    clock.now += DAY
    tell(history, "a")
    assert history.flush() == 3
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == ["2026-03-01", "2026-03-02"]
    assert [row["customer_id"] for row in kept(tmp_path)] == ["a", "b", "a"]
    assert kept(tmp_path)[2] == {
        "scored_at": datetime(2026, 3, 2, 12, tzinfo=UTC), "customer_id": "a", "probability": 0.25, "score": 61.5,
        "model_version": "3", "scorecard_version": "1",
    }  # fmt: skip
    assert history.flush() == 0
    assert not dropped


def test_holds_no_more_than_it_may(tmp_path: Path) -> None:
    history, _, dropped = make(tmp_path, most=5)
    tell(history, *"abcdefg")
    assert sum(dropped) == 2
    assert history.flush() == 5
    tell(history, "h")
    assert history.flush() == 1
    assert [row["customer_id"] for row in kept(tmp_path)] == [*"abcde", "h"]


def test_counts_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("no folder")
    history, _, dropped = make(tmp_path / "scores")
    tell(history, "a", "b")
    assert history.flush() == 0
    assert dropped == [2]


def test_old_days_go(tmp_path: Path) -> None:
    history, clock, _ = make(tmp_path, days=2)
    for _ in range(5):
        tell(history, "a")
        history.flush()
        clock.now += DAY
    history.prune()
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == ["2026-03-04", "2026-03-05"]


def test_none_is_kept_where_none_is_wanted(tmp_path: Path) -> None:
    history, _, dropped = make(tmp_path / "scores", days=0)
    history.start()
    tell(history, *"abcdefg")
    history.stop()
    assert history.flush() == 0
    assert not dropped
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize("how", ["short way", "route", "many"])
def test_a_server_keeps_what_it_tells(shop: Shop, how: str) -> None:
    import httpx

    with serving(shop.settings) as server, httpx.Client(base_url=server.url, headers=shop.headers()) as client:
        if how == "many":
            answer = client.post("/v1/scores", json={"customer_ids": ["C00001", "nobody"]}).json()["results"][0]
        else:
            query = "?explain=top&explain=top" if how == "route" else ""
            answer = client.get(f"/v1/customers/C00001/score{query}").json()
    (row,) = kept(shop.home.path / SERVED_SCORES)
    assert row["customer_id"] == "C00001"
    assert (row["probability"], row["score"]) == (answer["churn"]["probability"], answer["health"]["score"])
    assert row["model_version"] == answer["model_version"]
