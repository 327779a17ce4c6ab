"""README, CONTRIBUTING and docs/, held against the code: what they name exists, and what exists is named."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import get_args

import pytest
import typer
from pydantic import BaseModel

import experiments.__main__
import features.__main__
import serving.__main__
import training.__main__
from features.config.business import Business
from features.config.data import (
    Churn,
    CustomersSource,
    Decisions,
    EventsData,
    EventSource,
    Health,
    Identity,
    TableData,
    TrainingPlan,
    Value,
)
from features.config.evaluation import Evaluation, Watch
from features.config.policy import ActionSpec, LeverSpec, Policy, Recommendations
from features.schema import ALL_PILLARS
from serving.api.problems import PROBLEMS
from serving.app import create_app
from serving.openapi import description
from serving.platform.settings import Settings

from .documentation.pages import ALL, PAGES, ROOT, Page

APPS = {
    "features": features.__main__.app,
    "training": training.__main__.app,
    "serving": serving.__main__.app,
    "experiments": experiments.__main__.app,
}
BY_NAME = {page.name: page for page in PAGES}
README_LINES = 150
KEYS: Mapping[str, type[BaseModel]] = {
    "[business]": Identity,
    "[data] of a table": TableData,
    "[data] of events": EventsData,
    "[[data.events]]": EventSource,
    "[data.customers]": CustomersSource,
    "[churn]": Churn,
    "[health]": Health,
    "[value]": Value,
    "[training]": TrainingPlan,
    "[evaluation]": Evaluation,
    "[watch]": Watch,
    "[[actions]]": ActionSpec,
    "[[levers]]": LeverSpec,
    "[policy]": Policy,
    "[recommendations]": Recommendations,
    "[decisions]": Decisions,
}

# Targets of make that take minutes: that they exist is checked, and what `demo` does is run by its own command.
MAKE = {"demo": ".venv/bin/python -m experiments demo", "test": None, "lint": None, "bench": None}


def group(app: typer.Typer) -> dict[str, object]:
    """The commands of an app, by name."""
    command = typer.main.get_command(app)
    assert hasattr(command, "commands")
    return dict(command.commands)


def table(page: Page, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    _, _, below = page.text.partition(f"{heading}\n")
    rows = re.findall(r"^\|(.*)\|$", below.split("\n#")[0], flags=re.MULTILINE)
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in rows[2:]]


def test_the_readme_fits_one_sitting() -> None:
    assert len(BY_NAME["README.md"].text.splitlines()) <= README_LINES


def test_every_route_is_in_the_api() -> None:
    for path in create_app(Settings()).openapi()["paths"]:
        assert path in BY_NAME["docs/api.md"].text, f"docs/api.md lacks the route {path}"


def test_every_setting_is_there_with_its_default() -> None:
    prefix = Settings.model_config.get("env_prefix", "")
    said = {row[0].strip("`"): row[1].strip("`") for row in table(BY_NAME["docs/settings.md"], "# Settings")}
    settings = {
        str(field.validation_alias or f"{prefix}{name}".upper()): field.default
        for name, field in Settings.model_fields.items()
    }
    assert set(said) == set(settings)
    for variable, default in settings.items():
        if default is not None:
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert said[variable].removeprefix("./") == shown, variable
    for variable in re.findall(r"\bKEEPWELL_[A-Z_]+\b", ALL):
        assert variable in settings, f"there is no setting {variable}"


@pytest.mark.parametrize("heading", KEYS)
def test_every_key_of_the_toml_is_there_with_its_default(heading: str) -> None:
    head, _, of = heading.partition(" ")
    model = KEYS[heading]
    rows = table(BY_NAME["docs/configuration.md"], f"### `{head}`{of and ' ' + of}")
    said = {row[0].strip("`"): row[1].strip("`") for row in rows}
    assert set(said) == set(model.model_fields)
    for key, field in model.model_fields.items():
        if field.is_required():
            assert said[key] == "needed", key
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        if default is None or isinstance(default, BaseModel):
            assert said[key] == "", key
        else:
            shown = tomllib.loads(f"x = {said[key]}")["x"]
            assert shown == (list(default) if isinstance(default, tuple) else default), key


def test_every_table_of_the_toml_is_there() -> None:
    def sections(annotation: object) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        elif isinstance(annotation, UnionType) or get_args(annotation):
            for argument in get_args(annotation):
                yield from sections(argument)

    known = set(KEYS.values())
    for model in list(known):
        for field in model.model_fields.values():
            for inner in sections(field.annotation):
                # Inline tables stand as an example in their owner's row.
                assert inner in known or all(key in ALL for key in inner.model_fields), inner


def test_every_pillar_is_there() -> None:
    rows = table(BY_NAME["docs/configuration.md"], "## What features arise")
    assert tuple(row[0].strip("`") for row in rows) == ALL_PILLARS


def test_every_problem_and_code_is_there_as_openapi_has_it() -> None:
    api = BY_NAME["docs/api.md"]
    assert table(api, "## Problems") == [
        [f"`{problem.slug}`", str(problem.status), problem.title, problem.advice] for problem in PROBLEMS
    ]
    codes = re.findall(r"^\| `[a-z_]+` \|.*$", description(), flags=re.MULTILINE)
    assert codes
    for row in codes:
        assert row in api.text, row


def test_every_command_is_there() -> None:
    for package, app in APPS.items():
        for name, command in group(app).items():
            for inner in getattr(command, "commands", {"": None}):
                shown = f"python -m {package} {name} {inner}".strip()
                assert shown in ALL, f"no page shows '{shown}'"


@pytest.mark.parametrize(("module", "command"), sorted(set(re.findall(r"python -m (\w+) ([a-z]+)", ALL))))
def test_commands_that_are_named_exist(module: str, command: str) -> None:
    assert module == "pytest" or command in group(APPS[module])


def test_targets_of_make_exist() -> None:
    recipes = dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for target in re.findall(r"(?:^|`)make ([a-z]+)", ALL, flags=re.MULTILINE):
        assert target in recipes, f"make has no {target}"
    for target, runs in MAKE.items():
        assert runs is None or runs.removeprefix(".venv/bin/") in recipes[target]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_and_links_hold(page: Page, tmp_path: Path) -> None:
    for number, block in enumerate(page.blocks):
        if block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            path = tmp_path / f"{number}.toml"
            path.write_text(block.text)
            Business.load(path)
    for link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = page.path.parent / target if target else page.path
        assert path.exists(), f"{page.name} points at {link}"
        if anchor:
            assert anchor in Page(path.resolve()).anchors, f"{page.name} points at {link}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {(ROOT / link).resolve() for link in BY_NAME["README.md"].links}
    for page in PAGES:
        assert page.path.resolve() in linked or page.name == "README.md", page.name


def test_every_experiment_is_a_business() -> None:
    configs = sorted((ROOT / "experiments").glob("*.toml"))
    assert configs
    for config in configs:
        Business.load(config)
