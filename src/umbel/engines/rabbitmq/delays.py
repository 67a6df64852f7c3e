"""Queues in which messages wait until they are due: a delay is a number, and each of its bits a queue.

A message's routing key has its delay in milliseconds as bits, the highest first, and then the queue that it
is for. It passes a topic exchange for each bit: where the bit is 1 it waits in that level's queue for two to
the power of the level milliseconds, which passes it on when it expires. All messages of a queue wait for the
same time there, so none waits behind one that is due later, and a delay of a year costs no more than one of a
second. The form is that of Celery's native delayed delivery (kombu/transport/native_delayed_delivery.py),
which counts in seconds; its own exchanges are declared, too, where Celery's clients use them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from umbel.engines.rabbitmq import wire
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.wire import method
from umbel.exceptions import EncodeError

#: Bits of our delays, which are milliseconds: 17 years. What is due later is parked again by then.
LEVELS = 39
#: The longest unit, in milliseconds, that a long delay is counted in.
COARSEST = 256
#: Bits of Celery's, which are seconds.
CELERY_LEVELS = 28
#: What Celery's exchanges and queues are called.
CELERY_LEVEL = "celery_delayed_{}"
CELERY_DELIVERY = "celery_delayed_delivery"
_CELERY_PREFIX = re.compile(rf"^(?:[01]\.){{{CELERY_LEVELS}}}")
#: Methods that are sent in one go.
_BATCH = 50
#: Seconds that declaring may take when nobody waits for less.
PATIENCE = 30.0


class Delays:
    """The delay queues of one virtual host. `kind` is their type, classic or quorum."""

    def __init__(self, prefix: str = "", kind: str = "classic") -> None:
        self._name = f"{prefix}umbel.delay"
        self.kind = kind

    def level(self, number: int) -> str:
        """Return the name of a level's exchange and queue."""
        return f"{self._name}.{number}"

    @property
    def delivery(self) -> str:
        """Return the name of the exchange that passes on what is due."""
        return f"{self._name}.due"

    def names(self) -> list[str]:
        """Return the names of all queues."""
        return [self.level(number) for number in range(LEVELS)]

    def place(self, queue: str, seconds: float) -> tuple[str, str]:
        """Return the exchange and the routing key for a message that is due in some seconds."""
        # Up, and one more for the fraction that the way takes: it may be late, never early.
        delay = min(_shorter(max(int(seconds * 1000) + 1, 1)), 2**LEVELS - 1)
        key = f"{'.'.join(f'{delay:0{LEVELS}b}')}.{queue}"
        if len(key.encode()) > 255:
            raise EncodeError(
                f"Messages for the queue {queue!r} cannot wait: its name is longer than"
                f" {255 - 2 * LEVELS} bytes."
            )
        # Where all bits before are 0, nothing happens.
        return self.level(delay.bit_length() - 1), key

    def declare(self, link: Link, timeout: float = PATIENCE) -> None:
        """Declare exchanges, queues and bindings; what was declared when the time is over stays."""
        declare_levels(link, LEVELS, self.level, self.delivery, self.kind, 1, timeout)

    def bind(self, link: Link, queue: str) -> None:
        """Let a queue have what is due for it."""
        key = "*." * LEVELS + queue
        link.call(
            method(wire.QUEUE_BIND, "BsssbF", 0, queue, self.delivery, key, False, {}),
            wire.QUEUE_BIND_OK,
        )


def _shorter(delay: int) -> int:
    """Return a delay in milliseconds that is no shorter and mostly has fewer bits: each is a queue to pass.

    It is longer by less than a 512th, and by less than 256 ms.
    """
    step = 1 << max(min(delay >> 9, COARSEST).bit_length() - 1, 0)
    return -(-delay // step) * step


def declare_celerys(link: Link, kind: str) -> None:
    """Declare what Celery's clients send calls through that are due later, where there are quorum queues."""
    declare_levels(link, CELERY_LEVELS, CELERY_LEVEL.format, CELERY_DELIVERY, kind, 1000)


def bind_to_celerys(link: Link, queue: str, exchange: str, key: str) -> None:
    """Bind a queue, and the exchange it is bound to, as Celery's workers do."""
    key = key if key.startswith("#") else f"#.{key}"
    _call_all(
        link,
        [
            (_exchange_binding(exchange, CELERY_DELIVERY, key), wire.EXCHANGE_BIND_OK),
            (
                method(wire.QUEUE_BIND, "BsssbF", 0, queue, exchange, key, False, {}),
                wire.QUEUE_BIND_OK,
            ),
        ],
    )


def without_delay(key: str) -> str:
    """Return a routing key without Celery's delay in front of it."""
    return _CELERY_PREFIX.sub("", key)


def declare_levels(
    link: Link,
    levels: int,
    name: Callable[[int], str],
    delivery: str,
    kind: str,
    unit: int,
    timeout: float = PATIENCE,
) -> None:
    """Declare one exchange and queue for each bit, bound so that a message passes from high to low."""
    calls: list[tuple[bytes, wire.Name]] = [(_topic(delivery), wire.EXCHANGE_DECLARE_OK)]
    calls += [(_topic(name(number)), wire.EXCHANGE_DECLARE_OK) for number in range(levels)]
    for number in range(levels):
        below = name(number - 1) if number else delivery
        stars = "*." * (levels - 1 - number)
        arguments = {
            "x-queue-type": kind,
            "x-overflow": "reject-publish",
            "x-message-ttl": 2**number * unit,
            "x-dead-letter-exchange": below,
        }
        if kind == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        calls += [
            (_queue(name(number), arguments), wire.QUEUE_DECLARE_OK),
            (_binding(name(number), f"{stars}1.#"), wire.QUEUE_BIND_OK),
            (_exchange_binding(below, name(number), f"{stars}0.#"), wire.EXCHANGE_BIND_OK),
        ]
    _call_all(link, calls, timeout)


def _call_all(
    link: Link, calls: Iterable[tuple[bytes, wire.Name]], timeout: float = PATIENCE
) -> None:
    """Send methods in batches, and wait for all their answers."""
    deadline = monotonic() + timeout
    left = list(calls)
    while left:
        some, left = left[:_BATCH], left[_BATCH:]
        link.send(*(data for data, _ in some))
        for _, answer in some:
            link.expect((answer,), max(deadline - monotonic(), 0.0), said=timeout)


def _queue(name: str, arguments: dict[str, Any]) -> bytes:
    return method(
        wire.QUEUE_DECLARE, "BsbbbbbF", 0, name, False, True, False, False, False, arguments
    )


def _binding(name: str, key: str) -> bytes:
    """Return what binds a queue to the exchange of its own name."""
    return method(wire.QUEUE_BIND, "BsssbF", 0, name, name, key, False, {})


def _topic(name: str) -> bytes:
    return method(
        wire.EXCHANGE_DECLARE, "BssbbbbbF", 0, name, "topic", False, True, False, False, False, {}
    )


def _exchange_binding(destination: str, source: str, key: str) -> bytes:
    return method(wire.EXCHANGE_BIND, "BsssbF", 0, destination, source, key, False, {})
