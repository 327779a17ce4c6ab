"""The features of an event log in Polars: one lazy query a cutoff, filtered aggregates in one group_by, streamed."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

AGE = pl.col("age")
DAY = AGE.ceil()


def main(folder: Path, target: Path, cutoffs: list[datetime]) -> None:
    """Read `folder`/events, write the features of all customers at all cutoffs, and say how long it took."""
    begun = time.perf_counter()
    log = pl.scan_parquet(folder / "events" / "*.parquet").select(
        "customer_id", "occurred_at", "received_at", "type", "value", "item", "feature"
    )
    described = pl.concat([features(log, cutoff) for cutoff in cutoffs]).sort("cutoff", "customer_id")
    described.sink_parquet(target, engine="streaming")
    print(json.dumps({"seconds": time.perf_counter() - begun}))


def features(log: pl.LazyFrame, cutoff: datetime) -> pl.LazyFrame:
    """All figures at one cutoff: a row a customer."""
    at = pl.lit(cutoff)
    seen = log.filter((pl.col("occurred_at") < at) & (pl.col("received_at") < at)).with_columns(
        age=(at - pl.col("occurred_at")).dt.total_microseconds() / 86_400_000_000
    )
    session, used, purchase = (pl.col("type") == kind for kind in ("session", "feature_used", "purchase"))
    value, weight = pl.col("value"), (-AGE / 30).exp()
    days = DAY.filter(purchase).n_unique()
    figures: list[Any] = [
        AGE.max().alias("tenure_days"),
        *(number(session, within).alias(f"sessions_{within}d") for within in (7, 30, 90)),
        days_of(session, 30).alias("session_days_30d"),
        *rhythm("session", session),
        (value * weight).filter(session).sum().alias("faded_values"),
        weight.filter(session & value.is_not_null()).sum().alias("faded_weights"),
        value.filter(session & (AGE <= 180)).mean().alias("session_value_mean_180d"),
        *(number(used, within).alias(f"feature_uses_{within}d") for within in (30, 90)),
        *rhythm("feature_use", used),
        pl.col("feature").filter(used & (AGE <= 90)).n_unique().alias("features_distinct_90d"),
        number(purchase, 180).alias("purchases_180d"),
        *(days_of(purchase, within).alias(f"purchase_days_{within}d") for within in (30, 90, 180)),
        days.alias("purchase_days"),
        *rhythm("purchase", purchase),
        AGE.filter(purchase).max().alias("purchase_first_days"),
        value.filter(purchase & (AGE <= 90)).sum().alias("spend_90d"),
        value.filter(purchase).sum().alias("spend_total"),
        pl.col("item").filter(purchase & (AGE <= 180)).n_unique().alias("items_distinct_180d"),
    ]
    return (
        seen.group_by("customer_id")
        .agg(figures)
        .with_columns(
            cutoff=at,
            session_value_recent=pl.col("faded_values") / pl.col("faded_weights"),
            spend_per_day_mean=pl.when(pl.col("purchase_days") > 0).then(
                pl.col("spend_total") / pl.col("purchase_days")
            ),
        )
        .drop("faded_values", "faded_weights")
    )


def number(chosen: pl.Expr, within: int) -> pl.Expr:
    """How many within so many days."""
    return (chosen & (within >= AGE)).sum()


def days_of(chosen: pl.Expr, within: int) -> pl.Expr:
    """On how many different days."""
    return DAY.filter(chosen & (within >= AGE)).n_unique()


def rhythm(prefix: str, chosen: pl.Expr) -> list[pl.Expr]:
    """Recency, trend and gap ratio."""
    recency, oldest, day = AGE.filter(chosen).min(), AGE.filter(chosen).max(), DAY.filter(chosen)
    now, before = number(chosen, 30), (chosen & (AGE > 30) & (AGE <= 210)).sum()
    usual = pl.when(oldest >= 60).then(before * 30 / (pl.min_horizontal(oldest, pl.lit(210.0)) - 30))
    steps = day.n_unique() - 1
    gap = pl.when(day.n_unique() > 1).then((day.max() - day.min()) / steps)
    return [
        recency.alias(f"{prefix}_recency_days"),
        pl.when(usual > 0).then(now / usual).alias(f"{prefix}_trend"),
        (recency / gap).alias(f"{prefix}_gap_ratio"),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [datetime.fromisoformat(moment) for moment in sys.argv[3:]])
