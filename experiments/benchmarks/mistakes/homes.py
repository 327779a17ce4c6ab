"""Homes as accidents leave them: files gone, cut, struck, of a newer version, folders in their place, and nobody's."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

STAGES: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "empty": (),
    "built": (("features", "build", "shop.toml"),),
    "trained": (
        ("features", "build", "shop.toml"),
        ("training", "run", "shop.toml"),
        ("training", "promote", "--force", "it is only to be broken"),
        ("serving", "key", "add", "--name", "crm", "--role", "admin"),
        ("serving", "batch", "--input", "asked.csv", "--output", "scores.csv", "--decide"),
    ),
}
"""How a home came to be, as commands."""

_JSON: Final[tuple[Any, ...]] = (
    None,
    "x",
    "",
    -1,
    99,
    1e308,
    [],
    {},
    True,
    ["x"],
    {"a": 1},
    "9999-99-99T00:00:00",
    "../..",
    [None],
)


def damage(home: Path, draws: random.Random) -> None:
    """Do one to three things to a home that it was not made for."""
    for _ in range(draws.choice([1, 1, 2, 3])):
        found = sorted(path for path in home.rglob("*") if not path.is_symlink())
        if not found:
            return
        # What commands read first is found more often than one part among many.
        first = [path for path in found if path.parent == home or path.suffix == ".json"]
        path = draws.choice(first if first and draws.random() < 0.5 else found)
        with contextlib.suppress(PermissionError):  # of what was closed before
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
            if path.is_dir():
                draws.choice(_FOLDERS)(path)
            elif path.suffix == ".json" and "mlflow" not in path.parts and draws.random() < 0.6:
                _other_json(path, draws)
            else:
                draws.choice(_FILES)(path, draws)


def _other_json(path: Path, draws: random.Random) -> None:
    """Change one value, however deep, or leave it out; `format` and `version` are those of times to come."""
    try:
        whole = json.loads(path.read_bytes())
    except ValueError:
        return
    holders: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict | list) and one:
            keys: Sequence[Any] = list(one) if isinstance(one, dict) else range(len(one))
            holders += [(one, key) for key in keys]
            waiting += [one[key] for key in keys]
    if not holders or draws.random() < 0.1:
        path.write_text(json.dumps(draws.choice(_JSON)))
        return
    holder, key = draws.choice(holders[: draws.choice([12, len(holders)])])
    if isinstance(holder, dict) and draws.random() < 0.4:
        del holder[key]
    else:
        holder[key] = draws.choice(_JSON)
    path.write_text(json.dumps(whole))


def _cut(path: Path, draws: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: draws.randrange(len(data) + 1)])


def _strike(path: Path, draws: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(draws.choice([1, 10, 100]) if data else 0):
        data[draws.randrange(len(data))] = draws.randrange(256)
    path.write_bytes(bytes(data))


def _folder_instead(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _loop_instead(path: Path, _: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


_FILES: Final[tuple[Callable[[Path, random.Random], object], ...]] = (
    lambda path, _: path.unlink(),
    lambda path, _: path.write_bytes(b""),
    lambda path, draws: path.write_bytes(draws.randbytes(200)),
    lambda path, _: path.write_text("{"),
    lambda path, _: path.write_text("nothing\n"),
    lambda path, _: path.chmod(0),
    _cut,
    _cut,
    _strike,
    _folder_instead,
    _loop_instead,
)


def _file_instead(path: Path) -> None:
    shutil.rmtree(path)
    path.touch()


_FOLDERS: Final[tuple[Callable[[Path], object], ...]] = (
    shutil.rmtree,
    _file_instead,
    lambda path: path.chmod(0o500),
    lambda path: path.chmod(0),
)
