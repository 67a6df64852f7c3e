"""Messages that are no calls, as code of users gets them: kombu's ``Message``."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from umbel.exceptions import UmbelError
from umbel.message import Delivery
from umbel.ports import Action

#: How a message is settled: its delivery, what becomes of it, and a reason.
Settle = Callable[[Delivery, Action, str | None], None]


class MessageStateError(UmbelError):
    """A message was settled before."""


class ReceivedMessage:
    """A message that a `Consumer` received. Acknowledge, reject or requeue it, once, from any thread."""

    def __init__(
        self, delivery: Delivery, channel: Any, read: Callable[[], Any], settle: Settle
    ) -> None:
        self._delivery = delivery
        self._read = read
        self._settle = settle
        self._lock = threading.Lock()
        self._decoded: tuple[Any] | None = None
        self._headers: dict[str, Any] | None = None
        self.channel = channel
        #: Whether it was acknowledged, rejected or requeued.
        self.acknowledged = False

    @property
    def body(self) -> bytes:
        """The body as it travelled."""
        return self._delivery.message.body

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers, which may be changed here."""
        if self._headers is None:
            self._headers = dict(self._delivery.message.headers)
        return self._headers

    @property
    def properties(self) -> Mapping[str, Any]:
        """Its properties, such as ``correlation_id``."""
        return self._delivery.message.properties

    @property
    def content_type(self) -> str:
        """What its body is written in."""
        return self._delivery.message.content_type

    @property
    def content_encoding(self) -> str:
        """The encoding of its body."""
        return self._delivery.message.content_encoding

    @property
    def delivery_tag(self) -> str:
        """What names this handing-over at the broker."""
        return self._delivery.key

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came from: exchange, routing key, priority, queue, and whether it was delivered before."""
        sent = self.properties.get("delivery_info")
        sent = sent if isinstance(sent, dict) else {}
        return {
            "exchange": sent.get("exchange") or "",
            "routing_key": sent.get("routing_key") or self._delivery.queue,
            "redelivered": self._delivery.redelivered,
            "priority": self._delivery.priority,
            "queue": self._delivery.queue,
        }

    @property
    def payload(self) -> Any:
        """What the body says. Raises ContentDisallowed and DecodeError."""
        if self._decoded is None:
            self._decoded = (self._read(),)
        return self._decoded[0]

    def decode(self) -> Any:
        """Return the payload."""
        return self.payload

    def ack(self, multiple: bool = False) -> None:
        """Say that it is done with, so that it goes. `multiple` has no effect.

        Raises `MessageStateError` when that was said before, OperationalError when the broker does not
        answer, and LeaseLost when it was given to somebody else.
        """
        self._end(Action.ACK)

    def reject(self, requeue: bool = False) -> None:
        """Refuse it: it becomes a dead letter or, with `requeue`, goes back to its queue.

        Raises as `ack` does.
        """
        self._end(Action.REQUEUE if requeue else Action.DEAD_LETTER)

    def requeue(self) -> None:
        """Give it back to its queue, for whoever takes it next. Raises as `ack` does."""
        self._end(Action.REQUEUE)

    def _end(self, action: Action, reason: str = "Rejected by its consumer.") -> None:
        with self._lock:
            if self.acknowledged:
                raise MessageStateError(
                    f"The message {self.delivery_tag} was acknowledged, rejected or requeued before."
                )
            self._settle(self._delivery, action, reason if action is Action.DEAD_LETTER else None)
            self.acknowledged = True

    def ack_log_error(self, logger: Any, errors: Any, multiple: bool = False) -> None:
        """Acknowledge it, and log it where one of `errors` is raised by that."""
        self._end_or_log(Action.ACK, logger, errors)

    def reject_log_error(self, logger: Any, errors: Any, requeue: bool = False) -> None:
        """Refuse it, and log it where one of `errors` is raised by that."""
        self._end_or_log(Action.REQUEUE if requeue else Action.DEAD_LETTER, logger, errors)

    def _end_or_log(self, action: Action, logger: Any, errors: Any) -> None:
        try:
            self._end(action)
        except errors as error:
            logger.critical("Could not settle the message %s: %r", self.delivery_tag, error)

    def __repr__(self) -> str:
        return f"<Message: {self.delivery_tag} of {self._delivery.queue}>"
