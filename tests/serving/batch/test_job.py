"""Files of customers: every row comes back in its place, parsed as the build parsed its own, a bad one with its error."""

from __future__ import annotations

import gzip
import sys
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from features.home import Home
from serving.__main__ import main
from serving.batch.job import score_file
from serving.batch.reader import CustomerFile
from serving.current_scores.record import COLUMNS
from serving.current_scores.refresh import refresh
from serving.errors import CommandError, NoRelease
from serving.platform.database import Database
from serving.platform.tables import decisions
from serving.releases.follower import ReleaseSource
from serving.scores.scorer import CustomerScore, Explain, Scorer

from ..conftest import ODD_IDS, Shop, customer_ids, settings_of
from .customer_files import score, write_csv

# MLflow, which the template's models come from, uses what SQLAlchemy and others mean to take away.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


# An event business: ids alone


def test_rows_come_back_in_order_each_with_its_score(template: Shop, tmp_path: Path) -> None:
    ids = [*ODD_IDS, "C00007", "nobody", "C00003", "C00007", ""]
    source = write_csv(tmp_path / "in.csv", ["customer_id", "note"], [[customer_id, "x"] for customer_id in ids])
    rows = score(template.settings, source, tmp_path / "out.parquet")
    assert [row["customer_id"] for row in rows] == [*ids[:-1], None]
    assert list(rows[0]) == [*COLUMNS, "error"]
    source_of_releases = ReleaseSource(template.settings)
    scorer = Scorer(source_of_releases.load(source_of_releases.newest()))
    for row, result in zip(rows, scorer.score(ids, Explain.TOP), strict=True):
        if isinstance(result, CustomerScore):
            assert result.reasons is not None
            assert row["error"] is None
            assert row["churn_probability"] == pytest.approx(result.probability, abs=1e-12)
            assert row["health_score"] == pytest.approx(result.score, abs=1e-9)
            assert row["health_band"] == result.band
            assert [row[f"reason_{n}"] for n in (1, 2, 3)] == [reason.text for reason in result.reasons[:3]]
            assert row["feature_timestamp"] == result.feature_timestamp
    bad = [row for row in rows if row["error"]]
    assert [row["error"] for row in bad] == ["no such customer: 'nobody'", "no customer_id"]
    assert all(row[name] is None for row in bad for name in COLUMNS if name != "customer_id")


def test_the_file_agrees_with_the_current_scores(shop: Shop, tmp_path: Path) -> None:
    from serving.current_scores.feed import CurrentScores

    refresh(shop.settings)
    database = Database(shop.settings.database)
    current = CurrentScores(database).page(None, None, 1000).rows
    database.close()
    pq.write_table(pa.table({"customer_id": customer_ids()}), tmp_path / "in.parquet")
    rows = {row["customer_id"]: row for row in score(shop.settings, tmp_path / "in.parquet", tmp_path / "out.parquet")}
    for kept in current:
        written = rows[kept.customer_id]
        assert {name: written[name] for name in COLUMNS if name != "scored_at"} == {
            name: getattr(kept, name) for name in COLUMNS if name != "scored_at"
        }


@pytest.mark.parametrize("source", ["in.csv", "in.csv.gz", "in.parquet", "semicolons.csv", "tabs.csv"])
@pytest.mark.parametrize("target", ["out.csv", "out.csv.gz", "out.parquet"])
def test_every_format_says_the_same(template: Shop, tmp_path: Path, source: str, target: str) -> None:
    ids = ["C00001", 'a "quoted", id', "50% off?", "größe#1"]
    path = tmp_path / source
    if source.endswith(".parquet"):
        pq.write_table(pa.table({"customer_id": ids}), path)
    else:
        delimiter = {"semicolons.csv": ";", "tabs.csv": "\t"}.get(source, ",")
        write_csv(path, ["customer_id", "other"], [[customer_id, 1] for customer_id in ids], delimiter)
    rows = score(template.settings, path, tmp_path / target)
    assert [row["customer_id"] for row in rows] == ids
    assert [row["error"] is None for row in rows] == [True, False, True, True]
    assert 0 < float(rows[0]["churn_probability"]) < 1
    if target != "out.parquet":
        assert datetime.fromisoformat(rows[0]["scored_at"]).tzinfo is not None
        assert rows[0]["scored_at"].endswith("Z")
        assert rows[0]["scored_at"][10] == "T"


def test_numeric_ids_lose_their_decimals(template: Shop, tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": [17850.0, None]}), tmp_path / "in.parquet")
    known, blank = score(template.settings, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert (known["customer_id"], known["error"]) == ("17850", None)
    assert (blank["customer_id"], blank["error"]) == (None, "no customer_id")


def test_a_broken_line_comes_back_in_its_place(template: Shop, tmp_path: Path) -> None:
    content = 'customer_id,note\nC00001,a\nC00002,b,c\nC00003\nC00004,"two\nlines"\nC00005,\xff\nC00006,z\n'
    (tmp_path / "in.csv").write_bytes(content.encode("latin-1"))
    rows = score(template.settings, tmp_path / "in.csv", tmp_path / "out.parquet")
    assert [row["customer_id"] for row in rows] == ["C00001", None, None, "C00004", None, "C00006"]
    assert [row["error"] for row in rows] == [
        None,
        "line 3: wrong number of columns",
        "line 4: wrong number of columns",
        None,
        "line 7: bad UTF-8",
        None,
    ]


def test_a_file_of_many_chunks_keeps_its_order(template: Shop, tmp_path: Path) -> None:
    known = customer_ids()
    ids = [known[number % len(known)] if number % 7 else f"nobody {number}" for number in range(3500)]
    rows = [[customer_id] if number % 1001 else [customer_id, "too", "many"] for number, customer_id in enumerate(ids)]
    source = write_csv(tmp_path / "in.csv", ["customer_id"], rows)
    written = score(template.settings, source, tmp_path / "out.parquet")
    assert len(written) == 3500
    for number, (row, customer_id) in enumerate(zip(written, ids, strict=True)):
        if number % 1001 == 0:
            assert row["error"].endswith("wrong number of columns")
        else:
            assert row["customer_id"] == customer_id
            assert (row["error"] is None) is (number % 7 != 0)


def test_a_file_without_rows_gives_one_without_rows(template: Shop, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("customer_id\n")
    assert score(template.settings, tmp_path / "in.csv", tmp_path / "out.csv") == []
    assert (tmp_path / "out.csv").read_text().replace('"', "").strip().split(",") == [*COLUMNS, "error"]


def test_without_decide_nothing_is_logged(shop: Shop, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    score(shop.settings, source, tmp_path / "out.csv")
    database = Database(shop.settings.database)
    with database.read() as connection:
        assert connection.execute(select(decisions)).all() == []
    database.close()


# A user's mistakes


def test_a_mistake_is_one_sentence_and_leaves_the_old_file(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("KEEPWELL_DATABASE_URL", "MLFLOW_TRACKING_URI", "KEEPWELL_ONLINE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEPWELL_HOME", str(shop.home.path))
    good = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    other = write_csv(tmp_path / "other.csv", ["customer", "x"], [["C00001", 1]])
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "no.parquet").write_text("customer_id\nC00001\n")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.read_bytes() * 5000)[:-20])
    (tmp_path / "twice.csv").write_text("customer_id,customer_id\na,b\n")
    out = tmp_path / "out.csv"
    out.write_text("old\n")
    cases = [
        (tmp_path / "im.csv", out, "im.csv: there is no such file; did you mean 'in.csv'?"),
        (tmp_path, out, "the ending says neither CSV nor Parquet"),
        (good, tmp_path / "out.xlsx", "out.xlsx: the ending says neither CSV nor Parquet"),
        (good, tmp_path / "no folder" / "out.csv", "out.csv: the file cannot be written (No such file or directory)."),
        (
            other,
            out,
            "other.csv: there is no column 'customer_id', which an event business is scored by; did you mean 'customer'?",
        ),
        (tmp_path / "empty.csv", out, "empty.csv: the file is empty."),
        (tmp_path / "no.parquet", out, "no.parquet: this is no Parquet file that can be read"),
        (tmp_path / "cut.csv.gz", out, "cut.csv.gz: the file is damaged"),
        (tmp_path / "twice.csv", out, "twice.csv: the column 'customer_id' appears twice; rename one."),
    ]
    for source, target, sentence in cases:
        monkeypatch.setattr(sys, "argv", ["serving", "batch", "--input", str(source), "--output", str(target)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert sentence in said
        assert said.count("\n") == 1, said
        assert "Traceback" not in said
    assert out.read_text() == "old\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    monkeypatch.setattr(sys, "argv", ["serving", "batch", "--input", str(good), "--output", str(out)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert capsys.readouterr().out == f"1 rows: {out}\n"
    assert out.read_text() != "old\n"


def test_without_a_champion_nothing_is_written(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", ["customer_id"], [["C00001"]])
    with pytest.raises(NoRelease):
        score_file(settings_of(Home(tmp_path / "home")), source, tmp_path / "out.csv", decide=False)
    assert not (tmp_path / "out.csv").exists()


def test_a_file_may_be_replaced_by_its_scores(template: Shop, tmp_path: Path) -> None:
    both = write_csv(tmp_path / "customers.csv", ["customer_id"], [["C00001"]])
    (row,) = score(template.settings, both, both)
    assert row["customer_id"] == "C00001"
    assert row["action"] is not None


def test_an_unknown_ending_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="neither CSV nor Parquet"):
        CustomerFile.open(tmp_path / "customers.txt", ())
