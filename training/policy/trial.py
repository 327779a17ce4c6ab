"""A trial, or a log of decisions, from the file that [decisions] names."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from features.config.business import NO_ACTION, Business, Column
from features.config.data import MAX_SET_ASIDE, Decisions, Filled
from features.ingestion import files, source_files
from features.ingestion.cells.casts import Cell, literal
from features.ingestion.cells.missing import ANYWHERE, is_marker
from features.ingestion.csv_reader import Dialect
from features.ingestion.files import NOT_UTF8, Relation
from features.ingestion.profiling import profiled
from features.ingestion.quarantine import cure
from features.reasons import Reason
from features.schema import DType, Feature, FeatureSchema
from features.words import shown, word
from models.decisions.effect_model import REWARD
from models.decisions.logged_trials import NOTHING
from models.decisions.reference import ACTION, LOGGING, LOGGING_POLICY, NOTHING_DONE, Reference
from training.errors import DecisionLogError
from training.policy.logged_decisions import MOST_ACTIONS, DecisionLog, check
from training.policy.report import BEST_CONSTANT, PERSONAL, UNIFORM

_REWARDED = "; name the value that counts, as rewarded = {}, or rewarded = {{ filled = true }} where a blank cell means that nothing came of it"


def read_trial(business: Business) -> DecisionLog:
    """The decisions of the TOML's [decisions]; every column that no key names, and `drop` does not, is a feature.

    Raises:
        FeaturesError: the file or a column is not there.
        DecisionLogError: a column does not hold what its key says, or nothing can be learned.
    """
    try:
        return _read(business, check_text=False)
    except duckdb.Error as error:
        if NOT_UTF8 in str(error):
            return _read(business, check_text=True)
        reason = str(error).strip().splitlines()[0]
        raise DecisionLogError(f"{business.path}: its decisions cannot be read ({reason}).") from error


def _read(business: Business, check_text: bool) -> DecisionLog:
    spec = business.decisions
    assert spec is not None
    with tempfile.TemporaryDirectory() as scratch, duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = {literal(business.timezone)}")
        relation = files.read(connection, spec.path, Dialect.of(spec), Path(scratch), lambda *_: None, check_text)
        lost = _lost(connection, relation)
        action = relation.cell(spec.action, "[decisions] action")
        reward = relation.cell(spec.reward, "[decisions] reward")
        column = spec.pscore if isinstance(spec.pscore, Column) else None
        pscore = None if column is None else relation.cell(column.name, "[decisions] pscore")
        id = None if spec.customer_id is None else relation.cell(spec.customer_id, "[decisions] customer_id")
        dropped = {relation.cell(name, "[decisions] drop").name for name in spec.drop}
        used = {cell.name for cell in (action, reward, pscore, id) if cell is not None}
        names_of = [cell.name for cell in relation.cells if cell.name not in dropped | used]
        stated = [cell.name for cell in (reward, pscore) if cell is not None]
        read = profiled(
            lambda _, sql: connection.execute(sql), relation, names_of, spec, "[decisions]", stated, features=names_of
        )
        relation, profiles = read.relation, read.profiles
        action, reward = (relation.cell(cell.name, "[decisions]") for cell in (action, reward))
        pscore, id = (None if cell is None else relation.cell(cell.name, "[decisions]") for cell in (pscore, id))
        stated_numbers = [(reward, "reward")] if spec.rewarded is None else []
        for cell, key in [*stated_numbers, *([] if pscore is None else [(pscore, "pscore")])]:
            odd = connection.execute(f"SELECT {cell.written} FROM {relation.sql} WHERE {cell.junk} LIMIT 1").fetchone()
            if odd is not None:
                raise DecisionLogError(
                    f"{relation.path}: the column '{cell.name}', which [decisions] {key} names, holds {shown(odd[0])}, which "
                    f"is no number{_REWARDED.format(shown(odd[0])) if key == 'reward' else ''}."
                )
        selected = ", ".join(
            [
                f"{files.ROW} - 1 AS row",
                f"CASE WHEN {action.text} IS NOT NULL AND NOT {is_marker(action.written, _no_action(spec))} THEN {action.named} END "
                "AS action",
                f"{reward.number if spec.rewarded is None else _rewarded(reward, spec.rewarded)} AS reward",
                f"{'NULL::DOUBLE' if pscore is None else pscore.number} AS pscore",
                f"{'NULL::VARCHAR' if id is None else id.id} AS id",
                *(f"{profile.sql} AS f{position}" for position, profile in enumerate(profiles)),
            ]
        )
        table = connection.sql(f"SELECT {selected} FROM {relation.sql} ORDER BY {files.ROW}").to_arrow_table()
        digests = source_files.digests(relation.files, lambda *_: None, {})
        fingerprint = source_files.fingerprint(relation.files, digests)
    names: list[str | None] = table["action"].to_pylist()
    counts = Counter(name for name in names if name is not None)
    if not 2 <= len(counts) <= MOST_ACTIONS:
        raise DecisionLogError(
            f"{relation.path}: the column '{action.name}', which [decisions] action names, holds {len(counts)} different "
            f"actions, but 2 to {MOST_ACTIONS} can be compared."
        )
    reference = _reference(spec, counts, f"{relation.path}: the column '{action.name}'")
    actions = tuple(sorted(name for name in counts if name != reference.name))
    code: dict[str | None, int] = {name: position for position, name in enumerate((reference.name, *actions))}
    eligible = np.ones((table.num_rows, len(actions) + 1), dtype=np.bool_)
    eligible[:, NOTHING] = reference.is_choice
    ids: list[str | None] = table["id"].to_pylist()
    row = table["row"].to_numpy().astype(np.int64)
    columns: dict[str, Any] = {}
    for position, profile in enumerate(profiles):
        values = table[f"f{position}"]
        columns[profile.cell.name] = (
            _numbers(values) if profile.is_number else np.array(values.to_pylist(), dtype=object)
        )
    log = DecisionLog(
        unit=REWARD,
        schema=FeatureSchema(
            tuple(
                Feature(profile.cell.name, "other", DType.FLOAT if profile.is_number else DType.STRING)
                for profile in profiles
            )
        ),
        columns=columns,
        actions=actions,
        reference=reference,
        row=row,
        action=np.array([code.get(name, -1) for name in names], dtype=np.int64),
        reward=_numbers(table["reward"]),
        pscore=_numbers(table["pscore"]) if isinstance(spec.pscore, Column) else np.full(len(row), float(spec.pscore)),
        eligible=eligible,
        # A row without an id is a customer of its own.
        customer_id=np.array(
            [f"row {number}" if id is None else id for number, id in zip(row.tolist(), ids, strict=True)], dtype=object
        ),
        response=None,
        fingerprint=fingerprint,
        warnings=(),
        notes=(*relation.notes, *read.notes),
    )
    return replace(
        log, warnings=(*lost, *_alike(log.actions, reference.name, action.name), *check(log, str(relation.path)))
    )


def _lost(connection: duckdb.DuckDBPyConnection, relation: Relation) -> tuple[str, ...]:
    """A sentence on lines that are no rows.

    Raises:
        DecisionLogError: they are too many.
    """
    if relation.bad is None:
        return ()
    counts: list[tuple[str, int, int]] = connection.execute(
        f"SELECT reason, count(*), min({files.LINE}) FROM {relation.bad} WHERE reason <> ? GROUP BY 1 ORDER BY 2 DESC, 1",
        [Reason.NO_ROW],
    ).fetchall()
    lost = sum(count for _, count, _ in counts)
    reasons = ", ".join(f"{count:,} × {reason} (line {line})" for reason, count, line in counts)
    said = f"{relation.path.name}: {lost:,} of {relation.rows:,} decisions are set aside: {reasons}"
    if lost > MAX_SET_ASIDE * relation.rows:
        advice = cure(connection, relation.bad, 0, counts[0][0], None)
        raise DecisionLogError(f"{said}, and at most {MAX_SET_ASIDE:.0%} may be{advice}.")
    return (f"{said}.",) if lost else ()


def _no_action(spec: Decisions) -> list[str]:
    """What says in the column of actions that it is not known which, unless the TOML names an action so."""
    named = {word(name).lower() for name in (spec.no_action, spec.compare_to) if name is not None}
    return [marker for marker in ANYWHERE if marker not in named]


def _alike(actions: Sequence[str], reference: str, column: str) -> tuple[str, ...]:
    """A sentence on actions that differ only in case."""
    folded = Counter(name.casefold() for name in (*actions, reference))
    twins = [name for name in sorted((*actions, reference)) if folded[name.casefold()] > 1]
    if not twins:
        return ()
    return (
        f"The column '{column}' holds actions that differ only in case, and are several: {', '.join(map(repr, twins))}.",
    )


def _rewarded(reward: Cell, value: str | bool | int | float | Filled) -> str:
    """SQL: 1 where the reward is the value that counts, 0 for any other, NULL where it is not known."""
    meant = f"CAST(coalesce({reward.means(value)}, FALSE) AS DOUBLE)"
    return meant if isinstance(value, Filled) else f"CASE WHEN {reward.present} THEN {meant} END"


def _reference(spec: Decisions, counts: Counter[str], column: str) -> Reference:
    """What effects are against: what a key names, doing nothing where it was decided, or else the log's own policy."""
    taken = next((name for name in (PERSONAL, UNIFORM, BEST_CONSTANT, LOGGING_POLICY) if name in counts), None)
    if taken is not None:
        raise DecisionLogError(f"{column} holds the action '{taken}', which is what reports call a policy: rename it.")
    if spec.compare_to is not None:
        reference = Reference(ACTION, word(spec.compare_to))
    elif spec.no_action is not None or NO_ACTION in counts:
        reference = Reference(NOTHING_DONE, word(spec.no_action or NO_ACTION))
    else:
        return Reference(LOGGING, LOGGING_POLICY)
    if reference.name not in counts:
        key = "no_action" if spec.compare_to is None else "compare_to"
        held = ", ".join(f"'{name}'" for name, _ in counts.most_common(8))
        raise DecisionLogError(
            f"{column} never holds '{reference.name}', which [decisions] {key} names; it holds {held or 'nothing'}."
        )
    return reference


def _numbers(values: Any) -> Any:
    return np.asarray(values.cast("float64").fill_null(np.nan).to_numpy(), dtype=np.float64)
