"""Every feature read from the raw events one by one, with nothing of the code that is tested."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from features.pillars.data_profile import FED_BY
from features.schema import PILLARS

DAY = timedelta(days=1)
ACTIONS = """
[[actions]]
name = "success_call"
channel = "phone"
cost = 8.0
consent = "phone"
cap = { count = 1, days = 30 }
prior_effect = 0.2
[[actions]]
name = "Winback: e-mail"
channel = "email"
cost = 0.1
consent = "email"
cap = { count = 3, days = 7 }
prior_effect = 0.1
"""
TYPES = (
    *("session",) * 8,
    *("feature_used",) * 6,
    *("purchase",) * 5,
    *("touch",) * 3,
    *("ticket_opened",) * 3,
    *("ticket_resolved",) * 2,
    *("survey_answered",) * 3,
    "touch_opened",
    "touch_clicked",
    "refund",
    "payment_failed",
    "subscription_started",
    *("subscription_renewed",) * 3,
    "subscription_changed",
    "subscription_cancelled",
    "comment",
    "consent_given",
    "consent_withdrawn",
    "Coupon Redeemed!",
    "visit",
)
CUTOFFS = (
    datetime(2025, 1, 1, tzinfo=UTC),
    datetime(2025, 2, 15, tzinfo=UTC),
    datetime(2025, 5, 31, tzinfo=UTC),
    datetime(2025, 3, 3, 12, 30, 0, 7, tzinfo=UTC),
)

Row = dict[str, Any]


def random_events(seed: int, customers: int = 12, each: int = 70) -> list[Row]:
    """Events of a year around the cutoffs: a third late, some on a cutoff's very microsecond, some valueless."""
    rng = np.random.default_rng(seed)
    start = datetime(2024, 6, 1, tzinfo=UTC)
    rows = []
    for customer in range(customers):
        for _ in range(int(rng.integers(1, each))):
            kind = TYPES[rng.integers(len(TYPES))]
            occurred = start + timedelta(microseconds=int(rng.integers(0, 400 * 86_400_000_000)))
            if rng.random() < 0.15:
                occurred = CUTOFFS[rng.integers(len(CUTOFFS))] - timedelta(microseconds=int(rng.integers(0, 2)))
            if rng.random() < 0.15:
                occurred = CUTOFFS[rng.integers(len(CUTOFFS))] - int(rng.choice([7, 30, 60, 90, 180, 210])) * DAY
            if rng.random() < 0.1:
                occurred = occurred.replace(hour=0, minute=0, second=0, microsecond=0)
            late = timedelta(hours=float(rng.exponential(60))) if rng.random() < 0.3 else timedelta(0)
            rows.append(
                {
                    "customer_id": f"C{customer}",
                    "occurred_at": occurred,
                    "received_at": occurred + late,
                    "type": kind,
                    "value": None if rng.random() < 0.2 else float(np.round(rng.normal(20, 30), 2)),
                    "properties": properties(kind, rng),
                }
            )
    return rows


def properties(kind: str, rng: np.random.Generator) -> dict[str, object]:
    if rng.random() < 0.1:
        return {}
    if kind.startswith("touch"):
        return {"action": ("success_call", "Winback: e-mail", "no_action")[rng.integers(3)], "pscore": 0.5}
    if kind.startswith("ticket"):
        return {"ticket": f"T{rng.integers(4)}", "first_contact": ("true", "false", True, None)[rng.integers(4)]}
    if kind.startswith("subscription"):
        return {"plan": ("basic", "pro", "größe")[rng.integers(3)], "mrr": float(rng.integers(5, 50))}
    of_kind: dict[str, dict[str, object]] = {
        "feature_used": {"feature": f"f{rng.integers(5)}"},
        "purchase": {"item": int(rng.integers(6))},
        "survey_answered": {"survey": ("nps", "csat", "ces")[rng.integers(3)]},
        "consent_given": {"scope": ("phone", "email")[rng.integers(2)]},
        "consent_withdrawn": {"scope": ("phone", "email")[rng.integers(2)]},
    }
    return of_kind.get(kind, {})


CUSTOMERS = [
    {"customer_id": "C0", "created_at": datetime(2024, 5, 1, 8, tzinfo=UTC), "plan": "old", "mrr": 9.5, "city": "Köln"},
    {"customer_id": "C1", "created_at": datetime(2025, 2, 1, tzinfo=UTC), "plan": None, "mrr": None, "seats": 4.0},
    {"customer_id": "silent", "created_at": datetime(2024, 12, 31, tzinfo=UTC), "plan": "", "mrr": 1.0, "city": ""},
    {"customer_id": "later", "created_at": CUTOFFS[2], "plan": "pro", "mrr": 2.0},
]


# --- the oracle: plain Python over the rows that were visible


@dataclass(frozen=True)
class Seen:
    """One customer's visible events at a cutoff, oldest first, and the customer's own row."""

    cutoff: datetime
    rows: Sequence[Row]
    customer: Mapping[str, Any]

    def age(self, row: Row) -> float:
        passed: timedelta = self.cutoff - row["occurred_at"]
        return passed / DAY

    def of(self, *types: str, days: float = math.inf, **wanted: str) -> list[Row]:
        return [
            row
            for row in self.rows
            if row["type"] in types
            and self.age(row) <= days
            and all(said(row, name) == word for name, word in wanted.items())
        ]

    def count(self, *types: str, days: float = math.inf, **wanted: str) -> float:
        return float(len(self.of(*types, days=days, **wanted)))

    def values(self, *types: str, days: float = math.inf, **wanted: str) -> list[float]:
        return [row["value"] for row in self.of(*types, days=days, **wanted) if row["value"] is not None]

    def total(self, *types: str, days: float = math.inf) -> float:
        return math.fsum(self.values(*types, days=days))

    def mean(self, *types: str, days: float = math.inf, **wanted: str) -> float | None:
        values = self.values(*types, days=days, **wanted)
        return statistics.fmean(values) if values else None

    def level(self, kind: str) -> float | None:
        weighted = [(row["value"], math.exp(-self.age(row) / 30)) for row in self.of(kind) if row["value"] is not None]
        return sum(v * w for v, w in weighted) / sum(w for _, w in weighted) if weighted else None

    def words(self, name: str, *types: str, days: float = math.inf) -> float:
        return float(len({said(row, name) for row in self.of(*types, days=days)} - {None}))

    def days(self, *types: str, days: float = math.inf) -> list[int]:
        return sorted({math.ceil(self.age(row)) for row in self.of(*types, days=days)})

    def recency(self, *types: str, **wanted: str) -> float | None:
        return min((self.age(row) for row in self.of(*types, days=math.inf, **wanted)), default=None)

    def latest(self, *types: str, **wanted: str) -> float | None:
        rows = [row for row in self.of(*types, days=math.inf, **wanted) if row["value"] is not None]
        return max(((row["occurred_at"], row["value"]) for row in rows), default=(None, None))[1]

    def gap(self, *types: str) -> float | None:
        days = self.days(*types)
        return (days[-1] - days[0]) / (len(days) - 1) if len(days) > 1 else None

    def gap_ratio(self, *types: str) -> float | None:
        gap, recency = self.gap(*types), self.recency(*types)
        return None if gap is None or recency is None else recency / gap

    def trend(self, *types: str) -> float | None:
        ages = [self.age(row) for row in self.of(*types)]
        oldest = max(ages, default=0.0)
        earlier = [age for age in ages if 30 < age <= 210]
        if oldest < 60 or not earlier:
            return None
        usual = len(earlier) / (min(oldest, 210) - 30) * 30
        return sum(age <= 30 for age in ages) / usual

    def share(self, part: float, whole: float) -> float | None:
        return part / whole if whole else None

    def tickets(self) -> list[tuple[float, float | None]]:
        """(age, age when resolved or None) of each opening."""
        found = []
        numbers = {"ticket_opened": 0, "ticket_resolved": 0}
        keys = []
        for row in self.of("ticket_opened", "ticket_resolved"):
            name = said(row, "ticket")
            if name is None:
                numbers[row["type"]] += 1
            keys.append(name if name is not None else numbers[row["type"]])
        rows = list(zip(keys, self.of("ticket_opened", "ticket_resolved"), strict=True))
        for key, row in rows:
            if row["type"] == "ticket_opened":
                ends = [self.age(other) for its, other in rows if its == key and other["type"] == "ticket_resolved"]
                resolved = min(ends, default=None)
                found.append((self.age(row), resolved if resolved is not None and resolved <= self.age(row) else None))
        return found

    def said_last(self, name: str) -> str | None:
        rows = [(row["occurred_at"], said(row, name)) for row in self.of(*FED_BY["relationship"][:4])]
        return max(((at, word) for at, word in rows if word is not None), default=(None, None))[1]

    def consent(self, scope: str) -> float | None:
        given, withdrawn = self.recency("consent_given", scope=scope), self.recency("consent_withdrawn", scope=scope)
        if given is None and withdrawn is None:
            return None
        return float(given is not None and (withdrawn is None or given < withdrawn))


def said(row: Row, name: str) -> str | None:
    word = row["properties"].get(name)
    if word is None or isinstance(word, str):
        return word
    return ("true" if word else "false") if isinstance(word, bool) else str(word)


Oracle = Callable[[Seen], float | str | None]


def rhythm(prefix: str, *types: str) -> dict[str, Oracle]:
    return {
        f"{prefix}_recency_days": lambda s: s.recency(*types),
        f"{prefix}_trend": lambda s: s.trend(*types),
        f"{prefix}_gap_ratio": lambda s: s.gap_ratio(*types),
    }


def windowed(prefix: str, windows: Sequence[int], figure: Callable[[Seen, int], float]) -> dict[str, Oracle]:
    def within(days: int) -> Oracle:
        return lambda seen: figure(seen, days)

    return {f"{prefix}_{days}d": within(days) for days in windows}


def counted(prefix: str, kind: str, *windows: int) -> dict[str, Oracle]:
    return windowed(prefix, windows, lambda s, d: s.count(kind, days=d))


def days_counted(prefix: str, kind: str, *windows: int) -> dict[str, Oracle]:
    return windowed(f"{prefix}_days", windows, lambda s, d: float(len(s.days(kind, days=d))))


def surveys(kind: str) -> dict[str, Oracle]:
    return {
        f"{kind}_latest": lambda s: s.latest("survey_answered", survey=kind),
        f"{kind}_mean": lambda s: s.mean("survey_answered", survey=kind),
    }


def took(seen: Seen, days: float = math.inf) -> list[tuple[float, float]]:
    """(age of resolution, days it took), for openings that were resolved."""
    return [(end, age - end) for age, end in seen.tickets() if end is not None and end <= days]


PAID = ("subscription_started", "subscription_renewed")


def due(seen: Seen) -> float | None:
    gap, recency = seen.gap(*PAID), seen.recency(*PAID)
    return None if gap is None or recency is None else gap - recency


def tenure(seen: Seen) -> float:
    created = seen.customer.get("created_at")
    starts = [row["occurred_at"] for row in seen.rows]
    starts += [created] if created is not None and created < seen.cutoff else []
    lasted: timedelta = seen.cutoff - min(starts)
    return lasted / DAY


def touches(seen: Seen, days: float = math.inf) -> list[Row]:
    return [row for row in seen.of("touch", days=days) if said(row, "action") != "no_action"]


def unpaid(seen: Seen) -> float:
    failed, paid = seen.recency("payment_failed"), seen.recency(*PAID)
    return float(failed is not None and (paid is None or failed < paid))


def first_contact(seen: Seen) -> float | None:
    told = [said(row, "first_contact") for row in seen.of("ticket_resolved", days=180)]
    told = [word for word in told if word is not None]
    return seen.share(float(sum(word == "true" for word in told)), float(len(told)))


def age_of(types: tuple[str, ...]) -> Oracle:
    return lambda seen: seen.recency(*types)


ORACLE: dict[str, Oracle] = {
    # adoption
    **counted("feature_uses", "feature_used", 30, 90),
    **rhythm("feature_use", "feature_used"),
    "features_distinct_90d": lambda s: s.words("feature", "feature_used", days=90),
    # engagement
    **counted("sessions", "session", 7, 30, 90),
    **days_counted("session", "session", 30),
    **rhythm("session", "session"),
    "session_value_recent": lambda s: s.level("session"),
    "session_value_mean_180d": lambda s: s.mean("session", days=180),
    "touches_90d": lambda s: float(len(touches(s, 90))),
    "touch_recency_days": lambda s: min((s.age(row) for row in touches(s)), default=None),
    "touch_opened_share_180d": lambda s: s.share(s.count("touch_opened", days=180), float(len(touches(s, 180)))),
    "touch_clicked_share_180d": lambda s: s.share(s.count("touch_clicked", days=180), float(len(touches(s, 180)))),
    "touches_success_call_30d": lambda s: s.count("touch", days=30, action="success_call"),
    "touches_Winback: e-mail_7d": lambda s: s.count("touch", days=7, action="Winback: e-mail"),
    # sentiment
    **surveys("nps"),
    **surveys("csat"),
    **surveys("ces"),
    **counted("comments", "comment", 180),
    "comment_recency_days": lambda s: s.recency("comment"),
    # support
    **counted("tickets", "ticket_opened", 30, 180),
    "tickets_trend": lambda s: s.trend("ticket_opened"),
    "tickets_open": lambda s: float(sum(end is None for _, end in s.tickets())),
    "oldest_open_ticket_days": lambda s: max((age for age, end in s.tickets() if end is None), default=None),
    "resolution_days_mean_180d": lambda s: statistics.fmean(t for _, t in took(s, 180)) if took(s, 180) else None,
    "resolution_days_latest": lambda s: min(took(s), default=(None, None))[1],
    "first_contact_share_180d": first_contact,
    # commercial
    "mrr": lambda s: float(s.said_last("mrr") or "nan") if s.said_last("mrr") else s.customer.get("mrr"),
    **counted("purchases", "purchase", 180),
    **days_counted("purchase", "purchase", 30, 90, 180),
    "purchase_days": lambda s: float(len(s.days("purchase"))),
    **rhythm("purchase", "purchase"),
    "purchase_first_days": lambda s: max((s.age(row) for row in s.of("purchase", days=math.inf)), default=None),
    "spend_90d": lambda s: s.total("purchase", days=90),
    "spend_total": lambda s: s.total("purchase"),
    "spend_per_day_mean": lambda s: s.total("purchase") / len(s.days("purchase")) if s.values("purchase") else None,
    "items_distinct_180d": lambda s: s.words("item", "purchase", days=180),
    **counted("refunds", "refund", 180),
    "refunded_180d": lambda s: s.total("refund", days=180),
    **counted("payment_failures", "payment_failed", 180),
    "payment_failure_recency_days": lambda s: s.recency("payment_failed"),
    "payment_unpaid": unpaid,
    # relationship
    "tenure_days": tenure,
    "anniversary_due_days": lambda s: 365 - tenure(s) % 365,
    "plan": lambda s: s.said_last("plan") if s.said_last("plan") is not None else s.customer.get("plan"),
    "renewals": lambda s: s.count("subscription_renewed"),
    "renewal_recency_days": lambda s: s.recency(*PAID),
    "renewal_due_days": due,
    **counted("plan_changes", "subscription_changed", 180),
    "cancellations": lambda s: s.count("subscription_cancelled"),
    "consent_phone": lambda s: s.consent("phone"),
    "consent_email": lambda s: s.consent("email"),
    # other
    **counted("coupon_redeemed", "Coupon Redeemed!", 7, 30, 90, 180),
    "coupon_redeemed_recency_days": lambda s: s.recency("Coupon Redeemed!"),
    **counted("visit", "visit", 7, 30, 90, 180),
    "visit_recency_days": lambda s: s.recency("visit"),
    "other_age_days": lambda s: s.recency("visit", "Coupon Redeemed!"),
    "city": lambda s: s.customer.get("city"),
    "seats": lambda s: s.customer.get("seats"),
    **{f"{pillar}_age_days": age_of(FED_BY[pillar]) for pillar in PILLARS},
}


def visible(events: Sequence[Row], cutoff: datetime) -> dict[str, list[Row]]:
    """Each customer's events that had happened and were known, oldest first."""
    seen: dict[str, list[Row]] = {}
    for row in sorted(events, key=lambda row: row["occurred_at"]):
        if row["occurred_at"] < cutoff and row["received_at"] < cutoff:
            seen.setdefault(row["customer_id"], []).append(row)
    return seen


def expected_population(events: Sequence[Row], customers: Sequence[Row], cutoff: datetime) -> set[str]:
    seen = visible(events, cutoff)
    here = set(seen) | {
        row["customer_id"] for row in customers if row.get("created_at") is not None and row["created_at"] < cutoff
    }
    for name, rows in seen.items():
        left = max((row["occurred_at"] for row in rows if row["type"] == "subscription_cancelled"), default=None)
        if left is not None and not any(
            row["type"] == "subscription_started" and row["occurred_at"] > left for row in rows
        ):
            here.discard(name)
    return here
