"""What the tests of the worker share: deliveries as a worker gets them."""

from __future__ import annotations

import os
from typing import Any

from umbel import Task, Umbel
from umbel.clock import unique_id
from umbel.message import Delivery, Message, Publication
from umbel.ports import Consumer, FetchRequest, Owner

Made = Task[..., Any]


def consumer_of(app: Umbel) -> Consumer:
    """Attach a consumer with an id of its own."""
    return app.broker.consumer(Owner(unique_id(), "node", "host", os.getpid()), 60.0)


def take(app: Umbel, limit: int = 100, queue: str = "celery") -> list[Delivery]:
    """Fetch what waits."""
    return consumer_of(app).fetch(FetchRequest((queue,), limit), 0.0)


def delivery_of(task: Made, *args: Any, **options: Any) -> Delivery:
    """Send a call and return it as a worker gets it."""
    queue = options.setdefault("queue", "celery")
    task.apply_async(args, **options)
    (found,) = take(task.app, queue=queue)
    return found


def foreign(app: Umbel, message: Message, queue: str = "celery") -> None:
    """Put a message on a queue that no client of ours would write."""
    app.broker.publish([Publication(queue, message, unique_id())], 1.0)


UNREADABLE = Message({"task": "t", "id": "i", "lang": "py"}, {}, b"[1, 2")
NAMELESS = Message({"task": "t", "lang": "py"}, {}, b"[[], {}, {}]")
PICKLED = Message({"task": "t", "id": "i"}, {}, b"\x80", "application/x-python-serialize", "binary")
UNKNOWN = Message(
    {"task": "nobody.knows", "id": "i", "lang": "py"}, {"correlation_id": "i"}, b"[[], {}, {}]"
)
