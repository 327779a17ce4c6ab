"""What was answered lately, so that it need not be made again: as much as fits into so many bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """The most recently used values by key, up to `most` bytes together; for one thread.

    Args:
        most: bytes, as `put` is told them; 0 remembers nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[str, tuple[T, int]] = OrderedDict()
        self.bytes = 0
        """What is held now."""

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: str) -> T | None:
        """What was put last under `key`, None where that is not known or was given up."""
        found = self._held.get(key)
        if found is None:
            return None
        self._held.move_to_end(key)
        return found[0]

    def put(self, key: str, value: T, size: int) -> None:
        """Remember `value` of `size` bytes in place of what was known; the least recently used make room for it."""
        former = self._held.pop(key, None)
        if former is not None:
            self.bytes -= former[1]
        if size > self._most:
            return
        self._held[key] = (value, size)
        self.bytes += size
        while self.bytes > self._most:
            _, (_, gone) = self._held.popitem(last=False)
            self.bytes -= gone
