"""The README, held against the code: every route, setting, command and problem appears, and what appears exists."""

import re
import tomllib
from pathlib import Path

import pytest
import typer

import experiments.__main__
import features.__main__
import serving.__main__
import training.__main__
from features.config.business import Business
from serving.app import create_app
from serving.platform.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
APPS = {
    "features": features.__main__.app,
    "training": training.__main__.app,
    "serving": serving.__main__.app,
    "experiments": experiments.__main__.app,
}


def commands(app: typer.Typer) -> set[str]:
    group = typer.main.get_command(app)
    assert hasattr(group, "commands")
    return set(group.commands)


def test_every_route_is_in_the_readme() -> None:
    for path in create_app(Settings()).openapi()["paths"]:
        assert path in README, f"the README lacks the route {path}"


def settings() -> dict[str, object]:
    """Environment variable -> default, of every setting."""
    prefix = Settings.model_config.get("env_prefix", "")
    return {
        str(field.validation_alias or f"{prefix}{name}".upper()): field.default
        for name, field in Settings.model_fields.items()
    }


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    said = dict(re.findall(r"^\| `([A-Z_]+)` \| `?([^`|]+?)`? \|", README, flags=re.MULTILINE))
    for variable, default in settings().items():
        assert variable in said, f"the README lacks the setting {variable}"
        if default is not None:
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert said[variable].removeprefix("./") == shown, variable


@pytest.mark.parametrize(("module", "command"), sorted(set(re.findall(r"python -m (\w+) ([a-z]+)", README))))
def test_commands_of_the_readme_exist(module: str, command: str) -> None:
    assert command in commands(APPS[module])


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = set(re.findall(r"^make ([a-z]+)", README, flags=re.MULTILINE))
    assert {"demo", "test"} <= shown <= targets


def test_tomls_of_the_readme_are_businesses(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README, flags=re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        tomllib.loads(block)
        path = tmp_path / f"{number}.toml"
        path.write_text(block)
        Business.load(path)


def test_every_experiment_is_a_business() -> None:
    configs = sorted((ROOT / "experiments").glob("*.toml"))
    assert configs
    for config in configs:
        Business.load(config)
