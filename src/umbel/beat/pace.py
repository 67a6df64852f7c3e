"""How many entries a step of beat sends, and when it tries again with those that could not be sent.

After a step that failed the next ones are smaller, and at last an entry is alone. So one that the broker
never takes is found, and holds up no other; and a broker that is away is asked with one message at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

#: Most entries that one step sends.
AT_ONCE = 100
#: Seconds until what could not be sent is sent again.
RETRY_AFTER = 1.0
#: Most seconds until an entry is tried again that cannot be sent, while others can.
MOST_APART = 60.0


class Pace:
    """All times are those of the monotonic clock."""

    def __init__(self) -> None:
        self.at_once = AT_ONCE
        self._rests_until = 0.0
        #: Whether the last step could send.
        self._works = True
        #: Entries that could not be sent alone, and how often while others could.
        self._apart: dict[str, int] = {}

    def is_apart(self, name: str) -> bool:
        """Tell whether an entry is to be sent alone."""
        return name in self._apart

    def rest(self, now: float) -> float:
        """Return for how many seconds nothing is to be sent."""
        return max(self._rests_until - now, 0.0)

    def sent(self, names: Sequence[str]) -> None:
        """Note that a step could send these."""
        self._works, self.at_once = True, min(2 * self.at_once, AT_ONCE)
        for name in names:
            self.forget(name)

    def failed(self, names: Sequence[str], now: float) -> float:
        """Note that a step could not send these; return in how many seconds to try them again."""
        wait = RETRY_AFTER
        self.at_once = max(len(names) // 2, 1)
        if len(names) == 1:
            tries = self._apart[names[0]] = self._apart.get(names[0], 0) + self._works
            wait = min(RETRY_AFTER * 2 ** min(max(tries - 1, 0), 10), MOST_APART)
        if not self._works:
            self._rests_until = now + RETRY_AFTER
        self._works = False
        return wait

    def forget(self, name: str) -> None:
        """Forget what was noted of an entry."""
        self._apart.pop(name, None)
