"""Who belongs where, by hash: the same unit comes to the same place for ever, in every process."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence
from itertools import accumulate

_SPACE = 2**64


def position(salt: str, unit: str) -> float:
    """Where `unit` stands in [0, 1): uniform over units, and independent between salts."""
    digest = hashlib.blake2b(f"{len(salt)}:{salt}{unit}".encode(), digest_size=8).digest()
    # 64 bits do not fit a float: the largest would round to 1.0, which is outside.
    return (int.from_bytes(digest, "big") >> 11) * (2048 / _SPACE)


def arm_of(salt: str, unit: str, shares: Sequence[float]) -> int:
    """The place of the arm that `unit` belongs to, arms being drawn with these shares, which sum to 1."""
    ends = list(accumulate(shares))
    return min(bisect.bisect_right(ends, position(salt, unit)), len(shares) - 1)
