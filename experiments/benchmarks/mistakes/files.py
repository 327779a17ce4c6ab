"""Files that are not what a TOML says of them: cells, rows, headers, encodings and formats gone wrong, and what is no file."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from experiments.benchmarks.mistakes import business, junk
from experiments.benchmarks.mistakes.business import Rows
from experiments.benchmarks.mistakes.case import READ, Line, Typed

_READS = {
    "events.csv": "shop.toml",
    "customers.csv": "shop.toml",
    "table.csv": "table.toml",
    "decisions.csv": "trial.toml",
}
_ODD_KEYS = (
    'encoding = "latin-1"', 'missing = ["a"]', 'decimal = ","', 'thousands = "."', 'delimiter = ";"', "skip_lines = 2",
    'columns = ["a", "b"]', "max_set_aside = 0.0",
)  # fmt: skip


def lay(folder: Path, draws: random.Random, home: Path | None) -> Typed:
    """Write a business one of whose files went wrong; with a home, it may be a file for `serving batch` or `plan`."""
    business.write(folder, draws, draws.choice([1, 3, 12, 40, 80]))
    if draws.random() < 0.25 and home is not None:
        shutil.copytree(home, folder / "home", symlinks=True)
        _replace(folder / "asked.csv", business.text([["customer_id"], *([f"C{n}"] for n in range(1, 12))]), draws)
        asked = next((path.name for path in folder.glob("asked*")), "asked.csv")
        output = draws.choice(["scores.csv", "scores.parquet", "scores.csv.gz"])
        # A pipe is no mistake for `plan`, which reads once; it would wait for what somebody writes.
        answers = _answers(asked, output)[: 2 if (folder / asked).is_fifo() else 3]
        return Typed((draws.choice(answers),))
    name = draws.choice(list(_READS))
    config = _READS[name]
    _replace(folder / name, (folder / name).read_text(), draws)
    stands = next((path.name for path in folder.glob(f"{Path(name).stem}.*") if not path.name.endswith(".toml")), name)
    text = (folder / config).read_text().replace(f'"{name}"', f'"{draws.choice([stands, stands, stands, "*.csv"])}"')
    if draws.random() < 0.2:
        text = text.replace(f'"{stands}"\n', f'"{stands}"\n{draws.choice(_ODD_KEYS)}\n')
    (folder / config).write_text(text)
    if config == "trial.toml":
        return Typed((("training", "policy", config),))
    if draws.random() < 0.94:
        return Typed(((READ, config),))
    lines: list[Line] = [("features", "build", config)]
    if draws.random() < 0.5:
        lines[0] = (*lines[0], "--accept-loss")
    if draws.random() < 0.1:
        lines.append(("training", "run", config))
    return Typed(tuple(lines))


def _answers(asked: str, output: str) -> tuple[Line, ...]:
    batch = ("serving", "batch", "--input", asked, "--output", output)
    return batch, (*batch, "--decide"), ("serving", "plan", "--input", asked, "--output", "plan.csv")


def _replace(path: Path, text: str, draws: random.Random) -> None:
    """Put in a file's place what is wrong; where it takes another ending, the file by the old name goes."""
    rows = _messed([line.split(",") for line in text.splitlines()], draws)
    chance = draws.random()
    if chance < 0.62:
        path.write_bytes(_bytes(rows, draws))
    elif chance < 0.8:
        path.unlink()
        path.with_suffix(".parquet").write_bytes(_parquet(rows, draws))
    elif chance < 0.92:
        path.unlink()
        draws.choice(_NO_FILES)(path)
    else:
        path.unlink()
        ending = draws.choice([".csv.gz", ".json", ".jsonl", ".xlsx", ".zip", ".tsv", ".txt", ""])
        path.with_name(path.stem + "." + ending.lstrip(".") if ending else path.stem + ".").write_bytes(
            _as_ending(ending, rows, draws)
        )


def _messed(rows: Rows, draws: random.Random) -> Rows:
    """Rows with up to five things wrong."""
    rows = [list(row) for row in rows]
    for _ in range(draws.choice([0, 1, 1, 1, 2, 5])):
        chance, at = draws.random(), draws.randrange(len(rows))
        if chance < 0.35 and rows[at]:
            rows[at][draws.randrange(len(rows[at]))] = draws.choice(junk.CELLS)
        elif chance < 0.6:
            column, cell = draws.randrange(max(1, len(rows[0]))), draws.choice(junk.CELLS)
            share = draws.choice([1.0, 1.0, 0.5, 0.05])
            for row in rows[1:]:
                if column < len(row) and draws.random() < share:
                    row[column] = cell
        elif chance < 0.66:
            rows[at] = rows[at][: draws.randrange(len(rows[at]) + 1)]
        elif chance < 0.71:
            rows[at] = rows[at] + ["z"] * draws.randint(1, 3)
        elif chance < 0.76:
            rows.insert(at, rows[at])
        elif chance < 0.82:
            rows = rows[: draws.randint(0, 2)] or [[]]
        elif chance < 0.86:
            rows.insert(at, [])
        elif rows[0]:
            column = draws.randrange(len(rows[0]))
            rows[0][column] = draws.choice([*junk.CELLS, *rows[0], rows[0][column].upper()])
    return rows


def _bytes(rows: Rows, draws: random.Random) -> bytes:
    """Rows as a CSV of some delimiter and encoding, sometimes cut, struck or packed."""
    delimiter, ending = draws.choice([",", ",", ",", ";", "\t", "|"]), draws.choice(["\n", "\n", "\r\n", "\r"])
    encoding = draws.choice(
        ["utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "mac_roman"]
    )
    data = business.text(rows, delimiter, ending).encode(encoding, "replace")
    chance = draws.random()
    if chance < 0.08:
        return data[: draws.randrange(len(data) + 1)]
    if chance < 0.16 and data:
        struck = bytearray(data)
        for _ in range(draws.choice([1, 3, 30])):
            struck[draws.randrange(len(struck))] = draws.randrange(256)
        return bytes(struck)
    if chance < 0.2:
        return gzip.compress(data)
    return b"" if chance < 0.22 else data


def _parquet(rows: Rows, draws: random.Random) -> bytes:
    """Rows as Parquet, with columns of other types than one expects; sometimes cut, struck, or with nothing in it."""
    names = rows[0] or ["x"]
    unique = names if draws.random() < 0.1 else list(dict.fromkeys(names))
    columns = [_column([row[at] if at < len(row) else None for row in rows[1:]], draws) for at in range(len(unique))]
    try:
        written = pa.Table.from_arrays(columns, names=unique)
    except (pa.ArrowException, UnicodeError):
        written = pa.table({"x": pa.array([1])})
    buffer = io.BytesIO()
    pq.write_table(written, buffer)
    data, chance = buffer.getvalue(), draws.random()
    if chance < 0.1:
        return data[: draws.randrange(len(data))]
    if chance < 0.2:
        struck = bytearray(data)
        for _ in range(draws.choice([1, 5, 50])):
            struck[draws.randrange(len(struck))] = draws.randrange(256)
        return bytes(struck)
    return data


def _column(values: list[str | None], draws: random.Random) -> pa.Array:
    """A column as some type that holds it, or of quite another."""
    texts = pa.array(
        [None if value is None else value.encode("utf-8", "replace").decode() for value in values], pa.string()
    )
    chance = draws.random()
    if chance < 0.55:
        return texts
    count = len(values)
    odd: tuple[Callable[[], pa.Array], ...] = (
        lambda: pa.array([float(n) for n in range(count)]),
        lambda: pa.array([n % 2 == 0 for n in range(count)]),
        lambda: pa.array([n << 53 for n in range(count)], pa.uint64() if count < 1024 else pa.float64()),
        lambda: pa.array([[n] for n in range(count)], pa.list_(pa.int64())),
        lambda: pa.array([{"a": n} for n in range(count)], pa.struct([("a", pa.int64())])),
        lambda: pa.nulls(count),
        lambda: pa.array(list(range(count)), pa.int64()).cast(pa.timestamp("ns", "Europe/Berlin")),
        lambda: pa.array(list(range(count)), pa.int32()).cast(pa.date32()),
        lambda: pa.array(list(range(count)), pa.int64()).cast(pa.duration("us")),
        lambda: pa.array(list(range(count)), pa.int32()).cast(pa.time32("s")),
        lambda: pa.array([str(n).encode() + b"\xff" for n in range(count)], pa.binary()),
        lambda: texts.dictionary_encode(),
        lambda: pa.array([float("nan") if n % 3 else float("inf") for n in range(count)]),
        lambda: pa.array([(1 << 62) - n for n in range(count)], pa.int64()).cast(pa.timestamp("us")),
        lambda: pa.array(list(range(count)), pa.int64()).cast(pa.decimal128(38, 10)),
    )
    return draws.choice(odd)()


def _as_ending(ending: str, rows: Rows, draws: random.Random) -> bytes:
    data = _bytes(rows, draws)
    if ending == ".csv.gz":
        packed = gzip.compress(data)
        return draws.choice([packed, packed[: len(packed) // 2], data])
    if ending in (".json", ".jsonl"):
        return "\n".join(json.dumps(dict(zip(rows[0], row, strict=False))) for row in rows[1:]).encode()
    if ending in (".zip", ".xlsx"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("data.csv", data)
        return buffer.getvalue()
    return data


def _folder_of_parts(path: Path) -> None:
    path.mkdir()
    (path / "a.parquet").write_bytes(b"PAR1")
    pq.write_table(pa.table({"x": [1]}), path / "b.parquet")


def _unreadable(path: Path) -> None:
    path.write_text("id\n1\n")
    path.chmod(0)


_NO_FILES: tuple[Callable[[Path], object], ...] = (
    Path.mkdir,
    _folder_of_parts,
    _unreadable,
    lambda path: path.symlink_to(path.name),
    lambda path: path.symlink_to("/dev/null"),
    lambda path: path.symlink_to("/proc/self/mem"),
    lambda path: path.symlink_to("nowhere"),
    lambda path: path.exists(),
    os.mkfifo,
)
