from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import umbel
from tests.conftest import ManualClock
from tests.unit.worker.support import (
    NAMELESS,
    PICKLED,
    UNKNOWN,
    UNREADABLE,
    Made,
    delivery_of,
    foreign,
    take,
)
from umbel import Ignore, MaxRetriesExceededError, Reject, Retry, Task, Umbel, current_task, signals
from umbel.clock import utc
from umbel.current import running
from umbel.exceptions import SoftTimeLimitExceeded
from umbel.message import Message
from umbel.tracebacks import LIMIT
from umbel.worker.execute import Runner
from umbel.worker.outcome import (
    Failure,
    Ignored,
    Job,
    NotDue,
    Outcome,
    Rejected,
    Retried,
    Revoked,
    Run,
    Success,
    Unknown,
    Unprocessable,
)
from umbel.worker.softlimit import SoftLimit


@pytest.fixture
def runner(app: Umbel) -> Iterator[Runner]:
    runner = Runner(app, "celery@host")
    yield runner
    runner.close()


def run(runner: Runner, task: Made, *args: Any, **options: Any) -> Run:
    return runner.run(runner.prepare(delivery_of(task, *args, **options)))


def outcome(runner: Runner, task: Made, *args: Any, **options: Any) -> Outcome:
    return run(runner, task, *args, **options).outcome


def raises(app: Umbel, error: BaseException, **options: Any) -> Made:
    """Return a task that raises."""

    def work() -> None:
        raise error

    made: Made = app.task(name=f"raises {error!r}", **options)(work)
    return made


def test_of_thousands_in_flight_only_what_their_tasks_need_is_kept(
    app: Umbel, runner: Runner
) -> None:
    """What a broker keeps anyway is not kept twice, and no text that is the same in all messages."""

    def work(number: int = 0) -> None: ...

    runner.forgets = True
    task, rated = app.task(name="t")(work), app.task(name="rated", rate_limit="1/s")(work)
    one, other = (runner.prepare(delivery_of(task, n)) for n in range(2))
    assert isinstance(one.work, Job)
    assert (one.delivery.message.body, dict(one.delivery.message.headers)) == (b"", {})
    assert one.delivery.message.task_id == one.work.request.id
    assert one.call is not None
    assert other.call is not None
    assert one.call.root_id is one.call.id
    assert one.call.correlation_id is one.call.id
    assert one.call.task is other.call.task
    assert one.call.origin is other.call.origin
    assert one.call.kwargsrepr is other.call.kwargsrepr
    # A dictionary of more than 21 takes twice as much, and the running task is added to these.
    assert len(vars(one.work.request)) < 21
    late = runner.prepare(delivery_of(rated))
    assert late.delivery.message.body, "what may be sent again for its turn is kept whole"


# What a task does, and what comes of it


def test_a_value_is_a_success(app: Umbel, runner: Runner) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    found = run(runner, add, 2, 3)
    assert found.outcome == Success(5)
    assert found.seconds >= 0


def test_an_error_is_a_failure(app: Umbel, runner: Runner) -> None:
    error = ValueError("boom")
    found = outcome(runner, raises(app, error))
    assert isinstance(found, Failure)
    assert (found.error, found.expected) == (error, False)


def test_an_error_that_the_task_announced_is_expected(app: Umbel, runner: Runner) -> None:
    found = outcome(runner, raises(app, KeyError("x"), throws=(LookupError,)))
    assert isinstance(found, Failure)
    assert found.expected


@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
)
def test_whatever_a_task_raises_is_its_failure_and_not_the_workers(
    app: Umbel, runner: Runner, error: BaseException
) -> None:
    found = outcome(runner, raises(app, error))
    assert isinstance(found, Failure)
    assert found.error is error
    assert running.get() is None


def test_a_coroutine_that_is_cancelled_is_a_failure(app: Umbel, runner: Runner) -> None:
    @app.task
    async def work() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.sleep(0)

    found = outcome(runner, work)
    assert isinstance(found, Failure)
    assert isinstance(found.error, asyncio.CancelledError)


def test_ignore_and_reject(app: Umbel, runner: Runner) -> None:
    assert outcome(runner, raises(app, Ignore())) == Ignored()
    assert outcome(runner, raises(app, Reject("bad"))) == Rejected("bad", False)
    assert outcome(runner, raises(app, Reject("later", requeue=True))) == Rejected("later", True)


def test_retry(app: Umbel, runner: Runner) -> None:
    @app.task(bind=True)
    def work(self: Made, x: int) -> None:
        try:
            raise ValueError("boom")
        except ValueError as error:
            self.retry(exc=error, countdown=x)

    found = outcome(runner, work, 7)
    assert isinstance(found, Retried)
    assert found.task is work
    assert found.retry.when == 7
    assert "ValueError: boom" in found.traceback


def test_retry_by_itself(app: Umbel, runner: Runner) -> None:
    error = ConnectionError("away")
    task = raises(app, error, autoretry_for=(OSError,), max_retries=1, throws=(OSError,))
    found = outcome(runner, task)
    assert isinstance(found, Retried)
    assert (found.retry.exc, found.retry.when) == (error, 180)
    assert "ConnectionError: away" in found.traceback
    found = outcome(runner, task, retries=1)
    assert isinstance(found, Failure)
    assert (found.error, found.expected) == (error, True)


def test_retries_that_are_used_up(app: Umbel, runner: Runner) -> None:
    @app.task(bind=True, max_retries=2)
    def work(self: Made) -> None:
        self.retry()

    found = outcome(runner, work, retries=2)
    assert isinstance(found, Failure)
    assert isinstance(found.error, MaxRetriesExceededError)


def test_an_exit_that_was_retried_often_enough_does_not_end_the_worker(
    app: Umbel, runner: Runner
) -> None:
    found = outcome(runner, raises(app, SystemExit(3), autoretry_for=(SystemExit,), max_retries=0))
    assert isinstance(found, Failure)
    assert isinstance(found.error, SystemExit)


def test_retry_options_that_are_wrong_are_the_tasks_failure(app: Umbel, runner: Runner) -> None:
    task = raises(app, OSError(), autoretry_for=(OSError,), retry_kwargs={"coutdown": 1})
    found = outcome(runner, task)
    assert isinstance(found, Failure)
    assert "no option 'coutdown'" in str(found.error)


def test_a_retry_of_ones_own_is_not_retried_by_itself(app: Umbel, runner: Runner) -> None:
    mine = Retry("mine")
    found = outcome(runner, raises(app, mine, autoretry_for=(Exception,)))
    assert isinstance(found, Retried)
    assert found.retry is mine


def test_arguments_that_do_not_fit_are_the_tasks_failure(app: Umbel, runner: Runner) -> None:
    @app.task(typing=False)
    def work(x: int) -> None: ...

    found = outcome(runner, work)
    assert isinstance(found, Failure)
    assert "missing 1 required positional argument: 'x'" in str(found.error)


# What does not run


def offered(times: object) -> Message:
    """Return a message whose task is not known, which was offered so often."""
    return replace(UNKNOWN, headers={**UNKNOWN.headers, "offers": times})


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (UNREADABLE, "DecodeError: not JSON as umbel or Celery write it"),
        (NAMELESS, "DecodeError: The message's id is None, not a text."),
        (
            PICKLED,
            "ContentDisallowed: The content type 'application/x-python-serialize' is refused",
        ),
        (offered(6), "NotRegistered: There is no task 'nobody.knows' in this app."),
        (Message({}, {}, b"{}"), "DecodeError: The message names no task"),
    ],
)
def test_what_cannot_be_processed(
    app: Umbel, runner: Runner, message: Message, reason: str
) -> None:
    foreign(app, message)
    (delivery,) = take(app)
    prepared = runner.prepare(delivery)
    assert isinstance(prepared.work, Unprocessable)
    assert prepared.work.reason.startswith(reason)
    assert runner.run(prepared) == Run(prepared, prepared.work)


@pytest.mark.parametrize(
    ("message", "wait"),
    [
        (UNKNOWN, 1.0),
        (offered(1), 2.0),
        (offered(5), 32.0),
        (offered(-1), 1.0),
        (offered("1"), 1.0),
        (offered(True), 1.0),
    ],
)
def test_a_task_that_is_not_known_may_be_known_elsewhere(
    app: Umbel, runner: Runner, message: Message, wait: float
) -> None:
    foreign(app, message)
    (delivery,) = take(app)
    prepared = runner.prepare(delivery)
    assert isinstance(prepared.work, Unknown)
    assert prepared.work.wait == wait
    assert "no task 'nobody.knows'" in str(prepared.work.error)
    assert runner.run(prepared) == Run(prepared, prepared.work)


@pytest.mark.parametrize(("offers", "wait"), [(0, None), (7, 60.0), (2000, 60.0)])
def test_the_setting_says_how_often_it_is_offered(app: Umbel, offers: int, wait: float) -> None:
    app.conf.worker_unknown_task_offers = offers
    foreign(app, offered(max(offers - 1, 0)))
    (delivery,) = take(app)
    work = Runner(app, "h").prepare(delivery).work
    assert getattr(work, "wait", None) == wait


def test_a_task_that_is_not_known_expires_too(app: Umbel, runner: Runner) -> None:
    message = replace(UNKNOWN, headers={**UNKNOWN.headers, "expires": "2020-01-01T00:00:00"})
    foreign(app, message)
    (delivery,) = take(app)
    assert runner.prepare(delivery).work == Revoked("expired")


def idle() -> None: ...


def untimely(app: Umbel, clock: ManualClock, **times: float) -> object:
    """Return what is prepared for a call with times that count from now."""
    texts = {name: utc(clock.time() + seconds).isoformat() for name, seconds in times.items()}
    app.clock = clock
    return Runner(app, "h").prepare(delivery_of(app.task(name="t")(idle), **texts)).work


def test_what_has_expired_does_not_run(app: Umbel, clock: ManualClock) -> None:
    assert untimely(app, clock, expires=-0.01) == Revoked("expired")
    assert untimely(app, clock, expires=0) == Revoked("expired")
    assert isinstance(untimely(app, clock, expires=0.01), Job)


def test_what_is_not_due_does_not_run(app: Umbel, clock: ManualClock) -> None:
    assert untimely(app, clock, eta=10) == NotDue(clock.time() + 10)
    assert isinstance(untimely(app, clock, eta=0.0005), Job)
    assert isinstance(untimely(app, clock, eta=-10), Job)


def test_what_expired_before_it_was_due_does_not_wait(app: Umbel, clock: ManualClock) -> None:
    assert untimely(app, clock, eta=10, expires=-1) == Revoked("expired")


# Tracebacks


def fails() -> None:
    raise ValueError("boom")


def test_a_traceback_has_no_frame_of_the_worker(app: Umbel, runner: Runner) -> None:
    @app.task(bind=True)
    def work(self: Made) -> None:
        try:
            fails()
        except ValueError as error:
            raise KeyError("outer") from error

    found = outcome(runner, work)
    assert isinstance(found, Failure)
    assert found.traceback.rstrip().endswith("KeyError: 'outer'")
    assert "in fails" in found.traceback
    assert "direct cause" in found.traceback
    assert str(Path(umbel.__file__).parent) not in found.traceback


def test_a_traceback_of_a_coroutine_has_no_frame_of_the_worker(app: Umbel, runner: Runner) -> None:
    @app.task
    async def work() -> None:
        await asyncio.sleep(0)
        fails()

    found = outcome(runner, work)
    assert isinstance(found, Failure)
    assert "in fails" in found.traceback
    assert str(Path(umbel.__file__).parent) not in found.traceback


def test_an_endless_traceback_is_cut_at_its_beginning(app: Umbel, runner: Runner) -> None:
    found = outcome(runner, raises(app, ValueError("x" * 2 * LIMIT + "the end")))
    assert isinstance(found, Failure)
    assert len(found.traceback) == LIMIT
    assert found.traceback.rstrip().endswith("the end")


# The request


def test_a_task_sees_its_request_and_itself(app: Umbel, runner: Runner) -> None:
    @app.task(bind=True)
    def work(self: Made, x: int) -> list[Any]:
        return [self.request.id, self.request.args, self.request.hostname, current_task.name]

    delivery = delivery_of(work, 7)
    found = runner.run(runner.prepare(delivery)).outcome
    assert found == Success([delivery.message.task_id, [7], "celery@host", work.name])
    assert running.get() is None


def test_a_task_without_a_request_of_its_own_leaves_none_behind(app: Umbel, runner: Runner) -> None:
    outcome(runner, raises(app, ValueError()))
    assert running.get() is None


# Coroutines


def test_coroutines_share_one_loop_that_outlives_them(app: Umbel, runner: Runner) -> None:
    kept: list[asyncio.Future[int]] = []

    @app.task
    async def work() -> int:
        loop = asyncio.get_running_loop()
        if kept:
            return await kept[0]
        kept.append(loop.create_future())
        loop.call_soon(kept[0].set_result, 5)
        return 1

    assert outcome(runner, work) == Success(1)
    assert outcome(runner, work) == Success(5)


def test_a_plain_task_of_an_async_worker_may_run_a_loop_of_its_own(
    app: Umbel, runner: Runner
) -> None:
    @app.task
    async def one() -> int:
        return 1

    @app.task
    def two() -> int:
        return asyncio.run(asyncio.sleep(0, 2))

    assert outcome(runner, one) == Success(1)
    assert outcome(runner, two) == Success(2)
    assert outcome(runner, one) == Success(1)


def test_a_coroutine_sees_its_request_also_in_what_it_starts(app: Umbel, runner: Runner) -> None:
    @app.task(bind=True)
    async def work(self: Made) -> list[Any]:
        async def inner() -> Any:
            return self.request.id

        return [
            await asyncio.create_task(inner()),
            await asyncio.to_thread(lambda: self.request.id),
        ]

    delivery = delivery_of(work)
    task_id = delivery.message.task_id
    assert runner.run(runner.prepare(delivery)).outcome == Success([task_id, task_id])


def test_a_context_variable_of_one_coroutine_is_not_seen_by_the_next(
    app: Umbel, runner: Runner
) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    @app.task
    async def work() -> str:
        before = variable.get()
        variable.set("set")
        return before

    assert outcome(runner, work) == Success("unset")
    assert outcome(runner, work) == Success("unset")


def test_coroutines_run_in_a_thread_too(app: Umbel) -> None:
    @app.task
    async def work() -> int:
        return 1

    delivery, found = delivery_of(work), []

    def main() -> None:
        runner = Runner(app, "h")
        found.append(runner.run(runner.prepare(delivery)).outcome)
        runner.close()

    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    assert found == [Success(1)]


# Signals


@pytest.fixture
def heard() -> Iterator[list[tuple[str, Any]]]:
    """What receivers of a task's signals heard: the signal's name and what matters most of it."""
    found: list[tuple[str, Any]] = []
    shown = {
        "task_prerun": lambda given: (given["args"], running.get() is not None),
        "task_postrun": lambda given: (given["state"], given["retval"], running.get() is not None),
        "task_success": lambda given: given["result"],
        "task_retry": lambda given: (type(given["reason"]), given["request"].retries),
        "task_failure": lambda given: (
            given["exception"],
            str(given["einfo"]).startswith("Traceback"),
        ),
    }
    receivers = []
    for name, show in shown.items():

        def receive(sender: Any, signal: signals.Signal, show: Any = show, **given: Any) -> None:
            assert isinstance(sender, Task)
            assert given.keys() == set(signal.arguments)
            found.append((signal.name, show(given)))

        getattr(signals, name).connect(receive)
        receivers.append((getattr(signals, name), receive))
    yield found
    for sent, receive in receivers:
        sent.disconnect(receive)


Heard = list[tuple[str, Any]]


def test_signals_of_a_success(app: Umbel, runner: Runner, heard: Heard) -> None:
    @app.task
    def work(x: int) -> int:
        return x

    outcome(runner, work, 7)
    assert heard == [
        ("task_prerun", ([7], True)),
        ("task_success", 7),
        ("task_postrun", ("SUCCESS", 7, True)),
    ]


@pytest.mark.parametrize(("serializer", "kept"), [("json", False), ("pickle", True)])
def test_success_is_heard_of_where_the_serializer_of_results_takes_the_value(
    app: Umbel, runner: Runner, heard: Heard, serializer: str, kept: bool
) -> None:
    app.conf.result_serializer = serializer
    task = app.task(name="t")(lambda: {1})
    outcome = runner.run(runner.prepare(delivery_of(task))).outcome
    assert ("task_success" in [name for name, _ in heard]) is kept
    if not kept:
        assert isinstance(outcome, Failure)
        assert str(outcome.error).startswith("t: the result cannot be stored as json: it is a set.")


def test_signals_of_a_failure(app: Umbel, runner: Runner, heard: Heard) -> None:
    error = ValueError("boom")
    outcome(runner, raises(app, error))
    assert heard == [
        ("task_prerun", ([], True)),
        ("task_failure", (error, True)),
        ("task_postrun", ("FAILURE", error, True)),
    ]


def test_signals_of_a_retry(app: Umbel, runner: Runner, heard: Heard) -> None:
    outcome(runner, raises(app, OSError(), autoretry_for=(OSError,)))
    assert [name for name, _ in heard] == ["task_prerun", "task_retry", "task_postrun"]
    assert heard[1][1] == (Retry, 0)
    assert heard[2][1][0] == "RETRY"


@pytest.mark.parametrize("error", [Ignore(), Reject("bad")])
def test_signals_of_what_stores_nothing(
    app: Umbel, runner: Runner, heard: Heard, error: Exception
) -> None:
    outcome(runner, raises(app, error))
    state = {Ignore: "IGNORED", Reject: "REJECTED"}[type(error)]
    failure = [("task_failure", (error, True))] if state == "REJECTED" else []
    assert heard == [
        ("task_prerun", ([], True)),
        *failure,
        ("task_postrun", (state, error, True)),
    ]


def test_what_does_not_run_sends_no_signals(app: Umbel, runner: Runner, heard: Heard) -> None:
    foreign(app, UNKNOWN)
    (delivery,) = take(app)
    runner.run(runner.prepare(delivery))
    assert heard == []


def test_a_receiver_that_raises_does_not_change_the_outcome(app: Umbel, runner: Runner) -> None:
    def receive(**_: Any) -> None:
        raise ValueError("mine")

    signals.task_prerun.connect(receive)
    try:
        assert isinstance(outcome(runner, raises(app, KeyError())), Failure)
    finally:
        signals.task_prerun.disconnect(receive)


# Settings


def test_settings_that_change_are_seen_by_the_next_task(app: Umbel, runner: Runner) -> None:
    def work() -> None: ...

    task = app.task(name="t")(work)
    first = runner.prepare(delivery_of(task))
    assert first.policy is not None
    assert first.policy.acks_late is True
    app.conf.task_acks_late = False
    second = runner.prepare(delivery_of(task))
    assert second.policy is not None
    assert second.policy.acks_late is False
    app.conf.accept_content = ["yaml"]
    assert isinstance(runner.prepare(second.delivery).work, Unprocessable)


# Soft time limits


@pytest.fixture
def _over_time(app: Umbel, clock: ManualClock, runner: Runner) -> Iterator[None]:
    """The soft limit has passed, of which a task is told as soon as the signal comes."""
    before = signal.getsignal(signal.SIGUSR1)
    runner.soft = SoftLimit(clock)
    runner.soft.begin(clock.now)
    yield
    signal.signal(signal.SIGUSR1, before)


def told() -> None:
    signal.raise_signal(signal.SIGUSR1)


@pytest.mark.usefixtures("_over_time")
def test_a_soft_limit_is_an_error_like_others(app: Umbel, runner: Runner) -> None:
    task: Made = app.task(name="t", throws=(SoftTimeLimitExceeded,))(told)
    found = runner.run(runner.prepare(delivery_of(task)), runner.soft).outcome
    assert isinstance(found, Failure)
    assert (type(found.error), found.expected) == (SoftTimeLimitExceeded, True)


@pytest.mark.usefixtures("_over_time")
def test_a_soft_limit_may_be_a_reason_to_try_again(app: Umbel, runner: Runner) -> None:
    task: Made = app.task(name="t", autoretry_for=(SoftTimeLimitExceeded,))(told)
    found = runner.run(runner.prepare(delivery_of(task)), runner.soft).outcome
    assert isinstance(found, Retried)
    assert isinstance(found.retry.exc, SoftTimeLimitExceeded)


@pytest.mark.usefixtures("_over_time")
def test_a_coroutine_has_one_too(app: Umbel, runner: Runner) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(0)
            told()
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return "not told"

    task: Made = app.task(name="t")(work)
    found = runner.run(runner.prepare(delivery_of(task)), runner.soft).outcome
    assert found == Success("cleaned up")


@pytest.mark.usefixtures("_over_time")
def test_handlers_are_not_told_nor_tasks_without_a_limit(app: Umbel, runner: Runner) -> None:
    heard: list[str] = []

    class Telling(Task[Any, Any]):
        def before_start(self, *_: Any) -> None:
            told()
            heard.append("before")

        def on_success(self, *_: Any) -> None:
            told()
            heard.append("after")

    def work() -> str:
        return "done"

    task: Made = app.task(name="t", base=Telling)(work)
    found = runner.run(runner.prepare(delivery_of(task)), runner.soft).outcome
    assert (found, heard) == (Success("done"), ["before", "after"])
    other: Made = app.task(name="u")(told)
    assert outcome(runner, other) == Success(None)
