"""A business's own decisions: the touches of its event log and the service's decisions, with what came of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import sqlalchemy

from features.config.business import Business
from features.generation import Generation
from features.home import Home
from features.schema import DType
from features.store.offline import OfflineStore
from models.decisions.actions import NO_ACTION
from models.decisions.effect_model import CHURN_PROBABILITY
from models.decisions.reference import DOING_NOTHING
from models.inference_log import DECISIONS, DecisionFeedback
from training.dataset.labels import data_end
from training.errors import DecisionLogError
from training.policy.logged_decisions import DecisionLog, check

RESPONSE_DAYS = 30
"""A click counts for the last touch by its action within so many days."""


def read_touches(business: Business, generation: Generation, home: Home, database_url: str | None) -> DecisionLog:
    """The business's decisions, each with the features that were known at its moment, joined point in time.

    A decision is an event `touch` with the properties `action` and `pscore`, or a row of the service's log. Its reward
    is 1 if the customer stayed in the window of [churn] horizon_days from then and 0 if not, as the service was told, or
    else by the definition of [churn]; it is not known where that window is not over.

    Raises:
        DecisionLogError: there are no decisions, or nothing can be learned from them.
    """
    last = generation.sources.last_event
    if business.churn is None or last is None:
        raise DecisionLogError(f'{business.path}: a policy needs [data] of kind "events" with touches, or [decisions].')
    events = _events(generation)
    decided = pd.concat([_logged(home, database_url), _touched(events)], ignore_index=True)
    # A decision that the service logged and the event log repeats is one decision.
    decided = decided.drop_duplicates("decision_id", keep="first", ignore_index=True)
    known = {name for name in decided["action"].tolist() if name is not None} - {NO_ACTION}
    declared = [action.name for action in business.actions]
    actions = tuple([name for name in declared if name in known] + sorted(known - set(declared)))
    if decided.empty or not actions:
        raise DecisionLogError(
            f"{business.path}: there are no decisions to learn from: neither events 'touch' with the properties 'action' "
            f"and 'pscore', nor decisions of the service."
        )
    decided = decided.sort_values(["decided_at", "customer_id"], kind="stable", ignore_index=True)
    code = {name: position for position, name in enumerate((NO_ACTION, *actions))}
    action = decided["action"].map(code).fillna(-1).to_numpy(dtype=np.int64)
    schema = generation.schema.predictive
    entities = pd.DataFrame({"customer_id": decided["customer_id"], "event_timestamp": decided["decided_at"]})
    frame = OfflineStore(generation).training_frame(entities, schema.names)
    log = DecisionLog(
        unit=CHURN_PROBABILITY,
        schema=schema,
        columns={
            feature.name: frame[feature.name].to_numpy(dtype=object if feature.dtype is DType.STRING else np.float64)
            for feature in schema
        },
        actions=actions,
        reference=DOING_NOTHING,
        row=np.arange(len(decided), dtype=np.int64),
        action=action,
        reward=_rewards(decided, events, business, data_end(last, business.timezone)),
        pscore=decided["pscore"].to_numpy(dtype=np.float64),
        eligible=_eligible(decided, events, business, actions, action),
        customer_id=decided["customer_id"].to_numpy(dtype=object),
        response=_responses(decided, events),
        fingerprint=generation.fingerprint,
        warnings=(),
    )
    return replace(log, warnings=check(log, str(business.path)))


def _events(generation: Generation) -> pd.DataFrame:
    """The events that a policy is learned from; `properties` as JSON text."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        frame: pd.DataFrame = connection.execute(
            "SELECT customer_id, occurred_at, type, "
            "json_extract_string(properties, '$.action') AS action, json_extract_string(properties, '$.scope') AS scope, "
            "json_extract_string(properties, '$.decision_id') AS decision_id, "
            "TRY_CAST(json_extract_string(properties, '$.pscore') AS DOUBLE) AS pscore "
            "FROM read_parquet(?) ORDER BY occurred_at",
            [generation.events_files],
        ).df()
    frame["occurred_at"] = frame["occurred_at"].dt.tz_convert("UTC").astype("datetime64[us, UTC]")
    return frame


def _touched(events: pd.DataFrame) -> pd.DataFrame:
    rows = events[(events["type"] == "touch") & events["action"].notna()]
    return pd.DataFrame(
        {
            "decision_id": rows["decision_id"].where(
                rows["decision_id"].notna(), [f"event {row}" for row in rows.index]
            ),
            "customer_id": rows["customer_id"].astype(object),
            "action": rows["action"].astype(object),
            "pscore": rows["pscore"].astype(np.float64),
            "decided_at": rows["occurred_at"],
            "reward": np.nan,
            "allowed": None,
        }
    )


def _logged(home: Home, database_url: str | None) -> pd.DataFrame:
    """The decisions in the service's database; none where there is no database yet."""
    columns = list(DecisionFeedback.__annotations__)
    empty = pd.DataFrame({name: pd.Series(dtype=object) for name in (*columns, "allowed")}).drop(columns="action_dist")
    empty = empty.astype({"pscore": float, "reward": float, "decided_at": "datetime64[us, UTC]"})
    if database_url is None and not home.database.exists():
        return empty
    engine = sqlalchemy.create_engine(database_url or f"sqlite:///{home.database}")
    try:
        if not sqlalchemy.inspect(engine).has_table(DECISIONS):
            return empty
        table = sqlalchemy.Table(DECISIONS, sqlalchemy.MetaData(), autoload_with=engine)
        with engine.connect() as connection:
            rows = connection.execute(sqlalchemy.select(*(table.c[name] for name in columns))).all()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise DecisionLogError(f"The service's database cannot be read: {str(error).splitlines()[0]}") from error
    finally:
        engine.dispose()
    if not rows:
        return empty
    frame = pd.DataFrame([tuple(row) for row in rows], columns=columns)
    frame["decided_at"] = pd.to_datetime([_utc(moment) for moment in frame["decided_at"]], utc=True).astype(
        "datetime64[us, UTC]"
    )
    frame["allowed"] = frame["action_dist"].map(_allowed)
    return frame.drop(columns="action_dist").astype({"pscore": float, "reward": float})


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _allowed(action_dist: Any) -> frozenset[str]:
    dist = json.loads(action_dist) if isinstance(action_dist, str) else action_dist
    return frozenset(name for name, share in dist.items() if share > 0)


def _rewards(decided: pd.DataFrame, events: pd.DataFrame, business: Business, end: datetime) -> Any:
    """Whether each decision's customer stayed, as the service was told where that is a share; NaN while it is open."""
    churn = business.churn
    assert churn is not None
    by_event = churn.definition == "event"
    types = (churn.event,) if by_event else churn.activity
    relevant = events.loc[events["type"].isin(types), ["customer_id", "occurred_at"]]
    found = pd.merge_asof(
        decided[["customer_id", "decided_at"]].assign(position=range(len(decided))).sort_values("decided_at"),
        relevant.sort_values("occurred_at"),
        left_on="decided_at",
        right_on="occurred_at",
        by="customer_id",
        direction="forward",
        tolerance=pd.Timedelta(days=churn.horizon_days),
    ).sort_values("position")
    inside = (found["occurred_at"] - found["decided_at"]) < pd.Timedelta(days=churn.horizon_days)
    seen = found["occurred_at"].notna().to_numpy() & inside.to_numpy()
    stayed = np.where(seen == by_event, 0.0, 1.0)
    complete = [
        moment.astimezone(ZoneInfo(business.timezone)) + timedelta(days=churn.horizon_days) <= end
        for moment in decided["decided_at"].tolist()
    ]
    matched = np.where(complete, stayed, np.nan)
    reported = decided["reward"].to_numpy(dtype=np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((reported >= 0.0) & (reported <= 1.0), reported, matched)


def _eligible(
    decided: pd.DataFrame, events: pd.DataFrame, business: Business, actions: tuple[str, ...], action: Any
) -> Any:
    """What might have been done: as the service logged it, else what consent allowed at the moment."""
    scopes = {spec.name: spec.consent for spec in business.actions}
    moments = decided[["customer_id", "decided_at"]].assign(position=range(len(decided))).sort_values("decided_at")
    consents = events[events["type"].isin(("consent_given", "consent_withdrawn"))]
    eligible = np.ones((len(decided), len(actions) + 1), dtype=np.bool_)
    for position, name in enumerate(actions):
        scope = scopes.get(name)
        said = consents.loc[consents["scope"] == scope, ["customer_id", "occurred_at", "type"]]
        if scope is not None and not said.empty:
            latest = pd.merge_asof(
                moments, said, left_on="decided_at", right_on="occurred_at", by="customer_id"
            ).sort_values("position")
            eligible[:, position + 1] = (latest["type"] == "consent_given").to_numpy()
    for row, allowed in enumerate(decided["allowed"].tolist()):
        if allowed is not None:
            eligible[row, 1:] = [name in allowed for name in actions]
    known = np.flatnonzero(action >= 0)
    eligible[known, action[known]] = True
    return eligible


def _responses(decided: pd.DataFrame, events: pd.DataFrame) -> Any:
    """Whether each touch was clicked: 1, or 0 where it was opened but not clicked; None where no click is recorded.

    Where openings are not recorded at all, every touch counts as opened.
    """
    clicked, opened = (_followed(decided, events, kind) for kind in ("touch_clicked", "touch_opened"))
    if not clicked.any():
        return None
    seen = opened | clicked if opened.any() else np.ones(len(decided), dtype=np.bool_)
    acted = (decided["action"] != NO_ACTION).to_numpy()
    return np.where(seen & acted, clicked.astype(np.float64), np.nan)


def _followed(decided: pd.DataFrame, events: pd.DataFrame, kind: str) -> Any:
    """Which decisions are the last one of an event's customer and action before it."""
    answers = events.loc[(events["type"] == kind) & events["action"].notna(), ["customer_id", "action", "occurred_at"]]
    touches = decided[["customer_id", "action", "decided_at"]].assign(position=range(len(decided)))
    found = pd.merge_asof(
        answers.astype({"customer_id": object, "action": object}).sort_values("occurred_at"),
        touches.sort_values("decided_at"),
        left_on="occurred_at",
        right_on="decided_at",
        by=["customer_id", "action"],
        tolerance=pd.Timedelta(days=RESPONSE_DAYS),
    )
    answered = np.zeros(len(decided), dtype=np.bool_)
    answered[found["position"].dropna().to_numpy(dtype=np.int64)] = True
    return answered
