"""README, CONTRIBUTING and docs/, held against the code: what they name exists, what exists is named, and every command in them runs."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import UnionType
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
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
from features.generation import Generation
from features.home import Home
from features.schema import ALL_PILLARS
from serving.api.problems import PROBLEMS
from serving.app import create_app
from serving.openapi import description
from serving.platform.settings import Settings

from .documentation.pages import ALL, PAGES, ROOT, Page
from .documentation.shell import PreloadedPython, Terminal, copy_home, module_of

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
# What is typed instead of what a page shows, so that it takes seconds.
INSTEAD = (
    (r"\.venv/bin/(python -m pytest|mypy|ruff|lint-imports)\b.*", "true"),  # these are what runs this, and `make lint`
    (r"experiments benchmark value\b.*", "experiments benchmark value shop.toml"),
    (r"experiments benchmark recommendations\b.*", "experiments benchmark recommendations shop.toml"),
    (
        r"experiments benchmark decisions\b.*",
        'experiments benchmark decisions --trial hillstrom.toml --no-peers --seeds 0 --planted 1',
    ),
    (r"experiments benchmark speed\b.*", "experiments benchmark speed --rows 6 --rounds 1 --explained 2000"),
)  # fmt: skip
# A small business may be refused by a gate, and a fresh model may look old: both are answers, with a code of their own.
ENDS: Mapping[tuple[str, ...], tuple[int, ...]] = {("training", "promote"): (0, 3), ("training", "watch"): (0, 3)}
SEARCH = '--budget "1 trial"'
# What no page can run on a business of a few hundred customers has a test of its own, named here.
ELSEWHERE = {
    "experiments benchmark quality": "test_a_benchmark_on_public_data",
    "experiments benchmark steadiness": "test_a_benchmark_on_public_data",
    "experiments benchmark worlds": "tests/experiments/benchmarks/quality/test_worlds.py",
    "experiments benchmark mistakes": "tests/experiments/benchmarks/mistakes/test_judge.py",
    "experiments benchmark horizons": "tests/experiments/benchmarks/quality/test_horizons.py",
    "experiments benchmark reasons": "tests/experiments/benchmarks/quality/test_first_reasons.py",
    "experiments benchmark faults": "tests/serving/platform/test_attacks.py",
    "experiments screenshots": "tests/experiments/test_screenshots.py",
}


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


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreloadedPython]:
    """Python that has imported all."""
    started = PreloadedPython(tmp_path_factory.mktemp("python") / "log")
    yield started
    started.close()


@pytest.fixture(scope="module")
def trained(python: PreloadedPython, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a small simulated business, with a champion and a challenger; copy it."""
    folder = tmp_path_factory.mktemp("trained")
    with Terminal.of(folder, python) as terminal:
        terminal.type(".venv/bin/python -m experiments simulate --customers 500 --end 2026-11-01")
        config = folder / "var/simulation/business.toml"
        few = 'cutoffs = ["2026-02-03", "2026-05-03", "2026-08-03"]'
        assert 'cutoffs = "monthly"' in config.read_text()
        config.write_text(config.read_text().replace('cutoffs = "monthly"', few))
        terminal.type(".venv/bin/python -m features build var/simulation/business.toml")
        train = f".venv/bin/python -m training run var/simulation/business.toml {SEARCH}"
        terminal.type(train)
        terminal.type('.venv/bin/python -m training promote --force "a small business"')
        terminal.type(train)
    return folder / "var"


def somebody(home: Home) -> str:
    """Who is a customer now."""
    generation = Generation.current(home)
    known = pq.read_table(
        generation.snapshot_file("relationship"),
        columns=["customer_id"],
        filters=[("event_timestamp", "==", generation.as_of)],
    )
    return str(known["customer_id"][0].as_py())


def put_files(folder: Path) -> None:
    """What the TOMLs of the pages name: a table of customers, a log of invoices, and a trial."""
    rng = np.random.default_rng(4)
    n = 1200
    logins, plans = rng.poisson(6, n), rng.choice(["basic", "pro"], n)
    left = rng.random(n) < 1 / (1 + np.exp(0.5 * (logins - 4) - (plans == "basic")))
    rows = [
        (f"T{number:04d}", logins[number], plans[number], "DE" if number % 3 else "FR", "Yes" if left[number] else "No")
        for number in range(n)
    ]
    head = ("customerID", "logins", "plan", "country", "Churn")
    with gzip.open(folder / "customers.csv.gz", "wt", newline="") as table, (folder / "customers.csv").open("w") as few:
        csv.writer(table).writerows([head, *rows])
        csv.writer(few).writerows([head, *rows[:20]])
    start = datetime(2024, 1, 1)
    invoices = []
    for customer in range(12300, 12600):
        day, rhythm, ends = rng.uniform(0, 90), rng.uniform(10, 60), rng.uniform(100, 500)
        while day < min(ends, 365):
            invoices.append(
                (customer, start + timedelta(days=float(day)), int(rng.integers(1, 9)), 2.5, f"I{rng.integers(30)}")
            )
            day += rng.exponential(rhythm) + 1
    columns = zip(*invoices, strict=True)
    names = ("CustomerID", "InvoiceDate", "Quantity", "UnitPrice", "StockCode")
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), folder / "invoices.parquet")
    arms = rng.choice(["No E-Mail", "Mens E-Mail", "Womens E-Mail"], 2400)
    likes = rng.choice(["mens", "womens"], 2400)
    effect = np.where(arms == "No E-Mail", 0.0, np.where((arms == "Mens E-Mail") == (likes == "mens"), 0.4, 0.05))
    visits = (rng.random(2400) < 0.2 + effect).astype(int)
    with gzip.open(folder / "hillstrom.csv.gz", "wt", newline="") as trial:
        writer = csv.writer(trial)
        writer.writerow(["recency", "likes", "segment", "visit", "conversion", "spend"])
        writer.writerows(zip(rng.integers(1, 12, 2400), likes, arms, visits, visits, visits, strict=True))


@pytest.mark.parametrize("name", [page.name for page in PAGES if page.commands])
def test_every_command_runs(name: str, python: PreloadedPython, trained: Path, tmp_path: Path) -> None:
    copy_home(trained, tmp_path)
    put_files(tmp_path)
    for page in (BY_NAME["docs/configuration.md"], BY_NAME["docs/decisions.md"]):
        for block in page.blocks:
            if block.file:
                (tmp_path / block.file).write_text(block.text)
    customer = somebody(Home(trained))
    with Terminal.of(tmp_path, python) as terminal:
        for shown in BY_NAME[name].commands:
            command = shown.replace("C00001", customer)
            if any(f"python -m {elsewhere}" in command for elsewhere in ELSEWHERE):
                continue
            words = shlex.split(command, comments=True)
            if words[0] == "curl" and shutil.which("curl") is None:
                pytest.skip("curl is not installed: apt install curl")
            if words[0] == "make":
                own = MAKE[words[1]]
                if own is None:
                    continue
                command = own
            for shown, typed in INSTEAD:
                command = re.sub(shown, typed, command)
            if "training run" in command:
                command = f"{command.split(' --budget')[0].split('#')[0]} {SEARCH}"
            words = shlex.split(command, comments=True)
            assert module_of(words) or words[0] in ("export", "curl", "true"), f"what is this: {command}"
            terminal.type(command, ENDS.get(tuple(words[2:4]), (0,)))


@pytest.mark.data
@pytest.mark.parametrize("command", [key for key, test in ELSEWHERE.items() if test.startswith("test_a_benchmark")])
def test_a_benchmark_on_public_data(command: str, python: PreloadedPython, tmp_path: Path) -> None:
    if not (ROOT.parent / "shared/data/iranian_churn").exists():
        pytest.skip("../shared/data/iranian_churn is not there: it is dataset 563 of the UCI repository")
    least = "--without 'CatBoost default,FLAML in the same time'" if command.endswith("quality") else "--samples 1"
    with Terminal.of(tmp_path, python) as terminal:
        terminal.type(f".venv/bin/python -m {command} --data iranian_churn {SEARCH} {least}")


def test_what_runs_elsewhere_is_there() -> None:
    for command, test in ELSEWHERE.items():
        assert f"python -m {command}" in ALL, f"no page shows {command}"
        assert test in globals() or (ROOT / test).exists()
