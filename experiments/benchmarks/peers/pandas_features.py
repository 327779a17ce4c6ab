"""The features of an event log in pandas: a group_by a figure, on categories, vectorised throughout."""

from __future__ import annotations

import json
import re
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

COLUMNS = ["customer_id", "occurred_at", "received_at", "type", "value", "item", "feature"]


def main(folder: Path, target: Path, cutoffs: list[datetime]) -> None:
    """Read `folder`/events, write the features of all customers at all cutoffs, and say how long it took."""
    begun = time.perf_counter()
    log = pd.read_parquet(folder / "events", columns=COLUMNS)
    for name in ("customer_id", "type", "item", "feature"):
        log[name] = log[name].astype("category")
    described = pd.concat([features(log, cutoff) for cutoff in cutoffs], ignore_index=True)
    described.to_parquet(target)
    print(json.dumps({"seconds": time.perf_counter() - begun}))


def features(log: pd.DataFrame, cutoff: datetime) -> pd.DataFrame:
    """All figures at one cutoff: a row a customer."""
    at = pd.Timestamp(cutoff)
    seen = log[(log["occurred_at"] < at) & (log["received_at"] < at)]
    age = (at - seen["occurred_at"]).dt.total_seconds() / 86_400
    seen = seen.assign(age=age, day=np.ceil(age).astype(np.int32), customer=seen["customer_id"].cat.codes)
    figures: dict[str, Any] = {"tenure_days": seen.groupby("customer")["age"].max()}
    people = figures["tenure_days"].index
    session, used, purchase = (seen[seen["type"] == kind] for kind in ("session", "feature_used", "purchase"))
    for within in (7, 30, 90):
        figures[f"sessions_{within}d"] = number(session, within)
    figures["session_days_30d"] = number(days_of(session), 30, "day")
    rhythm("session", session, figures)
    weight = np.exp(-session["age"] / 30)
    faded = pd.DataFrame(
        {
            "customer": session["customer"],
            "values": session["value"] * weight,
            "weights": weight.where(session["value"].notna()),
        }
    ).groupby("customer")
    figures["session_value_recent"] = faded["values"].sum() / faded["weights"].sum()
    figures["session_value_mean_180d"] = session[session["age"] <= 180].groupby("customer")["value"].mean()
    for within in (30, 90):
        figures[f"feature_uses_{within}d"] = number(used, within)
    rhythm("feature_use", used, figures)
    figures["features_distinct_90d"] = distinct(used[used["age"] <= 90], "feature")
    figures["purchases_180d"] = number(purchase, 180)
    for within in (30, 90, 180):
        figures[f"purchase_days_{within}d"] = number(days_of(purchase), within, "day")
    figures["purchase_days"] = days_of(purchase)["customer"].value_counts()
    rhythm("purchase", purchase, figures)
    figures["purchase_first_days"] = purchase.groupby("customer")["age"].max()
    figures["spend_90d"] = purchase[purchase["age"] <= 90].groupby("customer")["value"].sum()
    figures["spend_total"] = purchase.groupby("customer")["value"].sum()
    figures["spend_per_day_mean"] = figures["spend_total"] / figures["purchase_days"]
    figures["items_distinct_180d"] = distinct(purchase[purchase["age"] <= 180], "item")
    counted = [name for name in figures if re.fullmatch(r"(?!.*_mean_).*_\d+d|spend_total|purchase_days", name)]
    frame = pd.DataFrame(figures, index=people)
    frame[counted] = frame[counted].fillna(0)
    frame.insert(0, "customer_id", log["customer_id"].cat.categories[people].astype(str))
    return frame.assign(cutoff=at)


def number(events: pd.DataFrame, within: int, by: str = "age") -> Any:
    """How many within so many days."""
    return events.loc[events[by] <= within, "customer"].value_counts()


def days_of(events: pd.DataFrame) -> pd.DataFrame:
    """A row for each customer and day."""
    return events[["customer", "day"]].drop_duplicates()


def distinct(events: pd.DataFrame, column: str) -> Any:
    """How many different words."""
    return events[["customer", column]].drop_duplicates()["customer"].value_counts()


def rhythm(prefix: str, events: pd.DataFrame, figures: dict[str, Any]) -> None:
    """Recency, trend and gap ratio."""
    ages = events.groupby("customer")["age"]
    recency, oldest = ages.min(), ages.max()
    now = number(events, 30).reindex(recency.index, fill_value=0)
    before = number(events[events["age"] > 30], 210).reindex(recency.index, fill_value=0)
    usual = (before * 30 / (oldest.clip(upper=210) - 30)).where((oldest >= 60) & (before > 0))
    days = days_of(events).groupby("customer")["day"].agg(["min", "max", "size"])
    gap = (days["max"] - days["min"]) / (days["size"] - 1).where(days["size"] > 1)
    figures[f"{prefix}_recency_days"] = recency
    figures[f"{prefix}_trend"] = now / usual
    figures[f"{prefix}_gap_ratio"] = recency / gap


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [datetime.fromisoformat(moment) for moment in sys.argv[3:]])
