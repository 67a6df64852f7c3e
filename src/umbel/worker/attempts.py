"""What a keeper asks of the broker, and of what it has said that it did not work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from umbel.clock import Clock
from umbel.exceptions import LeaseLost, OperationalError

logger = logging.getLogger("umbel.worker")

#: Seconds for which a server was silent if it was waited for in vain. One that refuses does so at once.
SILENT = 0.5

#: Something that may fail, and is tried again with the next step.
Duty = Callable[..., object]


class Attempts:
    """Tries duties, and says once when the broker does not answer, and when it does again.

    `on_lost` is called where the supervisor itself was taken for dead.
    """

    def __init__(self, on_lost: Callable[[], None], clock: Clock) -> None:
        self._on_lost = on_lost
        self._clock = clock
        #: What did not work the last time, and was told of; and what the broker did not answer.
        self._complaints: set[Duty] = set()
        self._unanswered: set[Duty] = set()
        #: Whether there was a wait for a silent server since `begin`.
        self.in_vain = False

    def begin(self) -> None:
        """Begin a step."""
        self.in_vain = False

    @property
    def are_owed(self) -> bool:
        """Whether anything did not work the last time."""
        return bool(self._unanswered or self._complaints)

    def make(self, duty: Duty, *arguments: Any) -> bool:
        """Do something that needs the broker; tell whether that worked."""
        began = self._clock.monotonic()
        try:
            duty(*arguments)
        except LeaseLost:
            self._on_lost()
            return False
        except OperationalError as error:
            if not self._unanswered:
                logger.warning(
                    "The broker does not answer the supervisor; it keeps trying. %s", error
                )
            self._unanswered.add(duty)
            if self._clock.monotonic() - began >= SILENT:
                self.in_vain = True
            return False
        except Exception:
            # Whatever it is, the node's leases depend on this thread: it must go on.
            if duty not in self._complaints:
                logger.exception("The supervisor failed at %r; it keeps trying.", duty)
            self._complaints.add(duty)
            return False
        self._complaints.discard(duty)
        self.settle(duty)
        return True

    def settle(self, duty: Duty) -> None:
        """Note that a duty was answered, or is none any more."""
        if duty in self._unanswered:
            self._unanswered.discard(duty)
            if not self._unanswered:
                logger.warning("The broker answers the supervisor again.")
