"""Not asking again, for a moment, what has just not answered: of many callers one waits, and the others are told at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator


class Breaker:
    """Keeps callers from a store that does not answer.

    After a failure, all callers are refused for `pause` seconds; then one of them tries, and the others are refused until
    it has been answered. It may be used from several threads.

    Args:
        is_silence: whether an error says that the store does not answer; others are answers.
        refuse: the error for those who are not let through.
    """

    def __init__(
        self,
        is_silence: Callable[[Exception], bool],
        refuse: Callable[[], Exception],
        pause: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_silence = is_silence
        self._refuse = refuse
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._closed_until: float | None = None
        """When the next caller may try; None while the store answers."""

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Ask the store within the block.

        Raises:
            Exception: what `refuse` makes, if the store did not answer a moment ago.
        """
        if self._closed_until is not None:
            self._take_turn()
        try:
            yield
        except Exception as error:
            if not self._is_silence(error):
                self._reopen()
                raise
            with self._lock:
                self._closed_until = self._clock() + self._pause
            raise
        except BaseException:
            self._reopen()
            raise
        self._reopen()

    def _take_turn(self) -> None:
        with self._lock:
            if self._closed_until is None:
                return
            if self._clock() < self._closed_until:
                raise self._refuse()
            # This caller tries; the others wait for what becomes of it.
            self._closed_until = float("inf")

    def _reopen(self) -> None:
        if self._closed_until is not None:
            with self._lock:
                self._closed_until = None
