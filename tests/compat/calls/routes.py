"""Where calls go: queues, exchanges and keys of calls, tasks and settings, and ``task_routes``."""

from __future__ import annotations

import re
from typing import Any

from tests.compat.calls.model import Case, sends


def by_function(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any
) -> Any:
    """Route by the first argument; what the function is given is the route's to use."""
    if args and args[0] == "big":
        return {"queue": "large", "priority": 8}
    return "named" if name.endswith("echo") and args else None


def by_task(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    return {"queue": f"of-{task.name if task else 'nobody'}"}


class ByClass:
    """A router of the old form."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return {"queue": "classy"} if task.endswith("echo") else None


HERE = __name__

TARGETS = [
    sends("queue", queue="video"),
    sends("queue-none", queue=None),
    sends("queue-empty", queue=""),
    sends("queue-number", queue=5),
    sends("queue-unicode", queue="größe"),
    sends("queue-of-task", task={"queue": "mails"}),
    sends("queue-of-task-and-call", queue="video", task={"queue": "mails"}),
    sends("queue-none-of-call-and-task", queue=None, task={"queue": "mails"}),
    sends("queue-and-key", queue="video", routing_key="video.large"),
    sends("queue-and-exchange", queue="video", exchange="media"),
    sends("queue-exchange-and-key", queue="video", exchange="media", routing_key="video.large"),
    sends("key", routing_key="video.large"),
    sends("key-of-task", task={"routing_key": "video.large"}),
    sends("key-of-task-and-queue-of-call", queue="video", task={"routing_key": "mails.large"}),
    sends("exchange", exchange="media"),
    sends("exchange-and-key", exchange="media", routing_key="media.video"),
    sends("exchange-of-task", task={"exchange": "media", "routing_key": "media.video"}),
    sends("exchange-type-topic", exchange="media", exchange_type="topic", routing_key="a.b"),
    sends("exchange-type-topic-and-queue", queue="video", exchange_type="topic"),
    sends("exchange-type-direct", exchange_type="direct"),
    Case(
        "queue-object",
        lambda kit: kit.echo.apply_async(queue=kit.api.Queue("video", routing_key="v")),
    ),
    Case(
        "exchange-object",
        lambda kit: kit.echo.apply_async(
            exchange=kit.api.Exchange("media", type="topic"), routing_key="a.b"
        ),
    ),
]

DEFAULTS = [
    sends("default-queue", conf={"task_default_queue": "main"}),
    sends("default-exchange", conf={"task_default_exchange": "main-exchange"}),
    sends("default-key", conf={"task_default_routing_key": "main.key"}),
    sends(
        "default-topic",
        conf={
            "task_default_queue": "main",
            "task_default_exchange": "tasks",
            "task_default_exchange_type": "topic",
            "task_default_routing_key": "task.default",
        },
    ),
    sends(
        "default-topic-and-key",
        routing_key="task.other",
        conf={"task_default_exchange": "tasks", "task_default_exchange_type": "topic"},
    ),
    sends("default-queue-quorum", conf={"task_default_queue_type": "quorum"}),
    sends("missing-queue-refused", queue="video", conf={"task_create_missing_queues": False}),
    sends("missing-queue-not-needed", conf={"task_create_missing_queues": False}),
    sends("missing-queue-quorum", queue="video", conf={"task_create_missing_queue_type": "quorum"}),
    sends(
        "missing-queue-topic",
        queue="video",
        conf={"task_create_missing_queue_exchange_type": "topic"},
    ),
]


def _queues(api: Any) -> list[Any]:
    media = api.Exchange("media", type="topic")
    return [
        api.Queue("celery"),
        api.Queue("video", media, routing_key="media.video"),
        api.Queue("urgent", api.Exchange("urgent", delivery_mode=1), "urgent", max_priority=9),
        api.Queue("images", media, routing_key="media.image.#"),
    ]


def _with_queues(**conf: Any) -> Any:
    return lambda api: {"task_queues": _queues(api), **conf}


QUEUES = [
    sends("queues-default", conf=_with_queues()),
    sends("queues-topic", queue="video", conf=_with_queues()),
    sends("queues-topic-and-key", queue="video", routing_key="media.other", conf=_with_queues()),
    sends("queues-key-of-another", queue="video", routing_key="media.image.x", conf=_with_queues()),
    sends("queues-exchange", exchange="media", routing_key="media.image.png", conf=_with_queues()),
    sends("queues-transient", queue="urgent", conf=_with_queues()),
    sends("queues-missing", queue="other", conf=_with_queues()),
    sends("queues-missing-refused", queue="x", conf=_with_queues(task_create_missing_queues=False)),
    sends("queues-default-missing", conf=_with_queues(task_default_queue="elsewhere")),
    sends("queues-routed", conf=_with_queues(task_routes={"proj.echo": "video"})),
    sends(
        "queues-routed-key",
        conf=_with_queues(task_routes={"proj.*": {"queue": "video", "routing_key": "media.x"}}),
    ),
    sends(
        "queues-dict", conf={"task_queues": {"video": {"exchange": "media", "routing_key": "v"}}}
    ),
    sends(
        "queues-dict-and-queue",
        queue="video",
        conf={"task_queues": {"video": {"exchange": "media", "routing_key": "v"}}},
    ),
    sends("queues-priority", queue="urgent", priority=9, conf=_with_queues()),
]


def _routed(name: str, routes: Any, args: Any = (), **options: Any) -> Case:
    return sends(f"route-{name}", args, conf={"task_routes": routes}, **options)


ROUTES = [
    _routed("none", None),
    _routed("empty", {}),
    _routed("text", {"proj.echo": "routed"}),
    _routed("dict", {"proj.echo": {"queue": "routed"}}),
    _routed("priority", {"proj.echo": {"queue": "routed", "priority": 7}}),
    _routed("priority-only", {"proj.echo": {"priority": 7}}),
    _routed("priority-zero", {"proj.echo": {"priority": 0}}, task={"priority": 4}),
    _routed("priority-and-task", {"proj.echo": {"priority": 7}}, task={"priority": 4}),
    _routed("priority-and-call", {"proj.echo": {"priority": 7}}, priority=2),
    _routed("serializer", {"proj.echo": {"queue": "routed", "serializer": "yaml"}}),
    _routed("compression", {"proj.echo": {"compression": "gzip"}}),
    _routed("delivery-mode", {"proj.echo": {"delivery_mode": "transient"}}),
    _routed("expires", {"proj.echo": {"expires": 60}}),
    _routed("headers", {"proj.echo": {"headers": {"x-routed": "yes"}}}),
    _routed("time-limit", {"proj.echo": {"time_limit": 30}}),
    _routed("unknown-option", {"proj.echo": {"colour": "red"}}),
    _routed("key", {"proj.echo": {"routing_key": "some.key"}}),
    _routed("queue-and-key", {"proj.echo": {"queue": "routed", "routing_key": "some.key"}}),
    _routed(
        "exchange",
        {"proj.echo": {"exchange": "media", "exchange_type": "topic", "routing_key": "a.b"}},
    ),
    _routed("glob", {"proj.*": {"queue": "globbed"}}),
    _routed("glob-all", {"*": "everything"}),
    _routed("glob-middle", {"p*.echo": "globbed"}),
    _routed("glob-question", {"proj.ech?": "globbed"}),
    _routed("glob-brackets", {"proj.[e]*": "globbed"}),
    _routed("glob-other", {"other.*": "globbed"}),
    _routed("glob-order", {"proj.e*": "first", "proj.*": "second"}),
    _routed("exact-before-glob", {"proj.*": "globbed", "proj.echo": "exact"}),
    _routed("case", {"PROJ.*": "globbed"}),
    _routed("regex", {re.compile(r"(proj|shop)\.echo"): {"queue": "matched"}}),
    _routed("regex-prefix", {re.compile(r"proj"): "matched"}),
    _routed("regex-inside", {re.compile(r"echo"): "matched"}),
    _routed("regex-and-glob", {re.compile(r"proj\..*"): "matched", "proj.*": "globbed"}),
    _routed("list-of-dicts", [{"other.task": "a"}, {"proj.echo": "b"}]),
    _routed("list-of-dicts-first", [{"proj.echo": "a"}, {"proj.echo": "b"}]),
    _routed("list-of-pairs", ([("proj.echo", {"queue": "paired"}), ("proj.*", "globbed")],)),
    _routed("pairs", [("proj.echo", {"queue": "paired"})]),
    _routed("tuple", ({"proj.echo": "routed"},)),
    _routed("function", by_function, ("big",)),
    _routed("function-text", by_function, ("small",)),
    _routed("function-none", by_function),
    _routed("function-in-list", [by_function, {"proj.echo": "after"}]),
    _routed("function-and-call", by_function, ("big",), queue="asked", priority=1),
    _routed("function-task", by_task),
    _routed("object", ByClass()),
    _routed("object-in-list", (ByClass(),)),
    _routed("path-of-function", f"{HERE}.by_function", ("big",)),
    _routed("path-of-class", f"{HERE}.ByClass"),
    _routed("path-with-colon", f"{HERE}:by_function", ("big",)),
    _routed("path-in-list", (f"{HERE}.ByClass",)),
    _routed("path-missing", f"{HERE}.nothing"),
    _routed("and-queue-of-task", {"proj.echo": "routed"}, task={"queue": "mails"}),
    _routed("and-queue-of-call", {"proj.echo": "routed"}, queue="asked"),
    _routed("and-queue-none", {"proj.echo": "routed"}, queue=None),
    _routed("to-none", {"proj.echo": None}),
    _routed("to-number", {"proj.echo": 5}),
    _routed("queue-none", {"proj.echo": {"queue": None, "priority": 3}}),
    sends(
        "route-priority-and-default",
        conf={"task_routes": {"proj.echo": {"priority": 7}}, "task_default_priority": 4},
    ),
    sends(
        "route-missing-queue-refused",
        conf={"task_routes": {"proj.echo": "routed"}, "task_create_missing_queues": False},
    ),
    Case(
        "route-to-queue-object",
        lambda kit: kit.echo.delay(),
        conf=lambda api: {"task_routes": {"proj.echo": {"queue": api.Queue("objective")}}},
    ),
]

CASES: list[Case] = [*TARGETS, *DEFAULTS, *QUEUES, *ROUTES]
