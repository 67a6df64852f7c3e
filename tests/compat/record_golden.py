"""Record golden messages and result documents from real Celery 5.7.0.

This script is the only place where the compatibility tests touch Celery, and it
is run by hand, with a Python that has ``celery==5.7.0`` and ``redis`` installed::

    python tests/compat/record_golden.py [output directory]

It writes one JSON file per call next to itself, in ``golden/`` unless told
otherwise. No server is needed: messages go through kombu's in-memory transport and
results through Celery's Redis backend on top of a dictionary.

Message files (``<name>.json``)
    ``name``        the name of the case, same as the file's.
    ``call``        how the call was made, see below.
    ``exchange``, ``routing_key``
                    what ``basic_publish`` was given.
    ``headers``     the message headers.
    ``properties``  the message properties, with ``content_type``,
                    ``content_encoding`` and ``priority`` as on the wire.
    ``body``        the body: text if the content encoding is ``utf-8`` and the body
                    is not compressed, else base64.
    ``body_encoding``
                    ``text`` or ``base64``: which of the two ``body`` is.
    ``celery``      the version of Celery.

Result files (``result-<name>.json``)
    ``name``, ``call``, ``celery`` as above, and
    ``key``         the Redis key.
    ``expires``     the time to live the key was written with, in seconds.
    ``document``    the stored JSON document, parsed.
    ``raw``         the stored JSON document, as text.

The ``call`` object has ``api`` (what was called), ``conf`` (settings that are not the
default), ``now`` (what the app's clock said) and what that api was given. Values that
JSON does not have are written as ``{"$type": ..., "value": ...}``, with the types
``tuple``, ``datetime``, ``date``, ``time``, ``decimal``, ``uuid``, ``bytes`` (base64),
``zoned-datetime`` (``[wall clock time, zone name]``) and ``signature``.

To make the output the same in every run the app's clock stands still (see
``GoldenCelery.now``), ids that Celery draws itself are renumbered in order of
appearance, and the origin, the reply queue and the paths in tracebacks are replaced
by fixed ones. Everything else is as Celery wrote it. Line numbers in tracebacks
depend on this file and on the version of Python (3.11 was used). Some of what Celery
writes looks odd, yet is what it sends: a retried task without a parent gets itself as
its parent, and options such as ``argsrepr`` and ``origin`` are also in the properties.
"""

# Celery and kombu have no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-untyped-call"
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import base64
import json
import re
import sys
import types
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import celery
import kombu
from celery import Celery, chain, chord, group
from celery.backends.redis import RedisBackend
from celery.canvas import Signature
from celery.worker.request import Request
from kombu.transport import TRANSPORT_ALIASES, memory

CELERY_VERSION = "5.7.0"

#: What the clock of every app says.
NOW = datetime(2050, 1, 1, 12, 0, 0, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = datetime.fromisoformat("2050-07-01T09:30:00")

ORIGIN = "gen1@host"
WORKER = "worker1@host"
#: Stands for the id of the result queue of the calling thread.
THREAD_OID = "00000000-0000-3000-8000-000000000001"

#: Path that tracebacks show for this file, and for installed packages.
TASKS_PATH = "/proj/tasks.py"
PACKAGES_PATH = "/site-packages"

UUID_PATTERN = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")

Json = Any


def fixed_id(number: int) -> str:
    """Return the task id for a case: valid, distinct, and plainly not random."""
    return f"11111111-0000-4000-8000-{number:012d}"


TASK_ID = fixed_id(1)


# -- Capturing what Celery sends and stores -----------------------------------------


@dataclass
class Published:
    """What was given to ``Channel.basic_publish``."""

    message: dict[str, Any]
    exchange: str
    routing_key: str


PUBLISHED: list[Published] = []


class RecordingChannel(memory.Channel):
    """In-memory channel that keeps a copy of every message published."""

    def basic_publish(
        self, message: dict[str, Any], exchange: str, routing_key: str, **kwargs: Any
    ) -> Any:
        """Keep ``message`` as it is before the virtual transport adds to it."""
        copy = {
            **message,
            "headers": dict(message["headers"]),
            "properties": dict(message["properties"]),
        }
        # The virtual transport's own, filled in later: AMQP has no such property.
        copy["properties"].pop("delivery_info", None)
        PUBLISHED.append(Published(copy, exchange, routing_key))
        return super().basic_publish(message, exchange, routing_key, **kwargs)


class RecordingTransport(memory.Transport):
    """In-memory transport that uses :class:`RecordingChannel`."""

    Channel = RecordingChannel


TRANSPORT_ALIASES["recording"] = f"{__name__}:RecordingTransport"


class FakePipeline:
    """The part of a Redis pipeline that the result backend uses."""

    def __init__(self, client: FakeRedis) -> None:
        self.client = client

    def __enter__(self) -> FakePipeline:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def setex(self, key: bytes, expires: int, value: str) -> None:
        """Store a result."""
        self.client.data[key] = value.encode()
        self.client.writes.append((key.decode(), expires, value))

    def publish(self, channel: bytes, value: str) -> None:
        """Tell subscribers of a result: there are none."""

    def execute(self) -> list[Any]:
        """Do nothing: commands take effect at once."""
        return []


class FakeRedis:
    """The part of a Redis client that the result backend uses."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        #: Key, time to live and value of every result stored, in order.
        self.writes: list[tuple[str, int, str]] = []

    def pipeline(self) -> FakePipeline:
        """Return a pipeline."""
        return FakePipeline(self)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``."""
        return self.data.get(key)

    def set(self, key: bytes, value: object, ex: int | None = None) -> None:
        """Set ``key``, as chords do for their size."""

    def delete(self, key: bytes) -> None:
        """Delete ``key``, as chords do for their counters."""


class FakeRedisBackend(RedisBackend):
    """Celery's Redis backend on top of :class:`FakeRedis`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.__dict__["client"] = FakeRedis()

    def on_task_call(self, producer: object, task_id: str) -> None:
        """Do not subscribe to the result."""

    def add_pending_result(self, result: Any, weak: bool = False) -> Any:
        """Do not wait for the result, as groups do."""
        return result


class GoldenCelery(Celery):
    """App whose clock stands still and whose reply queue has a fixed name."""

    def now(self) -> datetime:
        """Return :data:`NOW` in the time zone of the app, as ``Celery.now`` would."""
        return NOW.astimezone(self.timezone)

    @property
    def thread_oid(self) -> str:
        """Name of the reply queue."""
        return THREAD_OID


class PaymentError(Exception):
    """A custom exception, which claims to come from the module ``proj.errors``."""

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)


def install_errors_module() -> None:
    """Make ``proj.errors`` importable, as Celery pickles exceptions to check them."""
    package, module = types.ModuleType("proj"), types.ModuleType("proj.errors")
    PaymentError.__module__ = module.__name__
    module.PaymentError = PaymentError  # type: ignore[attr-defined]
    sys.modules |= {"proj": package, "proj.errors": module}


class App:
    """A Celery app with the tasks that the cases call."""

    def __init__(self, **conf: Any) -> None:
        self.conf = conf
        self.celery = app = GoldenCelery("proj", broker="recording://")
        app.backend_cls = FakeRedisBackend
        app.conf.update(conf)
        #: Options that the task ``flaky`` gives to ``self.retry``.
        self.retry_options: dict[str, Any] = {}

        @app.task(name="proj.add", shared=False)
        def add(x: Any, y: Any) -> Any:
            return x + y

        @app.task(name="proj.echo", shared=False)
        def echo(*args: Any, **kwargs: Any) -> Any:
            return [args, kwargs]

        @app.task(name="proj.on_error", shared=False)
        def on_error(request: Any, exc: Any, traceback: Any) -> None:
            pass

        @app.task(name="proj.flaky", bind=True, max_retries=5, shared=False)
        def flaky(task: Any, *args: Any, **kwargs: Any) -> None:
            raise task.retry(exc=ConnectionError("no route"), **self.retry_options)

        @app.task(name="proj.divide", shared=False)
        def divide(x: int, y: int) -> float:
            return x / y

        @app.task(name="proj.pay", shared=False)
        def pay(amount: int) -> None:
            raise PaymentError(402, f"cannot pay {amount}")

        @app.task(name="proj.spawn", bind=True, shared=False)
        def spawn(task: Any) -> str:
            add.apply_async((1, 1), task_id=fixed_id(2))
            add.apply_async((2, 2), task_id=fixed_id(3))
            return "spawned"

        self.add, self.echo, self.on_error, self.flaky = add, echo, on_error, flaky
        self.divide, self.pay, self.spawn = divide, pay, spawn

    @property
    def redis(self) -> FakeRedis:
        """The client of the result backend."""
        client: FakeRedis = self.celery.backend.client
        return client

    def run(self, task: Any, args: tuple[Any, ...] = (), **options: Any) -> None:
        """Send a task and run it in this process the way a worker does."""
        queue = self.celery.amqp.queues["celery"]
        with self.celery.connection_for_read() as connection:
            bound = queue(connection.default_channel)
            bound.declare()
            bound.purge()
            task.apply_async(args, **options)
            message = bound.get(no_ack=True, accept=["json"])
        request = Request(message, app=self.celery, task=task, hostname=WORKER)
        request.request_dict["origin"] = ORIGIN
        request.execute()


# -- Describing calls ---------------------------------------------------------------


def tagged(kind: str, value: Json) -> Json:
    """Return the JSON form of a value that JSON does not have."""
    return {"$type": kind, "value": value}


def zoned(value: datetime, zone: ZoneInfo) -> Json:
    """Return the JSON form of a datetime in a named time zone."""
    return tagged("zoned-datetime", [value.replace(tzinfo=None).isoformat(), zone.key])


#: How to write down values that JSON does not have. A datetime is also a date.
SCALARS: dict[type, tuple[str, Callable[[Any], Json]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    Decimal: ("decimal", str),
    uuid.UUID: ("uuid", str),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
}


def jsonable(value: Any) -> Json:
    """Return ``value`` as JSON, see the description of ``call`` at the top."""
    match value:
        case Signature():
            return tagged("signature", jsonable(dict(value)))
        case dict():
            return {str(key): jsonable(item) for key, item in value.items()}
        case list():
            return [jsonable(item) for item in value]
        case tuple():
            return tagged("tuple", [jsonable(item) for item in value])
        case datetime(tzinfo=ZoneInfo() as zone):
            return zoned(value, zone)
        case None | bool() | int() | float() | str():
            return value
    kind, encode = SCALARS[type(value)]
    return tagged(kind, encode(value))


def describe(app: App, api: str, **details: Any) -> Json:
    """Return the ``call`` object of a case."""
    return {"api": api, "conf": jsonable(app.conf), "now": NOW.isoformat(), **details}


# -- Making the output the same in every run ----------------------------------------


@dataclass
class Renumber:
    """Replace ids drawn at random by numbered ones, in order of appearance."""

    seen: dict[str, str] = field(default_factory=dict)

    def _replace(self, match: re.Match[str]) -> str:
        found = match.group()
        # The ids that the cases choose, and made-up ones in general, are left alone.
        if len(set(found)) < 8:
            return found
        return self.seen.setdefault(found, f"22222222-0000-4000-8000-{len(self.seen) + 1:012d}")

    def __call__(self, value: Json) -> Json:
        """Return ``value`` with the ids in all strings and keys replaced."""
        match value:
            case str():
                return UUID_PATTERN.sub(self._replace, value)
            case list() | tuple():
                return [self(item) for item in value]
            case dict():
                return {self(key): self(item) for key, item in value.items()}
        return value


def hide_paths(text: str) -> str:
    """Replace the paths of this machine in a traceback."""
    packages = Path(celery.__file__).parent.parent
    return text.replace(str(packages), PACKAGES_PATH).replace(__file__, TASKS_PATH)


# -- Recording ----------------------------------------------------------------------


def message_record(name: str, call: Json, published: Published) -> Json:
    """Return the contents of a message file."""
    message, headers = published.message, published.message["headers"]
    body = message["body"]
    raw = body.encode() if isinstance(body, str) else bytes(body)
    as_text = message["content-encoding"] == "utf-8" and "compression" not in headers
    if "origin" in headers:
        headers["origin"] = ORIGIN
    properties = message["properties"]
    properties["content_type"] = message["content-type"]
    properties["content_encoding"] = message["content-encoding"]
    return {
        "name": name,
        "call": call,
        "exchange": published.exchange,
        "routing_key": published.routing_key,
        "headers": headers,
        "properties": properties,
        "body": raw.decode() if as_text else base64.b64encode(raw).decode(),
        "body_encoding": "text" if as_text else "base64",
        "celery": CELERY_VERSION,
    }


class Recorder:
    """Writes the golden files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.names: list[str] = []

    def write(self, record: Json) -> None:
        """Write one file."""
        name = record["name"]
        if name in self.names:
            raise ValueError(f"two cases are named {name}")
        self.names.append(name)
        text = json.dumps(Renumber()(record), indent=2, ensure_ascii=False)
        (self.directory / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def message(self, name: str, call: Json, send: Callable[[], object], index: int = 0) -> None:
        """Record the ``index``-th message that ``send`` publishes."""
        PUBLISHED.clear()
        send()
        self.write(message_record(name, call, PUBLISHED[index]))

    def apply_async(
        self,
        name: str,
        args: Any = (),
        kwargs: dict[str, Any] | None = None,
        *,
        app: App | None = None,
        **options: Any,
    ) -> None:
        """Record a call of ``apply_async`` of the task ``proj.echo``."""
        app = app or App()
        options.setdefault("task_id", TASK_ID)
        call = describe(
            app,
            "apply_async",
            task="proj.echo",
            args=jsonable(list(args)),
            kwargs=jsonable(kwargs or {}),
            options=jsonable(options),
        )
        self.message(name, call, lambda: app.echo.apply_async(args, kwargs, **options))

    def retry(
        self, name: str, args: tuple[Any, ...], retry: dict[str, Any], **options: Any
    ) -> None:
        """Record what ``Task.retry`` publishes when ``proj.flaky`` is run."""
        app = App()
        app.retry_options = retry
        options.setdefault("task_id", TASK_ID)
        call = describe(
            app,
            "retry",
            task="proj.flaky",
            args=jsonable(list(args)),
            options=jsonable(options),
            retry=jsonable(retry),
        )
        self.message(name, call, lambda: app.run(app.flaky, args, **options), index=1)

    def result(self, name: str, app: App, call: Json, make: Callable[[], object]) -> None:
        """Record the last result that ``make`` stores."""
        make()
        key, expires, value = app.redis.writes[-1]
        raw = hide_paths(value)
        self.write(
            {
                "name": name,
                "call": call,
                "key": key,
                "expires": expires,
                "document": json.loads(raw),
                "raw": raw,
                "celery": CELERY_VERSION,
            }
        )


def record_options(r: Recorder) -> None:
    """Record calls with arguments and options of every kind."""
    r.apply_async("plain", (1, 2))
    r.apply_async("no-arguments")
    r.apply_async("kwargs", (), {"x": 1, "y": "two"})
    r.apply_async("unicode", ("größe", "日本語", "😀"), {"naïve": 'it\'s "quoted" \\ \n'})
    r.apply_async("nested", ([1, [2, [3, [4, [5]]]]], {"a": {"b": {"c": {"d": None}}}}, True, 1.5))
    r.apply_async("countdown", (1, 2), countdown=90)
    r.apply_async("countdown-fraction", (1, 2), countdown=0.25)
    r.apply_async("countdown-berlin", (1, 2), countdown=90, app=App(timezone="Europe/Berlin"))
    utc = datetime(2050, 7, 1, 9, 30, tzinfo=UTC)
    r.apply_async("eta-utc", (1, 2), eta=utc)
    r.apply_async("eta-berlin", (1, 2), eta=datetime(2050, 7, 1, 9, 30, 0, 123456, BERLIN))
    r.apply_async("eta-offset", (1, 2), eta=utc.astimezone(timezone(timedelta(hours=-3.5))))
    r.apply_async("eta-naive", (1, 2), eta=NAIVE)
    r.apply_async(
        "eta-naive-berlin",
        (1, 2),
        eta=NAIVE,
        app=App(timezone="Europe/Berlin", enable_utc=False),
    )
    r.apply_async("expires-seconds", (1, 2), expires=120)
    r.apply_async("expires-datetime", (1, 2), expires=datetime(2050, 1, 1, 13, tzinfo=UTC))
    r.apply_async("expires-naive", (1, 2), expires=NAIVE)
    r.apply_async("expires-past", (1, 2), expires=datetime(2050, 1, 1, 11, tzinfo=UTC))
    r.apply_async("priority", (1, 2), priority=5)
    r.apply_async("queue", (1, 2), queue="video")
    r.apply_async("exchange-routing-key", (1, 2), exchange="media", routing_key="media.video")
    r.apply_async("task-id", (1, 2), task_id="my-own-id")
    r.apply_async("headers", (1, 2), headers={"x-trace": "abc", "attempt": 1, "tags": ["a", "b"]})
    r.apply_async("time-limits", (1, 2), time_limit=30, soft_time_limit=20.5)
    r.apply_async("shadow", (1, 2), shadow="proj.alias")
    r.apply_async("ignore-result", (1, 2), ignore_result=True)
    r.apply_async(
        "reprs", ("secret",), {"key": "secret"}, argsrepr="('***',)", kwargsrepr="{'key': '***'}"
    )
    r.apply_async("reply-to", (1, 2), reply_to="my-replies")
    r.apply_async("root-parent", (1, 2), root_id=fixed_id(8), parent_id=fixed_id(9))
    r.apply_async("group-id", (1, 2), group_id=fixed_id(7), group_index=3)
    r.apply_async("stamps", (1, 2), stamped_headers=["monitor"], monitor=["m-1"])
    r.apply_async("compression-zlib", ("x" * 100,), compression="zlib")
    r.apply_async("delivery-transient", (1, 2), delivery_mode="transient")
    r.apply_async("long-string", ("word " * 500, 2))
    r.apply_async("long-list", (list(range(1000)), "last"), {"k" * 600: "v" * 600, "z": 1})

    app = App()
    options = {"task_id": TASK_ID, "queue": "other"}
    r.message(
        "send-task",
        describe(
            app,
            "send_task",
            task="other.task",
            args=[1],
            kwargs={"a": 2},
            options=jsonable(options),
        ),
        lambda: app.celery.send_task("other.task", [1], {"a": 2}, **options),
    )


def record_types(r: Recorder) -> None:
    """Record the types that kombu's JSON adds, each on its own.

    Sets, frozen sets and timedeltas are missing as kombu refuses them (EncodeError).
    """
    moment = datetime.fromisoformat("2049-12-31T23:59:58.000999")
    values = {
        "datetime-naive": moment,
        "datetime-aware": moment.replace(tzinfo=UTC),
        "datetime-berlin": moment.replace(tzinfo=BERLIN),
        "date": date(2049, 12, 31),
        "time": time(23, 59, 58),
        "decimal": Decimal("12.340"),
        "uuid": uuid.UUID(int=5),
        "bytes-text": "grün".encode(),
        "bytes-binary": b"\x00\xff\xfe",
        "tuple": (1, (2, 3)),
    }
    for kind, value in values.items():
        r.apply_async(f"type-{kind}", (value,), {"value": value})


def record_canvas(r: Recorder) -> None:
    """Record callbacks and what chains, groups and chords send."""
    app = App()
    add, on_error = app.add, app.on_error
    r.apply_async("link", (1, 2), app=app, link=add.s(10).set(task_id=fixed_id(2)))
    r.apply_async(
        "link-many", (1, 2), app=app, link=[add.s(10), add.si(3, 4).set(queue="video", countdown=5)]
    )
    r.apply_async("link-error", (1, 2), app=app, link_error=on_error.s())

    def first() -> Signature:
        return add.s(1, 2).set(task_id=fixed_id(1))

    def second(*args: int) -> Signature:
        return add.s(*args).set(task_id=fixed_id(2))

    r.message(
        "chain",
        describe(app, "chain", tasks=jsonable([first(), second(3)]), index=0),
        lambda: chain(first(), second(3)).apply_async(),
    )
    third = add.s(4).set(task_id=fixed_id(3))
    r.message(
        "chain-of-three",
        describe(app, "chain", tasks=jsonable([first(), second(3), third]), index=0),
        lambda: chain(first(), second(3), third).apply_async(),
    )
    r.message(
        "group-member",
        describe(
            app, "group", tasks=jsonable([first(), second(3, 4)]), group_id=fixed_id(7), index=1
        ),
        lambda: group(first(), second(3, 4)).apply_async(task_id=fixed_id(7)),
        index=1,
    )
    body = app.echo.s().set(task_id=fixed_id(3))
    r.message(
        "chord-header",
        describe(
            app,
            "chord",
            tasks=jsonable([first(), second(3, 4)]),
            body=jsonable(body.clone()),
            index=0,
        ),
        lambda: chord([first(), second(3, 4)])(body),
    )


def record_retries(r: Recorder) -> None:
    """Record the messages of ``Task.retry``, for tasks run as a worker runs them."""
    r.retry("retry", (1, 2), {"countdown": 10})
    r.retry("retry-default-delay", (1, 2), {})
    r.retry("retry-second", (1, 2), {"countdown": 10}, retries=1, countdown=5)
    app = App()
    r.retry(
        "retry-carries-options",
        (1, 2),
        {"eta": datetime(2050, 1, 1, 13, tzinfo=UTC), "kwargs": {"again": True}},
        retries=1,
        priority=4,
        expires=7200,
        time_limit=30,
        soft_time_limit=20,
        headers={"x-trace": "abc"},
        shadow="proj.alias",
        root_id=fixed_id(8),
        parent_id=fixed_id(9),
        group_id=fixed_id(7),
        reply_to="my-replies",
        ignore_result=True,
        link=app.add.s(10),
        link_error=app.on_error.s(),
    )


def record_protocol_1(r: Recorder) -> None:
    """Record messages of task protocol 1."""
    app = App(task_protocol=1)
    r.apply_async("v1-plain", (1, 2), {"z": "ü"}, app=app)
    r.apply_async("v1-countdown", (1, 2), app=app, countdown=90)
    r.apply_async("v1-eta-aware", (1, 2), app=app, eta=datetime(2050, 7, 1, 9, 30, tzinfo=BERLIN))
    r.apply_async("v1-eta-naive", (1, 2), app=app, eta=NAIVE)
    r.apply_async("v1-expires", (1, 2), app=app, expires=120, priority=3)
    r.apply_async("v1-callbacks", (1, 2), app=app, link=app.add.s(3), link_error=app.on_error.s())
    r.apply_async(
        "v1-options",
        (1, 2),
        app=app,
        time_limit=30,
        soft_time_limit=20,
        retries=2,
        group_id=fixed_id(7),
        headers={"x-trace": "abc"},
    )
    local = App(task_protocol=1, enable_utc=False, timezone="Europe/Berlin")
    r.apply_async("v1-countdown-local", (1, 2), app=local, countdown=90)


def record_results(r: Recorder) -> None:
    """Record result documents, most of them of tasks run as a worker runs them."""

    def run(name: str, task: str, args: tuple[Any, ...] = (), **settings: Any) -> None:
        options = settings.pop("options", {}) | {"task_id": TASK_ID}
        app = App(**settings)
        call = describe(
            app, "run", task=f"proj.{task}", args=jsonable(list(args)), options=jsonable(options)
        )
        r.result(name, app, call, lambda: app.run(getattr(app, task), args, **options))

    run("result-success", "add", (1, 2))
    run("result-success-types", "add", (Decimal("1.5"), Decimal("2")))
    run("result-success-children", "spawn")
    run("result-failure", "divide", (1, 0))
    run("result-failure-custom", "pay", (5,))
    run("result-retry", "flaky", (1,))
    run(
        "result-extended",
        "add",
        (1, 2),
        result_extended=True,
        options={"group_id": fixed_id(7), "parent_id": fixed_id(9), "retries": 1},
    )
    run(
        "result-extended-stamps",
        "add",
        (1, 2),
        result_extended=True,
        options={"stamped_headers": ["monitor"], "monitor": ["m-1"]},
    )
    run("result-extended-children", "spawn", result_extended=True)
    progress = App()
    r.result(
        "result-progress",
        progress,
        describe(progress, "store_result", result={"done": 50}, state="PROGRESS"),
        lambda: progress.celery.backend.store_result(TASK_ID, {"done": 50}, "PROGRESS"),
    )

    app = App()
    started = {"pid": 1, "hostname": WORKER}
    r.result(
        "result-started",
        app,
        describe(app, "store_result", result=started, state="STARTED"),
        lambda: app.celery.backend.store_result(TASK_ID, started, "STARTED"),
    )
    revoked = App()
    r.result(
        "result-revoked",
        revoked,
        describe(revoked, "mark_as_revoked", reason="revoked"),
        lambda: revoked.celery.backend.mark_as_revoked(TASK_ID, "revoked"),
    )


def main(argv: list[str]) -> int:
    """Record everything into the directory named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    directory = Path(argv[0]) if argv else Path(__file__).parent / "golden"
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.json"):
        if old.name not in ("settings.json", "calls.json"):  # other scripts make those
            old.unlink()
    install_errors_module()
    recorder = Recorder(directory)
    for record in (
        record_options,
        record_types,
        record_canvas,
        record_retries,
        record_protocol_1,
        record_results,
    ):
        record(recorder)
    print(f"{len(recorder.names)} files, celery {celery.__version__}, kombu {kombu.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
