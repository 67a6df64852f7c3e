"""Connections that threads share: what is kept, and what is not."""

from __future__ import annotations

from umbel.clock import SYSTEM
from umbel.engines.pool import Pool


class Link:
    """A connection that works until it is closed."""

    def __init__(self) -> None:
        self.busy = False
        self.used = 0.0
        self.closed = False

    @property
    def is_fit(self) -> bool:
        return not self.closed

    def close(self) -> None:
        self.closed = True

    def let_go(self) -> None:
        self.close()


def test_what_was_in_use_when_the_pool_was_closed_is_closed_when_it_is_given_back() -> None:
    pool: Pool[Link] = Pool(SYSTEM, 4)
    idle, used = pool.add(Link()), pool.add(Link())
    pool.give_back(idle)
    pool.close_idle()
    assert (idle.closed, used.closed) == (True, False)
    pool.give_back(used)
    assert used.closed
    assert pool.take() is None


def test_a_pool_that_was_closed_keeps_what_is_opened_later() -> None:
    pool: Pool[Link] = Pool(SYSTEM, 4)
    pool.close_idle()
    link = pool.add(Link())
    pool.give_back(link)
    assert pool.take() is link
