"""A Python that has imported what commands take seconds to import, and forks a child for each `python -m …` it is told.

Reads an order a line from stdin, as JSON: {"argv", "cwd", "environment", "output"}. Answers each, when it has ended, with a line that says
its exit code, or minus the signal that ended it.
"""

import json
import os
import runpy
import sys
import traceback
import warnings

import matplotlib.pyplot as plt
import mlflow.artifacts
import mlflow.store.tracking.sqlalchemy_store as store
import shap

import experiments.__main__
import experiments.compare
import features.__main__
import features.build
import serving.__main__
import serving.app
import training.__main__
import training.monitoring.watch
import training.policy.train
import training.promotion.model
import training.run

IMPORTED = (plt, mlflow, store, shap, experiments, features, serving, training)


def run(argv: list[str], cwd: str, environment: dict[str, str], output: str) -> int:
    """Be `python -m MODULE …` in `cwd`, and return its exit code."""
    out = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, out), (2, out)):
        os.dup2(source, target)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    # A module that was imported as itself would be run a second time, with a warning.
    sys.modules.pop(f"{argv[0]}.__main__", None)
    try:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main() -> None:
    """Obey until stdin ends."""
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os._exit(run(**order))
        _, status = os.waitpid(child, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    # Threads that some import started would keep it.
    os._exit(0)


if __name__ == "__main__":
    main()
