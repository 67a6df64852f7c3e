"""How tasks are made: their names, their parameters, their classes; and calls by name."""

from __future__ import annotations

import functools
from typing import Any

from tests.compat.calls.model import TASK_ID, Case, Kit, made_from, sends


def add(x: Any, y: Any) -> Any:
    return x + y


def greet(name: Any, greeting: Any = "hello", *, loud: Any = False) -> Any:
    return name, greeting, loud


def exact(x: Any, /, y: Any, *, z: Any) -> Any:
    return x, y, z


def many(first: Any, *rest: Any, **named: Any) -> Any:
    return first, rest, named


def bound(self: Any, x: Any) -> Any:
    return self, x


def nothing() -> None:
    pass


async def waits(x: Any) -> Any:
    return x


def decorated(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def with_session(function: Any) -> Any:
    """Decorate a function so that its callers need not give the first argument."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function("session", *args, **kwargs)

    return wrapper


class CallableObject:
    def __call__(self, x: Any) -> Any:
        return x


PARAMETERS = [
    made_from("two-parameters", add, (1, 2)),
    made_from("two-parameters-by-name", add, (), {"x": 1, "y": 2}),
    made_from("defaults", greet, ("you",)),
    made_from("defaults-given", greet, ("you", "bye"), {"loud": True}),
    made_from("keyword-only", exact, (1, 2), {"z": 3}),
    made_from("variable", many, (1, 2, 3), {"a": 4}),
    made_from("bound", bound, (1,), bind=True),
    made_from("async", waits, (1,)),
    made_from("wrapped", decorated(add), (1, 2)),
    made_from("wrapped-with-less", with_session(add), (1,)),
    made_from("not-checked", add, (1, 2, 3), typing=False),
    made_from("error-missing", add, (1,)),
    made_from("error-missing-both", add),
    made_from("error-too-many", add, (1, 2, 3)),
    made_from("error-unexpected", add, (1, 2), {"z": 3}),
    made_from("error-twice", add, (1, 2), {"x": 3}),
    made_from("error-none-taken", nothing, (1,)),
    made_from("error-too-many-defaults", greet, (1, 2, 3)),
    made_from("error-keyword-only-missing", exact, (1, 2)),
    made_from("error-positional-only-named", exact, (), {"x": 1, "y": 2, "z": 3}),
    made_from("error-variable-missing", many, (), {"a": 4}),
    made_from("error-bound-missing", bound, (), bind=True),
    made_from("error-bound-too-many", bound, (1, 2), bind=True),
    made_from("error-bound-self-named", bound, (1,), {"self": 2}, bind=True),
    made_from("error-of-lambda", lambda x: x, ()),
    made_from("error-wrapped", decorated(add), (1,)),
    Case("error-delay", lambda kit: kit.make(add, name="proj.add").delay(1)),
]


def _named(label: str, function: Any, main: str | None = "proj", **options: Any) -> Case:
    def call(kit: Kit) -> Any:
        return kit.app.task(shared=False, **options)(function).apply_async((1, 2), task_id=TASK_ID)

    return Case(label, call, app={"main": main})


def _script(name: str) -> Any:
    """Return a function as it is defined in a script."""

    def function(*args: Any) -> None: ...

    function.__module__ = "__main__"
    function.__name__ = name
    return function


def _with_module(module: str) -> Any:
    function = _script("work")
    function.__module__ = module
    return function


def _bare(kit: Kit) -> Any:
    return kit.app.task(add).apply_async((1, 2), task_id=TASK_ID)


def _same_name_twice(kit: Kit) -> Any:
    kit.make(add, name="proj.twice")
    second = kit.make(nothing, name="proj.twice")
    return second.apply_async((1, 2), task_id=TASK_ID)


NAMES = [
    _named("name-given", add, name="shop.orders.add"),
    _named("name-of-module", add),
    _named("name-without-main", add, main=None),
    _named("name-of-script", _script("work"), main="shop"),
    _named("name-of-lambda", lambda x, y: None),
    _named("name-of-missing-module", _with_module("nowhere.to.be")),
    _named("name-unicode", add, name="größe"),
    _named("name-empty", add, name=""),
    Case("name-bare-decorator", _bare, app={"main": "proj"}),
    Case("name-twice", _same_name_twice),
    Case("task-of-number", lambda kit: kit.app.task(5)),
    Case("task-of-two", lambda kit: kit.app.task(add, nothing)),
    Case("task-of-object", lambda kit: kit.make(CallableObject(), name="proj.object").delay(1)),
    Case("task-of-partial", lambda kit: kit.make(functools.partial(add, 1), name="p").delay(1)),
]


def _shadow(task: Any, args: Any, kwargs: Any, options: Any) -> str:
    return f"{task.name}:{args[0] if args else ''}"


def _with_base(**attributes: Any) -> Any:
    """Return a call of a task with a base class that has these attributes."""

    def call(kit: Kit) -> Any:
        base = type("Base", (kit.api.Task,), {"abstract": True, **attributes})
        return kit.make(base=base).apply_async((1,), task_id=TASK_ID)

    return call


def _overriding(kit: Kit) -> Any:
    def apply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        options["headers"] = {"x-tenant": "t-1", **(options.get("headers") or {})}
        return kit.api.Task.apply_async(self, args, kwargs, **options)

    return _with_base(apply_async=apply_async)(kit)


def _class_task(kit: Kit) -> Any:
    attributes = {"name": "proj.Work", "priority": 3, "run": lambda self, x: x}
    task = type("Work", (kit.api.Task,), attributes)
    return kit.app.register_task(task()).apply_async((1,), task_id=TASK_ID)


def _app_class(kit: Kit) -> Any:
    base = type("Base", (kit.app.Task,), {"priority": 3, "abstract": True})
    return kit.make(base=base).apply_async((1,), task_id=TASK_ID)


def _shared(kit: Kit) -> Any:
    task = kit.api.shared_task(name="proj.shared", priority=3)(add)
    kit.app.set_current()
    return task.apply_async((1, 2), task_id=TASK_ID)


CLASSES = [
    Case("base-class", _with_base()),
    Case("base-class-attributes", _with_base(priority=3, ignore_result=True, time_limit=9)),
    Case("base-class-queue", _with_base(queue="mails", serializer="json")),
    Case("base-class-expires", _with_base(expires=60)),
    Case("base-class-typing", _with_base(typing=False)),
    Case("base-class-shadow-name", _with_base(shadow_name=_shadow)),
    Case("base-class-apply-async", _overriding),
    sends("shadow-name-option", (1,), task={"shadow_name": _shadow, "bind": True}),
    sends("shadow-name-and-shadow", (1,), shadow="given", task={"shadow_name": _shadow}),
    sends("custom-attribute", task={"colour": "red"}),
    Case("class-task", _class_task),
    Case("base-of-app", _app_class),
    Case("shared-task", _shared),
    Case(
        "strict-typing-off",
        lambda kit: kit.make(add, name="proj.add").delay(1),
        app={"strict_typing": False},
    ),
]


def by_name(
    name: str,
    task: str,
    args: Any = None,
    kwargs: Any = None,
    conf: Any = None,
    known: bool = False,
    **options: Any,
) -> Case:
    """Return a case that calls `send_task`; the app has that task with some options if `known`."""
    options.setdefault("task_id", TASK_ID)

    def call(kit: Kit) -> Any:
        if known:
            kit.make(add, name=task, queue="own", priority=4, expires=60, time_limit=30)
        return kit.app.send_task(task, args, kwargs, **options)

    return Case(name, call, conf=conf or {})


SENT = [
    by_name("send-task", "other.task", [1], {"a": 2}),
    by_name("send-task-nothing", "other.task"),
    by_name("send-task-options", "other.task", (1,), queue="q", countdown=5, priority=3),
    by_name("send-task-expires", "other.task", (1,), expires=60, time_limit=5, shadow="alias"),
    by_name("send-task-routed", "other.task", conf={"task_routes": {"other.*": "others"}}),
    by_name(
        "send-task-routed-options",
        "other.task",
        conf={"task_routes": {"other.*": {"priority": 7, "serializer": "yaml"}}},
    ),
    by_name("send-task-route-name", "other.task", route_name="a", conf={"task_routes": {"a": "b"}}),
    by_name("send-task-serializer", "other.task", (1,), serializer="yaml"),
    by_name("send-task-ignore-result", "other.task", ignore_result=True),
    by_name("send-task-setting-ignored", "other.task", conf={"task_ignore_result": True}),
    by_name("send-task-setting-limits", "other.task", conf={"task_time_limit": 30}),
    by_name("send-task-setting-priority", "other.task", conf={"task_default_priority": 4}),
    by_name("send-task-soft-over-hard", "other.task", time_limit=5, soft_time_limit=9),
    by_name("send-task-known", "proj.known", (1, 2), known=True),
    by_name("send-task-known-wrong-arguments", "proj.known", (1,), known=True),
    by_name("send-task-known-given", "proj.known", (1, 2), known=True, queue="q", priority=9),
    by_name("send-task-known-taken-back", "proj.known", (1, 2), known=True, expires=None),
    by_name("send-task-args-text", "other.task", "ab"),
    by_name("send-task-kwargs-list", "other.task", (), [1]),
    by_name("send-task-object", "other.task", (object(),)),
    by_name("send-task-eager", "other.task", conf={"task_always_eager": True}),
    by_name("send-task-headers", "other.task", headers={"x": "y"}),
    by_name("send-task-unknown-option", "other.task", colour="red"),
    by_name("send-task-none", None),  # type: ignore[arg-type]
]

CASES: list[Case] = [*PARAMETERS, *NAMES, *CLASSES, *SENT]
