"""Record where real Celery 5.7.0 sends the calls of ``route_cases.py``.

This script is run by hand, with a Python that has ``celery==5.7.0`` installed::

    python tests/compat/record_routes.py [output file]

It writes ``golden/routes.json`` next to itself unless told otherwise: ``celery`` is the version, ``routes``
maps the name of each case to what became of it:

``exchange``, ``routing_key``
    what ``basic_publish`` was given.
``queues``
    the queues that got the message: kombu's in-memory broker has all queues declared, as by a worker.
``priority``, ``delivery_mode``, ``content_type``, ``headers``
    of the message; of the headers those that are none of the protocol's.
``error``
    in place of these, the class of the error that the call raised.
"""

# Celery and kombu have no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call"
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import celery
import kombu
from celery import Celery
from kombu.common import Broadcast
from kombu.transport import TRANSPORT_ALIASES, memory

sys.modules["route_cases"] = __import__("route_cases")
from route_cases import CASES, HEADERS, Case  # noqa: E402 - found beside this script

CELERY_VERSION = "5.7.0"
KIT = SimpleNamespace(
    Queue=kombu.Queue, Exchange=kombu.Exchange, binding=kombu.binding, Broadcast=Broadcast
)
PUBLISHED: list[dict[str, Any]] = []


class RecordingChannel(memory.Channel):
    """Notes where messages are sent, and which queues get them."""

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        properties = message["properties"]
        PUBLISHED.append(
            {
                "exchange": exchange,
                "routing_key": routing_key,
                "queues": sorted(self._lookup(exchange, routing_key)),
                "priority": properties.get("priority"),
                "delivery_mode": properties.get("delivery_mode"),
                "content_type": message["content-type"],
                "headers": {k: v for k, v in message["headers"].items() if k not in HEADERS},
            }
        )
        return super().basic_publish(message, exchange, routing_key, **kwargs)


class RecordingTransport(memory.Transport):
    """kombu's in-memory transport, with a channel that takes notes."""

    Channel = RecordingChannel
    global_state = memory.Transport.global_state


TRANSPORT_ALIASES["recording"] = f"{__name__}:RecordingTransport"


def recorded(case: Case) -> dict[str, Any]:
    """Make the call of a case, and return what became of it."""
    RecordingTransport.global_state.clear()
    PUBLISHED.clear()
    app = Celery("proj", broker=f"recording://{case.name}", set_as_current=False)
    app.conf.update(case.settings(KIT))
    app.conf.task_publish_retry = False

    @app.task(name="proj.media.encode", **case.task(KIT))
    def encode(*args: Any, **kwargs: Any) -> None: ...

    @app.task(name="proj.parent")
    def parent() -> None: ...

    try:
        with app.connection() as connection, ExitStack() as stack:
            channel = connection.default_channel
            for queue in app.amqp.queues.values():
                queue(channel).declare()
            if case.parent_priority is not None:
                _run_within(parent, case.parent_priority, stack)
            encode.apply_async(case.args, case.kwargs, **case.options(KIT))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what Celery answers
        return {"error": type(error).__name__}
    (found,) = PUBLISHED
    return found


def _run_within(task: Any, priority: int, stack: ExitStack) -> None:
    """Let calls be those of a task that has a priority, as in a worker."""
    from celery._state import _task_stack  # noqa: PLC0415 - Celery's own, and only wanted here

    _task_stack.push(task)
    stack.callback(_task_stack.pop)
    task.push_request(id="parent", called_directly=False, delivery_info={"priority": priority})
    stack.callback(task.pop_request)


def main(argv: list[str]) -> int:
    """Record all cases into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "routes.json"
    found = {name: recorded(case) for name, case in CASES.items()}
    text = json.dumps({"celery": CELERY_VERSION, "routes": found}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{len(found)} routes, celery {celery.__version__}, kombu {kombu.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
