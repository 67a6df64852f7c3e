"""Messages that are not sent yet: those of what follows a call, until the step that settles it."""

from __future__ import annotations

from collections.abc import Sequence

from umbel import current
from umbel.message import Publication
from umbel.ports import GroupOpening
from umbel.publish import derived_tag, tagged
from umbel.request import Request


class Outbox:
    """Takes the place of the broker while a call's followers are sent, and keeps their messages.

    Ids and tags are computed from the call's own: who fills an outbox for the same call again, because the
    first worker died, makes the same messages, and a broker that dedupes takes each once.
    """

    def __init__(self, tag: str, call_id: str, purpose: str) -> None:
        self.publications: list[Publication] = []
        #: Groups that have to be open before the publications are sent.
        self.openings: list[GroupOpening] = []
        self._tag = tag
        self._purpose = f"{purpose} {call_id}"
        self._ids = 0
        #: How many publications there are of each task id.
        self._sent: dict[str, int] = {}

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        """Keep publications, with tags of ours.

        A tag goes by the task id, not by the place: one that fails must not give its tag to another.
        """
        for publication in publications:
            task_id = publication.task_id
            copies = self._sent.get(task_id, 0)
            self._sent[task_id] = copies + 1
            tag = self._derived(f"message {task_id} {copies}")
            self.publications.append(tagged(publication, tag))

    def clear(self) -> None:
        """Forget what was kept."""
        self.publications.clear()
        self.openings.clear()
        self._sent.clear()

    def new_id(self) -> str:
        """Return another id."""
        self._ids += 1
        return self._derived(f"id {self._ids}")

    def _derived(self, what: str) -> str:
        return derived_tag(self._tag, f"{self._purpose} {what}")

    def open(self, request: Request) -> _Open:
        """Collect what is sent within the block, as if by the call of `request`."""
        return _Open(self, request)


class _Open:
    """An outbox that collects; a context manager made by hand takes a third of the time of a generator."""

    __slots__ = ("_entered", "_outbox", "_request", "_token")

    def __init__(self, outbox: Outbox, request: Request) -> None:
        self._outbox = outbox
        self._request = request

    def __enter__(self) -> None:
        self._entered = current.enter(self._request)
        self._token = current.outbox.set(self._outbox)

    def __exit__(self, *error: object) -> None:
        current.outbox.reset(self._token)
        current.leave(self._entered)
