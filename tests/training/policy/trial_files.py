"""Trials as files, and a TOML beside each."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TOML = """
[business]
name = "{name}"
[decisions]
path = "{path}"
action = "arm"
no_action = "control"
reward = "reward"
pscore = {pscore}
{more}
"""


def write_trial(
    folder: Path, rows: Mapping[str, Any], name: str = "trial", pscore: str = "0.5", more: str = ""
) -> Path:
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*rows.values(), strict=True))
    path = folder / f"{name}.toml"
    path.write_text(TOML.format(name="shop", path=f"{name}.csv", pscore=pscore, more=more))
    return path
