"""Retries where others are around calls: they see what Celery shows them, and the message stays the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.conftest import ManualClock, calls
from tests.each import for_each
from tests.unit.worker.support import take
from umbel import Exchange, Queue, Task, Umbel, signals
from umbel.message import Delivery, Publication, decode
from umbel.producers import Producer
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import Failure, Retried

Patch = pytest.MonkeyPatch

#: How a task that retries is called, and what it gives to `retry`.
WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "later": ({}, {"countdown": 7}),
    "other arguments": ({}, {"args": (1,), "kwargs": {"y": 2}, "countdown": 0}),
    "another queue": ({"queue": "own"}, {"queue": "celery", "priority": 7}),
    "from a queue of its own": ({"queue": "own", "priority": 3}, {}),
    "through an exchange": (
        {"exchange": "media", "routing_key": "media.x", "delivery_mode": 1},
        {},
    ),
    "of a chain": (
        {"link": [{"task": "t", "args": (3,), "kwargs": {}, "options": {}}], "group_id": "g"},
        {},
    ),
    "limits": ({"expires": 99, "time_limit": 9, "soft_time_limit": 8, "shadow": "s"}, {}),
    "limits that were taken back": (
        {"expires": None, "time_limit": None, "soft_time_limit": None},
        {},
    ),
    "headers": ({"headers": {"tenant": "a"}, "ignore_result": True}, {"expiration": 5.5}),
    "stamps": ({"stamped_headers": ["color"], "color": "red", "reply_to": "r"}, {}),
    "form": ({}, {"serializer": "pickle", "compression": "gzip", "shadow": "other"}),
}


@pytest.fixture
def app(app: Umbel, clock: ManualClock) -> Umbel:
    app.clock = clock
    app.conf.task_queues = [
        *(Queue(name) for name in ("celery", "own")),
        Queue("videos", Exchange("media", "topic"), "media.#"),
    ]
    app.conf.accept_content = ["json", "pickle"]
    return app


def retrying(app: Umbel, **options: Any) -> Any:
    """Make a task that retries as its keyword argument says."""

    @app.task(name="t", bind=True, **options)
    def task(self: Task[..., Any], /, *args: Any, again: Any = None, **kwargs: Any) -> None:
        self.retry(exc=OSError("away"), **again)

    return task


def delivered(task: Any, again: dict[str, Any], **options: Any) -> Delivery:
    """Send a call and take it."""
    task.apply_async((), {"again": again}, **options)
    queue = "videos" if "exchange" in options else options.get("queue", "celery")
    (delivery,) = take(task.app, queue=queue)
    return delivery


def settled(app: Umbel, delivery: Delivery) -> Verdict:
    """Run a delivery, and decide on it."""
    runner = Runner(app, "celery@host")
    verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    runner.close()
    return verdict


@contextmanager
def listening() -> Iterator[list[str]]:
    """Hear the signals of publishes: which, of which try, and where the message goes."""
    found: list[str] = []

    def before(headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        found.append(f"before {headers['retries']} {routing_key}")

    def after(headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        found.append(f"after {headers['retries']} {routing_key}")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        yield found
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)


def plain(publication: Publication) -> Publication:
    return replace(publication, tag="")


@for_each("way", WAYS)
def test_the_message_is_the_same_where_others_are_around(way: str, app: Umbel) -> None:
    call, again = WAYS[way]
    task = retrying(app, expires=50, time_limit=20, soft_time_limit=10)
    delivery = delivered(task, again, **call)
    (expected,) = settled(app, delivery).settlement.publish
    with listening() as heard:
        (found,) = settled(app, delivery).settlement.publish
    assert plain(found) == plain(expected)
    assert heard == [f"before 1 {found.routing_key}", f"after 1 {found.routing_key}"]
    app.tasks.unregister("t")


def test_what_is_run_twice_makes_the_same_publish(app: Umbel) -> None:
    delivery = delivered(retrying(app), {})
    with listening():
        first, second = (settled(app, delivery).settlement.publish[0] for _ in range(2))
    assert first.tag == second.tag != delivery.tag


def test_nothing_is_sent_before_the_call_is_settled(app: Umbel) -> None:
    delivery = delivered(retrying(app), {})
    with listening() as heard:
        verdict = settled(app, delivery)
    assert heard[0] == "before 1 celery"
    assert calls(app) == []
    assert len(verdict.settlement.publish) == 1


def test_signals_are_sent_while_the_task_runs(app: Umbel) -> None:
    """Tracers end the task's span at task_postrun: the retry is to be within it."""
    delivery = delivered(retrying(app), {})
    with listening() as heard:

        def note(signal: Any, **_: Any) -> None:
            heard.append(signal.name)

        for signal in (signals.task_prerun, signals.task_retry, signals.task_postrun):
            signal.connect(note)
        settled(app, delivery)
    names = ["task_prerun", "before 1 celery", "after 1 celery", "task_retry", "task_postrun"]
    assert heard == names


class Noting(Task[..., Any]):
    """A class with an `apply_async` of its own, as packages have."""

    seen: ClassVar[list[tuple[Any, ...]]] = []

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """Note a call, and let those pass that have no label ``dropped``."""
        label, retries = (options.get("headers") or {}).get("label"), options.get("retries", 0)
        self.seen.append((retries, options.get("queue"), label))
        if retries and label == "refused":
            raise LookupError("no retries here")
        if retries and label == "dropped":
            return None
        return super().apply_async(args, kwargs, *more, **options)


@pytest.fixture
def noting(app: Umbel, monkeypatch: Patch) -> Any:
    monkeypatch.setattr(Noting, "seen", [])
    return retrying(app, base=Noting)


def test_an_apply_async_of_its_own_sends_the_retry(app: Umbel, noting: Any) -> None:
    delivery = delivered(noting, {"countdown": 5}, headers={"label": "a"})
    (again,) = settled(app, delivery).settlement.publish
    assert noting.seen == [(0, None, "a"), (1, "celery", "a")]
    assert decode(again.message, ("json",)).retries == 1


def test_a_retry_that_an_apply_async_of_its_own_does_not_send_is_not_lost(
    app: Umbel, noting: Any
) -> None:
    """celery-singleton takes it for a second call of what runs."""
    verdict = settled(app, delivered(noting, {}, headers={"label": "dropped"}))
    assert isinstance(verdict.run.outcome, Retried)
    (publication,) = verdict.settlement.publish
    assert decode(publication.message, ("json",)).retries == 1


def test_what_an_apply_async_of_its_own_raises_is_the_tasks_failure(
    app: Umbel, noting: Any
) -> None:
    outcome = settled(app, delivered(noting, {}, headers={"label": "refused"})).run.outcome
    assert isinstance(outcome, Failure)
    assert repr(outcome.error) == "LookupError('no retries here')"


def test_a_retry_by_itself_is_sent_the_same_way(app: Umbel, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Noting, "seen", [])

    @app.task(name="t", base=Noting, autoretry_for=(OSError,), retry_kwargs={"countdown": 3})
    def task(again: Any) -> None:
        raise OSError("away")

    (publication,) = settled(app, delivered(task, {})).settlement.publish
    assert Noting.seen == [(0, None, None), (1, "celery", None)]
    assert publication.due == app.clock.time() + 3


def test_a_retry_that_is_not_raised_is_sent_at_once_and_once(app: Umbel, noting: Any) -> None:
    delivery = delivered(noting, {"throw": False, "countdown": 0})
    with listening() as heard:
        verdict = settled(app, delivery)
    assert verdict.settlement.publish == ()
    assert [call.retries for call in calls(app)] == [1]
    assert heard == ["before 1 celery", "after 1 celery"]
    assert len(noting.seen) == 2


def test_what_takes_the_place_of_publish_sees_retries_and_what_follows(
    app: Umbel, monkeypatch: Patch
) -> None:
    original, seen = Producer.publish, []

    def publish(self: Any, body: Any, **kwargs: Any) -> Any:
        seen.append((kwargs["headers"]["task"], kwargs["routing_key"]))
        kwargs["headers"]["trace"] = "a"
        return original(self, body, **kwargs)

    monkeypatch.setattr(Producer, "publish", publish)
    add = app.task(name="add")(lambda *args: 1)
    retry = delivered(retrying(app), {})
    add.apply_async((), link=add.si().set(queue="own"))
    (followed,) = take(app)
    for delivery, wanted in ((retry, ("t", "celery")), (followed, ("add", "own"))):
        (publication,) = settled(app, delivery).settlement.publish
        assert seen[-1] == wanted
        assert publication.message.headers["trace"] == "a"
    assert calls(app) == calls(app, "own") == []
