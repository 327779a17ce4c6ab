"""Commands as they are mistyped, and environments in which they cannot do what they should."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Final

from experiments.benchmarks.mistakes import business, homes, junk
from experiments.benchmarks.mistakes.case import Line, Typed
from serving.platform.settings import Settings

LINES: Final[tuple[Line, ...]] = tuple(
    tuple(line.split())
    for line in (
        "features build shop.toml",
        "features show",
        "features show C1",
        "training promote --version 1",
        "training promote --new-scorecard --force again",
        "training promote --policy",
        "training rollback",
        "training rollback --policy",
        "training watch shop.toml --html watch.html --json watch.json",
        "training policy trial.toml --report report.json --choices choices.csv",
        "serving run --workers 1",
        "serving batch --input asked.csv --output scores.csv",
        "serving batch --input asked.csv --output scores.parquet --decide",
        "serving batch --input asked.csv --output scores.csv.gz --decide --anew",
        "serving plan --output plan.csv --input asked.csv --budget 100 --minutes 60 --capacity call=3 --seconds 2",
        "serving refresh",
        "serving digest --output digest --owner ann --url http://localhost:1",
        "serving key add --name bo --role manager --owner bo",
        "serving key list",
        "serving key revoke --name crm",
        "experiments simulate --customers 50 --seed 1 --out simulation --end 2024-06-01 --effect-spread 1",
        "experiments compare champion 1 --share 0.1 --html compare.html --json compare.json",
        "experiments card champion --out card",
    )
)
"""Commands that end within seconds, with what they take."""
REFUSED: Final[tuple[Line, ...]] = tuple(
    tuple(line.split())
    for line in (
        "training run nowhere.toml --report report.json --budget",
        "experiments benchmark speed --rows",
        "experiments benchmark quality --home folder --data",
        "experiments benchmark steadiness --home folder --data",
        "experiments benchmark worlds --kinds",
        "experiments benchmark mistakes --kinds",
        "experiments benchmark faults --attacks",
        "experiments benchmark decisions --no-peers --seeds 0 --trial",
        "experiments benchmark recommendations",
        "experiments benchmark value",
        "experiments benchmark reasons --seeds 1 --budget",
        "experiments benchmark horizons --seeds",
    )
)
"""Commands that would go on for minutes, and what they refuse beforehand: a last word that means nothing."""
NOT_TYPED: Final = ("experiments demo", "experiments screenshots", "features feast", "training run")
"""What serves for ever, needs a browser, is Feast's own, or trains; `toml` and `file` train too."""

SETTINGS: Final = tuple(
    str(field.validation_alias or f"KEEPWELL_{name.upper()}") for name, field in Settings.model_fields.items()
)
_PATHS_TOO: Final = ("XDG_CACHE_HOME", "TMPDIR", "HOME")
_OTHERS: Final = ("COLUMNS", "TZ", "LANG", "NO_COLOR", "TERM", "MLFLOW_EXPERIMENT_NAME", "FEAST_USAGE", "LINES")
_NO_WORDS: Final = (
    "nonsense",
    "telco,nonsense",
    "-1",
    "x" * 2000,
    "é",
    "\udcff",
    "[red]",
    "99 bananas",
    "nowhere.toml",
)


def lay_environment(folder: Path, draws: random.Random, stood: Path) -> Typed:
    """A home that stands under `stood` or that was damaged, settings that are wrong, or both, and a good command."""
    home = _home(folder, draws, stood)
    line = draws.choice(LINES) if draws.random() < 0.97 else ("features", "feast")
    environment = {}
    damaged = draws.random() < 0.5
    if damaged:
        homes.damage(home, draws)
    if not damaged or draws.random() < 0.2:
        for _ in range(draws.choice([1, 1, 1, 2])):
            variable = draws.choice(
                (*SETTINGS, *SETTINGS, *_PATHS_TOO, *_OTHERS, "KEEPWELL_HOME", "KEEPWELL_DATABASE_URL")
            )
            environment[variable] = draws.choice(_values(variable)).replace("\0", "")
    return Typed((line,), environment)


def lay_command(folder: Path, draws: random.Random, stood: Path) -> Typed:
    """A command with arguments left out, doubled, swapped, or replaced by what they cannot be."""
    _home(folder, draws, stood)
    if draws.random() < 0.1:
        line = draws.choice(REFUSED)
        return Typed(((*line, draws.choice(_NO_WORDS)),))
    words = list(draws.choice(LINES))
    for _ in range(draws.choice([1, 1, 2, 3])):
        chance, at = draws.random(), draws.randrange(2, len(words) + 1)
        if chance < 0.68 and at < len(words):
            kept = words[at].startswith("--") and draws.random() < 0.7
            at += kept and at + 1 < len(words)
            words[at] = draws.choice(draws.choice([junk.WORDS, junk.PATHS, junk.URLS]))
        elif chance < 0.75 and at < len(words):
            del words[at]
        elif chance < 0.82:
            other = draws.choice(LINES)
            words.insert(at, draws.choice(other[2:] or other))
        else:
            words.insert(at, draws.choice(["--help", "--nothing", "-x", *junk.WORDS]))
    # Not even a mistyped command may start what it takes minutes to do.
    return Typed((tuple(word.replace("\0", "") for word in words),))


def _home(folder: Path, draws: random.Random, stood: Path) -> Path:
    """A business and one of the homes that stand, copied into the folder."""
    business.write(folder, draws, 40)
    home = folder / "home"
    stages = sorted(path for path in stood.iterdir() if path.is_dir())
    # The further a home went, the more there is to break.
    chosen = draws.choices(stages, [1 + 3 * (path.name == "trained") for path in stages])[0]
    shutil.copytree(chosen, home, symlinks=True)
    return home


def _values(variable: str) -> tuple[str, ...]:
    if variable.endswith(("_URL", "_URI", "_STORE")):
        return junk.URLS
    if variable.endswith(("HOME", "TMPDIR")):
        return junk.PATHS
    return junk.WORDS
