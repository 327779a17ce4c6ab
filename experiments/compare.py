"""Models side by side: on the same test rows, and on the live traffic that a challenger scored in the shadow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from features.atomic_write import write_atomically
from features.home import Home
from models.registry.registered_model import RegisteredModel
from models.registry.registry import CHALLENGER, CHAMPION, Registry
from training.comparison.aligned_predictions import Contestant, align_predictions
from training.comparison.compare import SideBySide, side_by_side
from training.comparison.shadow import ShadowComparison, compare_shadows
from training.errors import NotComparable, TrainingError
from training.evaluation.bootstrap import Difference
from training.reporting.document import Document, Section, Table, figure
from training.reporting.model_card import CARD, PICTURES
from training.tracking.runs import Tracker

SHOWN = {
    "auc": "AUC",
    "log_loss": "log-loss",
    "ece": "ECE",
    "precision_at_k": "precision at the top",
    "brier": "Brier",
    "average_precision": "average precision",
    "calibration_slope": "calibration slope",
    "lift_at_10": "lift at 10 %",
}


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What is known of some models beside each other; `tested` is None where no rows are fair to all, and `why` says so."""

    model: str
    tested: SideBySide | None
    why: str | None
    live: tuple[ShadowComparison, ...]

    def to_json(self) -> dict[str, Any]:
        """By name."""
        return {
            "model": self.model,
            "tested": None if self.tested is None else self.tested.to_json(),
            "not_compared": self.why,
            "live": [one.to_json() for one in self.live],
        }


def compare_runs(home: Home, runs: Sequence[str], share: float | None = None) -> RunComparison:
    """Put runs side by side; by default the champion and the challenger.

    Args:
        runs: versions, `champion`, `challenger`, run names, or the beginnings of run ids; the first is what the others
            are compared with.
        share: of the rows, those that a team can call; by default as the newest run was told.

    Raises:
        TrainingError: a run is not known, or there are fewer than two.
        ModelsError: the registry refused.
    """
    registry, tracker = _stores(home)
    contestants = [_contestant(registry, tracker, run) for run in runs or (CHAMPION, CHALLENGER)]
    if len({one.run_id for one in contestants}) < 2:
        raise TrainingError(
            f"{contestants[0].name} cannot be compared with itself: name two runs, or train a challenger with 'python -m "
            f"training run CONFIG'."
        )
    try:
        tested, why = side_by_side(align_predictions(tracker, contestants), contestants, share), None
    except NotComparable as error:
        tested, why = None, str(error)
    return RunComparison(registry.model_name, tested, why, compare_shadows(home, contestants))


def fetch_card(home: Home, run: str, out: Path) -> list[Path]:
    """Copy a run's model card into `out`: Markdown and HTML, and the pictures that the Markdown shows.

    Raises:
        TrainingError: there is no such run, or it has no card.
        ModelsError: the registry refused.
    """
    registry, tracker = _stores(home)
    contestant = _contestant(registry, tracker, run)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{out} cannot be written: {error.strerror}.") from error
    found = [tracker.artifact(contestant.run_id, name, out) for name in (f"{CARD}.md", f"{CARD}.html", *PICTURES)]
    if found[0] is None or found[1] is None:
        raise TrainingError(f"The {contestant.name} has no model card: train it again.")
    return [path for path in found if path is not None]


def _stores(home: Home) -> tuple[Registry, Tracker]:
    name = home.business
    if name is None:
        raise TrainingError(f"{home.path} holds no business yet: run 'python -m features build CONFIG' first.")
    registry = Registry(home.tracking_uri, name)
    return registry, Tracker(home, registry.model_name)


def _contestant(registry: Registry, tracker: Tracker, run: str) -> Contestant:
    if run in (CHAMPION, CHALLENGER):
        model = registry.champion() if run == CHAMPION else registry.challenger()
        if model is None:
            raise TrainingError(f"There is no {run}: run 'python -m training run CONFIG', and promote.")
        return _named(model, f"{run}, version {model.version}")
    if run.isdecimal() and len(run) < 6:
        return _named(registry.version(run), f"version {run}")
    found = tracker.find(run)
    if found is None:
        raise TrainingError(f"There is no run '{run}' of {registry.model_name}: give a version, or more of a run's id.")
    return Contestant(f"run {found[:8]}", found)


def _named(model: RegisteredModel, name: str) -> Contestant:
    return Contestant(name, model.run_id)


def show(compared: RunComparison, console: Console) -> None:
    """Print what was found."""
    if compared.tested is not None:
        table = RichTable(title=f"{compared.model}: {_rows(compared.tested)}", title_justify="left")
        columns, rows = _cells(compared.tested)
        for place, name in enumerate(columns):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        console.print(table)
        for verdict in compared.tested.verdicts:
            console.print(verdict, highlight=False, markup=False)
    if compared.why is not None:
        console.print(compared.why, style="yellow", highlight=False, markup=False)
    for one in compared.live:
        console.print(one.sentence, highlight=False, markup=False)


def write(compared: RunComparison, html: Path, to_json: Path) -> None:
    """Write both files.

    Raises:
        TrainingError: the disk refuses.
    """
    try:
        write_atomically(html, document(compared).html())
        write_atomically(to_json, json.dumps(compared.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    except OSError as error:
        raise TrainingError(f"{error.filename} cannot be written: {error.strerror}.") from error


def document(compared: RunComparison) -> Document:
    """The page."""
    sections = []
    if compared.tested is not None:
        columns, rows = _cells(compared.tested)
        sections.append(
            Section(
                "On the same test rows",
                texts=(
                    _rows(compared.tested),
                    "Differences are from the first model, with 95 % intervals of a paired bootstrap of customers; a star marks "
                    "one that is more than chance.",
                ),
                points=compared.tested.verdicts,
                tables=(Table(columns, rows),),
            )
        )
    if compared.why is not None:
        sections.append(Section("Not compared", texts=(compared.why,)))
    if compared.live:
        sections.append(Section("On live traffic", points=tuple(one.sentence for one in compared.live)))
    return Document(f"{compared.model}: models side by side", tuple(sections))


def _rows(tested: SideBySide) -> str:
    return f"{tested.n:,} test rows of {tested.rows_of}, which no model was fitted on; the top is {tested.k:,} of them."


def _cells(tested: SideBySide) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    columns = ["figure"]
    for place, standing in enumerate(tested.standings):
        columns.append(standing.contestant.name)
        if place:
            columns.append("difference, 95 %")
    rows = []
    for name, label in SHOWN.items():
        cells = [label]
        for place, standing in enumerate(tested.standings):
            cells.append(figure(standing.figures[name]))
            if place:
                cells.append(_apart(standing.differences[name]))
        rows.append(tuple(cells))
    return tuple(columns), tuple(rows)


def _apart(one: Difference | None) -> str:
    if one is None:
        return "–"
    mark = "" if one.better is None else " *"
    return f"{one.figure:+.4f} ({one.interval.low:+.4f} to {one.interval.high:+.4f}){mark}"
