"""Handlers and signals around a task, as Celery 5.7.0 was seen to call them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Ignore, Reject, Retry, Task, Umbel, current_task, signals
from umbel.driving import Loop, drive_here
from umbel.handlers import Mode, find_hooks
from umbel.outcomes import Ended, Failure, Ignored, Rejected, Retried, Success
from umbel.request import Request
from umbel.trace import How, trace

Heard = list[tuple[Any, ...]]
SIGNALS = (
    "task_prerun",
    "task_postrun",
    "task_success",
    "task_failure",
    "task_retry",
    "task_internal_error",
)


@pytest.fixture
def heard() -> Iterator[Heard]:
    """What handlers and receivers heard, in order."""
    found: Heard = []
    connected = []
    for name in SIGNALS:

        def receive(signal: signals.Signal, **given: Any) -> None:
            assert given.keys() - {"sender"} == set(signal.arguments)
            entry: tuple[Any, ...] = (signal.name,)
            if signal is signals.task_postrun:
                entry += (given["state"], given["retval"])
            found.append(entry)

        getattr(signals, name).connect(receive)
        connected.append((getattr(signals, name), receive))
    yield found
    for signal, receive in connected:
        signal.disconnect(receive)


class Noting(Task[..., Any]):
    """Notes what its handlers are called with; raises in those that are to be `bad`."""

    heard: Heard
    bad: str | None = None

    def note(self, name: str, *arguments: Any) -> None:
        self.heard.append((name, *arguments))
        if self.bad == name:
            raise KeyError(name)

    def before_start(self, *arguments: Any) -> None:
        self.note("before_start", *arguments)

    def on_success(self, *arguments: Any) -> None:
        self.note("on_success", *arguments)

    def on_failure(self, *arguments: Any) -> None:
        self.note("on_failure", *arguments[:-1], arguments[-1].exception, arguments[-1].type)

    def on_retry(self, *arguments: Any) -> None:
        self.note("on_retry", *arguments[:-1], arguments[-1].type)

    def after_return(self, *arguments: Any) -> None:
        self.note("after_return", *arguments)


ERRORS: dict[str, BaseException] = {
    "fail": ValueError("boom"),
    "ignore": Ignore(),
    "reject": Reject("no"),
}


@pytest.fixture
def task(app: Umbel, heard: Heard) -> Noting:
    @app.task(base=Noting, bind=True, name="t", max_retries=1)
    def work(self: Task[..., Any], how: str) -> str:
        if how == "retry":
            raise self.retry(exc=ValueError("again"), countdown=0)
        if how in ERRORS:
            raise ERRORS[how]
        return how

    assert isinstance(work, Noting)
    work.heard = heard
    return work


def run(task: Task[..., Any], how: str = "ok", mode: Mode = Mode.WORKER) -> Ended:
    request = Request(
        id="i",
        task=task.name,
        args=[how],
        kwargs={},
        called_directly=False,
        is_eager=mode is not Mode.WORKER,
    )
    return trace(task, request, How(ManualClock(), drive_here, mode))[0]


CALL: tuple[Any, ...] = ("i", ["ok"], {})


@pytest.mark.parametrize("mode", Mode)
def test_a_success(task: Noting, heard: Heard, mode: Mode) -> None:
    assert run(task, "ok", mode) == Success("ok")
    assert heard == [
        ("task_prerun",),
        ("before_start", *CALL),
        ("on_success", "ok", *CALL),
        ("task_success",),
        ("after_return", "SUCCESS", "ok", *CALL, None),
        ("task_postrun", "SUCCESS", "ok"),
    ]


@pytest.mark.parametrize("mode", [Mode.WORKER, Mode.EAGER])
def test_a_failure(task: Noting, heard: Heard, mode: Mode) -> None:
    outcome = run(task, "fail", mode)
    error = ERRORS["fail"]
    assert isinstance(outcome, Failure)
    assert outcome.error is error
    call: tuple[Any, ...] = ("i", ["fail"], {})
    assert heard == [
        ("task_prerun",),
        ("before_start", *call),
        ("on_failure", error, *call, error, ValueError),
        ("task_failure",),
        ("after_return", "FAILURE", error, *call, None),
        ("task_postrun", "FAILURE", error),
    ]


def test_einfo_is_the_traceback(task: Noting) -> None:
    seen: list[Any] = []
    type(task).on_failure = lambda self, *arguments: seen.append(arguments[-1])  # type: ignore[method-assign]
    run(task, "fail")
    (info,) = seen
    assert str(info) == info.traceback
    assert info.traceback.startswith("Traceback (most recent call last):")
    assert info.traceback.endswith("ValueError: boom\n")
    assert info.exc_info == (ValueError, ERRORS["fail"], info.tb)
    assert repr(info) == "<ExceptionInfo: ValueError('boom')>"
    assert not info.internal


@pytest.mark.parametrize("mode", [Mode.WORKER, Mode.EAGER])
def test_a_retry(task: Noting, heard: Heard, mode: Mode) -> None:
    outcome = run(task, "retry", mode)
    assert isinstance(outcome, Retried)
    assert [entry[0] for entry in heard] == [
        "task_prerun",
        "before_start",
        "on_retry",
        "task_retry",
        "task_postrun",
    ]
    assert heard[2] == ("on_retry", outcome.retry.exc, "i", ["retry"], {}, Retry)
    assert str(outcome.retry.exc) == "again"
    assert heard[4] == ("task_postrun", "RETRY", outcome.retry)


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize(
    ("how", "kind", "state"), [("ignore", Ignored, "IGNORED"), ("reject", Rejected, "REJECTED")]
)
def test_what_is_neither_has_no_handlers(
    task: Noting, heard: Heard, mode: Mode, how: str, kind: type, state: str
) -> None:
    assert isinstance(run(task, how, mode), kind)
    told = [entry for entry in heard if entry[0] != "task_failure"]
    assert told == [
        ("task_prerun",),
        ("before_start", "i", [how], {}),
        ("task_postrun", state, ERRORS[how]),
    ]
    # Celery's worker sends task_failure for a message that will never run again.
    assert len(heard) - len(told) == (how == "reject" and mode is Mode.WORKER)


@pytest.mark.parametrize(("how", "kind"), [("fail", ValueError), ("retry", Retry)])
def test_a_caller_may_want_the_error_itself(
    task: Noting, heard: Heard, how: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        run(task, how, Mode.RAISED)
    assert heard == [
        ("task_prerun",),
        ("before_start", "i", [how], {}),
        ("task_postrun", None, None),
        ("task_internal_error",),
    ]


def test_an_error_before_the_start_is_a_failure(task: Noting, heard: Heard) -> None:
    task.bad = "before_start"
    task.autoretry_for = (KeyError,)
    task.forget_derived()
    outcome = run(task)
    assert isinstance(outcome, Failure)
    assert isinstance(outcome.error, KeyError)
    assert [entry[0] for entry in heard] == [
        "task_prerun",
        "before_start",
        "on_failure",
        "task_failure",
        "after_return",
        "task_postrun",
    ]


@pytest.mark.parametrize("bad", ["on_success", "after_return"])
def test_an_error_after_a_success_is_logged(
    task: Noting, heard: Heard, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    task.bad = bad
    assert run(task) == Success("ok")
    assert [entry[0] for entry in heard[2:]] == [
        "on_success",
        "task_success",
        "after_return",
        "task_postrun",
    ]
    assert f"Task t[i] {bad} handler raised" in caplog.text


@pytest.mark.parametrize("bad", ["on_success", "after_return"])
def test_an_eager_caller_gets_it(task: Noting, heard: Heard, bad: str) -> None:
    task.bad = bad
    with pytest.raises(KeyError, match=bad):
        run(task, "ok", Mode.EAGER)
    assert heard[-2:] == [("task_postrun", "SUCCESS", "ok"), ("task_internal_error",)]


def test_a_handler_of_a_success_may_reject_the_message(task: Noting) -> None:
    def reject(*arguments: Any) -> None:
        raise Reject("later", requeue=True)

    type(task).on_success = reject  # type: ignore[method-assign, assignment]
    assert run(task) == Rejected("later", True)
    task.forget_derived()
    with pytest.raises(Reject):
        run(task, "ok", Mode.EAGER)


def test_an_error_of_on_failure_takes_the_failures_place(task: Noting, heard: Heard) -> None:
    task.bad = "on_failure"
    outcome = run(task, "fail")
    assert isinstance(outcome, Failure)
    assert repr(outcome.error) == "KeyError('on_failure')"
    assert "ValueError: boom" in outcome.traceback
    assert [entry[:2] for entry in heard[2:]] == [
        ("on_failure", ERRORS["fail"]),
        ("task_internal_error",),
        ("on_failure", outcome.error),
        ("task_postrun", "FAILURE"),
    ]
    with pytest.raises(KeyError, match="on_failure"):
        run(task, "fail", Mode.EAGER)
    assert heard[-2:] == [("task_postrun", None, None), ("task_internal_error",)]


def test_an_error_of_on_retry_stops_no_retry(
    task: Noting, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    task.bad = "on_retry"
    assert isinstance(run(task, "retry"), Retried)
    assert [entry[0] for entry in heard[3:]] == [
        "task_internal_error",
        "task_retry",
        "task_postrun",
    ]
    assert "on_retry handler raised" in caplog.text
    with pytest.raises(KeyError, match="on_retry"):
        run(task, "retry", Mode.EAGER)


def test_what_cannot_be_kept_is_a_failure_before_any_handler_hears(
    task: Noting, heard: Heard
) -> None:
    def check(value: Any) -> None:
        raise TypeError(f"not {value}")

    task.autoretry_for = (TypeError,)
    task.forget_derived()
    request = Request(id="i", task="t", args=["ok"], kwargs={}, called_directly=False)
    outcome, _ = trace(task, request, How(ManualClock(), drive_here), check)
    assert isinstance(outcome, Failure)
    assert str(outcome.error) == "not ok"
    assert "on_success" not in [entry[0] for entry in heard]


def test_a_task_without_handlers_has_nothing_to_call(app: Umbel) -> None:
    @app.task
    def plain() -> None: ...

    hooks = find_hooks(plain)
    assert hooks.call == plain.run
    handlers = (hooks.before_start, hooks.on_success, hooks.on_failure, hooks.on_retry)
    assert {*handlers, hooks.after_return} == {None}
    assert plain.hooks is plain.hooks


def test_handlers_may_be_options(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task(on_success=lambda self, *arguments: seen.append((self.name, *arguments)), name="t")
    def work(x: int) -> int:
        return x

    run(work, "a")
    assert seen == [("t", "a", "i", ["a"], {})]


def test_handlers_that_do_nothing_can_be_called(app: Umbel) -> None:
    @app.task
    def work() -> None: ...

    handlers: tuple[Any, ...] = (
        work.before_start,
        work.on_success,
        work.on_failure,
        work.on_retry,
    )
    for handler, count in zip(handlers, (3, 4, 5, 5), strict=True):
        arguments: list[Any] = [None] * count
        assert handler(*arguments) is None
    assert work.after_return("SUCCESS", 1, "i", [], {}, None) is None  # type: ignore[func-returns-value]


# Custom calls


def test_a_call_of_the_class_is_used(app: Umbel) -> None:
    class Context(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "context", self.run(*args, **kwargs)

    class Super(Task[..., Any]):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return "super", super().__call__(*args, **kwargs)

    @app.task(base=Context, name="a")
    def one(x: str) -> str:
        return x

    @app.task(base=Super, name="b", bind=True)
    def two(self: Task[..., Any], x: str) -> Any:
        return self.request.id, self.request.called_directly, self.request.args, current_task.name

    assert run(one) == Success(("context", "ok"))
    assert run(two) == Success(("super", ("i", False, ["ok"], "b")))
    assert two("x") == ("super", (None, True, ("x",), "b"))


# Exits and coroutines


@pytest.mark.parametrize("mode", [Mode.EAGER, Mode.RAISED])
def test_ctrl_c_is_for_who_called(app: Umbel, mode: Mode) -> None:
    @app.task
    def work(how: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, "ok", mode)
    assert isinstance(run(work), Failure)


def test_throws_may_be_one_class(app: Umbel) -> None:
    @app.task(throws=ValueError)
    def work(how: str) -> None:
        raise ValueError

    outcome = run(work)
    assert isinstance(outcome, Failure)
    assert outcome.expected


async def _thread() -> int:
    await asyncio.tasks.sleep(0)
    return threading.get_ident()


def test_coroutines_are_driven_also_within_a_loop() -> None:
    assert drive_here(_thread()) == threading.get_ident()

    async def main() -> int:
        found: int = drive_here(_thread())
        return found

    assert asyncio.run(main()) != threading.get_ident()

    async def failing() -> None:
        raise ValueError("inside")

    async def main_failing() -> None:
        drive_here(failing())

    with pytest.raises(ValueError, match="inside"):
        asyncio.run(main_failing())


def test_a_loop_is_made_when_needed_and_once() -> None:
    loop = Loop()
    loop.close()

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loop.drive(which()) is loop.drive(which())
    loop.close()
