"""The demo calls the commands that it shows, and keeps what stands where one of them fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from experiments.__main__ import app


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the TOML of the demo's simulation is, in a home that is also the working directory."""
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "simulation" / "business.toml"
    path.parent.mkdir()
    return path


def test_a_step_that_fails_says_why_and_what_stands_is_kept(config: Path) -> None:
    config.write_text("[business]\n")
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    step = "python -m features build simulation/business.toml"
    # What was simulated is there already, so it is not done again.
    assert result.stdout == f"\n$ {step}\n"
    mistake, last = result.stderr.splitlines()
    assert "business.toml" in mistake
    assert last == f"'{step}' failed; what stands is kept: run 'make demo' again."
    assert config.read_text() == "[business]\n"


def test_what_an_earlier_keepwell_simulated_stands_and_is_said(config: Path) -> None:
    config.write_text("# A simulated subscription business; truth.parquet, which nothing here names, …\n[business]\n")
    result = CliRunner().invoke(app, ["demo"])
    assert result.stdout.startswith(
        "\nsimulation was simulated by an earlier keepwell and stands: for today's business, "
    )
    assert "experiments simulate" not in result.stdout


def test_another_business_s_home_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPWELL_HOME", str(tmp_path))
    (tmp_path / "business.json").write_text('{"name": "shop"}\n')
    result = CliRunner().invoke(app, ["demo"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "holds the business 'shop'" in result.stderr
