"""What this process has done, though the server may not have heard that: it need not do it a second time.

An acknowledgement has no answer. When the connection is lost, the server gives what it did not hear of to
somebody again, marked. If that is this process, there is nothing left to do but to say so once more. A
message is recognized by the tag of its publish, which only umbel's have, and by no other process.

So is what a batch left at the server whose other messages it refused: when the batch is repeated, that is
left out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable

from umbel.ports import Action, Settlement

#: Seconds for which a tag is remembered, and how many are.
KEPT_FOR = 3600.0
MOST = 10_000


class Tags:
    """Tags of messages for which nothing is left to do. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tags: OrderedDict[str, float] = OrderedDict()

    def add(self, tags: Iterable[str], now: float) -> None:
        """Remember these."""
        with self._lock:
            for tag in tags:
                self._tags[tag] = now
                self._tags.move_to_end(tag)
            while len(self._tags) > MOST:
                self._tags.popitem(last=False)

    def has(self, tag: str | None, now: float) -> bool:
        """Tell whether nothing is left to do for a message."""
        if tag is None or not self._tags:
            return False
        with self._lock:
            return now - self._tags.get(tag, -KEPT_FOR) < KEPT_FOR


def is_done(item: Settlement) -> bool:
    """Tell whether nothing is left to do for a delivery but to acknowledge it.

    What goes back, or is parked, is published once more with the same tag.
    """
    return item.action is Action.ACK and not item.publish
