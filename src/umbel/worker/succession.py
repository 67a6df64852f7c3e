"""How a child becomes another owner while tasks run in it.

When the answer of a fetch is lost, the broker may have leased messages to the child of which it does not
know. They are found by taking over: the child attaches as another owner, its heir, and reclaims all that the
owner it was holds. What runs comes over with the keys it has, and is settled by these as if nothing had
happened. What has not started goes back to its queue, and what nobody here knows of, too.

The answer of the reclaim may be lost as well. It is asked for again, and that answer says for certain that
the former owner is gone; but what the first one handed over, unheard, is known only to who reclaims it from
the heir. So that one is succeeded, too. There are never more than two owners, and the page names both before
the second one can hold anything: whoever finds the child dead takes over from both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Set
from contextlib import suppress

from umbel.exceptions import LeaseLost, OperationalError
from umbel.ports import Consumer
from umbel.worker.page import Page
from umbel.worker.settler import Settler

logger = logging.getLogger("umbel.worker")


class Succession:
    """Lets the settler of a child work with another consumer. `attach` makes one, and says so in the page."""

    def __init__(self, page: Page, attach: Callable[[], Settler]) -> None:
        self._page = page
        self._attach = attach
        self._heir: Consumer | None = None
        #: Whether the heir was told to reclaim, and has not answered.
        self._asked = False

    @property
    def is_under_way(self) -> bool:
        """Whether it has begun and not come to its end: nothing can be settled before."""
        return self._heir is not None

    def succeed(self, settler: Settler, unstarted: Collection[str], known: Set[str]) -> None:
        """Let another consumer hold what is `known`, and nothing else.

        The keys of `unstarted` go back to their queues. Raises OperationalError when the broker does not
        answer: it is to be called again then, before anything is settled.
        """
        is_certain = False
        while not is_certain:
            former = settler.consumer
            heir = self._next(former)
            is_certain, self._asked = not self._asked, True
            try:
                deliveries = heir.reclaim(former.owner.id, unstarted)
            except LeaseLost:  # it was taken for dead, at once
                self._heir, is_certain = None, False
                _close(heir)
                continue
            settler.consumer, self._heir = heir, None
            _close(former)
        handed = {delivery.key for delivery in deliveries}
        if not handed <= known:
            heir.release(handed - known)
        self._page.succeed("")
        lost = known - handed - settler.unanswered
        if lost:
            logger.error(
                "This process was taken for dead while the broker did not answer: %d tasks held here will run"
                " elsewhere.",
                len(lost),
            )

    def _next(self, former: Consumer) -> Consumer:
        """Return the heir, which is attached once the page says whose it is."""
        if self._heir is None:
            self._page.succeed(former.owner.id)
            self._heir, self._asked = self._attach().consumer, False
        return self._heir


def _close(consumer: Consumer) -> None:
    """Close what is of no use any more: it may have connections of its own."""
    with suppress(OperationalError, LeaseLost):
        consumer.close()
