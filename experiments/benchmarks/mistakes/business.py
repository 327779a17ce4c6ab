"""The small business that cases begin with: its files, its TOMLs with every key there is, and homes in which it was built."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

Rows = list[list[str]]

EVENTS: Final = """[business]
name = "shop"
currency = "EUR"
timezone = "Europe/Berlin"

[data]
kind = "events"
drop = ["touches_90d"]
max_set_aside = 0.9

[data.units]
session = "minutes"

[[data.events]]
path = "events.csv"
customer_id = "customer_id"
occurred_at = "occurred_at"
type = { column = "type" }
event_id = "event_id"
channel = "channel"
value = "value"
text = "text"
where = "value >= 0"
properties = { item = "item", survey = { constant = "nps" } }

[data.customers]
path = "customers.csv"
customer_id = "customer_id"
created_at = "created_at"
created_format = "%Y-%m-%d"
name = "name"
owner = "owner"
plan = "plan"
mrr = "mrr"
drop = ["secret"]

[churn]
definition = "inactivity"
activity = ["purchase", "session"]
horizon_days = 30
cutoffs = "monthly"

[health]
pdo = 10.0
bands = { red = 40, green = 60 }
minimum_coverage = 0.5

[value]
at_stake = "mrr * 12"

[training]
budget = "1 trial"

[evaluation]
top_k = 20
subgroups = ["plan"]

[watch]
psi = 0.2
missing = 0.1
importance = 0.25
auc_drop = 0.05
ece = 0.08
min_outcomes = 100

[[actions]]
name = "call"
channel = "phone"
cost = 5.0
prior_effect = 0.1
consent = "phone"
cap = { count = 1, days = 30 }
capacity = { count = 100, days = 7 }
minutes = 15.0
where = "mrr > 20"

[[actions]]
name = "offer"
channel = "email"
cost = 0.1
prior_effect = 0.02
channels = { push = "" }
recommends = true

[[levers]]
name = "renewal"
factor = 1.2
where = "tenure_days > 100"
actions = ["call"]

[policy]
confidence = 0.8
exploration = 0.1
floor = 0.01
holdout = 0.0
cap = { count = 3, days = 30 }
budget = { amount = 500.0, days = 7 }
staff = { minutes = 2400, days = 7 }
quiet_hours = { start = "20:00", end = "08:00", channels = ["phone"] }
lever_bounds = [0.5, 2.0]
reward = "money"

[recommendations]
consent = "email"
exclude_days = 30
repeatable = 0.05
"""
"""An event log, with every key that goes with it."""

TABLE: Final = """[business]
name = "table"

[data]
kind = "table"
path = "table.csv"
customer_id = "id"
outcome = "left"
churned = "yes"
drop = ["secret"]
order = "day"
order_format = "%Y-%m-%d"
max_set_aside = 0.9
delimiter = ","
encoding = "utf-8"
skip_lines = 0
decimal = "."
thousands = ""
missing = ["?"]
pillars = { spend = "commercial" }
directions = { spend = -1 }

[churn]
horizon_days = 90

[training]
budget = "1 trial"

[evaluation]
subgroups = ["word"]
"""
"""A table with a known outcome."""

TRIAL: Final = """[business]
name = "trial"

[decisions]
path = "decisions.csv"
customer_id = "id"
action = "arm"
no_action = "nothing"
reward = "reward"
pscore = { column = "chance" }
drop = ["secret"]
missing = ["?"]

[policy]
confidence = 0.8
"""
"""A trial of actions."""

CONFIGS: Final = {"shop.toml": EVENTS, "table.toml": TABLE, "trial.toml": TRIAL}
CUSTOMERS: Final = 60


def events(rng: random.Random, count: int) -> Rows:
    """Purchases, sessions, surveys and our own touches over ten months."""
    start = datetime(2024, 1, 1, 8)
    head = ["customer_id", "occurred_at", "type", "value", "event_id", "channel", "text", "item"]
    rows = [
        [
            f"C{rng.randint(1, CUSTOMERS)}",
            (start + timedelta(minutes=rng.randint(0, 300 * 1440))).isoformat(),
            rng.choice(["purchase", "purchase", "session", "survey_answered", "touch", "ticket_opened"]),
            str(rng.randint(1, 10)),
            f"e{number}",
            rng.choice(["email", "phone"]),
            rng.choice(["good", "too slow, again", ""]),
            rng.choice(["apple", "pear", "plum"]),
        ]
        for number in range(count)
    ]
    return [head, *rows]


def customers(rng: random.Random) -> Rows:
    """The customers' own attributes."""
    head = ["customer_id", "created_at", "name", "owner", "plan", "mrr", "region", "secret"]
    rows = [
        [f"C{n}", f"2023-0{1 + n % 9}-11", f"Name {n}", rng.choice(["ann", "bo"]), rng.choice(["basic", "pro"]),
         f"{rng.uniform(5, 90):.2f}", rng.choice(["north", "south"]), "1"]
        for n in range(1, CUSTOMERS + 1)
    ]  # fmt: skip
    return [head, *rows]


def table(rng: random.Random, count: int) -> Rows:
    """A table's customers, in order of days, and who of them left."""
    head = ["id", "day", "spend", "word", "left", "secret"]
    rows = [
        [f"K{n}", (datetime(2024, 1, 1) + timedelta(hours=6 * n)).date().isoformat(), f"{rng.uniform(0, 900):.2f}",
         rng.choice(["red", "blue", "grün"]), rng.choice(["yes", "no"]), "0"]
        for n in range(count)
    ]  # fmt: skip
    return [head, *rows]


def decisions(rng: random.Random, count: int) -> Rows:
    """What was done in a trial, and what came of it."""
    head = ["id", "spend", "word", "arm", "chance", "reward", "secret"]
    rows = [
        [f"K{n}", f"{rng.uniform(0, 900):.2f}", rng.choice(["red", "blue"]), rng.choice(["nothing", "call"]), "0.5",
         rng.choice(["0", "1"]), "0"]
        for n in range(count)
    ]  # fmt: skip
    return [head, *rows]


def text(rows: Rows, delimiter: str = ",", ending: str = "\n") -> str:
    """Rows as a CSV that quotes nothing: what is wrong in them stays wrong."""
    return ending.join(delimiter.join(row) for row in rows) + ending


def write(folder: Path, rng: random.Random, count: int) -> None:
    """The business's files and TOMLs, and some odd things to be taken for them."""
    files = {
        "events.csv": events(rng, 4 * count),
        "customers.csv": customers(rng),
        "table.csv": table(rng, count),
        "decisions.csv": decisions(rng, count),
        "asked.csv": [["customer_id"], *([f"C{n}"] for n in range(1, 12)), ["C1"], ["nobody"]],
    }
    for name, rows in files.items():
        (folder / name).write_text(text(rows))
    for name, config in CONFIGS.items():
        (folder / name).write_text(config)
    (folder / "folder").mkdir()
    (folder / "empty").touch()
    (folder / "text.txt").write_text("This is no database.\n" * 300)
    (folder / "loop").symlink_to("loop")
