"""Experiments: arms that customers belong to by hash, who met them and when, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from models.decisions.eligibility import Arm
from models.decisions.policy import Ranking
from models.experiments.bucketing import arm_of
from serving.auth.api_keys import Principal
from serving.errors import (
    ExperimentConflict,
    ExperimentOutcomeConflict,
    UnknownAction,
    UnknownExperiment,
    UnknownExposure,
)
from serving.experiments.corrections import Correction, Subject, history, note
from serving.platform.database import Database
from serving.platform.tables import experiments, exposures

REWARD = "reward"
"""The primary outcome that needs no reporting: the reward of the decision that exposed the customer."""
NOTHING = "nothing"
"""An arm that is never treated."""
POLICIES = (*(ranking.value for ranking in Ranking), NOTHING)

_LOCK = "experiments"


@dataclass(frozen=True, slots=True)
class ArmSpec:
    """One arm: its share of the customers, and how they are decided about, where the experiment bears on decisions."""

    name: str
    share: float
    policy: str = Ranking.GAIN.value
    """One of `POLICIES`."""
    actions: tuple[str, ...] | None = None
    """The actions that it has; None is all."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it was registered; the first arm is what the others are compared with."""

    name: str
    arms: tuple[ArmSpec, ...]
    start: datetime
    end: datetime
    primary_outcome: str = REWARD
    unit: str = "customer"
    alpha: float = 0.05
    planned_units: int = 1_000
    """At how many outcomes the interval is to be tightest."""

    @property
    def bears_on_decisions(self) -> bool:
        """Whether an arm decides otherwise than the service does by itself."""
        return any(arm.policy != Ranking.GAIN.value or arm.actions is not None for arm in self.arms)

    @property
    def shares(self) -> list[float]:
        """The arms' shares, which sum to 1."""
        total = sum(arm.share for arm in self.arms)
        return [arm.share / total for arm in self.arms]

    def arm_of(self, customer_id: str) -> ArmSpec:
        """The customer's arm: for ever the same, by hash."""
        return self.arms[arm_of(f"experiment {self.name}", customer_id, self.shares)]

    def check_actions(self, known: Collection[str]) -> None:
        """Raises:
        UnknownAction: an arm names an action that the business does not have.
        """
        named = dict.fromkeys(action for arm in self.arms for action in arm.actions or ())
        unheard_of = [action for action in named if action not in known]
        if unheard_of:
            raise UnknownAction(unheard_of, tuple(known))

    def status(self, now: datetime) -> str:
        """`planned`, `running` or `ended`."""
        return "planned" if now < self.start else "running" if now < self.end else "ended"

    def to_json(self) -> dict[str, Any]:
        """The experiment as plain JSON, its times aside."""
        return {name: value for name, value in asdict(self).items() if name not in ("start", "end")}

    @classmethod
    def of(cls, row: Row[Any]) -> Experiment:
        """The experiment of a row."""
        content: Mapping[str, Any] = row.specification
        arms = tuple(
            ArmSpec(**{**arm, "actions": None if arm["actions"] is None else tuple(arm["actions"])})
            for arm in content["arms"]
        )
        return cls(**{**content, "arms": arms, "start": row.start_at, "end": row.end_at})


@dataclass(frozen=True, slots=True)
class Assignment:
    """The arm of one customer, and since when it counts; None while the experiment does not run."""

    experiment: str
    customer_id: str
    arm: str
    exposed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Assigned:
    """How one customer is decided about."""

    arm: Arm | None = None
    ranking: Ranking = Ranking.GAIN


@dataclass(frozen=True, slots=True)
class Exposure:
    """A customer who met an experiment by a decision."""

    customer_id: str
    arm: Arm
    decision_id: str
    pre_period: float
    """What is known of the customer before, for CUPED."""


class Experiments:
    """The experiments of one database; several servers may share it."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._clock = clock

    def create(self, experiment: Experiment, principal: Principal) -> Experiment:
        """Register an experiment; the same again changes nothing.

        Raises:
            ExperimentConflict: the name is another experiment's, or another one bears on decisions at the same time.
        """
        with self._database.begin() as connection:
            self._database.lock(connection, _LOCK)
            standing = self._find(connection, experiment.name)
            if standing is not None:
                if standing != experiment:
                    raise ExperimentConflict(f"Another experiment has the name '{experiment.name}'.")
                return standing
            if experiment.bears_on_decisions:
                rows = connection.execute(
                    select(experiments).where(
                        experiments.c.start_at < experiment.end, experiments.c.end_at > experiment.start
                    )
                )
                for other in map(Experiment.of, rows):
                    if other.bears_on_decisions:
                        raise ExperimentConflict(
                            f"The experiment '{other.name}' bears on decisions at that time: a customer is in one such "
                            "experiment at a time."
                        )
            connection.execute(
                insert(experiments).values(
                    name=experiment.name,
                    specification=experiment.to_json(),
                    start_at=experiment.start,
                    end_at=experiment.end,
                    created_at=self._clock(),
                    created_by=principal.name,
                )
            )
        return experiment

    def stop(self, name: str) -> Experiment:
        """End an experiment now, if it has not ended; exposures and outcomes stay.

        Raises:
            UnknownExperiment: there is none by that name.
        """
        with self._database.begin() as connection:
            experiment, now = self._get(connection, name), self._clock()
            if experiment.end <= now:
                return experiment
            # One that never began ends as it begins.
            stopped = replace(experiment, end=max(now, experiment.start))
            connection.execute(update(experiments).where(experiments.c.name == name).values(end_at=stopped.end))
            return stopped

    def all(self) -> list[Experiment]:
        """All experiments, the newest first."""
        with self._database.read() as connection:
            order = (experiments.c.start_at.desc(), experiments.c.name)
            return [Experiment.of(row) for row in connection.execute(select(experiments).order_by(*order))]

    def get(self, name: str) -> Experiment:
        """The experiment by that name.

        Raises:
            UnknownExperiment: there is none.
        """
        with self._database.read() as connection:
            return self._get(connection, name)

    def assign(self, name: str, customer_id: str, pre_period: float | None) -> Assignment:
        """The customer's arm; while the experiment runs, the first time counts as exposure.

        Args:
            pre_period: what is known of the customer before, for CUPED.

        Raises:
            UnknownExperiment: there is none by that name.
        """
        with self._database.begin() as connection:
            experiment, now = self._get(connection, name), self._clock()
            arm = experiment.arm_of(customer_id).name
            if experiment.status(now) == "running":
                _expose(connection, [_exposure(name, customer_id, arm, now, None, pre_period)])
            mine = (exposures.c.experiment == name, exposures.c.customer_id == customer_id)
            exposed_at = connection.scalar(select(exposures.c.exposed_at).where(*mine))
            return Assignment(name, customer_id, arm, exposed_at)

    def record_outcome(self, name: str, customer_id: str, value: float) -> None:
        """Record the primary outcome of an exposed customer, once; the same again changes nothing.

        Raises:
            UnknownExperiment: there is none by that name.
            UnknownExposure: the customer never met it.
            ExperimentOutcomeConflict: another outcome is recorded.
        """
        with self._database.begin() as connection:
            self._database.lock(connection, "customer", [customer_id])
            known = self._outcome(connection, name, customer_id)
            if known is None:
                mine = (exposures.c.experiment == name, exposures.c.customer_id == customer_id)
                connection.execute(update(exposures).where(*mine).values(outcome=value, outcome_at=self._clock()))
            elif known != value:
                raise ExperimentOutcomeConflict(name, customer_id)

    def correct_outcome(self, name: str, customer_id: str, value: float, reason: str, principal: Principal) -> None:
        """Record the primary outcome of an exposed customer whatever was recorded before, which is kept.

        Raises:
            UnknownExperiment: there is none by that name.
            UnknownExposure: the customer never met it.
        """
        now = self._clock()
        with self._database.begin() as connection:
            self._database.lock(connection, "customer", [customer_id])
            before = self._outcome(connection, name, customer_id)
            mine = (exposures.c.experiment == name, exposures.c.customer_id == customer_id)
            connection.execute(update(exposures).where(*mine).values(outcome=value, outcome_at=now))
            subject = Subject(experiment=name, customer_id=customer_id)
            note(connection, subject, {"value": before}, {"value": value}, reason, principal, now)

    def outcome(self, name: str, customer_id: str) -> tuple[float | None, list[Correction]]:
        """The primary outcome of an exposed customer, None before there is one, and its corrections.

        Raises:
            UnknownExperiment: there is none by that name.
            UnknownExposure: the customer never met it.
        """
        with self._database.read() as connection:
            value = self._outcome(connection, name, customer_id)
            return value, history(connection, Subject(experiment=name, customer_id=customer_id))

    def _outcome(self, connection: Connection, name: str, customer_id: str) -> float | None:
        self._get(connection, name)
        row = connection.execute(
            select(exposures.c.outcome).where(exposures.c.experiment == name, exposures.c.customer_id == customer_id)
        ).one_or_none()
        if row is None:
            raise UnknownExposure(name, customer_id)
        return None if row.outcome is None else float(row.outcome)

    def _get(self, connection: Connection, name: str) -> Experiment:
        found = self._find(connection, name)
        if found is None:
            raise UnknownExperiment(name)
        return found

    def _find(self, connection: Connection, name: str) -> Experiment | None:
        row = connection.execute(select(experiments).where(experiments.c.name == name)).one_or_none()
        return None if row is None else Experiment.of(row)


def bearing_on_decisions(connection: Connection, now: datetime) -> Experiment | None:
    """The running experiment whose arms decide differently, if there is one."""
    rows = connection.execute(select(experiments).where(experiments.c.start_at <= now, experiments.c.end_at > now))
    return next((found for found in map(Experiment.of, rows) if found.bears_on_decisions), None)


def assigned(experiment: Experiment | None, customer_id: str, *, holdout: bool) -> Assigned:
    """How the customer is decided about; who is in the holdout meets no experiment."""
    if experiment is None or holdout:
        return Assigned()
    arm = experiment.arm_of(customer_id)
    actions = None if arm.actions is None else frozenset(arm.actions)
    if arm.policy == NOTHING:
        return Assigned(Arm(experiment.name, arm.name, frozenset()))
    return Assigned(Arm(experiment.name, arm.name, actions), Ranking(arm.policy))


def expose(connection: Connection, met: Iterable[Exposure], now: datetime) -> None:
    """Log who met an experiment; only a customer's first time counts."""
    rows = [
        _exposure(one.arm.experiment, one.customer_id, one.arm.name, now, one.decision_id, one.pre_period)
        for one in met
    ]
    if rows:
        _expose(connection, rows)


def _exposure(
    name: str, customer_id: str, arm: str, now: datetime, decision_id: str | None, pre_period: float | None
) -> dict[str, Any]:
    return {
        "experiment": name,
        "customer_id": customer_id,
        "arm": arm,
        "exposed_at": now,
        "decision_id": decision_id,
        "pre_period": pre_period,
    }


def _expose(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    connection.execute(dialect.insert(exposures).on_conflict_do_nothing(), [dict(row) for row in rows])


def exposed(connection: Connection, name: str) -> dict[str, int]:
    """How many customers met each arm."""
    rows = connection.execute(
        select(exposures.c.arm, func.count()).where(exposures.c.experiment == name).group_by(exposures.c.arm)
    )
    return {arm: int(count) for arm, count in rows}
