"""The command that takes the pictures of README and docs, and the pictures."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.__main__ import app

ROOT = Path(__file__).parents[2]


def test_without_a_build_there_is_nothing_to_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["screenshots", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "holds no features yet" in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "page"), [("portfolio", "README.md"), ("customer", "docs/pages.md")])
def test_pages_show_pictures_that_are_there_and_small(name: str, page: str) -> None:
    path = Path(f"serving/web/screenshots/{name}.png")
    assert f"{path})" in (ROOT / page).read_text()
    content = (ROOT / path).read_bytes()
    assert content.startswith(b"\x89PNG")
    assert struct.unpack(">II", content[16:24]) == (1280, 800)
    assert len(content) < 200_000
