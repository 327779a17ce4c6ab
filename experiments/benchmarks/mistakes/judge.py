"""Runs a case in this process, as if it were typed, and judges what came of it."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import typer

from experiments.benchmarks.mistakes import commands, files, tomls
from experiments.benchmarks.mistakes.case import READ, Case, Line, Typed, Verdict

ENDS: Final = (0, 1, 2, 3)
"""Exit codes that are answers: done, broken off, a user's mistake, a gate that refused."""
LONGEST: Final = 3000
"""Characters that somebody reads of what is wrong."""
_ROOT: Final = Path(__file__).parents[3]
_OWN: Final = tuple(
    f"{_ROOT / package}{os.sep}" for package in ("features", "models", "training", "serving", "experiments")
)
_VARIABLES: Final = (*commands.SETTINGS, "COLUMNS", "TERM")


def judge(case: Case, stood: Path, under: Path, kept: Path | None = None) -> Verdict:
    """Lay a case out in a folder under `under`, type its lines, and judge; a case that failed is kept in `kept`.

    `stood` has a folder for each home that may be copied.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{case.kind}-{case.number}-", dir=under))
    try:
        typed = _laid(case, folder, stood)
        verdict = _judged(case, typed, folder)
        if verdict.failure is not None and kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder, kept / f"{case.kind}-{case.seed}-{case.number}", symlinks=True, dirs_exist_ok=True,
                            ignore=lambda at, names: [name for name in names if not _plain(Path(at) / name)])  # fmt: skip
        return verdict
    finally:
        for path in (folder, *(path for path in folder.rglob("*") if path.is_dir() and not path.is_symlink())):
            path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _plain(path: Path) -> bool:
    return path.is_symlink() or path.is_dir() or path.is_file()


def _laid(case: Case, folder: Path, stood: Path) -> Typed:
    draws = case.draws()
    if case.kind == "toml":
        return tomls.lay(folder, draws)
    if case.kind == "file":
        trained = stood / "trained"
        return files.lay(folder, draws, trained if trained.exists() else None)
    lay = commands.lay_environment if case.kind == "environment" else commands.lay_command
    return lay(folder, draws, stood)


def _judged(case: Case, typed: Typed, folder: Path) -> Verdict:
    """Type the lines until one does not end with 0."""
    started = time.perf_counter()
    with standing_in(folder, typed.environment):
        for line in typed.lines:
            code, out, said, error = run(line)
            failure = _failure(code, out, said, error)
            if failure is not None or code != 0:
                break
    trace = "" if error is None else "".join(traceback.format_exception(error))
    return Verdict(case, line, code, said[:LONGEST], failure, trace, time.perf_counter() - started)


def _failure(code: int | None, out: str, said: str, error: BaseException | None) -> str | None:
    if error is not None:
        return f"{type(error).__name__} at {_innermost(error)}"
    if code not in ENDS:
        return f"exit code {code}"
    for text in (out, said):
        if "Traceback" in text:
            return f"a traceback in the output: {_alike(text.strip().splitlines()[-1])}"
        if any(own in text for own in (*_OWN, "site-packages")):
            line = next(line for line in text.splitlines() if any(own in line for own in (*_OWN, "site-packages")))
            return f"a path of the source in the output: {_alike(line.replace(str(_ROOT), ''))}"
    if len(said) > LONGEST:
        return f"a message of more than {LONGEST:,} characters: {_alike(said)}"
    if code != 0 and not (said + out).strip():
        return "nothing was said"
    return None


def _innermost(error: BaseException) -> str:
    """The innermost line of ours that an exception came by."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_OWN)]
    own = [frame for frame in own if not frame.filename.startswith(str(Path(__file__).parent))] or own
    return f"{Path(own[-1].filename).relative_to(_ROOT)}:{own[-1].lineno}" if own else "no line of ours"


def _alike(text: str) -> str:
    """A text without what differs between cases of one cause."""
    return re.sub(r"/tmp/\S*|'[^']*'|\d+", "…", text)[:120]


def run(line: Line) -> tuple[int | None, str, str, BaseException | None]:
    """A command's exit code, what it wrote to stdout and stderr, and the exception that would have been a traceback."""
    out, said = _stream("strict"), _stream("backslashreplace")
    given, stdin, mask = sys.argv, sys.stdin, os.umask(0o077)
    code: int | None = 0
    error: BaseException | None = None
    sys.argv, sys.stdin = [f"python -m {line[0]}", *line[1:]], io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said), warnings.catch_warnings():
            for noise in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
                warnings.simplefilter("ignore", noise)
            _entry(line[0])()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException as raised:
        code, error = 1, raised
    finally:
        sys.argv, sys.stdin = given, stdin
        os.umask(mask)
    return code, _text(out), _text(said), error


def _stream(errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, write_through=True)


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8", "replace")


def _entry(package: str) -> Callable[[], object]:
    """What `python -m PACKAGE` calls."""
    if package == READ:
        return _read
    module = importlib.import_module(f"{package}.__main__")  # by name, for this command is one of those itself
    entry: Callable[[], object] = getattr(module, "main", None) or module.app
    return entry


def _read() -> None:
    """The first half of `features build`, of the TOML that is the only argument."""
    from features.__main__ import exit_on_error
    from features.config.business import Business
    from features.ingestion.run import ingest

    try:
        with exit_on_error():
            business = Business.load(Path(sys.argv[1]))
            if business.data is not None:
                ingest(business, Path("read"), datetime.now(UTC))
    except typer.Exit as ended:
        sys.exit(ended.exit_code)


@contextlib.contextmanager
def standing_in(folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[None]:
    """The folder as working directory, with its home, a cache of its own, and these changes."""
    before, where, zone = dict(os.environ), Path.cwd(), tempfile.tempdir
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    own = {"KEEPWELL_HOME": "home", "PORT": "0", "COLUMNS": "100", "XDG_CACHE_HOME": str(folder.parent / "cache")}
    os.environ.update(own | dict(changes or {}))
    os.chdir(folder)
    tempfile.tempdir = None
    time.tzset()
    try:
        yield
    finally:
        os.chdir(where)
        os.environ.clear()
        os.environ.update(before)
        tempfile.tempdir = zone
        time.tzset()
