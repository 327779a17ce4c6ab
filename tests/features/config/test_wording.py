"""What is wrong with a value is said without Python's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from features.config.business import Business
from features.config.environment import Environment
from features.errors import ConfigError

START = '[business]\nname = "shop"\n'
TABLE = 'path = "a.csv"\noutcome = "left"\nchurned = "yes"\n'
DATA = f'[data]\nkind = "table"\n{TABLE}[churn]\nhorizon_days = 30\n'


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (f"{START}{DATA}[policy]\ncap = 3\n", "[policy] cap: it should be a table, such as { … }."),
        (f'{START}[data]\nkind = "table"\ndrop = 3\n{TABLE}', '[data] drop: it should be a list, such as ["…"].'),
        (f"{START}[business]\n", "this is no valid TOML: Cannot declare [business] twice (at line 3, column 10)."),
        (f"{START}name = 3\n", "this is no valid TOML: A key is there twice (at line 3, column 9)."),
        ('[business]\nname = "shop"\ntimezone = "NULL"\n', "'NULL' is no time zone such as 'Europe/Paris' or 'UTC'."),
        (f'{START}[data]\nkind = "{"x" * 9000}"\n', f"not '{'x' * 79}…'."),
    ],
)
def test_a_toml(toml: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    path.write_text(toml)
    with pytest.raises(ConfigError) as raised:
        Business.load(path)
    assert str(raised.value).endswith(message)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "KEEPWELL_ONLINE_STORE",
            "redis://host:x",
            "'host:x' names a port that is none; it is a number from 0 to 65535",
        ),
        ("MLFLOW_TRACKING_URI", "http://me:secret@host:99999", "'host:99999' names a port that is none"),
    ],
)
def test_a_setting(variable: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        Environment.from_environment()
    assert str(raised.value).startswith(f"{variable}: ")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)
