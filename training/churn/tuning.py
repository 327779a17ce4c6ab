"""The search for the recipe that suits a table: seeded, resumable, and judged on held-out rows alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from features.config.search_budget import Budget
from models.arrays import FloatArray
from models.estimators.churn_classifier import cross_fitted
from models.estimators.recipe import FIRST_FOLDS, Course, Fold, LabelledRows, LinearParts, Recipe, held_out_course
from models.inference.interval import Z95
from training.evaluation.metrics import row_losses

if TYPE_CHECKING:
    import optuna

Parameters = Mapping[str, Any]

SEED = 42
MOST_TREES = 1000
DEFAULT = Budget(trials=10)
# Which way of making and measuring a recipe a journal's trials are from: raise it with any change to that.
_REVISION = 4
# A smaller model may be worse by so much of the best one's log-loss, if chance explains it.
TOLERANCE = 0.01
# A trial whose first folds are worse than the best one's by so many standard errors of their rows' mean difference is given up,
# and so is one that is no other there, such as trees that have nothing to add to a line that was tried.
_HOPELESS = 3.0

# Either half errs in its own way where the world moves: what is taken where nothing tells which recipe foretells later rows.
BLEND: Parameters = {
    "kind": "blend", "categorical": False, "penalty": 10.0, "num_leaves": 8, "learning_rate": 0.05,
    "min_child_samples": 40, "subsample": 0.8, "colsample": 0.6, "reg_lambda": 5.0,
}  # fmt: skip

# What is tried first: both parts, a regression alone, and LightGBM as it comes (words split by sets of their levels) but for
# a trace of L2, so that no budget of three trials is worse off than with either; then what is good where rows are few,
# where the world moves, where interactions decide, and where all of it does.
FIRST: tuple[Parameters, ...] = (
    {"kind": "both", "categorical": False, "penalty": 10.0, "num_leaves": 8, "learning_rate": 0.05,
     "min_child_samples": 40, "subsample": 0.8, "colsample": 0.6, "reg_lambda": 5.0},
    {"kind": "linear", "penalty": 10.0},
    {"kind": "trees", "categorical": True, "num_leaves": 31, "learning_rate": 0.1,
     "min_child_samples": 20, "subsample": 1.0, "colsample": 1.0, "reg_lambda": 0.1},
    BLEND,
    {"kind": "both", "categorical": False, "penalty": 10.0, "num_leaves": 31, "learning_rate": 0.05,
     "min_child_samples": 10, "subsample": 0.8, "colsample": 0.5, "reg_lambda": 1.0},
    {"kind": "trees", "categorical": True, "num_leaves": 8, "learning_rate": 0.05,
     "min_child_samples": 40, "subsample": 0.8, "colsample": 0.6, "reg_lambda": 5.0},
    {"kind": "linear", "penalty": 100.0},
    {"kind": "both", "categorical": False, "penalty": 10.0, "num_leaves": 31, "learning_rate": 0.05,
     "min_child_samples": 10, "subsample": 0.8, "colsample": 1.0, "reg_lambda": 1.0},
    {"kind": "both", "categorical": False, "penalty": 10.0, "num_leaves": 16, "learning_rate": 0.03,
     "min_child_samples": 100, "subsample": 0.8, "colsample": 0.5, "reg_lambda": 10.0},
    {"kind": "linear", "penalty": 1.0},
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One recipe that was tried, and its log-loss on held-out rows, calibrated without their own fold.

    One that is not `finished` was given up after its first folds: its log-loss is as far from the best one's as theirs were.
    """

    number: int
    parameters: Parameters
    log_loss: float
    trees: int
    size: float
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search found: the course of the chosen recipe, and all trials."""

    course: Course
    chosen: Trial
    best: Trial
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Tuner:
    """Searches recipes within a budget.

    Attributes:
        budget: of each search.
        journal: where trials are kept, so that a search that was cut off goes on where it stopped; None keeps none.
        threads: how many folds are run side by side; the result does not depend on it.
    """

    budget: Budget = DEFAULT
    journal: Path | None = None
    threads: int = 2

    def search(
        self,
        rows: LabelledRows,
        folds: Sequence[Fold],
        advance: Callable[[], None] = lambda: None,
        *,
        in_time: bool = False,
    ) -> Tuned:
        """Try recipes, and choose the smallest that is as good as the best.

        That is the one of fewest leaves, which cost time to explain, whose log-loss is within 1 % of the best one's, if the 95 %
        interval of their rows' mean difference includes 0. Trial n depends on the rows, the folds and the trials before it, and
        on nothing else. A trial that two folds show to be worse than the best so far, or the same, is not run on the others.

        Args:
            advance: is called after each trial.
            in_time: whether the folds are windows, of which none speaks for another: each trial is run on all of them.
        """
        memory = _Memory(self.journal, rows, folds)
        race = _Race(rows, folds, self.threads)
        started = time.monotonic()
        trials: list[Trial] = []
        while self._goes_on(len(trials), time.monotonic() - started):
            number = len(trials)
            trial = memory.get(number)
            if trial is None:
                parameters = FIRST[number] if number < len(FIRST) else memory.suggest(trials)
                trial = race.run(number, parameters, None if in_time or not trials else _best(trials))
                memory.add(trial)
            trials.append(trial)
            advance()
        best = _best(trials)
        for trial in sorted(trials, key=lambda trial: (trial.size, trial.log_loss)):
            if (
                trial.finished
                and trial.log_loss <= (1.0 + TOLERANCE) * best.log_loss
                and (trial is best or not _above_zero(race.losses(trial) - race.losses(best), Z95))
            ):
                return Tuned(race.course(trial), trial, best, tuple(trials))
        raise AssertionError("The best trial is as good as itself.")

    def unsearched(
        self, rows: LabelledRows, folds: Sequence[Fold], parameters: Parameters, advance: Callable[[], None]
    ) -> Tuned:
        """The course of one recipe, where the folds could not tell a better one."""
        race = _Race(rows, folds, self.threads)
        trial = race.run(0, parameters, None)
        advance()
        return Tuned(race.course(trial), trial, trial, (trial,))

    def _goes_on(self, done: int, seconds: float) -> bool:
        if self.budget.trials is not None:
            return done < self.budget.trials
        return not done or seconds < 60.0 * (self.budget.minutes or 0.0)


def recipe_of(parameters: Parameters) -> Recipe:
    """The recipe that a trial's parameters name."""
    values = dict(parameters)
    kind = values.pop("kind")
    return Recipe(**values, blended=kind == "blend", max_trees=0 if kind == "linear" else MOST_TREES)


def _suggested(trial: optuna.trial.BaseTrial) -> Parameters:
    """The space that is searched."""
    kind = trial.suggest_categorical("kind", ["both", "blend", "trees", "linear"])
    found: dict[str, Any] = {"kind": kind}
    if kind != "trees":
        found["penalty"] = trial.suggest_float("penalty", 0.1, 1000.0, log=True)
    if kind != "linear":
        found["categorical"] = trial.suggest_categorical("categorical", [False, True])
        found["num_leaves"] = trial.suggest_int("num_leaves", 2, 64, log=True)
        found["learning_rate"] = trial.suggest_float("learning_rate", 0.02, 0.2, log=True)
        found["min_child_samples"] = trial.suggest_int("min_child_samples", 5, 200, log=True)
        found["subsample"] = trial.suggest_float("subsample", 0.5, 1.0)
        found["colsample"] = trial.suggest_float("colsample", 0.3, 1.0)
        found["reg_lambda"] = trial.suggest_float("reg_lambda", 0.1, 100.0, log=True)
    return found


class _Race:
    """The courses of trials on the same rows and folds, each run once."""

    def __init__(self, rows: LabelledRows, folds: Sequence[Fold], threads: int) -> None:
        self._rows = rows
        self._folds = folds
        self._threads = threads
        self._linear = LinearParts()
        self._courses: dict[int, Course] = {}

    def run(self, number: int, parameters: Parameters, leader: Trial | None) -> Trial:
        """Trial `number`; given up where its first folds say that it cannot win against the leader."""
        if leader is None:
            return self._finished(number, parameters, self._held_out(parameters))
        first = self._losses(self.course(leader).margins[:FIRST_FOLDS])

        def behind(course: Course) -> FloatArray:
            return self._losses(course.margins) - first

        def hopeless(course: Course) -> bool:
            difference = behind(course)
            return not difference.any() or _above_zero(difference, _HOPELESS)

        course = self._held_out(parameters, hopeless)
        if len(course.margins) == len(self._folds):
            return self._finished(number, parameters, course)
        loss = leader.log_loss + float(behind(course).mean())
        return Trial(number, parameters, loss, course.trees, course.size, finished=False)

    def course(self, trial: Trial) -> Course:
        """That of a finished trial; run again where it was remembered alone."""
        if trial.number not in self._courses:
            self._courses[trial.number] = self._held_out(trial.parameters)
        return self._courses[trial.number]

    def losses(self, trial: Trial) -> FloatArray:
        """The log-loss of each held-out row of a finished trial."""
        return self._losses(self.course(trial).margins)

    def _held_out(self, parameters: Parameters, hopeless: Callable[[Course], bool] | None = None) -> Course:
        return held_out_course(self._rows, self._folds, recipe_of(parameters), self._threads, self._linear, hopeless)

    def _finished(self, number: int, parameters: Parameters, course: Course) -> Trial:
        self._courses[number] = course
        loss = float(self._losses(course.margins).mean())
        return Trial(number, parameters, loss, course.trees, course.size)

    def _losses(self, margins: Sequence[FloatArray]) -> FloatArray:
        """The log-loss of each row that the first folds held out, in the rows' order, calibrated by the others of these folds."""
        y = self._rows.y
        margin, fold = np.full(len(y), np.nan), np.full(len(y), -1)
        for number, ((_, held_out), part) in enumerate(zip(self._folds, margins, strict=False)):
            margin[held_out], fold[held_out] = part, number
        held = fold >= 0
        return row_losses(y[held], cross_fitted(margin, y, fold)[held])


def _best(trials: Sequence[Trial]) -> Trial:
    return min((trial for trial in trials if trial.finished), key=lambda trial: (trial.log_loss, trial.size))


def _above_zero(difference: FloatArray, errors: float) -> bool:
    """Whether a mean difference is greater than 0 by more than so many standard errors."""
    error = float(difference.std(ddof=1)) / float(np.sqrt(len(difference)))
    return float(difference.mean()) > errors * error


class _Memory:
    """The trials of one search, in Optuna's journal under the digest of what is searched."""

    def __init__(self, journal: Path | None, rows: LabelledRows, folds: Sequence[Fold]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._known: dict[int, Trial] = {}
        self._study: optuna.Study | None = None
        if journal is None:
            return
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        journal.parent.mkdir(parents=True, exist_ok=True)
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal))),
            study_name=_digest(rows, folds),
            load_if_exists=True,
        )
        for kept in self._study.get_trials(deepcopy=False):
            a = kept.user_attrs
            assert kept.value is not None
            known = Trial(a["number"], a["parameters"], kept.value, a["trees"], a["size"], a["finished"])
            self._known.setdefault(known.number, known)

    def get(self, number: int) -> Trial | None:
        return self._known.get(number)

    def add(self, trial: Trial) -> None:
        if self._study is not None:
            self._study.add_trial(_frozen(trial))

    def suggest(self, trials: Sequence[Trial]) -> Parameters:
        """Optuna's proposal after these trials; its chance is the next trial's number."""
        import optuna

        sampler = optuna.samplers.TPESampler(seed=SEED + len(trials), n_startup_trials=len(FIRST) + 1)
        study = optuna.create_study(sampler=sampler)
        study.add_trials([_frozen(trial) for trial in trials])
        return _suggested(study.ask())


def _frozen(trial: Trial) -> optuna.trial.FrozenTrial:
    import optuna

    fixed = optuna.trial.FixedTrial(dict(trial.parameters))
    _suggested(fixed)
    return optuna.trial.create_trial(
        params=fixed.params,
        distributions=fixed.distributions,
        value=trial.log_loss,
        user_attrs={
            "number": trial.number,
            "parameters": dict(trial.parameters),
            "trees": trial.trees,
            "size": trial.size,
            "finished": trial.finished,
        },
    )


def _digest(rows: LabelledRows, folds: Sequence[Fold]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("lightgbm", "optuna", "scikit-learn", "numpy"):
        digest.update(f"{name} {version(name)}\n".encode())
    digest.update(f"{_REVISION} {FIRST} {sorted(rows.words)} {rows.directions} {rows.X.shape}".encode())
    for array in (rows.X, rows.y, *(part for fold in folds for part in fold)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
