"""A user's mistake ends a command with a sentence, and what is none is raised."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.errors import ConfigError, FeaturesError
from features.mistakes import ending


def said(error: Exception) -> str:
    sentences: list[str] = []

    def fail() -> None:
        raise error

    with ending(lambda sentence, _: sentences.append(sentence), FeaturesError, otherwise="The build"):
        fail()
    (sentence,) = sentences
    return sentence


def test_mistakes_files_and_damage_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(ConfigError("the key is wrong.")) == "the key is wrong."
    assert said(OSError(28, "No space left on device")) == "The build: No space left on device."
    assert said(PermissionError(13, "Permission denied", "t.csv")) == "t.csv: Permission denied."
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    (tmp_path / "business.json").write_text("{")
    assert "business.json is damaged" in said(ValueError("what nobody foresaw"))


def test_what_is_no_mistake_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="what nobody foresaw"):
        said(ValueError("what nobody foresaw"))
