"""How a user's mistake ends a command: with one sentence, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from features.errors import told


@contextmanager
def ending(
    end: Callable[[str, Exception], object], *mistakes: type[Exception], otherwise: str = "The command"
) -> Iterator[None]:
    """Give `end` what a user reads of one of the `mistakes`, of a file that the system refuses, or of a home that is damaged.

    `otherwise` is what failed where the system names no file. What is none of these is raised as it is.
    """
    try:
        yield
    except mistakes as error:
        end(told(error), error)
    except OSError as error:
        end(told(error, otherwise), error)
    except Exception as error:
        from features.damage import damage_behind

        damage = damage_behind(error)
        if damage is None:
            raise
        end(damage, error)
