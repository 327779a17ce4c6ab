"""A program that imports everything once and forks a child for each command, so that a test can kill many children.

Reads a command a line from stdin, as JSON, after the online store's URL, blank for the embedded one: [URL, "build", CONFIG, HOME],
[URL, "train", CONFIG, HOME] or [URL, "promote", HOME].
Writes a line of JSON for each thing that happens: {"pid"}, {"phase", "share"} while a build goes on, {"exit"}.
"""

import contextlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import matplotlib.pyplot as plt
import mlflow.artifacts
import mlflow.store.tracking.sqlalchemy_store as store
import shap

from features.build import build
from features.config.business import Business
from features.config.environment import Environment
from features.home import Home
from training.promotion.model import promote
from training.run import run

# What a training imports when it comes to it, a child would otherwise import anew each time.
IMPORTED = (plt, mlflow, store, shap)


def say(**facts: object) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


class Steps:
    @contextlib.contextmanager
    def step(self, description: str, total: int = 1) -> Iterator[Callable[[], None]]:  # noqa: ARG002
        say(phase=description, share=0.0)
        yield lambda: None


def obey(online_store: str, *command: str) -> None:
    os.environ["KEEPWELL_HOME"], os.environ["KEEPWELL_ONLINE_STORE"] = command[-1], online_store
    home = Home(Path(command[-1]))
    if command[0] == "build":
        built = build(
            Business.load(Path(command[1])),
            home,
            datetime.now(UTC),
            lambda phase, share: say(phase=phase, share=share),
            Environment.from_environment().online_store,
        )
        say(built=built.generation.id)
    elif command[0] == "train":
        say(version=run(Business.load(Path(command[1])), home, Steps()).model_version)
    else:
        say(promoted=promote(home).model.version)


def main() -> None:
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            try:
                obey(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        say(pid=child)
        _, status = os.waitpid(child, 0)
        say(exit=os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
