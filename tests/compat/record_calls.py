"""Make the calls of the table through real Celery 5.7.0 and record what came of them.

This script is run by hand, from the root of the repository, with a Python (3.11 was used) that
has ``celery==5.7.0 redis PyYAML msgpack brotli backports.zstd`` installed::

    python -m tests.compat.record_calls [output file]

It writes ``golden/calls.json`` unless told otherwise: ``celery`` is the version, ``calls`` maps the
name of each case in ``calls/`` to what came of it:

    ``messages``    what was published: the ``exchange`` and ``routing_key`` that ``basic_publish`` was
                    given, the ``queues`` that the message arrived in, its ``headers`` and
                    ``properties``, its types, and its ``body``: decompressed, as text where it is
                    text, else as the ``repr`` of what it decodes to.
    ``error``       the exception that the call raised instead: its class and its text.
    ``value``       what a task returned that ran where it was called.
    ``notes``       exceptions that a running task got from Celery.

The clock stands still, ids that Celery draws are renumbered, and the origin and reply queue are
replaced by fixed ones, as in ``record_golden.py``. Two runs write the same file.
"""

# Celery and kombu have no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call"

from __future__ import annotations

import json
import logging
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import celery
import kombu
from celery.worker.request import Request
from kombu import pools
from kombu.transport import TRANSPORT_ALIASES, memory

from tests.compat.calls import CASES
from tests.compat.calls.model import Case, Kit, message_record, outcome_of
from tests.compat.record_golden import (
    CELERY_VERSION,
    ORIGIN,
    WORKER,
    FakeRedisBackend,
    GoldenCelery,
)

Json = Any

MESSAGES: list[Json] = []
ACCEPT = ["json", "yaml", "msgpack", "pickle"]


class RecordingChannel(memory.Channel):
    """In-memory channel that keeps what is published, and where it arrives."""

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Keep the message as it is before the virtual transport adds to it."""
        if exchange != "celeryev":
            place = {
                "exchange": exchange,
                "routing_key": routing_key,
                "queues": sorted(self._lookup(exchange, routing_key)),
            }
            properties = {k: v for k, v in message["properties"].items() if k != "delivery_info"}
            headers = dict(message["headers"])
            if "origin" in headers:
                headers["origin"] = ORIGIN
            body = message["body"]
            content = (
                body.encode() if isinstance(body, str) else bytes(body),
                message["content-type"],
                message["content-encoding"],
            )
            MESSAGES.append(message_record(place, headers, properties, content))
        return super().basic_publish(message, exchange, routing_key, **kwargs)


class RecordingTransport(memory.Transport):
    """In-memory transport that uses `RecordingChannel`."""

    Channel = RecordingChannel


class QuietBackend(FakeRedisBackend):
    """Result backend that does not mind ids of other types when results are forgotten."""

    def remove_pending_result(self, result: Any) -> Any:
        """Do not unsubscribe, as nothing was subscribed to."""
        return result


TRANSPORT_ALIASES["recording-calls"] = f"{__name__}:RecordingTransport"

API = types.SimpleNamespace(
    Task=celery.Task,
    shared_task=celery.shared_task,
    Queue=kombu.Queue,
    Exchange=kombu.Exchange,
)


def kit_of(case: Case) -> Kit:
    """Return a kit with a Celery app."""
    app = GoldenCelery(**{"main": "proj", "broker": "recording-calls://", **case.app})
    app.backend_cls = QuietBackend
    app.conf.update(case.settings(API))
    return Kit(app, API, work=lambda: work(app))


def work(app: Any) -> None:
    """Run the message that was sent last the way a worker does."""
    (queue,) = MESSAGES[-1]["queues"]
    MESSAGES.clear()
    with app.connection_for_read() as connection:
        bound = app.amqp.queues[queue](connection.default_channel)
        message = bound.get(no_ack=True, accept=ACCEPT)
    task = app.tasks[message.headers["task"]]
    request = Request(message, app=app, task=task, hostname=WORKER)
    request.request_dict["origin"] = ORIGIN
    request.execute()


def record(case: Case) -> Json:
    """Return what comes of a case, in a broker that has seen no other."""
    MESSAGES.clear()
    pools.reset()  # connections remember what they declared
    memory.Channel.queues.clear()
    memory.Transport.global_state.clear()
    return outcome_of(case, kit_of, lambda: MESSAGES)


def main(argv: list[str]) -> int:
    """Record the table into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    warnings.simplefilter("ignore")
    logging.disable()
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "calls.json"
    calls = {name: record(case) for name, case in CASES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(made)}" for name, made in calls.items())
    text = f'{{"celery": "{CELERY_VERSION}", "calls": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding="utf-8")
    print(f"{len(calls)} calls, celery {celery.__version__}, kombu {kombu.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
