"""The files that a path of the TOML means, and what they hold, as a hash."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from features.config.suggestions import near_matches
from features.errors import IngestError
from features.words import shown

_SHOWN: Final = 5
Progress = Callable[[str, float], None]
"""What is being done, and the share of it that is done."""


def find(path: Path) -> tuple[Path, ...]:
    """The files that a path of the TOML means, sorted: the file, the folder's Parquet or CSV files, or the glob's.

    Raises:
        IngestError: there are none.
    """
    if path.is_dir():
        visible = _visible(path)
        for endings in ((".parquet", ".pq"), (".csv", ".csv.gz")):
            found = tuple(file for file in visible if file.name.lower().endswith(endings))
            if found:
                return found
        raise IngestError(f"{path}: the folder holds no Parquet and no CSV files.")
    if path.is_file():
        return (path,)
    if path.exists():
        raise IngestError(f"{path}: this is neither a file nor a folder.")
    # A folder that is there is meant by its name, whatever characters it has: only what follows is a pattern.
    root = next(folder for folder in path.parents if folder.is_dir())
    pattern = str(path.relative_to(root))
    if glob.has_magic(pattern):
        names = sorted(glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 - Path.glob sees hidden files
        found = tuple(root / name for name in names if (root / name).is_file())
        if found:
            return found
        raise IngestError(f"{path}: no file matches this pattern.")
    folder = path.parent
    while not folder.is_dir():
        folder, missing = folder.parent, folder
    if folder != path.parent:
        raise IngestError(f"{path}: there is no folder {missing}.")
    siblings = sorted(entry.name for entry in folder.iterdir() if entry.exists())
    raise IngestError(f"{path}: there is no such file{near_matches(path.name, siblings)}")


def unread(path: Path, files: Sequence[Path], kind: str) -> list[str]:
    """A sentence on what a folder holds beside the files of this kind that are read of it, if it does."""
    others = [str(file.relative_to(path)) for file in _visible(path) if file not in files] if path.is_dir() else []
    if not others:
        return []
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    named = f"{', '.join(map(shown, others[:_SHOWN]))}{more}"
    return [f"{path.name}: not read of this folder, for its {kind} files are: {named}; a glob may name them."]


def _visible(folder: Path) -> list[Path]:
    """The files of a folder, hidden ones and those that tools put beside their own (`_SUCCESS`) aside."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)
    ]


def digests(files: Sequence[Path], progress: Progress, known: Mapping[Path, str]) -> dict[Path, str]:
    """The SHA-256 of each file's content; what is `known` is not read again."""
    wanted = [file for file in dict.fromkeys(files) if file not in known]
    total = sum(file.stat().st_size for file in wanted) or 1
    done, found = 0, {file: known[file] for file in files if file in known}
    for file in wanted:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
                done += len(chunk)
                progress("Checking files", done / total)
        found[file] = digest.hexdigest()
    return found


def fingerprint(files: Sequence[Path], digests: Mapping[Path, str]) -> str:
    """The SHA-256 over the files' content, in order; names and dates play no part."""
    return hashlib.sha256(b"".join(bytes.fromhex(digests[file]) for file in files)).hexdigest()
