from __future__ import annotations

import asyncio
import functools
import inspect
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ManualClock, calls, messages, only_call
from umbel import MaxRetriesExceededError, Retry, Task, Umbel, shared_task
from umbel.bulk import BATCH
from umbel.current import running
from umbel.entities import Exchange, Queue
from umbel.exceptions import ImproperlyConfigured, OperationalError, Unroutable
from umbel.message import decode
from umbel.options import CALL_NAMES, CallOptions
from umbel.publish import Context, build
from umbel.request import Request
from umbel.retrying import Again
from umbel.routing import Route
from umbel.task import AsyncTask
from umbel.testing.conformance.support import at_most


@contextmanager
def run_as(task: Task[..., Any], **fields: Any) -> Iterator[Request]:
    """Let a task believe that a worker runs it."""
    request = Request(**{"id": "i", "task": task.name, "called_directly": False, **fields})
    token = running.set(request)
    try:
        yield request
    finally:
        running.reset(token)


def plain(x: int, y: int = 1) -> int:
    """Add."""
    return x + y


# Making a task


def test_a_task_looks_like_its_function(app: Umbel) -> None:
    task = app.task(plain)
    assert task(2, 3) == 5
    assert (task.__name__, task.__doc__, task.__module__) == ("plain", "Add.", __name__)
    assert task.name == f"{__name__}.plain"
    assert task.__wrapped__ is plain
    assert repr(task).startswith(f"<@task: {__name__}.plain at 0x")
    assert task.app is app
    assert app.tasks[task.name] is task


def test_the_decorator_is_written_with_and_without_arguments(app: Umbel) -> None:
    @app.task
    def bare() -> str:
        return "bare"

    @app.task()
    def called() -> str:
        return "called"

    @app.task(name="mine", queue="video", max_retries=None)
    def named() -> str:
        return "named"

    assert (bare(), called(), named()) == ("bare", "called", "named")
    assert (named.name, named.queue, named.max_retries) == ("mine", "video", None)
    assert bare.max_retries == 3


def test_a_bound_task_is_given_itself(app: Umbel) -> None:
    @app.task(bind=True)
    def work(self: Task[..., Any], x: int) -> tuple[str, int]:
        return self.name, x

    assert work(1) == (work.name, 1)
    work.delay(1)
    assert only_call(app).args == [1]


def test_an_async_function_makes_an_async_task(app: Umbel) -> None:
    @app.task
    async def work(x: int) -> int:
        return x

    assert isinstance(work, AsyncTask)
    assert work.is_async
    assert asyncio.run(work(5)) == 5


class Doubler:
    """An object that is called like an async function."""

    async def __call__(self, x: int) -> int:
        return 2 * x


async def times(x: int, factor: int) -> int:
    return x * factor


def and_more(function: Any) -> Any:
    @functools.wraps(function)
    async def wrapper(*args: Any) -> Any:
        return await function(*args) + 1

    return wrapper


def driven(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any) -> Any:
        return asyncio.run(function(*args))

    return wrapper


@pytest.mark.parametrize(
    ("function", "is_async"),
    [
        (functools.partial(times, factor=2), True),
        (functools.partial(functools.partial(times), factor=2), True),
        (Doubler(), True),
        (functools.partial(Doubler()), True),
        (and_more(times), True),
        (driven(times), False),
        (functools.partial(plain), False),
        (plain, False),
    ],
)
def test_what_is_async_is_decided_once(app: Umbel, function: Any, is_async: bool) -> None:
    task = app.task(function)
    assert task.name.startswith(f"{__name__}.")
    assert (task.is_async, isinstance(task, AsyncTask)) == (is_async, is_async)


def test_limits_are_the_tasks_own_else_those_of_the_settings(app: Umbel) -> None:
    app.conf.update(task_time_limit=9, task_soft_time_limit=8.5, task_default_rate_limit="30/m")
    options: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"time_limit": 5, "soft_time_limit": 4, "rate_limit": "7200/h"},
        "c": {"time_limit": 0, "soft_time_limit": 0, "rate_limit": 0},
        "d": {"rate_limit": ""},
        "e": {"rate_limit": 2.5},
    }
    tasks = [app.task(name=name, **own)(plain) for name, own in options.items()]
    policies = [task.policy(app.conf.snapshot) for task in tasks]
    found = [(policy.time_limit, policy.soft_time_limit, policy.rate) for policy in policies]
    assert found == [(9, 8.5, 0.5), (5, 4, 2), (0, 0, 0), (9, 8.5, 0), (9, 8.5, 2.5)]
    app.conf.worker_disable_rate_limits = True
    assert app.tasks["b"].policy(app.conf.snapshot).rate == 0


def test_a_base_class_gives_defaults_and_behaviour(app: Umbel) -> None:
    class Base(Task[Any, Any]):
        queue = "video"
        max_retries = 9
        extra = "default"

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["base", self.run(*args, **kwargs)]

    @app.task(base=Base, max_retries=1, extra="own")  # type: ignore[call-overload, untyped-decorator]
    def work() -> int:
        return 1

    assert (work.queue, work.max_retries, work.extra) == ("video", 1, "own")
    assert work() == ["base", 1]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_retry": 3}, "@app.task has no option 'max_retry'. Did you mean 'max_retries'?"),
        ({"que": "x"}, "@app.task has no option 'que'. Did you mean 'queue'?"),
        ({"bnd": True}, "@app.task has no option 'bnd'. Did you mean 'bind'?"),
        ({"name": 5}, "name is 5, but must be a text."),
    ],
)
def test_an_unknown_option_of_a_task_suggests_the_nearest(
    app: Umbel, options: Mapping[str, Any], text: str
) -> None:
    with pytest.raises(TypeError) as caught:
        app.task(**options)(plain)
    assert str(caught.value) == text


def test_only_functions_become_tasks(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"A task is made from a function, not from 5\."):
        app.task(5)  # type: ignore[call-overload]


def test_a_callable_object_and_a_partial_may_be_tasks(app: Umbel) -> None:
    class Mailer:
        def __call__(self, to: str) -> str:
            return f"to {to}"

    mail = app.task(name="mail")(Mailer())
    two = app.task(name="two")(partial(plain, 2))
    assert (mail("me"), two(5)) == ("to me", 7)
    mail.delay("me")
    two.delay(5)
    assert [call.args for call in calls(app)] == [["me"], [5]]


def test_limits_that_contradict_each_other_are_refused_where_they_are_written(app: Umbel) -> None:
    with pytest.raises(
        ValueError,
        match="soft_time_limit is 2 and time_limit is 1, but soft_time_limit must be less than",
    ):
        app.task(time_limit=1, soft_time_limit=2)(plain)


# Calling here


def test_a_direct_call_outside_of_a_task_has_no_request(app: Umbel) -> None:
    @app.task(bind=True)
    def work(self: Task[..., Any]) -> Request:
        assert running.get() is self.request
        return self.request

    assert work().called_directly is True
    assert work().id is None


def test_a_direct_call_within_a_task_has_a_request_of_its_own(app: Umbel) -> None:
    @app.task(bind=True)
    def inner(self: Task[..., Any], x: int) -> Request:
        leaf.delay()
        return self.request

    @app.task
    def leaf() -> None: ...

    @app.task(bind=True)
    def outer(self: Task[..., Any]) -> tuple[Request, Request]:
        return inner(7), self.request

    with run_as(outer, id="i", root_id="r") as request:
        seen, after = outer.run()
    assert (seen.called_directly, seen.args, seen.task) == (True, (7,), inner.name)
    assert after is request
    call = only_call(app)
    assert (call.parent_id, call.root_id) == ("i", "r")


def test_a_call_from_within_a_task_is_its_child(app: Umbel) -> None:
    task = app.task(plain)
    with run_as(task, id="i", root_id="r"):
        task.delay(1)
    call = only_call(app)
    assert (call.parent_id, call.root_id) == ("i", "r")


# Calling there


def test_delay_sends_and_returns_the_result_to_be(app: Umbel) -> None:
    result = app.task(plain).delay(2, y=3)
    call = only_call(app)
    assert (call.id, call.task, call.args, call.kwargs) == (
        result.id,
        f"{__name__}.plain",
        [2],
        {"y": 3},
    )
    assert result.state == "PENDING"


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, "plain() missing 1 required positional argument: 'x'"),
        ((1, 2, 3), {}, "plain() takes from 1 to 2 positional arguments but 3 were given"),
        ((1,), {"w": 1}, "plain() got an unexpected keyword argument 'w'"),
        ((1,), {"x": 1}, "plain() got multiple values for argument 'x'"),
    ],
)
def test_arguments_are_checked_at_the_call(
    app: Umbel, args: Any, kwargs: dict[str, Any], text: str
) -> None:
    task = app.task(plain)
    ways: list[Callable[[], object]] = [
        lambda: task.delay(*args, **kwargs),
        lambda: task.apply_async(args, kwargs),
    ]
    for way in ways:
        with pytest.raises(TypeError) as caught:
            way()
        assert str(caught.value) == text
    assert messages(app) == []


def test_an_option_given_to_delay_is_told_where_it_belongs(app: Umbel) -> None:
    task = app.task(plain)
    with pytest.raises(TypeError, match="unexpected keyword argument 'countdown'") as caught:
        task.delay(1, countdown=5)  # type: ignore[call-arg]
    (note,) = caught.value.__notes__
    assert "apply_async(args, kwargs, countdown=...) takes it" in note
    with pytest.raises(TypeError) as caught:
        task.delay(1, w=5)  # type: ignore[call-arg]
    assert not hasattr(caught.value, "__notes__")


def test_a_task_may_leave_the_check_to_the_worker(app: Umbel) -> None:
    app.task(typing=False)(plain).delay()  # type: ignore[call-arg]
    assert only_call(app).args == []


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ("text", None, "The arguments of a call must be a list or a tuple"),
        ({1, 2}, None, "The arguments of a call must be a list or a tuple"),
        (None, [1], "The keyword arguments of a call must be a mapping"),
    ],
)
def test_arguments_are_a_list_and_a_mapping(app: Umbel, args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        app.task(plain).apply_async(args, kwargs)


#: Every option of a call: its value, and how the message shows it.
OPTIONS: dict[str, tuple[Any, Callable[[Any], Any], Any]] = {
    "task_id": ("mine", lambda found: found.message.headers["id"], "mine"),
    "countdown": (3600, lambda found: found.where, "scheduled"),
    "eta": ("2099-01-01T00:00:00+00:00", lambda found: found.due, 4070908800.0),
    "expires": (
        "2099-01-01T00:00:00+00:00",
        lambda found: found.message.headers["expires"],
        "2099-01-01T00:00:00+00:00",
    ),
    "priority": (7, lambda found: found.message.properties["priority"], 7),
    "queue": ("video", lambda found: found.queue, "video"),
    "serializer": ("json", lambda found: found.message.content_type, "application/json"),
    "compression": (
        "bzip2",
        lambda found: found.message.headers["compression"],
        "application/x-bz2",
    ),
    "headers": ({"tenant": "a"}, lambda found: found.message.headers["tenant"], "a"),
    "time_limit": (20, lambda found: found.message.headers["timelimit"], [20, None]),
    "soft_time_limit": (10, lambda found: found.message.headers["timelimit"], [None, 10]),
    "ignore_result": (True, lambda found: found.message.headers["ignore_result"], True),
    "shadow": ("other", lambda found: found.message.headers["shadow"], "other"),
    "argsrepr": ("(...)", lambda found: found.message.headers["argsrepr"], "(...)"),
    "kwargsrepr": ("{...}", lambda found: found.message.headers["kwargsrepr"], "{...}"),
    "reply_to": ("me", lambda found: found.message.properties["reply_to"], "me"),
    "root_id": ("r", lambda found: found.message.headers["root_id"], "r"),
    "parent_id": ("p", lambda found: found.message.headers["parent_id"], "p"),
    "group_id": ("g", lambda found: found.message.headers["group"], "g"),
    "group_index": (4, lambda found: found.message.headers["group_index"], 4),
    "retries": (2, lambda found: found.message.headers["retries"], 2),
    "delivery_mode": (1, lambda found: found.message.properties["delivery_mode"], 1),
    "correlation_id": ("c", lambda found: found.message.properties["correlation_id"], "c"),
    "origin": ("me@there", lambda found: found.message.headers["origin"], "me@there"),
    "replaced_task_nesting": (
        2,
        lambda found: found.message.headers["replaced_task_nesting"],
        2,
    ),
    "message_id": ("m", lambda found: found.message.properties["message_id"], "m"),
    "expiration": (1.5, lambda found: found.message.properties["expiration"], "1500"),
}
#: Of no effect on the message: how it is published, who notes it as a child, and what eager calls raise.
ELSEWHERE = {"retry", "retry_policy", "timeout", "throw", "add_to_parent"}
#: Said of exchanges, which `test_routes.py` of the compatibility tests sends to.
PLACES = {"exchange", "exchange_type", "routing_key", "route_name"}
#: Given together with others: the names of these are stamps.
NAMES = {"stamped_headers"}
#: What follows the call, of which `test_signatures.py` and `test_calls.py` tell.
FOLLOWING = {"link", "link_error", "chain", "chord"}
#: Properties of the message that are no fields.
PROPERTIES = {"message_id", "expiration"}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_arrives(app: Umbel, name: str) -> None:
    value, show, expected = OPTIONS[name]
    result = app.task(plain).apply_async((1,), **{name: value})
    (found,) = app.queues.find(result.id)
    assert show(found) == expected


def test_no_option_is_forgotten() -> None:
    assert set(CALL_NAMES) == (OPTIONS.keys() | ELSEWHERE | PLACES | NAMES | FOLLOWING) - PROPERTIES


def test_stamps_are_options_of_their_own_names(app: Umbel) -> None:
    task: Any = app.task(plain)
    result = task.apply_async((1,), stamped_headers=["tenant"], tenant="a")
    (found,) = app.queues.find(result.id)
    assert found.message.headers["stamped_headers"] == ["tenant"]
    assert found.message.headers["stamps"] == {"tenant": "a"}
    with pytest.raises(TypeError, match="the stamp 'tenant', which is not given"):
        task.apply_async((1,), stamped_headers=["tenant"])
    with pytest.raises(TypeError, match="stamped_headers is 'tenant', but must list"):
        task.apply_async((1,), stamped_headers="tenant", tenant="a")


def test_options_by_their_position(app: Umbel) -> None:
    task = app.task(plain)
    assert task.apply_async((1,), {}, "mine", None, None, None, "other").id == "mine"
    (found,) = app.queues.find("mine")
    assert found.message.headers["shadow"] == "other"
    assert task.apply((1,), {}, None, None, "mine").id == "mine"
    with pytest.raises(TypeError, match="takes 5 options by their position, not 6: task_id, "):
        task.apply_async((1,), {}, "i", None, None, None, None, None)
    with pytest.raises(TypeError, match="got the option 'task_id' twice"):
        task.apply_async((1,), {}, "i", task_id="j")


def test_an_option_given_as_none_takes_back_what_the_task_says(app: Umbel) -> None:
    own: dict[str, Any] = {"queue": "video", "compression": "gzip", "priority": 3, "expires": 60}
    task = app.task(time_limit=9, serializer="yaml", ignore_result=True, **own)(plain)
    none: dict[str, Any] = dict.fromkeys((*own, "time_limit", "serializer", "ignore_result"))
    task.apply_async((1,), **none)
    (found,) = messages(app)
    assert "compression" not in found.headers
    assert "priority" not in found.properties
    assert found.content_type == "application/json"
    headers = found.headers
    assert (headers["expires"], headers["timelimit"], headers["ignore_result"]) == (
        None,
        [None, None],
        None,
    )


def test_what_a_call_took_back_its_retries_do_not_get_again(app: Umbel) -> None:
    task = app.task(expires=60, time_limit=9)(plain)
    with run_as(task, args=[1], expires=None, time_limit=None):
        retry = again(task.retry(throw=False))
    settings = app.conf.snapshot
    context = Context(settings, app.clock)
    made = build(task.template(settings), (1,), {}, retry.options, Route("q"), context)
    assert (made.message.headers["expires"], made.message.headers["timelimit"]) == (
        None,
        [None, None],
    )


def test_limits_of_the_settings_that_contradict_the_tasks_are_refused(app: Umbel) -> None:
    app.conf.task_time_limit = 10
    assert app.task(plain).apply_async((1,)).id
    with pytest.raises(ValueError, match="soft_time_limit is 20 and time_limit is 10, but"):
        app.task(name="soft", soft_time_limit=20)(plain).delay(1)


def test_an_unknown_option_of_a_call_suggests_the_nearest(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"apply_async has no option 'coutdown'.*'countdown'"):
        app.task(plain).apply_async((1,), coutdown=3)  # type: ignore[call-arg]
    assert messages(app) == []


def test_the_tasks_options_arrive_too(app: Umbel) -> None:
    app.task(
        queue="video",
        priority=3,
        compression="zlib",
        expires=1e9,
        time_limit=20,
        soft_time_limit=10,
        ignore_result=True,
    )(plain).delay(1)
    (message,) = messages(app, "video")
    assert message.properties["priority"] == 3
    assert message.headers["timelimit"] == [20, 10]
    assert message.headers["compression"] == "application/x-gzip"
    assert message.headers["ignore_result"] is True
    assert message.headers["expires"].startswith("20")


def test_the_most_urgent_is_delivered_first(app: Umbel) -> None:
    task = app.task(plain)
    for priority in (0, 200, None, 5, 200):
        task.apply_async((priority,), priority=priority)
    assert [call.args for call in calls(app)] == [[200], [200], [5], [0], [None]]


def test_settings_that_change_are_seen_at_once(app: Umbel) -> None:
    task = app.task(plain)
    task.delay(1)
    app.conf.task_default_queue = "other"
    task.delay(2)
    app.conf.task_routes = {f"{__name__}.*": "routed"}
    task.delay(3)
    app.conf.task_default_priority = 9
    task.delay(4)
    del app.conf["task_routes"]
    task.delay(5)
    found = {queue: [call.args[0] for call in calls(app, queue)] for queue in app.queues.depths()}
    assert found == {"celery": [1], "other": [5, 2], "routed": [4, 3]}


# Many calls


def test_delay_many_sends_one_call_for_each(app: Umbel) -> None:
    results = app.task(plain).delay_many([(1, 2), [3], (4, 5)], queue="video", priority=3)
    sent = calls(app, "video")
    assert [call.args for call in sent] == [[1, 2], [3], [4, 5]]
    assert [call.id for call in sent] == [result.id for result in results]
    assert len({result.id for result in results}) == 3


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1])
def test_delay_many_sends_in_batches(app: Umbel, count: int) -> None:
    sizes: list[int] = []
    publish = app.publish

    def count_them(publications: Any, options: Any = None) -> None:
        sizes.append(len(publications))
        publish(publications)

    app.publish = count_them  # type: ignore[method-assign]
    results = app.task(plain).delay_many((n,) for n in range(count))
    assert len(results) == sum(sizes) == count
    assert all(0 < size <= BATCH for size in sizes)
    assert len(sizes) == -(-count // BATCH)


def test_delay_many_checks_before_it_sends_a_batch(app: Umbel) -> None:
    with pytest.raises(TypeError, match="takes from 1 to 2"):
        app.task(plain).delay_many([(1,), (1, 2, 3)])
    assert messages(app) == []


def test_each_of_many_goes_where_its_arguments_say(app: Umbel) -> None:
    app.conf.task_routes = lambda name, args, kwargs, options, task=None: f"shard{args[0] % 2}"
    results = app.task(plain).delay_many([(1,), (2,), (3,)])
    assert [call.id for call in calls(app, "shard1")] == [results[0].id, results[2].id]
    assert [call.id for call in calls(app, "shard0")] == [results[1].id]


def test_many_calls_to_many_queues_have_one_result_each(app: Umbel) -> None:
    exchange = Exchange("x", "fanout")
    app.conf.task_queues = [Queue("a", exchange), Queue("b", exchange)]
    results = app.task(plain).delay_many([(1,), (2,)], queue="a")
    for queue in ("a", "b"):
        assert [call.id for call in calls(app, queue)] == [result.id for result in results]


def test_delay_many_cannot_share_an_id(app: Umbel) -> None:
    with pytest.raises(TypeError, match="cannot give many calls one task_id"):
        app.task(plain).delay_many([(1,)], task_id="one")


# From coroutines, threads, and without a broker


def test_calls_from_a_coroutine(app: Umbel) -> None:
    task = app.task(plain)

    async def main() -> list[str]:
        one = await task.adelay(1, y=2)
        other = await task.aapply_async((3,), {"y": 4}, queue="video")
        return [one.id, other.id]

    ids = asyncio.run(main())
    sent = [only_call(app), only_call(app, "video")]
    assert [call.id for call in sent] == ids
    assert [(call.args, call.kwargs) for call in sent] == [([1], {"y": 2}), ([3], {"y": 4})]


def test_a_call_from_a_coroutine_of_a_task_is_its_child(app: Umbel) -> None:
    task = app.task(plain)

    async def main() -> None:
        await task.adelay(1)

    with run_as(task, id="i"):
        asyncio.run(main())
    assert only_call(app).parent_id == "i"


def test_eight_threads_may_call_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'umbel.db'}"
    with Umbel(broker=url, backend=url) as app:
        task = app.task(plain)
        together = threading.Barrier(8)
        ids: list[str] = []

        def work(number: int) -> None:
            together.wait()
            for n in range(20):
                ids.append(task.delay(number, n).id)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sent = calls(app)
    assert {call.id for call in sent} == set(ids)
    assert sorted(tuple(call.args) for call in sent) == [
        (a, b) for a in range(8) for b in range(20)
    ]
    for number in range(8):
        assert [call.args[1] for call in sent if call.args[0] == number] == list(range(20))


def test_a_broker_that_cannot_be_reached_raises_in_time(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'umbel.db'}"
    with Umbel(broker=url, broker_publish_timeout=0.2) as app:
        app.broker.ever_consumed()
        other = sqlite3.connect(tmp_path / "umbel.db")
        other.execute("BEGIN IMMEDIATE")
        with at_most(5.0), pytest.raises(OperationalError, match=r"umbel\.db"):
            app.task(plain).delay(1)
        other.close()


def test_a_place_that_can_be_no_broker_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "umbel.db").write_text(
        "this is no database, and long enough to be seen as such" * 99
    )
    url = f"sqlite:///{tmp_path / 'umbel.db'}"
    with (
        Umbel(broker=url) as app,
        at_most(5.0),
        pytest.raises(ImproperlyConfigured, match=r"umbel\.db is not an SQLite file"),
    ):
        app.task(plain).delay(1)


# Retries


def again(retry: Retry) -> Again:
    assert isinstance(retry.sig, Again)
    return retry.sig


@pytest.fixture
def task(app: Umbel) -> Task[..., Any]:
    return app.task(plain)


def test_retry_raises_what_is_to_be_sent(task: Task[..., Any]) -> None:
    error = ValueError("boom")
    with run_as(task, args=[1], kwargs={"y": 2}, retries=1), pytest.raises(Retry) as caught:
        task.retry(exc=error, countdown=10)
    retry = caught.value
    assert (retry.exc, retry.when, retry.is_eager) == (error, 10, False)
    assert retry.__cause__ is error
    assert str(retry) == "Retry in 10s: ValueError('boom')"
    assert (again(retry).args, again(retry).kwargs) == ((1,), {"y": 2})
    assert (again(retry).options.retries, again(retry).options.countdown) == (2, 10)


def test_without_throw_retry_is_returned(task: Task[..., Any]) -> None:
    with run_as(task):
        assert isinstance(task.retry(throw=False), Retry)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, 180), ({"countdown": 0}, 0), ({"countdown": 5}, 5), ({"countdown": 2.5}, 2.5)],
)
def test_the_countdown_is_the_tasks_unless_it_is_given(
    task: Task[..., Any], given: dict[str, Any], expected: float
) -> None:
    with run_as(task):
        retry = task.retry(throw=False, **given)
    assert retry.when == expected
    assert again(retry).options.countdown == expected


def test_an_eta_goes_before_the_countdown(task: Task[..., Any]) -> None:
    eta = datetime(2099, 1, 1, tzinfo=UTC)
    with run_as(task):
        retry = task.retry(throw=False, eta=eta)
    assert (again(retry).options.eta, again(retry).options.countdown) == (eta, None)
    assert retry.when == eta


def test_default_retry_delay_is_an_option(app: Umbel) -> None:
    task = app.task(default_retry_delay=7)(plain)
    with run_as(task):
        assert task.retry(throw=False).when == 7


@pytest.mark.parametrize(
    ("own", "given", "retries", "allowed"),
    [
        (3, None, 2, True),
        (3, None, 3, False),
        (0, None, 0, False),
        (None, None, 10_000, True),
        (3, 5, 4, True),
        (3, 5, 5, False),
        (3, 0, 0, False),
        (None, 1, 1, False),
    ],
)
def test_max_retries(
    app: Umbel, own: int | None, given: int | None, retries: int, allowed: bool
) -> None:
    task = app.task(max_retries=own)(plain)
    with run_as(task, retries=retries, args=[1], kwargs={"y": 2}):
        if allowed:
            assert again(task.retry(throw=False, max_retries=given)).options.retries == retries + 1
            return
        with pytest.raises(MaxRetriesExceededError) as caught:
            task.retry(throw=False, max_retries=given)
        assert str(caught.value) == f"Can't retry {task.name}[i] args:(1,) kwargs:{{'y': 2}}"
        assert (caught.value.task_args, caught.value.task_kwargs) == ((1,), {"y": 2})
        with pytest.raises(ValueError, match="boom"):
            task.retry(exc=ValueError("boom"), max_retries=given)


def test_called_directly_retry_raises_the_error_itself(task: Task[..., Any]) -> None:
    with pytest.raises(ValueError, match="boom"):
        task.retry(exc=ValueError("boom"))
    with pytest.raises(Retry, match="Task can be retried"):
        task.retry()


def test_another_tasks_request_is_not_ones_own(app: Umbel, task: Task[..., Any]) -> None:
    @app.task(bind=True)
    def other(self: Task[..., Any]) -> None:
        self.retry(exc=ValueError("boom"))

    with run_as(task), pytest.raises(ValueError, match="boom"):
        other()


def test_new_arguments_replace_the_old(task: Task[..., Any]) -> None:
    with run_as(task, args=[1], kwargs={"y": 2}):
        both = again(task.retry(throw=False, args=(7,), kwargs={}))
        one = again(task.retry(throw=False, args=(7,)))
    assert (both.args, both.kwargs) == ((7,), {})
    assert (one.args, one.kwargs) == ((7,), {"y": 2})


def flexible(a: int, b: int = 2, *rest: int, c: int = 3, **others: int) -> None: ...


def positional_only(a: int, /, b: int = 2, **others: int) -> None: ...


@pytest.mark.parametrize("bind", [False, True])
@pytest.mark.parametrize(
    ("function", "call", "given", "expected"),
    [
        # A new keyword takes the place of a positional argument of that name.
        (flexible, ([1], {}), {"kwargs": {"a": 9}}, ((9,), {})),
        (flexible, ([1, 2], {}), {"kwargs": {"b": 9}}, ((1, 9), {})),
        (flexible, ([1, 2, 7, 8], {}), {"kwargs": {"a": 9}}, ((9, 2, 7, 8), {})),
        (
            flexible,
            ([1], {}),
            {"kwargs": {"b": 9, "c": 8, "d": 7}},
            ((1,), {"b": 9, "c": 8, "d": 7}),
        ),
        (flexible, ([1], {"c": 4}), {"kwargs": {"a": 9}}, ((9,), {})),
        (flexible, ([1, 2, 7], {}), {"kwargs": {"rest": 9}}, ((1, 2, 7), {"rest": 9})),
        (flexible, ([1], {}), {"kwargs": {}}, ((1,), {})),
        (positional_only, ([1], {}), {"kwargs": {"a": 9}}, ((1,), {"a": 9})),
        (positional_only, ([1, 2, 3], {}), {"kwargs": {"b": 9}}, ((1, 2, 3), {"b": 9})),
        # New positional arguments drop the keywords of the parameters that they fill.
        (flexible, ([], {"a": 1, "b": 2, "c": 4}), {"args": (9,)}, ((9,), {"b": 2, "c": 4})),
        (flexible, ([], {"a": 1, "b": 2}), {"args": (9, 8, 7)}, ((9, 8, 7), {})),
        (flexible, ([1], {"b": 2}), {"args": ()}, ((), {"b": 2})),
        (flexible, ([1], {"rest": 2}), {"args": (9, 8, 7)}, ((9, 8, 7), {"rest": 2})),
        (positional_only, ([1], {"a": 5, "b": 2}), {"args": (9, 8)}, ((9, 8), {"a": 5})),
        # Both or neither: as they are.
        (flexible, ([1], {"b": 2}), {"args": (9,), "kwargs": {"a": 8}}, ((9,), {"a": 8})),
        (flexible, ([1], {"b": 2}), {}, ((1,), {"b": 2})),
    ],
)
def test_new_arguments_go_before_those_of_the_call_that_contradict(
    app: Umbel,
    function: Callable[..., Any],
    bind: bool,
    call: tuple[list[int], dict[str, int]],
    given: dict[str, Any],
    expected: tuple[Sequence[int], dict[str, int]],
) -> None:
    def bound(self: Task[..., Any], /, *args: Any, **kwargs: Any) -> None: ...

    signature = inspect.signature(function)
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    bound.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[first, *signature.parameters.values()]
    )
    args, kwargs = call
    task = app.task(name="t", bind=True)(bound) if bind else app.task(name="t")(function)
    with run_as(task, args=args, kwargs=kwargs):
        retry = again(task.retry(throw=False, **given))
    assert (retry.args, retry.kwargs) == expected
    assert call == (args, kwargs)


def test_too_many_retries_are_told_with_the_arguments_of_the_next(task: Task[..., Any]) -> None:
    with (
        run_as(task, retries=3, args=[1], kwargs={"y": 2}),
        pytest.raises(MaxRetriesExceededError, match=r"args:\(7, 8\) kwargs:\{\}") as caught,
    ):
        task.retry(args=(7, 8))
    assert (caught.value.task_args, caught.value.task_kwargs) == ((7, 8), {})


def test_a_retry_is_the_same_call(task: Task[..., Any]) -> None:
    with run_as(
        task,
        id="i",
        root_id="r",
        parent_id="p",
        group="g",
        group_index=2,
        expires="2099-01-01T00:00:00+00:00",
        time_limit=20,
        soft_time_limit=10,
        shadow="s",
        headers={"tenant": "a"},
        reply_to="me",
        ignore_result=True,
        eta="2020-01-01T00:00:00+00:00",
        delivery_info={"exchange": "", "routing_key": "video", "priority": 7, "redelivered": False},
    ):
        options = again(task.retry(throw=False, countdown=1)).options
    assert options == CallOptions(
        task_id="i",
        root_id="r",
        parent_id="p",
        group_id="g",
        group_index=2,
        expires="2099-01-01T00:00:00+00:00",
        time_limit=20,
        soft_time_limit=10,
        shadow="s",
        headers={"tenant": "a"},
        reply_to="me",
        ignore_result=True,
        priority=7,
        retries=1,
        countdown=1,
    )


def test_what_follows_a_message_of_celery_follows_its_retry(
    app: Umbel, task: Task[..., Any]
) -> None:
    carried: dict[str, Any] = {
        "callbacks": [{"task": "after"}],
        "errbacks": [{"task": "sorry"}],
        "chain": [{"task": "next"}],
        "chord": {"task": "all"},
        "origin": "gen1@elsewhere",
        "replaced_task_nesting": 2,
        "stamped_headers": ["tenant"],
        "stamps": {"tenant": ["a"]},
    }
    with run_as(task, **carried):
        retry = again(task.retry(throw=False, headers={"x": 1}))
    settings = app.conf.snapshot
    publication = build(
        task.template(settings), (1,), {}, retry.options, Route("q"), Context(settings, app.clock)
    )
    call = decode(publication.message, ("json",))
    assert {name: getattr(call, name) for name in carried} == carried
    assert call.headers == {"x": 1}


@pytest.mark.parametrize("name", ["callbacks", "properties", "stamps"])
def test_what_follows_is_not_the_callers_to_write(task: Task[..., Any], name: str) -> None:
    own: dict[str, Any] = {name: []}
    with pytest.raises(TypeError, match=f"no option '{name}'"):
        task.apply_async((1,), **own)
    with run_as(task), pytest.raises(TypeError, match=f"no option '{name}'"):
        task.retry(throw=False, **own)


def test_a_retry_may_go_to_another_place(task: Task[..., Any]) -> None:
    with run_as(task, delivery_info={"routing_key": "video", "priority": 0}):
        assert again(task.retry(throw=False)).route is None
        # As in Celery: a key alone is none that the queue's exchange looks at.
        assert again(task.retry(throw=False, routing_key="audio")).route is None
        assert again(task.retry(throw=False, queue="audio")).route == Route("audio")
        queue = Queue("audio", Exchange("media", "topic"), "media.#")
        assert again(task.retry(throw=False, queue=queue, routing_key="media.a")).route == Route(
            "audio", None, "media.a", "media"
        )
        with pytest.raises(Unroutable):
            task.retry(throw=False, exchange="media", routing_key="media.a")


def test_a_retry_without_a_parent_is_its_own_child(task: Task[..., Any]) -> None:
    with run_as(task, id="i"):
        assert again(task.retry(throw=False)).options.parent_id == "i"


def test_options_of_a_retry_replace_those_of_the_call(task: Task[..., Any]) -> None:
    with run_as(task, delivery_info={"routing_key": "video", "priority": 7}, headers={"a": 1}):
        options = again(
            task.retry(throw=False, queue="audio", priority=1, headers={"b": 2}, time_limit=5)
        ).options
    assert (options.queue, options.priority, options.headers, options.time_limit) == (
        "audio",
        1,
        {"b": 2},
        5,
    )


def test_an_unknown_option_of_a_retry_is_refused(task: Task[..., Any]) -> None:
    with run_as(task), pytest.raises(TypeError, match="no option 'coutdown'"):
        task.retry(throw=False, coutdown=1)


# Retries by themselves


def autoretried(app: Umbel, **options: Any) -> Task[..., Any]:
    return app.task(**{"autoretry_for": (OSError,), **options})(plain)  # type: ignore[no-any-return]


def test_errors_that_are_listed_are_retried(app: Umbel) -> None:
    task = autoretried(app, dont_autoretry_for=(FileNotFoundError,))
    with run_as(task):
        error = ConnectionError("away")
        retry = task.autoretry(error)
        assert retry is not None
        assert (retry.exc, retry.when) == (error, 180)
        assert task.autoretry(FileNotFoundError()) is None
        assert task.autoretry(ValueError()) is None


def test_when_there_were_enough_the_error_itself_is_raised(app: Umbel) -> None:
    task = autoretried(app, max_retries=1)
    with run_as(task, retries=1), pytest.raises(OSError, match="away"):
        task.autoretry(OSError("away"))


def test_retry_kwargs_are_passed_on(app: Umbel) -> None:
    task = autoretried(app, retry_kwargs={"max_retries": 5, "countdown": 7})
    with run_as(task, retries=4):
        retry = task.autoretry(OSError())
        assert retry is not None
        assert retry.when == 7


@pytest.mark.parametrize(
    ("options", "retries", "expected"),
    [
        ({"retry_backoff": True}, 0, 1),
        ({"retry_backoff": True}, 3, 8),
        ({"retry_backoff": 5}, 2, 20),
        ({"retry_backoff": 0.5}, 1, 1),
        ({"retry_backoff": True, "retry_backoff_max": 6}, 3, 6),
        ({"retry_backoff": True}, 1000, 600),
        ({"retry_backoff": True, "retry_kwargs": {"countdown": 99}}, 1, 2),
    ],
)
def test_backoff_doubles(
    app: Umbel, options: dict[str, Any], retries: int, expected: float
) -> None:
    task = autoretried(app, retry_jitter=False, max_retries=None, **options)
    with run_as(task, retries=retries):
        retry = task.autoretry(OSError())
    assert retry is not None
    assert retry.when == expected


def test_jitter_is_between_nothing_and_the_backoff(app: Umbel) -> None:
    task = autoretried(app, retry_backoff=True, max_retries=None)
    with run_as(task, retries=3):
        delays = {retry.when for _ in range(300) if (retry := task.autoretry(OSError()))}
    assert delays == set(range(9))


def test_retry_options_may_be_a_classs(app: Umbel) -> None:
    class Patient(Task[Any, Any]):
        autoretry_for = (OSError,)
        retry_backoff = 4
        retry_jitter = False

    task = app.task(base=Patient)(plain)
    with run_as(task):
        retry = task.autoretry(OSError())
    assert retry is not None
    assert retry.when == 4


# Policies and shared tasks


def test_a_policy_is_the_tasks_options_filled_up_from_the_settings(app: Umbel) -> None:
    task = app.task(acks_late=False, throws=(KeyError,))(plain)
    app.conf.update(task_track_started=True, task_reject_on_worker_lost=False)
    policy = task.policy(app.conf.snapshot)
    assert (policy.acks_late, policy.track_started, policy.reject_on_worker_lost) == (
        False,
        True,
        False,
    )
    assert policy.throws == (KeyError,)
    assert app.task(name="other")(plain).policy(app.conf.snapshot).acks_late is True


@pytest.fixture
def _shared_by_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.registry._shared", {})


@pytest.mark.usefixtures("_shared_by_none")
def test_a_shared_task_belongs_to_every_app(memory: str) -> None:
    @shared_task(name="tests.shared")
    def work(x: int) -> int:
        return x

    one = Umbel("one", broker=f"{memory}-one")
    two = Umbel("two", broker=f"{memory}-two")
    assert one.tasks["tests.shared"].app is one
    assert two.tasks["tests.shared"].app is two
    assert "tests.shared" in list(one.tasks)
    work.delay(1)
    one.set_current()
    work.delay(2)
    assert [call.args for call in calls(two)] == [[1]]
    assert [call.args for call in calls(one)] == [[2]]
    assert work.app is one
    assert work(3) == 3


@pytest.mark.usefixtures("_shared_by_none")
def test_a_shared_task_without_an_app_says_so() -> None:
    @shared_task
    def lonely() -> None: ...

    with pytest.raises(RuntimeError, match="There is no app yet"):
        lonely.delay()


# Requests of calls made here


def test_a_task_may_be_given_a_request_for_a_test(app: Umbel) -> None:
    task = app.task(plain)
    task.push_request(id="i", called_directly=False, retries=4)
    task.push_request(retries=5)
    assert (task.request.id, task.request.retries, app.current_task) == ("i", 5, task)
    task.pop_request()
    assert task.request.retries == 4
    task.pop_request()
    assert task.request.id is None
    assert not app.current_task


def test_the_request_of_a_task_that_called_another(app: Umbel) -> None:
    @app.task(bind=True)
    def outer(self: Task[..., Any]) -> Any:
        return inner()

    @app.task
    def inner() -> Any:
        return outer.request.id, inner.request.id

    with run_as(outer, id="o"):
        assert outer.run() == ("o", None)


def test_a_task_that_calls_itself_has_its_requests_fields(app: Umbel) -> None:
    @app.task(bind=True)
    def work(self: Task[..., Any], times: int) -> Any:
        return work(0) if times else (self.request.id, self.request.args)

    assert work.apply((1,), task_id="i").get() == ("i", (0,))


def test_what_is_set_on_a_request_of_no_call_stays(app: Umbel) -> None:
    task = app.task(plain)
    task.request.called_directly = False
    assert task.request.called_directly is False


def test_a_coroutine_that_is_called_here_has_a_request(app: Umbel) -> None:
    @app.task(bind=True)
    async def work(self: Task[..., Any], x: int) -> Any:
        await asyncio.tasks.sleep(0)
        return self.request.args, app.current_task is work

    assert asyncio.run(work(3)) == ((3,), True)
    assert not app.current_task


# States of a task's own


def test_a_state_is_stored_at_once(app: Umbel) -> None:
    task = app.task(plain)
    result = app.AsyncResult("i")
    with run_as(task, parent_id="p"):
        task.update_state(state="PROGRESS", meta={"done": 50})
        assert (result.state, result.info) == ("PROGRESS", {"done": 50})
        task.update_state(task_id="other", state="FAILURE", meta=ValueError("x"), traceback="tb")
    other = app.AsyncResult("other")
    assert (other.state, other.traceback, repr(other.result)) == (
        "FAILURE",
        "tb",
        "ValueError('x')",
    )


def test_a_state_needs_a_task(app: Umbel) -> None:
    with pytest.raises(ValueError, match=r"task_id must not be empty\. Got None instead\."):
        app.task(plain).update_state(state="PROGRESS")


def test_without_a_store_no_state_is_stored(memory: str) -> None:
    Umbel(broker=memory).task(plain).update_state(state="PROGRESS")


# Retries that are sent at once


def test_a_retry_that_is_not_raised_is_sent(app: Umbel, clock: ManualClock) -> None:
    task = app.task(name="t", queue="video")(plain)
    with run_as(task, id="i", args=[1], kwargs={"y": 2}, delivery_info={"routing_key": "video"}):
        retry = task.retry(throw=False, countdown=0)
        call = only_call(app, "video")
        assert (call.id, call.retries, call.args, call.kwargs) == ("i", 1, [1], {"y": 2})
        assert retry.sig.sent
        assert (
            app.task(name="auto", autoretry_for=(OSError,))(plain).autoretry(ValueError()) is None
        )


def test_a_task_says_what_it_cannot_do_yet(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    task = app.task(plain)
    task.send_event("task-mine", a=1)
    assert "Task.send_event has no effect yet" in caplog.text
    assert task.AsyncResult("i") == app.AsyncResult("i")


def test_a_call_as_a_function_starts_without_children(app: Umbel) -> None:
    """All calls outside of a worker noted their children in one list, which grew for ever."""
    seen: list[int] = []

    @app.task(bind=True)
    def parent(self: Any) -> None:
        self.add_trail(app.AsyncResult("child"))
        seen.append(len(self.request.children))

    parent()
    parent()
    assert seen == [1, 1]
    assert parent.request.children == []


def test_an_apply_async_of_its_own_may_pass_on_options_of_its_own(memory: str) -> None:
    app = Umbel("proj", broker=memory, backend=memory)

    class Once(Task[Any, Any]):
        def apply_async(  # type: ignore[override]
            self, args: Any = None, kwargs: Any = None, **options: Any
        ) -> Any:
            assert options["once"] == {"graceful": True}
            return super().apply_async(args, kwargs, **options)

    task = app.task(base=Once, name="once")(lambda x: x)
    assert task.apply_async((1,), once={"graceful": True}).id
    with pytest.raises(TypeError, match="'coutdown'"):
        task.apply_async((1,), once={"graceful": True}, coutdown=3)
