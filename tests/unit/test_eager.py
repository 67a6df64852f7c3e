"""Tasks that run where they are called, as Celery 5.7.0 was seen to run them."""

from __future__ import annotations

import asyncio
import copy
import pickle
import platform
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import calls
from umbel import Ignore, Retry, Task, Umbel, current_task, signals
from umbel.exceptions import EncodeError, MessageTooLarge, TaskRevokedError
from umbel.request import Request
from umbel.result import EagerResult, allow_join_result

Any_ = Task[..., Any]


@pytest.fixture
def fail(app: Umbel) -> Any_:
    @app.task(name="fail")
    def fail(text: str = "boom") -> None:
        raise ValueError(text)

    return fail


@pytest.fixture
def show(app: Umbel) -> Any_:
    @app.task(name="show", bind=True)
    def shown(self: Any_, *args: Any, **kwargs: Any) -> Request:
        return self.request

    made: Any_ = shown
    return made


def test_a_success(app: Umbel) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    result = add.apply((1, 2), task_id="i")
    assert isinstance(result, EagerResult)
    assert (result.id, result.name, repr(result)) == ("i", "add", "<EagerResult: i>")
    assert (result.get(), result.result, result.state, result.status) == (
        3,
        3,
        "SUCCESS",
        "SUCCESS",
    )
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert result.traceback is None
    assert asyncio.run(result.aget()) == 3
    assert add.apply(kwargs={"x": 1, "y": 3}).get() == 4
    assert calls(app) == []


def test_a_failure(fail: Any_) -> None:
    result = fail.apply()
    assert (result.state, result.ready(), result.successful(), result.failed()) == (
        "FAILURE",
        True,
        False,
        True,
    )
    assert result.traceback is not None
    assert result.traceback.endswith("ValueError: boom\n")
    heard: list[Any] = []
    with pytest.raises(ValueError, match="boom") as caught:
        result.get(callback=lambda *call: heard.append(call))
    assert caught.value is result.result
    assert heard == []
    assert result.get(propagate=False, callback=lambda *call: heard.append(call)) is result.result
    assert heard == [(result.id, result.result)]
    assert (result.name, result.children) == (fail.name, None)
    assert copy.copy(result).result is result.result


def test_it_may_be_raised(app: Umbel, fail: Any_) -> None:
    with pytest.raises(ValueError, match="boom"):
        fail.apply(throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="own"):
        fail.apply(("own",))
    assert fail.apply(throw=False).failed()


def test_a_task_that_says_nothing(app: Umbel) -> None:
    @app.task
    def ignored() -> None:
        raise Ignore

    result = ignored.apply()
    assert (result.state, result.ready(), result.get()) == ("IGNORED", True, None)
    assert isinstance(result.result, Ignore)
    assert result.traceback is not None


def test_revoking_replaces_the_result_as_in_celery_5_7(fail: Any_) -> None:
    result = fail.apply()
    result.revoke(terminate=True)
    assert (result.state, result.traceback) == ("REVOKED", None)
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()
    result.forget()
    assert result.state == "REVOKED"


def test_a_result_can_be_pickled(app: Umbel, fail: Any_) -> None:
    copy = pickle.loads(pickle.dumps(fail.apply(task_id="i")))  # noqa: S301 - ours
    assert (copy.id, copy.state, copy.name) == ("i", "FAILURE", "fail")
    assert isinstance(copy.result, ValueError)


def test_the_request_is_celerys(app: Umbel, show: Any_) -> None:
    request = show.apply(
        ((1, 2),),
        {"a": 3},
        task_id="i",
        headers={"h": 1},
        routing_key="rk",
        priority=3,
        retries=2,
        queue="q",
        loglevel=10,
        logfile="log",
        exchange="ex",
    ).get()
    seen = {name: value for name, value in vars(request).items() if value and name[0] != "_"}
    seen.pop("running_task")
    assert seen == {
        "id": "i",
        "task": "show",
        "args": ((1, 2),),
        "kwargs": {"a": 3},
        "root_id": "i",
        "retries": 2,
        "is_eager": True,
        "headers": {"h": 1},
        "hostname": platform.node(),
        "loglevel": 10,
        "logfile": "log",
        "delivery_info": {
            "is_eager": True,
            "exchange": "ex",
            "routing_key": "rk",
            "priority": 3,
        },
    }
    assert request.called_directly is False
    assert request.parent_id is None
    assert request.h == 1


def test_limits_and_ignore_result_are_the_tasks(app: Umbel) -> None:
    @app.task(time_limit=3, ignore_result=True, bind=True)
    def work(self: Any_) -> Any:
        request = self.request
        return request.timelimit, request.time_limit, request.ignore_result

    assert work.apply().get() == ([3, None], 3, True)
    assert work.apply(ignore_result=False).get() == ([3, None], 3, False)


def test_a_task_within_a_task_is_its_child(app: Umbel, show: Any_) -> None:
    @app.task(name="outer", bind=True)
    def outer(self: Any_) -> Any:
        inner = show.apply().get()
        assert current_task.name == "outer"
        assert self.request.id == "o"
        return inner.parent_id, inner.root_id

    assert outer.apply(task_id="o").get() == ("o", "o")
    assert not current_task


# Retries


def retrying(app: Umbel, **options: Any) -> Any_:
    def work(self: Any_, *args: Any) -> Any:
        if self.request.retries < 2:
            raise self.retry(countdown=1000)
        return self.request.retries, self.request.id, self.request.h, args

    made: Any_ = app.task(bind=True, name="retrying", **options)(work)
    return made


def test_retries_run_at_once(app: Umbel) -> None:
    task = retrying(app)
    assert task.apply((1,), task_id="i", headers={"h": 7}).get() == (2, "i", 7, (1,))
    assert task.apply(retries=1, headers={"h": 7}).get()[0] == 2


def test_too_many_retries_are_a_failure(app: Umbel) -> None:
    result = retrying(app, max_retries=1).apply(task_id="i")
    assert result.failed()
    assert str(result.result) == "Can't retry retrying[i] args:() kwargs:{}"


def test_retry_is_raised_to_whoever_wants_errors(app: Umbel) -> None:
    with pytest.raises(Retry):
        retrying(app).apply(throw=True)


def test_a_retry_of_the_tasks_own_is_a_result(app: Umbel) -> None:
    @app.task
    def own() -> None:
        raise Retry

    result = own.apply()
    assert (result.state, type(result.result)) == ("RETRY", Retry)


def test_a_retry_that_is_not_raised_lets_the_task_go_on(app: Umbel) -> None:
    @app.task(bind=True)
    def work(self: Any_) -> str:
        self.retry(throw=False)
        return "went on"

    assert work.apply().get() == "went on"
    assert calls(app) == []


def test_methods_may_be_replaced_between_calls(fail: Any_, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail.apply().failed()
    monkeypatch.setattr(fail, "run", lambda: "patched")
    assert (fail.apply().get(), fail()) == ("patched", "patched")


# Options


def test_options_about_sending_have_no_effect(show: Any_) -> None:
    assert show.apply(countdown=5, expires=3, queue="q", shadow="x").successful()


def test_an_unknown_option_suggests_the_nearest(show: Any_) -> None:
    with pytest.raises(TypeError, match=r"apply has no option 'thrwo'.*Did you mean 'throw'"):
        show.apply(thrwo=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"link is .*, but must be a signature"):
        show.apply(link=object())


def test_arguments_are_a_list_and_a_mapping(show: Any_) -> None:
    with pytest.raises(TypeError, match="The arguments of a call must be a list or a tuple"):
        show.apply("ab")
    with pytest.raises(TypeError, match="The keyword arguments of a call must be a mapping"):
        show.apply((), [1])  # type: ignore[arg-type]


def test_arguments_are_not_checked_before_the_run(app: Umbel) -> None:
    @app.task
    def none() -> None: ...

    result = none.apply((1,))
    assert "takes 0 positional arguments" in str(result.result)


# In place of sending


@pytest.fixture
def eager(app: Umbel) -> Umbel:
    app.conf.task_always_eager = True
    return app


def test_calls_run_in_place_of_being_sent(eager: Umbel, show: Any_) -> None:
    result = show.apply_async(
        ((1, 2),),
        {"a": (3,)},
        routing_key="rk",
        priority=4,
        headers={"h": 1},
        task_id="i",
        countdown=50,
        ignore_result=True,
        retries=1,
    )
    assert isinstance(result, EagerResult)
    request = result.get()
    assert (request.args, request.kwargs) == ([[1, 2]], {"a": [3]})  # as JSON brings them
    assert (request.id, request.headers, request.ignore_result) == ("i", {"h": 1}, True)
    assert (request.retries, request.is_eager) == (1, True)
    assert request.delivery_info == {
        "is_eager": True,
        "exchange": None,
        "routing_key": "rk",
        "priority": 4,
    }
    assert show.delay(1).get().args == [1]
    assert [found.get().args for found in show.delay_many([(1,), (2,)])] == [[1], [2]]
    assert asyncio.run(_awaited(show)).args == [3]
    assert calls(eager) == []


async def _awaited(task: Any_) -> Any:
    return await (await task.adelay(3))


def test_what_cannot_be_sent_is_refused(eager: Umbel, show: Any_) -> None:
    with pytest.raises(EncodeError, match="show: argument 1 cannot be sent as json"):
        show.delay(object())


def test_arguments_are_checked_as_if_sent(eager: Umbel) -> None:
    @eager.task
    def one(x: int) -> None: ...

    with pytest.raises(TypeError, match=r"one\(\) missing 1 required positional argument: 'x'"):
        one.delay()  # type: ignore[call-arg]


def test_waiting_within_a_task_is_refused_as_if_sent(eager: Umbel) -> None:
    @eager.task
    def inner() -> int:
        return 5

    @eager.task
    def outer() -> Any:
        return inner.delay().get()

    @eager.task
    def sure() -> Any:
        return inner.delay().get(disable_sync_subtasks=False)

    with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task"):
        outer.delay().get()
    assert sure.delay().get() == 5

    @eager.task
    def allowed() -> Any:
        with allow_join_result():
            return inner.delay().get()

    assert allowed.delay().get() == 5
    assert outer.apply().get() == 5  # as in Celery: nothing stands for a worker here


def test_the_tasks_priority_and_routing_key_count(eager: Umbel) -> None:
    @eager.task(priority=3, routing_key="mine", bind=True)
    def work(self: Any_) -> Mapping[str, Any] | None:
        return self.request.delivery_info

    info = work.delay().get()
    assert info is not None
    assert (info["routing_key"], info["priority"]) == ("mine", 3)


# Storing


def stored(app: Umbel, task: Any_, **options: Any) -> str:
    result = task.apply(task_id=f"{task.name}{len(options)}", **options)
    return str(app.AsyncResult(result.id).state)


def test_results_are_stored_where_that_is_asked_for(app: Umbel, fail: Any_) -> None:
    @app.task(name="work")
    def work() -> int:
        return 5

    assert (stored(app, work), stored(app, fail)) == ("PENDING", "PENDING")
    app.conf.task_store_eager_result = True
    assert (stored(app, work), stored(app, fail)) == ("SUCCESS", "FAILURE")
    assert app.AsyncResult("work0").get() == 5
    assert stored(app, work, ignore_result=True) == "PENDING"


def test_a_task_may_say_so_itself(app: Umbel) -> None:
    @app.task(store_eager_result=True)
    def kept() -> int:
        return 5

    @app.task(ignore_result=True, store_errors_even_if_ignored=True)
    def errors() -> None:
        raise ValueError

    assert stored(app, kept) == "SUCCESS"
    assert stored(app, errors, ignore_result=None) == "FAILURE"


def test_retries_are_stored_on_the_way(app: Umbel) -> None:
    seen: list[str] = []

    @app.task(bind=True, store_eager_result=True, name="t")
    def work(self: Any_) -> None:
        seen.append(app.AsyncResult("i").state)
        if self.request.retries < 1:
            raise self.retry()

    work.apply(task_id="i")
    assert seen == ["PENDING", "RETRY"]


def test_what_cannot_be_stored_is_a_failure(app: Umbel) -> None:
    @app.task(store_eager_result=True, name="t")
    def work() -> object:
        return object()

    result = work.apply()
    assert result.failed()
    assert str(result.result).startswith(
        "t: the result cannot be stored as json: it is an object. "
    )


def test_what_can_be_stored_is_for_the_serializer_of_results_to_say(app: Umbel) -> None:
    app.conf.update(result_serializer="pickle", accept_content=["json", "pickle"])

    @app.task(store_eager_result=True, name="t")
    def work() -> set[int]:
        return {1}

    assert work.apply(task_id="i").get() == {1}
    assert app.AsyncResult("i").get(timeout=1) == {1}


def test_arguments_travel_as_the_call_or_the_task_says(app: Umbel) -> None:
    app.conf.task_always_eager = True

    @app.task(name="t", compression="gzip")
    def work(numbers: Any) -> Any:
        return numbers

    assert work.delay((1, 2)).get() == [1, 2]
    assert work.apply_async(({1, 2},), serializer="pickle").get() == {1, 2}
    with pytest.raises(
        EncodeError, match="t: argument 'numbers' cannot be sent as json: it is a set"
    ):
        work.delay({1})


def test_arguments_may_be_as_deep_as_the_settings_say(app: Umbel) -> None:
    app.conf.update(task_always_eager=True, message_max_depth=650)
    deep: list[Any] = []
    for _ in range(600):
        deep = [deep]

    @app.task(name="t")
    def work(value: Any) -> int:
        depth = 0
        while value:
            value, depth = value[0], depth + 1
        return depth

    sent: list[Any] = []
    app.conf.task_always_eager = False

    def hear(args: Any, **_: Any) -> None:
        sent.append(args)

    signals.task_sent.connect(hear)
    try:
        work.delay(deep)
    finally:
        signals.task_sent.disconnect(hear)
    assert len(sent) == 1
    app.conf.task_always_eager = True
    assert work.delay(deep).get() == 600
    app.conf.message_max_depth = 100
    with pytest.raises(MessageTooLarge, match="t: the call cannot be sent"):
        work.delay(deep)


def test_without_a_store_nothing_is_stored(memory: str) -> None:
    app = Umbel(broker=memory, task_store_eager_result=True)

    @app.task
    def work() -> object:
        return 5

    assert work.apply().get() == 5


# Coroutines


def test_coroutines_run_to_their_end(app: Umbel) -> None:
    @app.task(bind=True)
    async def work(self: Any_, x: int) -> Any:
        await asyncio.tasks.sleep(0)
        return self.request.id, x

    assert work.apply((1,), task_id="i").get() == ("i", 1)

    async def main() -> Any:
        return work.apply((2,), task_id="j").get()

    assert asyncio.run(main()) == ("j", 2)


def test_a_call_says_whether_it_raises(app: Umbel, fail: Any_) -> None:
    app.conf.task_always_eager = True
    assert fail.apply_async(throw=False).state == "FAILURE"
    with pytest.raises(ValueError, match="boom"):
        fail.apply_async(throw=True)
    app.conf.task_eager_propagates = True
    assert fail.apply_async(throw=False).state == "FAILURE"


def test_a_request_says_whether_its_result_is_ignored(app: Umbel, show: Any_) -> None:
    assert show.apply().get().ignore_result is False
    app.conf.task_ignore_result = True
    assert show.apply().get().ignore_result is True
    assert show.apply(ignore_result=False).get().ignore_result is False


def test_a_call_that_is_sent_says_nothing_of_throw(app: Umbel, fail: Any_) -> None:
    fail.apply_async(throw=True)
    (sent,) = calls(app)
    assert "throw" not in str(sent)


# What follows


def test_what_follows_is_sent(app: Umbel) -> None:
    task = app.task(name="t")(lambda *args: args[0])
    steps = [task.s(9).set(task_id="last"), task.s(8).set(task_id="next")]
    result = task.apply((1,), link=task.s(2), chain=steps)
    first, second = calls(app)
    assert first.args == [1, 2]
    assert (first.parent_id, first.root_id) == (result.id, result.id)
    assert (second.id, [step["options"]["task_id"] for step in second.chain]) == ("next", ["last"])


def test_what_follows_is_run_where_all_is(app: Umbel) -> None:
    app.conf.task_always_eager = True
    seen: list[Any] = []

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        seen.append((x, y))
        return x + y

    result = add.apply_async((1, 2), link=[add.s(10), add.si(5, 5)], chain=[add.s(7), add.s(100)])
    assert result.get() == 3
    assert seen == [(1, 2), (3, 10), (5, 5), (3, 100), (103, 7)]


def test_errbacks_of_what_is_run_here(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("no")

    @app.task(name="of-id")
    def of_id(task_id: str) -> None:
        seen.append(task_id)

    @app.task(name="of-error")
    def of_error(request: Any, error: Any, traceback: Any) -> None:
        seen.append((request.id, repr(error)))

    result = fail.apply(link_error=[of_id.s(), of_error.s()])
    assert seen == [(result.id, "ValueError('no')"), result.id]
    with pytest.raises(ValueError, match="no"):
        fail.apply(link_error=of_id.s(), throw=True)
    assert len(seen) == 2
    assert calls(app) == []


def test_a_value_that_cannot_follow_is_a_failure(app: Umbel, show: Any_) -> None:
    task = app.task(name="bad")(object)
    result = task.apply(link=show.s())
    assert result.failed()
    assert calls(app) == []


@pytest.mark.parametrize("always", [True, False])
def test_stamps_are_in_the_request(app: Umbel, show: Any_, always: bool) -> None:
    app.conf.task_always_eager = always
    call = show.s().stamp(tenant="a", shop=[1, 2])
    request = (call.delay() if always else call.apply()).get()
    assert sorted(request.stamped_headers) == ["shop", "tenant"]
    assert request.stamps == {"tenant": "a", "shop": [1, 2]}
    assert show.apply().get().stamps is None
