"""Results as replies (``rpc://``): each goes as a message to the queue of the process that asked for it.

A result is there for that process alone, and once. The form is Celery's (celery/backends/rpc.py): the
document is the body, and the call's id goes with it. Nothing is kept, so there are no groups, and no results
for others.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from time import monotonic
from typing import Any

from umbel.clock import unique_id
from umbel.engines.rabbitmq import envelope, wire
from umbel.engines.rabbitmq.core import Core
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.publisher import Outgoing
from umbel.engines.rabbitmq.topology import declare_queue
from umbel.engines.rabbitmq.wire import Event, method
from umbel.message import Message, Publication
from umbel.ports import GroupPart, ResultStore, ResultSubscription
from umbel.records import ResultRecord

#: Seconds after which the queue of a process goes that listens no more.
UNUSED = 3600.0
#: Results that a process keeps which nobody has asked for.
KEPT = 10_000
#: Replies that are with this process and not acknowledged.
WINDOW = 500


class RabbitReplies(ResultStore):
    """See `umbel.ports.ResultStore`; what is about groups raises NotImplementedError, as Celery's does."""

    counts_parts = False

    def __init__(self, core: Core, persistent: bool) -> None:
        self._core = core
        self._mode = 2 if persistent else 1
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._queue = f"{self._core.topology.prefix}umbel.reply.{unique_id()}"
        self._link: Link | None = None
        self._known: OrderedDict[str, ResultRecord] = OrderedDict()

    # Asking

    @property
    def reply_to(self) -> str:
        """The queue of this process, which is there when its name is known."""
        self.link()
        return self._queue

    def link(self, timeout: float | None = None) -> Link:
        """Return the connection on which replies come."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            link = self._link
            if link is None or link.broken is not None:
                link = self._core.open("replies", timeout)
                declare_queue(link, self._queue, {"x-expires": int(UNUSED * 1000)})
                link.send(method(wire.QOS, "lBb", 0, WINDOW, False))
                link.call(
                    method(
                        wire.CONSUME,
                        "BssbbbbF",
                        0,
                        self._queue,
                        "1",
                        False,
                        False,
                        False,
                        False,
                        {},
                    ),
                    wire.CONSUME_OK,
                    other=self.take,
                )
                self._link = link
            return link

    def take(self, event: Event) -> None:
        """Note a reply."""
        if event.name != wire.DELIVER:
            return
        record = _record(event)
        with self._lock:
            if record is not None:
                before = self._known.get(record.task_id)
                if before is None or not before.ready:
                    self._known[record.task_id] = record
                    self._known.move_to_end(record.task_id)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        link = self._link
        if link is not None:
            link.send(method(wire.ACK, "Lb", event.arguments[1], False))

    def known(self, task_ids: Collection[str]) -> dict[str, ResultRecord]:
        """Return what has come."""
        with self._lock:
            return {name: self._known[name] for name in task_ids if name in self._known}

    def get(
        self, task_ids: Collection[str], timeout: float | None = None
    ) -> dict[str, ResultRecord]:
        """Take what has come, unless another thread does."""
        link = self.link(timeout)
        if link.reading.acquire(blocking=False):
            try:
                link.refresh()
                while (event := link.receive(0.0)) is not None:
                    self.take(event)
            finally:
                link.reading.release()
        return self.known(task_ids)

    def subscribe(self) -> ResultSubscription:
        """Return a subscription, which reads for all."""
        return _Subscription(self)

    def forget(self, task_ids: Collection[str]) -> None:
        """Forget what has come."""
        with self._lock:
            for task_id in task_ids:
                self._known.pop(task_id, None)

    # Answering

    def put(self, records: Sequence[ResultRecord]) -> None:
        """Do nothing: nobody knows who asked for these."""

    def put_of(self, results: Sequence[tuple[ResultRecord, Any]]) -> None:
        """Answer those who asked, by what their messages say."""
        messages = []
        for record, call in results:
            asker = getattr(call, "reply_to", None)
            if asker:
                correlation = getattr(call, "correlation_id", None) or record.task_id
                messages.append(self._reply(record, asker, correlation))
        if messages:
            self._core.publisher.publish(messages, self._core.address.timeout)

    def _reply(self, record: ResultRecord, asker: str, correlation: str) -> Outgoing:
        document = record.document
        body = document.encode() if isinstance(document, str) else document
        message = Message({}, {"correlation_id": correlation, "delivery_mode": self._mode}, body)
        written = envelope.write(
            Publication(asker, message, record.task_id), self._core.publisher.frame_max
        )
        # Who asked may be gone, and its queue with it.
        return Outgoing(written, "", asker, "", mandatory=False)

    # What it does not offer

    def open_group(self, group: str, size: int, expires: float | None) -> None:
        """Refuse."""
        raise _no_groups()

    def extend_group(self, group: str, part: str) -> None:
        """Refuse."""
        raise _no_groups()

    def add_parts(self, parts: Sequence[GroupPart]) -> list[bool]:
        """Refuse."""
        raise _no_groups()

    def pass_on(self, parts: Sequence[tuple[GroupPart, Mapping[str, Any]]]) -> None:
        """Do nothing, as Celery's does: a chord of somebody else's has another store."""

    def parts(self, group: str) -> list[str | bytes]:
        """Refuse."""
        raise _no_groups()

    def close_group(self, group: str, claimant: str) -> bool:
        """Refuse."""
        raise _no_groups()

    def save_group(self, group: str, document: str | bytes, expires: float | None) -> None:
        """Refuse."""
        raise _no_groups()

    def saved_group(self, group: str) -> str | bytes | None:
        """Refuse."""
        raise _no_groups()

    def forget_group(self, group: str) -> None:
        """Refuse."""
        raise _no_groups()

    def cleanup(self) -> int:
        """Nothing is kept."""
        return 0

    def close(self) -> None:
        """Close the connection; the queue goes when nobody listens for an hour."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None and self._pid == os.getpid():
            link.close()


class _Subscription(ResultSubscription):
    """See `umbel.ports.ResultSubscription`."""

    def __init__(self, store: RabbitReplies) -> None:
        self._store = store
        self._wanted: dict[str, ResultRecord | None] = {}

    def add(self, task_ids: Collection[str], timeout: float | None = None) -> None:
        self._store.link(timeout)
        for task_id in task_ids:
            self._wanted.setdefault(task_id, None)

    def discard(self, task_ids: Collection[str]) -> None:
        for task_id in task_ids:
            self._wanted.pop(task_id, None)

    def receive(self, timeout: float) -> dict[str, ResultRecord]:
        deadline = monotonic() + timeout
        news = self._news()
        if news:
            return news
        link = self._store.link()
        with link.reading:
            link.refresh()
            while not (news := self._news()):
                event = link.receive(max(deadline - monotonic(), 0.0))
                if event is None:
                    break
                self._store.take(event)
                while (event := link.receive(0.0)) is not None:
                    self._store.take(event)
        return news

    def _news(self) -> dict[str, ResultRecord]:
        found = {
            task_id: record
            for task_id, record in self._store.known(self._wanted).items()
            if self._wanted[task_id] is not record
        }
        for task_id, record in found.items():
            if record.ready:
                del self._wanted[task_id]
            else:
                self._wanted[task_id] = record
        return found

    def interrupt(self) -> None:
        self._store.link().interrupt()

    def close(self) -> None:
        self._wanted.clear()


def _record(event: Event) -> ResultRecord | None:
    """Return a reply as a record; None for what is none."""
    try:
        document = event.body.decode()
        data = json.loads(document)
        return ResultRecord(str(data["task_id"]), str(data["status"]), document)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _no_groups() -> NotImplementedError:
    return NotImplementedError(
        "rpc:// sends results to who asked for them and keeps nothing, so there are no groups. Set"
        " result_backend to a store, such as redis://localhost/1."
    )
