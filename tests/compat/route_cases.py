"""The calls whose routes are compared with Celery's: settings, a task's options and a call's.

Both ``record_routes.py`` (with Celery's classes) and ``test_routes.py`` (with ours) make them, so this
file imports neither. `Kit` has the classes of the one or the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

#: The headers of the protocol; all others are the caller's own. Celery does not write the last.
HEADERS = frozenset(
    (
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "sent_at",
    )
)


class Kit(Protocol):
    """The classes that settings are written with."""

    Queue: Any
    Exchange: Any
    binding: Any
    Broadcast: Any


Values = Callable[[Kit], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One call of the task ``proj.media.encode``; `differs` says why umbel does otherwise than Celery."""

    name: str
    settings: Values = field(default=lambda kit: {})
    options: Values = field(default=lambda kit: {})
    task: Values = field(default=lambda kit: {})
    args: tuple[Any, ...] = (1,)
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    parent_priority: int | None = None
    differs: str = ""


def const(**values: Any) -> Values:
    """Return what makes the same values with either kit."""
    return lambda kit: values


# Routers


def by_argument(
    name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any
) -> Any:
    """Route by the first argument."""
    return {"queue": f"shard{args[0] % 4}"} if args else None


def by_keyword(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Route by a keyword argument, to the name of a queue."""
    return kwargs.get("tenant")


def by_task(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Route by the task itself."""
    return {"queue": f"of-{task.name}"}


def by_options(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Route by the options of the call and of its task."""
    return {"queue": "urgent"} if (options.get("priority") or 0) > 5 else None


def nowhere(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Know no task."""


def empty(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any) -> Any:
    """Know every task, and want nothing for it."""
    return {}


class ClassRouter:
    """A router from before Celery 4."""

    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        """Route by name."""
        return {"queue": "of-a-class", "priority": 4} if task.startswith("proj.") else None


HERE = "route_cases"


def media(kit: Kit, kind: str = "topic") -> Any:
    return kit.Exchange("media", type=kind)


def queues_topic(kit: Kit) -> dict[str, Any]:
    """Three queues on one topic exchange, beside the default one."""
    exchange = media(kit)
    return {
        "task_queues": (
            kit.Queue("celery"),
            kit.Queue("videos", exchange, routing_key="media.video.#"),
            kit.Queue("images", exchange, routing_key="media.image"),
            kit.Queue("all", exchange, routing_key="media.#"),
            kit.Queue("middle", exchange, routing_key="*.video.*"),
        )
    }


def queues_direct(kit: Kit) -> dict[str, Any]:
    exchange = media(kit, "direct")
    return {
        "task_queues": [
            kit.Queue("videos", exchange, routing_key="media.video"),
            kit.Queue("archive", exchange, routing_key="media.video"),
            kit.Queue("images", exchange, routing_key="media.image"),
        ],
        "task_default_queue": "videos",
    }


def queues_fanout(kit: Kit) -> dict[str, Any]:
    exchange = media(kit, "fanout")
    return {
        "task_queues": (
            kit.Queue("celery"),
            kit.Queue("left", exchange),
            kit.Queue("right", exchange, routing_key="ignored"),
        )
    }


def queues_mapping(kit: Kit) -> dict[str, Any]:
    return {
        "task_queues": {
            "default": {"exchange": "default", "binding_key": "default"},
            "videos": {
                "exchange": "media",
                "exchange_type": "topic",
                "routing_key": "media.video.#",
            },
            "images": {"exchange": "media", "exchange_type": "topic", "binding_key": "media.image"},
            "plain": {},
        },
        "task_default_queue": "default",
    }


def queues_bindings(kit: Kit) -> dict[str, Any]:
    exchange = media(kit, "direct")
    return {
        "task_queues": [
            kit.Queue("celery"),
            kit.Queue("both", [kit.binding(exchange, "a"), kit.binding(exchange, "b")]),
            kit.Queue("one", bindings=[kit.binding(exchange, "b")]),
        ]
    }


def plus(base: Values, **more: Any) -> Values:
    return lambda kit: {**base(kit), **more}


def routes(value: Any, **more: Any) -> Values:
    return const(task_routes=value, **more)


T = "proj.media.encode"

CALLS = [
    Case("plain"),
    Case("default-queue", const(task_default_queue="main")),
    Case("queue", options=const(queue="videos")),
    Case("queue-and-key", options=const(queue="videos", routing_key="k")),
    Case("key-alone", options=const(routing_key="k")),
    Case("priority", options=const(priority=7)),
    Case("priority-zero", const(task_default_priority=5), const(priority=0)),
    Case("default-priority", const(task_default_priority=5)),
    Case("task-queue", task=const(queue="own")),
    Case("task-key", task=const(routing_key="own")),
    Case("task-priority", task=const(priority=3)),
    Case("task-priority-and-default", const(task_default_priority=5), task=const(priority=3)),
    Case("call-before-task", options=const(queue="call", priority=1), task=const(queue="own")),
    Case("exchange-without-key", options=const(exchange="media")),
    Case("delivery-mode", options=const(delivery_mode=1)),
    Case("delivery-mode-of-task", task=const(delivery_mode=1)),
    Case("delivery-mode-of-settings", const(task_default_delivery_mode=1)),
    Case("queue-object", options=lambda kit: {"queue": kit.Queue("thing")}),
    Case(
        "queue-object-topic",
        options=lambda kit: {"queue": kit.Queue("thing", media(kit), routing_key="t")},
    ),
    Case(
        "queue-object-topic-key",
        options=lambda kit: {
            "queue": kit.Queue("thing", media(kit), routing_key="t.#"),
            "routing_key": "t.x",
        },
    ),
    Case(
        "queue-object-fanout",
        options=lambda kit: {"queue": kit.Queue("thing", media(kit, "fanout"))},
    ),
    Case("queue-object-direct-exchange", options=lambda kit: {"queue": kit.Queue("q", "x", "k")}),
    Case(
        "queue-object-transient",
        options=lambda kit: {"queue": kit.Queue("q", kit.Exchange("x", delivery_mode=1), "k")},
    ),
    Case(
        "queue-object-transient-by-name",
        options=lambda kit: {
            "queue": kit.Queue("q", kit.Exchange("x", delivery_mode="transient"), "k")
        },
    ),
]

QUEUES = [
    Case("queues-list-default", const(task_default_queue="a"), options=const()),
    Case("queues-topic-default", queues_topic),
    Case("queues-topic-by-name", queues_topic, const(queue="images")),
    Case("queues-topic-own-pattern", queues_topic, const(queue="videos")),
    Case("queues-topic-key", queues_topic, const(queue="videos", routing_key="media.video.hd")),
    Case("queues-topic-exchange", queues_topic, const(exchange="media", routing_key="media.image")),
    Case(
        "queues-topic-three",
        queues_topic,
        const(exchange="media", routing_key="media.video.hd"),
    ),
    Case(
        "queues-topic-deep",
        queues_topic,
        const(exchange="media", routing_key="media.video.hd.fast"),
    ),
    Case(
        "queues-topic-zero-words",
        queues_topic,
        const(exchange="media", routing_key="media.video"),
        differs="# stands for no word, too, as AMQP says; kombu's own brokers want one",
    ),
    Case(
        "queues-topic-exchange-object",
        queues_topic,
        lambda kit: {"exchange": media(kit), "routing_key": "media.image"},
    ),
    Case("queues-topic-undeclared-queue", queues_topic, const(queue="other")),
    Case("queues-direct-default", queues_direct),
    Case("queues-direct-key", queues_direct, const(routing_key="media.image")),
    Case("queues-direct-two", queues_direct, const(exchange="media", routing_key="media.video")),
    Case("queues-direct-one", queues_direct, const(exchange="media", routing_key="media.image")),
    Case("queues-direct-by-name", queues_direct, const(queue="images")),
    Case("queues-fanout", queues_fanout, const(queue="left")),
    Case(
        "queues-fanout-exchange",
        queues_fanout,
        const(exchange="media", exchange_type="fanout", routing_key="any"),
    ),
    Case("queues-fanout-exchange-without-key", queues_fanout, const(exchange="media")),
    Case("queues-mapping-default", queues_mapping),
    Case("queues-mapping-topic", queues_mapping, const(queue="images")),
    Case("queues-mapping-key", queues_mapping, const(queue="videos", routing_key="media.video.a")),
    Case("queues-mapping-plain", queues_mapping, const(queue="plain")),
    Case(
        "queues-mapping-exchange",
        queues_mapping,
        const(exchange="media", routing_key="media.image"),
    ),
    Case(
        "queues-mapping-default-exchange",
        queues_mapping,
        const(exchange="default", routing_key="default"),
    ),
    Case("bindings-by-name", queues_bindings, const(queue="both")),
    Case("bindings-a", queues_bindings, const(exchange="media", routing_key="a")),
    Case("bindings-b", queues_bindings, const(exchange="media", routing_key="b")),
    Case(
        "alias",
        lambda kit: {"task_queues": [kit.Queue("celery"), kit.Queue("q1", alias="one")]},
        const(queue="one"),
    ),
    Case(
        "queues-share-the-default-exchange",
        lambda kit: {"task_queues": [kit.Queue("a"), kit.Queue("b")], "task_default_queue": "a"},
        const(exchange="a", routing_key="a"),
    ),
    Case(
        "default-exchange-topic",
        lambda kit: {
            "task_queues": [
                kit.Queue("default", routing_key="task.#"),
                kit.Queue("feeds", routing_key="feed.#"),
            ],
            "task_default_queue": "default",
            "task_default_exchange": "tasks",
            "task_default_exchange_type": "topic",
            "task_default_routing_key": "task.default",
        },
    ),
    Case(
        "default-exchange-topic-key",
        lambda kit: {
            "task_queues": [
                kit.Queue("default", routing_key="task.#"),
                kit.Queue("feeds", routing_key="feed.#"),
            ],
            "task_default_queue": "default",
            "task_default_exchange": "tasks",
            "task_default_exchange_type": "topic",
            "task_default_routing_key": "task.default",
        },
        const(routing_key="feed.import"),
    ),
    Case(
        "default-exchange-topic-without-queues",
        const(task_default_exchange_type="topic", task_default_routing_key="tasks.all"),
    ),
    Case(
        "default-exchange-name",
        const(task_default_exchange="tasks", task_default_routing_key="k"),
        const(exchange="tasks", routing_key="k"),
    ),
    Case("missing-topic", const(task_create_missing_queue_exchange_type="topic"), const(queue="n")),
    Case(
        "missing-fanout", const(task_create_missing_queue_exchange_type="fanout"), const(queue="n")
    ),
    Case(
        "missing-refused",
        lambda kit: {"task_queues": [kit.Queue("celery")], "task_create_missing_queues": False},
        const(queue="other"),
    ),
    Case(
        "missing-refused-declared",
        lambda kit: {
            "task_queues": [kit.Queue("celery"), kit.Queue("a")],
            "task_create_missing_queues": False,
        },
        const(queue="a"),
    ),
    Case(
        "missing-refused-default",
        lambda kit: {"task_queues": [kit.Queue("a")], "task_create_missing_queues": False},
    ),
]

ROUTES = [
    Case("routes-name", routes({T: "videos"})),
    Case("routes-options", routes({T: {"queue": "videos", "priority": 3}})),
    Case("routes-other-task", routes({"proj.other": "videos"})),
    Case("routes-glob", routes({"proj.media.*": {"queue": "videos"}})),
    Case("routes-glob-in-the-middle", routes({"proj.*.encode": "videos"})),
    Case("routes-glob-all", routes({"*": "videos"})),
    Case("routes-glob-is-whole", routes({"media.*": "videos"})),
    Case("routes-exact-first", routes({"proj.*": "pattern", T: "exact"})),
    Case("routes-first-pattern", routes({"proj.*": "one", "proj.media.*": "two"})),
    Case("routes-regex", routes({re.compile(r"proj\.(media|audio)\..*"): {"queue": "av"}})),
    Case("routes-regex-from-the-start", routes({re.compile(r"proj\.m"): "start"})),
    Case("routes-regex-not-within", routes({re.compile(r"media"): "within"})),
    Case("routes-pairs", routes(([("proj.media.*", {"queue": "v"}), ("proj.*", "p")],))),
    Case("routes-pairs-order", routes(([("proj.*", "p"), ("proj.media.*", "v")],))),
    Case("routes-list-of-mappings", routes([{"other": "a"}, {T: "b"}, {T: "c"}])),
    Case("routes-empty-target", routes([{T: {}}, {T: "later"}])),
    Case("routes-priority-only", routes({T: {"priority": 6}})),
    Case("routes-call-before-route", routes({T: "route"}), const(queue="call")),
    Case("routes-task-before-route", routes({T: "route"}), task=const(queue="own")),
    Case("routes-merged", routes({T: {"queue": "route", "priority": 2}}), const(queue="call")),
    Case("routes-call-priority", routes({T: {"queue": "r", "priority": 2}}), const(priority=9)),
    Case(
        "routes-task-priority", routes({T: {"queue": "r", "priority": 2}}), task=const(priority=9)
    ),
    Case(
        "routes-default-priority",
        routes({T: {"queue": "r", "priority": 2}}, task_default_priority=5),
        differs="a route is nearer to the task than a setting for all tasks",
    ),
    Case("routes-key-alone", routes({T: {"routing_key": "k"}})),
    Case("routes-queue-and-key", routes({T: {"queue": "q", "routing_key": "k"}})),
    Case("routes-delivery-mode", routes({T: {"queue": "q", "delivery_mode": 1}})),
    Case("routes-headers", routes({T: {"queue": "q", "headers": {"x": 1}}})),
    Case(
        "routes-headers-of-the-call",
        routes({T: {"queue": "q", "headers": {"x": 1}}}),
        const(headers={"y": 2}),
    ),
    Case("routes-expires", routes({T: {"queue": "q", "expires": 60}})),
    Case("routes-countdown", routes({T: {"queue": "q", "countdown": 60}})),
    Case("routes-eta", routes({T: {"queue": "q", "eta": "2050-01-01T00:00:00+00:00"}})),
    Case("routes-time-limit", routes({T: {"queue": "q", "time_limit": 60}})),
    Case("routes-ignore-result", routes({T: {"queue": "q", "ignore_result": True}})),
    Case("routes-retries", routes({T: {"queue": "q", "retries": 3}})),
    Case(
        "routes-exchange",
        plus(queues_topic, task_routes={T: {"exchange": "media", "routing_key": "media.image"}}),
    ),
    Case(
        "routes-exchange-type",
        plus(
            queues_topic,
            task_routes={
                T: {"exchange": "media", "exchange_type": "topic", "routing_key": "media.video.x"}
            },
        ),
    ),
    Case(
        "routes-exchange-and-queue-of-the-call",
        plus(queues_topic, task_routes={T: {"exchange": "media", "routing_key": "media.image"}}),
        const(queue="celery"),
    ),
    Case(
        "routes-queue-topic-key",
        plus(queues_topic, task_routes={T: {"queue": "videos", "routing_key": "media.video.y"}}),
    ),
    Case(
        "routes-queue-key-of-the-call",
        plus(queues_topic, task_routes={T: {"queue": "videos", "routing_key": "media.video.y"}}),
        const(routing_key="media.video.z"),
    ),
    Case(
        "routes-fanout",
        plus(queues_fanout, task_routes={T: {"exchange": "media", "exchange_type": "fanout"}}),
    ),
    Case(
        "routes-queue-object",
        lambda kit: {"task_routes": {T: {"queue": kit.Queue("obj", media(kit), "m.x")}}},
    ),
    Case(
        "routes-missing-refused",
        lambda kit: {
            "task_queues": [kit.Queue("celery")],
            "task_create_missing_queues": False,
            "task_routes": {T: "other"},
        },
    ),
    Case(
        "broadcast",
        lambda kit: {
            "task_queues": [kit.Queue("celery"), kit.Broadcast("news", queue="bcast.1")],
            "task_routes": {T: {"queue": "news"}},
        },
    ),
    Case(
        "broadcast-exchange",
        lambda kit: {
            "task_queues": [kit.Queue("celery"), kit.Broadcast("news", queue="bcast.1")],
            "task_routes": {T: {"queue": "news", "exchange": "news"}},
        },
    ),
]

FUNCTIONS = [
    Case("function-argument", routes(by_argument), args=(7,)),
    Case("function-argument-other", routes((by_argument,)), args=(4,)),
    Case("function-keyword", routes([by_keyword]), kwargs={"tenant": "acme"}),
    Case("function-none", routes([by_keyword])),
    Case("function-task", routes([by_task])),
    Case("function-options", routes([by_options]), const(priority=8)),
    Case("function-options-of-task", routes([by_options]), task=const(priority=8)),
    Case("function-options-not", routes([by_options]), const(priority=2)),
    Case("function-nowhere-next", routes([nowhere, {T: "next"}])),
    Case("function-empty-stops", routes([empty, {T: "next"}])),
    Case("function-call-before", routes([by_argument]), const(queue="call"), args=(7,)),
    Case("function-text", routes(f"{HERE}.by_argument"), args=(6,)),
    Case("function-text-colon", routes([f"{HERE}:by_argument"]), args=(5,)),
    Case("class-instance", routes([ClassRouter()])),
    Case("class-text", routes(f"{HERE}.ClassRouter")),
    Case("class-call-priority", routes([ClassRouter()]), const(priority=1)),
]

PRIORITIES = [
    Case("inherit", const(task_inherit_parent_priority=True), parent_priority=6),
    Case("inherit-not-set", parent_priority=6),
    Case(
        "inherit-call",
        const(task_inherit_parent_priority=True),
        const(priority=2),
        parent_priority=6,
    ),
    Case(
        "inherit-task",
        const(task_inherit_parent_priority=True),
        task=const(priority=3),
        parent_priority=6,
    ),
    Case(
        "inherit-route",
        routes({T: {"queue": "q", "priority": 4}}, task_inherit_parent_priority=True),
        parent_priority=6,
    ),
    Case(
        "inherit-default-priority",
        const(task_inherit_parent_priority=True, task_default_priority=5),
        parent_priority=6,
    ),
    Case(
        "inherit-with-a-queue",
        const(task_inherit_parent_priority=True),
        const(queue="q"),
        parent_priority=6,
        differs="Celery forgets the parent's priority where the call names a queue and there are no routes",
    ),
]

CASES = {case.name: case for case in (*CALLS, *QUEUES, *ROUTES, *FUNCTIONS, *PRIORITIES)}
assert len(CASES) == len([*CALLS, *QUEUES, *ROUTES, *FUNCTIONS, *PRIORITIES])
