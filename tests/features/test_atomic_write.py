from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from features.atomic_write import replacing, write_atomically


def test_a_file_is_replaced_when_all_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_atomically(path, "größe")
    assert path.read_text(encoding="utf-8") == "größe"
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text(encoding="utf-8") == "größe"
    assert path.read_bytes() == b"new"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", None])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_secret_is_never_readable_by_others(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with replacing(path, mode=0o600) as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600
        file.write(b"secret")
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no files without a name")
def test_what_is_killed_leaves_nothing(tmp_path: Path) -> None:
    with replacing(tmp_path / "file") as file:
        file.write(b"half")
        assert not list(tmp_path.iterdir())


def test_where_files_need_a_name_they_have_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def without(path: Path, flags: int, mode: int = 0o777) -> int:
        if hasattr(os, "O_TMPFILE") and flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", without)
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_stream_makes_no_folder_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "mistyped" / "file"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_must_outlive_a_loss_of_power_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    with replacing(tmp_path / "file", durable=durable) as file:
        file.write(b"new")
    assert len(synced) == (2 if durable else 0)  # the file, and its name in the folder
    assert (tmp_path / "file").read_bytes() == b"new"
