"""Calls that come from a task that runs: retries, calls within tasks; and tasks run where they are called."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.compat.calls.model import TASK_ID, Case, Kit, Plain

LATER = datetime(2050, 1, 1, 13, tzinfo=UTC)


def runs(
    name: str,
    body: Callable[[Kit, Any], Any],
    args: Any = (1, 2),
    *,
    conf: Any = None,
    task: Any = None,
    **options: Any,
) -> Case:
    """Return a case in which a worker runs `body`, with the task as its argument."""
    options.setdefault("task_id", TASK_ID)

    def call(kit: Kit) -> Any:
        def outer(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return body(kit, self)
            except Exception as error:
                kit.note(error)
                raise

        made = {"bind": True, "name": "proj.outer", "max_retries": 5, **(task or {})}
        kit.make(outer, **made).apply_async(args, {"k": "v"}, **options)
        kit.work()

    return Case(name, call, conf=conf or {})


def retried(name: str, retry: Any, args: Any = (1, 2), **options: Any) -> Case:
    """Return a case in which a task retries itself."""
    return runs(f"retry-{name}", lambda kit, task: task.retry(**retry), args, **options)


def _id(number: int) -> str:
    return f"11111111-0000-4000-8000-{number:012d}"


SOON = {"countdown": 10}


def _replacing(name: str, retry: Any, *args: Any, **kwargs: Any) -> Case:
    """Return a case in which new arguments conflict with those that the task had."""

    def call(kit: Kit) -> None:
        def outer(self: Any, x: Any, y: Any = 0) -> Any:
            raise self.retry(countdown=10, **retry)

        task = kit.make(outer, bind=True, name="proj.outer")
        task.apply_async(args, kwargs, task_id=TASK_ID)
        kit.work()

    return Case(f"retry-{name}", call)


BOOM = ConnectionError("no route")

RETRIES = [
    retried("countdown", SOON),
    retried("default-delay", {}),
    retried("delay-of-task", {}, task={"default_retry_delay": 7}),
    retried("delay-zero", {"countdown": 0}),
    retried("eta", {"eta": LATER}),
    retried("eta-and-countdown", {"eta": LATER, "countdown": 10}),
    retried("args", {**SOON, "args": (7,)}),
    retried("kwargs", {**SOON, "kwargs": {"again": True}}),
    retried("args-and-kwargs", {**SOON, "args": [], "kwargs": {}}),
    retried("second", SOON, retries=1),
    retried("exception", {**SOON, "exc": BOOM}),
    retried("no-more", SOON, retries=5),
    retried("no-more-exception", {**SOON, "exc": BOOM}, retries=5),
    retried("no-more-of-call", {**SOON, "max_retries": 1}, retries=1),
    retried("more-of-call", {**SOON, "max_retries": 9}, retries=7),
    retried("for-ever", SOON, retries=100, task={"max_retries": None}),
    retried("priority-kept", SOON, priority=4),
    retried("priority-given", {**SOON, "priority": 8}, priority=4),
    retried("priority-of-task", SOON, task={"priority": 6}),
    retried("priority-of-settings", SOON, conf={"task_default_priority": 6}),
    retried("priority-zero-kept", SOON, priority=0, task={"priority": 6}),
    retried("routed", SOON, conf={"task_routes": {"proj.*": {"queue": "routed", "priority": 7}}}),
    retried("queue-kept", SOON, queue="video"),
    retried("queue-given", {**SOON, "queue": "other"}, queue="video"),
    retried("key-given", {**SOON, "routing_key": "some.key"}),
    retried("expires-kept", SOON, expires=7200),
    retried("expires-given", {**SOON, "expires": 60}, expires=7200),
    retried("expires-of-task", SOON, task={"expires": 300}),
    retried("limits-kept", SOON, time_limit=30, soft_time_limit=20),
    retried("limits-given", {**SOON, "time_limit": 40, "soft_time_limit": 1}, time_limit=30),
    retried("limits-of-task", SOON, task={"time_limit": 30}),
    retried("headers-kept", SOON, headers={"x-trace": "abc"}),
    retried("headers-given", {**SOON, "headers": {"x-other": "1"}}, headers={"x-trace": "abc"}),
    retried("ids-kept", SOON, root_id=_id(8), parent_id=_id(9), group_id=_id(7), group_index=2),
    retried("shadow-kept", SOON, shadow="proj.alias"),
    retried("reply-to-kept", SOON, reply_to="my-replies"),
    retried("ignore-result-kept", SOON, ignore_result=True),
    retried("ignore-result-of-task", SOON, task={"ignore_result": True}),
    retried("serializer-of-task", SOON, task={"serializer": "json"}),
    retried("serializer-given", {**SOON, "serializer": "json"}),
    retried("compression-given", {**SOON, "compression": "gzip"}),
    retried("reprs-given", SOON, argsrepr="(...)", kwargsrepr="{...}"),
    retried("stamps-kept", SOON, stamped_headers=["m"], m=["1"]),
    retried("object", {**SOON, "args": (object(),)}),
    retried("task-id-given", {**SOON, "task_id": _id(6)}),
    retried("not-thrown", {**SOON, "throw": False}),
    retried("berlin", SOON, conf={"timezone": "Europe/Berlin"}),
    _replacing("kwargs-replacing-args", {"kwargs": {"x": 9}}, 1, 2),
    _replacing("args-replacing-kwargs", {"args": (9,)}, x=1, y=2),
    runs(
        "retry-auto",
        lambda kit, task: 1 / 0,
        task={"autoretry_for": (ZeroDivisionError,), "retry_kwargs": {"countdown": 3}},
    ),
    runs(
        "retry-auto-backoff",
        lambda kit, task: 1 / 0,
        retries=3,
        task={"autoretry_for": (ZeroDivisionError,), "retry_backoff": 2, "retry_jitter": False},
    ),
    runs(
        "retry-auto-no-more",
        lambda kit, task: 1 / 0,
        retries=5,
        task={"autoretry_for": (ZeroDivisionError,)},
    ),
    Case("retry-outside", lambda kit: kit.make(name="proj.out", bind=True).retry()),
    Case("retry-outside-exception", lambda kit: kit.make(bind=True).retry(exc=BOOM)),
]


def called(name: str, inner: Any = None, **outer: Any) -> Case:
    """Return a case in which a task calls another one."""

    def body(kit: Kit, task: Any) -> None:
        kit.echo.apply_async((1,), task_id=_id(2), **(inner or {}))

    return runs(f"within-{name}", body, **outer)


def _replace_ids(kit: Kit, task: Any) -> None:
    kit.echo.delay(task.request.id)


INHERIT = {"task_inherit_parent_priority": True}
WITHIN = [
    called("task"),
    called("task-with-root", root_id=_id(8), parent_id=_id(9)),
    called("root-given", {"root_id": _id(5)}),
    called("parent-given", {"parent_id": _id(5)}),
    called("root-and-parent-given", {"root_id": _id(5), "parent_id": _id(6)}),
    called("priority", priority=4),
    called("priority-inherited", priority=4, conf=INHERIT),
    called("priority-inherited-none", conf=INHERIT),
    called("priority-inherited-and-given", {"priority": 1}, priority=4, conf=INHERIT),
    called("headers", headers={"x-trace": "abc"}),
    called("expires", expires=7200),
    called("limits", time_limit=30),
    called("group", group_id=_id(7)),
    called("queue", queue="video"),
    called("stamps", stamped_headers=["m"], m=["1"]),
    called("ignore-result", ignore_result=True),
    called("add-to-parent", {"add_to_parent": False}),
    runs("within-delay", _replace_ids),
    runs("within-direct-call", lambda kit, task: kit.echo(1)),
]


def _state(result: Any) -> Plain:
    return Plain([result.state, result.id, repr(result.result)])


def _eager_retry(kit: Kit) -> Any:
    def flaky(self: Any, x: Any) -> Any:
        if self.request.retries < 2:
            raise self.retry(countdown=10)
        return [x, self.request.retries, self.request.is_eager]

    return _state(kit.make(flaky, bind=True, name="proj.flaky").apply((1,), task_id=TASK_ID))


def _divide() -> float:
    return 1 / 0


def _failing(kit: Kit) -> Any:
    return kit.make(_divide, name="proj.fails")


ALWAYS = {"task_always_eager": True}
EAGER = [
    Case("apply", lambda kit: _state(kit.echo.apply((1,), {"a": 2}, task_id=TASK_ID))),
    Case("apply-fails", lambda kit: _state(_failing(kit).apply(task_id=TASK_ID))),
    Case("apply-throws", lambda kit: _failing(kit).apply(throw=True)),
    Case("apply-retries", _eager_retry),
    Case(
        "eager-delay", lambda kit: _state(kit.echo.apply_async((1,), task_id=TASK_ID)), conf=ALWAYS
    ),
    Case(
        "eager-tuple",
        lambda kit: _state(kit.echo.apply_async(((1,),), task_id=TASK_ID)),
        conf=ALWAYS,
    ),
    Case("eager-object", lambda kit: kit.echo.delay(object()), conf=ALWAYS),
    Case(
        "eager-propagates",
        lambda kit: _failing(kit).delay(),
        conf={**ALWAYS, "task_eager_propagates": True},
    ),
    Case("call-directly", lambda kit: Plain(kit.echo(1, a=2))),
]

CASES: list[Case] = [*RETRIES, *WITHIN, *EAGER]
