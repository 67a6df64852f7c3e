"""The state store of a spread cluster: all of it is in the home."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.engines.redis.spread.places import Place
from umbel.engines.redis.state import RedisState
from umbel.ports import Change, StateStore


class SpreadState(RedisState):
    """See `umbel.ports.StateStore`. Its values and the queues do not change together."""

    def __init__(self, home: Place) -> None:
        super().__init__(home.server, lambda: home.broker)

    def change(self, changes: Sequence[Change], timeout: float) -> list[bool]:
        """Refuse."""
        return StateStore.change(self, changes, timeout)
