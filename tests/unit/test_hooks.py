"""What other packages put in the place of ours: that it is called, with what, and that it takes effect."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest

import umbel.trace
from tests.conftest import ManualClock, calls, messages, only_call
from umbel import Task, Umbel
from umbel.connections import Connection
from umbel.driving import drive_here
from umbel.handlers import Mode
from umbel.hooks import HOOKS, replaced
from umbel.options import call_options
from umbel.outcomes import Ended, Failure, Success
from umbel.producers import Producer
from umbel.request import Request
from umbel.trace import How, task_has_custom, trace
from umbel.worker.pool import Worker

Patch = pytest.MonkeyPatch


def run(task: Any, *args: Any, mode: Mode = Mode.WORKER, **fields: Any) -> Ended:
    request = Request(id="1", task=task.name, args=args, kwargs={}, called_directly=False, **fields)
    return trace(task, request, How(ManualClock(), drive_here, mode))[0]


def test_nothing_is_replaced_until_somebody_does(monkeypatch: Patch) -> None:
    assert all(hook.found() is not None for hook in HOOKS)
    assert replaced() == {}
    monkeypatch.setattr(Worker, "workloop", lambda self: None)
    assert replaced() == {"umbel.worker.pool.Worker.workloop": __file__}
    monkeypatch.setattr(Worker, "workloop", print)
    assert replaced() == {"umbel.worker.pool.Worker.workloop": repr(print)}


def test_a_report_says_what_is_replaced(app: Umbel, monkeypatch: Patch) -> None:
    assert "replaced by other packages" not in app.bugreport()
    monkeypatch.setattr(Umbel, "send_task", lambda self: None)
    assert f"umbel.app.Umbel.send_task: {__file__}" in app.bugreport()


# Tracers


class Watching:
    """Wraps tasks and tracers as error trackers do, and notes what it sees."""

    def __init__(self, monkeypatch: Patch) -> None:
        self.seen: list[Any] = []
        self._original = umbel.trace.build_tracer
        monkeypatch.setattr(umbel.trace, "build_tracer", self.build)

    def build(self, name: str, task: Any, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        self.seen.append(f"built {name}")
        if task_has_custom(task, "__call__"):
            type(task).__call__ = self.wrapped(type(task).__call__)
        else:
            task.run = self.wrapped(task.run)
        tracer = self._original(name, task, *args, **kwargs)

        def traced(*call: Any, **more: Any) -> Any:
            task_id, _, _, request = call
            self.seen.append(("traced", task_id, (request.get("headers") or {}).get("trace")))
            return tracer(*call, **more)

        return traced

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inner(*args: Any, **kwargs: Any) -> Any:
            self.seen.append("called")
            try:
                return function(*args, **kwargs)
            except Exception as error:
                self.seen.append(repr(error))
                raise

        return inner


@pytest.fixture
def watching(monkeypatch: Patch) -> Watching:
    return Watching(monkeypatch)


def test_a_task_is_wrapped_once_and_each_call_is_traced(app: Umbel, watching: Watching) -> None:
    add = app.task(name="t")(lambda x, y: x + y)
    assert run(add, 1, 2, headers={"trace": "a"}) == Success(3)
    assert run(add, 3, 4) == Success(7)
    traced = [("traced", "1", "a"), "called", ("traced", "1", None), "called"]
    assert watching.seen == ["built t", *traced]


def test_a_wrapper_sees_what_a_task_raises(app: Umbel, watching: Watching) -> None:
    bad = app.task(name="t")(lambda: 1 / 0)
    outcome = run(bad)
    assert isinstance(outcome, Failure)
    assert watching.seen[-1] == "ZeroDivisionError('division by zero')"
    assert "in inner" in outcome.traceback


def test_a_wrapper_sees_how_an_async_task_ends(app: Umbel, watching: Watching) -> None:
    @app.task(name="t")
    async def work() -> None:
        raise KeyError("x")

    assert isinstance(run(work), Failure)
    assert watching.seen[-2:] == ["called", "KeyError('x')"]
    with pytest.raises(KeyError):  # and called directly, it gives a coroutine as ever
        drive_here(work())


def test_a_call_of_its_own_class_is_wrapped(app: Umbel, watching: Watching) -> None:
    class Doubling(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return 2 * super().__call__(*args, **kwargs)

    double = app.task(name="t", base=Doubling)(lambda x: x)
    assert run(double, 4) == Success(8)
    assert watching.seen[-1] == "called"


def test_the_arguments_of_a_wrapped_task_are_checked_as_before(
    app: Umbel, watching: Watching
) -> None:
    class Adding(Task[..., Any]):
        name = "t"

        def run(self, x: int, y: int = 0) -> int:
            return x + y

    add = app.register_task(Adding())
    assert run(add, 1, 2) == Success(3)
    assert watching.seen[-1] == "called"
    assert str(add.call_signature()) == "(x: 'int', y: 'int' = 0) -> 'int'"
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments"):
        add.delay(1, 2, 3)


def test_a_call_that_is_put_on_all_tasks_is_called(app: Umbel, monkeypatch: Patch) -> None:
    original = Task.__call__

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return ("around", original(self, *args, **kwargs))

    plain = app.task(name="t")(lambda x: x)
    assert not task_has_custom(plain, "__call__")
    assert not task_has_custom(plain, "on_failure")
    assert task_has_custom(plain, "run")
    monkeypatch.setattr(Task, "__call__", call)
    assert run(plain, 1) == Success(("around", 1))


def test_tasks_that_are_run_where_they_are_called_are_traced_too(
    app: Umbel, watching: Watching
) -> None:
    add = app.task(name="t")(lambda x, y: x + y)
    assert add.apply((1, 2)).get() == 3
    assert watching.seen[0] == "built t"
    assert watching.seen[-1] == "called"
    with pytest.raises(ZeroDivisionError):
        app.task(name="u")(lambda: 1 / 0).apply(throw=True)


def test_what_goes_wrong_around_a_task_does_not_change_what_it_did(
    app: Umbel, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    build, errors = umbel.trace.build_tracer, [ValueError("late")]

    def wrapping(*args: Any, **kwargs: Any) -> Any:
        tracer = build(*args, **kwargs)

        def traced(*call: Any) -> Any:
            tracer(*call)
            raise errors[0]

        return traced

    monkeypatch.setattr(umbel.trace, "build_tracer", wrapping)
    task = app.task(name="t")(lambda: 3)
    assert run(task) == Success(3)
    assert "what traces it raised" in caplog.text
    with pytest.raises(ValueError, match="late"):
        task.apply()


def test_what_does_not_run_a_task_makes_it_fail(app: Umbel, monkeypatch: Patch) -> None:
    task = app.task(name="t")(lambda: 3)
    monkeypatch.setattr(umbel.trace, "build_tracer", lambda *_, **__: lambda *call: None)
    outcome = run(task)
    assert isinstance(outcome, Failure)
    assert "did not run it" in str(outcome.error)

    def failing(*_: Any, **__: Any) -> Any:
        raise ValueError("early")

    monkeypatch.setattr(umbel.trace, "build_tracer", failing)
    outcome = run(task)
    assert isinstance(outcome, Failure)
    assert repr(outcome.error) == "ValueError('early')"


def test_a_tracer_can_be_used_by_hand(app: Umbel) -> None:
    task = app.task(name="t", bind=True)(lambda self, x: (x, self.request.id, self.request.y))
    tracer = umbel.trace.build_tracer("t", task, app=app)
    value, info, _, _ = tracer("7", (1,), {}, {"y": 2})
    assert (value, info) == ((1, "7", 2), None)
    raising = umbel.trace.build_tracer("t", task, app=app, eager=True, propagate=True)
    with pytest.raises(TypeError):
        raising("7", (1, 2), {}, {"y": 2})


# Calls


def test_each_way_to_call_goes_through_apply_async(app: Umbel, monkeypatch: Patch) -> None:
    original = Task.apply_async

    def apply_async(*args: Any, **kwargs: Any) -> Any:
        kwargs["headers"] = {**(kwargs.get("headers") or {}), "trace": args[0].name}
        return original(*args, **kwargs)

    monkeypatch.setattr(Task, "apply_async", apply_async)
    task = app.task(name="t")(lambda x: x)
    task.delay(1)
    task.apply_async((2,), headers={"own": 1})
    task.delay_many([(3,), (4,)], priority=1)
    found = [(call.args, call.headers) for call in calls(app)]
    assert sorted(found) == [
        ([1], {"trace": "t"}),
        ([2], {"own": 1, "trace": "t"}),
        ([3], {"trace": "t"}),
        ([4], {"trace": "t"}),
    ]


def test_a_send_task_of_ones_own_sees_all_calls(memory: str) -> None:
    class Tenants(Umbel):
        def send_task(self, name: str, *args: Any, **options: Any) -> Any:
            options["headers"] = {"tenant": "a"}
            return super().send_task(name, *args, **options)

    app = Tenants("proj", broker=memory, backend=memory)

    class Shadowed(Task[..., Any]):
        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"t({args[0]})"

    task = app.task(name="t", base=Shadowed, ignore_result=True, queue="own")(lambda x, y=0: x)
    with pytest.raises(TypeError):
        task.delay(1, 2, 3)
    result = task.apply_async((1,), {"y": 2}, "id-1", countdown=0)
    call = only_call(app, "own")
    assert (call.id, call.args, call.kwargs) == ("id-1", [1], {"y": 2})
    assert (call.headers, call.shadow, call.ignore_result) == ({"tenant": "a"}, "t(1)", True)
    assert result.id == "id-1"
    assert result.ignored


# Publishing


def test_calls_are_published_through_what_takes_the_place_of_publish(
    app: Umbel, monkeypatch: Patch
) -> None:
    seen: list[dict[str, Any]] = []
    original = Producer.publish

    def publish(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append({"body": args[0], "kind": self.connection.transport.driver_type, **kwargs})
        kwargs["headers"]["trace"] = "a"
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Producer, "publish", publish)
    task = app.task(name="t", serializer="json")(lambda x: x)
    task.apply_async((1,), queue="own", priority=3, countdown=60, retry=False)
    found = seen[0]
    assert (found["exchange"], found["routing_key"], found["kind"]) == ("", "own", "memory")
    assert (found["serializer"], found["compression"], found["priority"]) == ("json", None, 3)
    assert (found["headers"]["task"], found["retry"]) == ("t", False)
    assert found["correlation_id"] == found["headers"]["id"]
    assert found["body"][0] == (1,)
    assert [queue.name for queue in found["declare"]] == ["own"]
    assert app.queues.depths()["own"].scheduled == 1
    task.delay_many([(2,), (3,)])
    app.send_task("u")
    assert [call.headers for call in calls(app)] == [{"trace": "a"}] * 3
    assert len(seen) == 4


def test_what_is_changed_on_the_way_counts(app: Umbel, monkeypatch: Patch) -> None:
    original = Producer.publish

    def publish(self: Any, body: Any, **kwargs: Any) -> Any:
        changes = {"routing_key": "other", "app_id": "shop", "headers": {**kwargs["headers"]}}
        return original(self, ([7], *body[1:]), **{**kwargs, **changes})

    monkeypatch.setattr(Producer, "publish", publish)
    app.task(name="t")(lambda x: x).apply_async((1,), compression="gzip")
    (message,) = messages(app, "other")
    assert message.properties["app_id"] == "shop"
    assert only_call(app, "other").args == [7]


def test_a_producer_sends_messages_that_are_no_calls(app: Umbel) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            {"a": 1},
            routing_key="raw",
            serializer="json",
            headers={"h": 1},
            compression="gzip",
            priority=2,
            expiration=1.5,
            delivery_mode="transient",
            message_id="m",
        )
    Producer(app.connection().channel(), routing_key="raw").publish("grüße")
    Producer(app, routing_key="raw").publish(b"\x00")
    Producer(app, routing_key="raw", serializer="json").publish("x", content_type="a/b")
    sent = {message.content_type: message for message in messages(app, "raw")}
    first = sent["application/json"]
    assert first.headers == {"h": 1, "compression": "application/x-gzip"}
    assert first.properties == {
        "delivery_mode": 1,
        "expiration": "1500",
        "message_id": "m",
        "priority": 2,
    }
    assert (sent["text/plain"].body, sent["application/data"].body) == ("grüße".encode(), b"\x00")
    assert sent["a/b"].body == b"x"


def test_a_producer_sends_to_all_queues_of_an_exchange(app: Umbel) -> None:
    app.conf.task_queues = {
        name: {"exchange": "news", "exchange_type": "topic", "routing_key": "news.#"}
        for name in ("one", "two")
    }
    producer = Producer(app, exchange="news")
    producer.publish({}, routing_key="news.today")
    assert [len(messages(app, name)) for name in ("one", "two")] == [1, 1]
    info = messages(app, "one")[0].properties["delivery_info"]
    assert info == {"exchange": "news", "routing_key": "news.today"}


def test_where_a_broker_is(monkeypatch: Patch) -> None:
    url = "redis://ann:s%20c@there:6380/2"
    app = Umbel("proj", broker=url, set_as_current=False)
    connection = Connection(app)
    assert connection.transport.driver_type == "redis"
    found = connection.info()
    names = ("hostname", "userid", "password", "port", "virtual_host", "transport")
    assert [found[name] for name in names] == ["there", "ann", "s c", 6380, "2", "redis"]


# What wrappers write and read


def test_headers_that_stand_within_headers_are_read_as_headers(app: Umbel) -> None:
    from umbel.message import Delivery  # noqa: PLC0415
    from umbel.request import request_of  # noqa: PLC0415

    task = app.task(name="t")(lambda: None)
    task.apply_async(headers={"trace": "a", "own": 1, "headers": {"trace": "b", "more": 2}})
    (message,) = messages(app)
    request = request_of(only_call(app), Delivery("k", "celery", message), "host")
    assert request.headers == {"trace": "b", "own": 1, "more": 2}
    assert (request.name, request.task_name, request.task_id) == ("t", "t", request.id)
    assert (request.argsrepr, request.kwargsrepr) == ("()", "{}")
    assert call_options(request.as_execution_options() | {"chain": None}).headers == request.headers


def test_a_child_runs_within_workloop(monkeypatch: Patch) -> None:
    seen: list[str] = []
    original = Worker.workloop

    def workloop(*args: Any, **kwargs: Any) -> Any:
        try:
            return original(*args, **kwargs)
        finally:
            seen.append("flushed")

    monkeypatch.setattr(Worker, "workloop", workloop)
    Worker(lambda: seen.append("ran")).workloop(pid=1)
    assert seen == ["ran", "flushed"]
