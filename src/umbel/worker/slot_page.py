"""The page of a child that runs many deliveries at a time: each has a place of its own, and its own clock.

A place is taken when a delivery is, and free again when it is settled or given back. All deliveries that are
taken together are one batch for the supervisor's fence, which closes the batches up to one.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from umbel.worker.page import (
    _BATCH,
    _BATCH_AT,
    _CLOCK,
    _CLOCK_AT,
    _FENCE_AT,
    _HARD_AT,
    _NUMBER,
    _STATES_AT,
    CAPACITY,
    EACH,
    KEY_SIZE,
    RUNNING,
    WAITING,
    Page,
)

_TIME = struct.Struct("<d")
#: Where in a delivery's clock its hard deadline is.
_HARD_IN_CLOCK = 16


class SlotPage(Page):
    """See the module's text. Places are taken and freed by any thread."""

    # It sees to it at once, unless something holds the interpreter's lock.
    patience = 0.5

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        super().__init__(path, memory)
        self._free = deque(range(self.capacity))
        self._batches = [0] * self.capacity

    @staticmethod
    def capacity_for(slots: int) -> int:
        """Return how many places a child with so many slots needs: what waits has one too."""
        return slots + CAPACITY

    @property
    def room(self) -> int:
        """How many places are free."""
        return len(self._free)

    def take(self) -> int:
        """Take a place, of which nobody is told yet."""
        return self._free.popleft()

    def put(self, indexes: Sequence[int], keys: Sequence[str]) -> None:
        """Say that these deliveries are held and wait, as one batch."""
        memory, batch = self._memory, self._batch + 1
        # A reader starts over when this number changes meanwhile, and so sees all places at one moment.
        _BATCH.pack_into(memory, _BATCH_AT, batch, EACH)
        for index, key in zip(indexes, keys, strict=True):
            at = self._keys_at + index * KEY_SIZE
            memory[at : at + KEY_SIZE] = key.encode().ljust(KEY_SIZE, b"\0")
            self._batches[index] = batch
            memory[_STATES_AT + index] = WAITING
        self._batch = batch + 1
        _BATCH.pack_into(memory, _BATCH_AT, self._batch, EACH)

    def start(self, index: int, now: float, soft: float = 0.0, hard: float = 0.0) -> bool:
        """Say that a delivery starts; False when its batch is fenced and it may not."""
        memory = self._memory
        _TIME.pack_into(memory, _CLOCK_AT, now)
        _CLOCK.pack_into(memory, self._clocks_at + index * _CLOCK.size, now, soft, hard)
        memory[_STATES_AT + index] = RUNNING
        if _NUMBER.unpack_from(memory, _FENCE_AT)[0] >= self._batches[index]:
            memory[_STATES_AT + index] = WAITING
            return False
        return True

    def expect(self, deadline: float) -> None:
        """Say when to look for what exceeds its hard time limit; 0.0: there is nothing to look for."""
        _TIME.pack_into(self._memory, _HARD_AT, deadline)

    def lift(self, index: int) -> str:
        """Say that a delivery has ended; return the key of what had to end sooner, if any."""
        _TIME.pack_into(self._memory, self._clocks_at + index * _CLOCK.size + _HARD_IN_CLOCK, 0.0)
        return self.condemned

    def drop(self, index: int) -> None:
        """Say that a delivery is held no more; its place is free then."""
        super().drop(index)
        self._free.append(index)
