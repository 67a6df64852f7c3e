"""Attributes that are made when they are first asked for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from umbel.lazy import lazy


class House:
    made = 0

    @lazy
    def roof(self) -> object:
        """What is above."""
        House.made += 1
        return object()


def test_it_is_made_once_for_each() -> None:
    one, other = House(), House()
    before = House.made
    assert one.roof is one.roof is not other.roof
    assert House.made == before + 2
    assert House.roof.__doc__ == "What is above."


def test_it_can_be_set_and_taken_away() -> None:
    house = House()
    first = house.roof
    vars(house)["roof"] = "straw"
    assert house.roof == "straw"
    del vars(house)["roof"]
    assert house.roof is not first


def test_threads_that_ask_at_once_get_the_same_and_nobody_waits() -> None:
    """While two are within, which no lock would let them be."""
    both = threading.Barrier(2, timeout=20)

    class Slow:
        @lazy
        def found(self) -> Any:
            both.wait()
            return object()

    slow = Slow()
    with ThreadPoolExecutor(2) as threads:
        first, second = (threads.submit(lambda: slow.found) for _ in range(2))
        assert first.result(20) is second.result(20)
