"""What is remembered is what was put last, the least recently used is given up first, and the bytes are bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.scores.cache import Remembered

MOST = 20
STEPS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 25)), max_size=60)


@given(STEPS)
def test_holds_the_latest_within_its_bytes(steps: list[tuple[str, int | None]]) -> None:
    remembered: Remembered[tuple[str, int]] = Remembered(MOST)
    recent: list[tuple[str, int, int]] = []  # the plainest way to say it: a list, the latest last
    for turn, (key, size) in enumerate(steps):
        held = next((item for item in recent if item[0] == key), None)
        if size is None:
            assert remembered.get(key) == (None if held is None else (key, held[2]))
            if held is not None:
                recent.remove(held)
                recent.append(held)
            continue
        remembered.put(key, (key, turn), size)
        if held is not None:
            recent.remove(held)
        if size <= MOST:
            recent.append((key, size, turn))
        while sum(item[1] for item in recent) > MOST:
            recent.pop(0)
        assert remembered.bytes == sum(item[1] for item in recent) <= MOST
        assert len(remembered) == len(recent)


def test_none_where_nothing_may_be_held() -> None:
    remembered: Remembered[str] = Remembered(0)
    remembered.put("a", "answer", 1)
    assert remembered.get("a") is None
    assert remembered.bytes == 0
