"""What follows a build or a promotion: current scores are rewritten, in this process, by whoever declares to do so.

Features and training lie below serving, which keeps the current scores: what it does for them is found as the entry point
`current_scores` of the group `keepwell.after_change`, and neither imports it.
"""

from __future__ import annotations

import warnings
from importlib.metadata import entry_points
from typing import Final, Protocol

from features.home import Home

GROUP: Final = "keepwell.after_change"
CURRENT_SCORES: Final = "current_scores"
COMMAND: Final = "python -m serving refresh"


class AfterChange(Protocol):
    """What is called once another build or another champion stands in a home."""

    def __call__(self, home: Home, /) -> object: ...


def rewrite_current_scores(home: Home) -> list[str]:
    """Have the current scores of a home rewritten by what stands now; a sentence where that failed, whatever the reason.

    The build or the promotion before stands all the same, and a server that runs rewrites them by itself.
    """
    declared = entry_points(group=GROUP, name=CURRENT_SCORES)
    if not declared:
        return [f"Nothing that is installed rewrites the current scores: '{COMMAND}' does it."]
    try:
        with warnings.catch_warnings():
            # Libraries' notes to programmers: nobody asked for this command.
            warnings.showwarning = lambda *_, **__: None
            for one in declared:
                after_change: AfterChange = one.load()
                after_change(home)
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[-1]
        return [f"The current scores were not rewritten ({said}): '{COMMAND}' does it again."]
    return []
