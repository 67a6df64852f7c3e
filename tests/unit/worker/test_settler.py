from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import pytest

from tests.conftest import ManualClock, calls
from tests.unit.worker.support import Made, consumer_of
from umbel import Retry, Umbel, chord, states
from umbel.clock import unique_id
from umbel.engines.memory.results import MemoryResults
from umbel.engines.memory.space import forget_space, named_space
from umbel.exceptions import LeaseLost, OperationalError
from umbel.message import Delivery, Message, Publication
from umbel.options import CallOptions
from umbel.ports import (
    Broker,
    Consumer,
    Features,
    FetchRequest,
    Owner,
    ResultStore,
    Settled,
    Settlement,
)
from umbel.records import ResultRecord, TaskResult, encode
from umbel.retrying import Again
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import Failure, Job, Outcome, Retried, Run, Success
from umbel.worker.settler import Settler


class Plain(Broker):
    """A broker that can do less: it publishes and settles in steps of their own. It notes each."""

    def __init__(self, inner: Broker, log: list[str], **features: Any) -> None:
        self._inner = inner
        self._log = log
        self.features: Features = dataclasses.replace(inner.features, **features)

    def publish(self, publications: Sequence[Publication], timeout: float) -> None:
        self._log.append("publish")
        self._inner.publish(publications, timeout)

    def consumer(self, owner: Owner, ttl: float) -> Consumer:
        return self._inner.consumer(owner, ttl)

    def shares(self, results: ResultStore) -> bool:
        return self._inner.shares(results)

    def join(self, results: ResultStore) -> None:
        self._inner.join(results)

    def renew(self, node: str, ttl: float) -> frozenset[str]:
        return self._inner.renew(node, ttl)

    def expired(self) -> list[Owner]:
        return self._inner.expired()

    def take_back(self, owner: str, keys: Collection[str]) -> int:
        return self._inner.take_back(owner, keys)

    def ever_consumed(self) -> bool:
        return self._inner.ever_consumed()

    def close(self) -> None:
        self._inner.close()


class Apart(Plain):
    """One that stores no results while it settles."""

    def shares(self, results: ResultStore) -> bool:
        return False


class Store(MemoryResults):
    """A result store that notes what is put, and may be away."""

    def __init__(self, name: str, log: list[str]) -> None:
        super().__init__(named_space(name), ManualClock())
        self._log = log
        self.away = False

    def put(self, records: Sequence[ResultRecord]) -> None:
        if self.away:
            raise OperationalError("The result store is away.")
        self._log.append("results")
        super().put(records)


def nothing(x: int) -> None: ...


class Scene:
    """A task, deliveries of it, and settlers over one engine or two."""

    def __init__(self, app: Umbel, other: str) -> None:
        self.app = app
        self.log: list[str] = []
        self.task: Made = app.task(name="t")(nothing)
        self.consumer = consumer_of(app)
        self.elsewhere = Store(other, self.log)

    def fetched(self, *args: int) -> list[Delivery]:
        self.task.delay_many([(arg,) for arg in args])
        return self.consumer.fetch(FetchRequest(("celery",), 100), 0.0)

    def verdict(self, delivery: Delivery, outcome: Outcome | None = None) -> Verdict:
        prepared = Runner(self.app, "h").prepare(delivery)
        run = Run(prepared, outcome or Success(7))
        return decide(run, self.app.conf.snapshot, self.app.clock)

    def retry(self, delivery: Delivery) -> Verdict:
        options = CallOptions(task_id=delivery.message.task_id, retries=1, queue="again")
        retry = Retry(exc=ValueError("boom"), when=0, sig=Again((1,), {}, options))
        return self.verdict(delivery, Retried(self.task, retry, "the traceback"))

    def left(self) -> int:
        """Return how many deliveries are not settled yet."""
        return self.app.queues.depths()["celery"].leased


@pytest.fixture
def scene(app: Umbel) -> Iterator[Scene]:
    name = unique_id()
    yield Scene(app, name)
    forget_space(name)


def state_in(store: ResultStore, delivery: Delivery) -> str | None:
    task_id = str(delivery.message.task_id)
    record = store.get([task_id]).get(task_id)
    return record.state if record else None


def test_one_engine_settles_in_one_step(scene: Scene) -> None:
    results = scene.app.result_store()
    settler = Settler(Plain(scene.app.broker, scene.log), scene.consumer, results)
    one, other = scene.fetched(1, 2)
    settler.settle([scene.verdict(one), scene.retry(other)])
    assert scene.log == []
    assert scene.left() == 0
    assert (state_in(results, one), state_in(results, other)) == ("SUCCESS", "RETRY")
    assert [call.id for call in calls(scene.app, "again")] == [other.message.task_id]


def test_who_was_taken_for_dead_tells_no_failures(scene: Scene) -> None:
    """Its call runs elsewhere, and may succeed: those who wait for what follows are not told otherwise."""
    app, results, heir = scene.app, scene.app.result_store(), consumer_of(scene.app)
    waited = (scene.task.si(1).set(task_id="frozen") | scene.task.si(2)).apply_async()
    (delivery,) = scene.consumer.fetch(FetchRequest(("celery",), 1), 0.0)
    (taken,) = heir.reclaim(scene.consumer.owner.id, ())
    settler = Settler(app.broker, scene.consumer, results, Chords(app, results))
    with pytest.raises(LeaseLost):
        settler.settle([scene.verdict(delivery, Failure(ValueError("late"), ""))])
    assert results.get(["frozen", waited.id]) == {}
    Settler(app.broker, heir, results).settle([scene.verdict(taken)])
    assert state_in(results, taken) == "SUCCESS"


def test_a_settle_fetches_the_next(scene: Scene) -> None:
    settler = Settler(scene.app.broker, scene.consumer, scene.app.results)
    (first,) = scene.fetched(1)
    scene.task.delay_many([(2,), (3,)])
    fetched = settler.settle([scene.verdict(first)], FetchRequest(("celery",), 1))
    assert [Runner(scene.app, "h").prepare(found).call.args for found in fetched] == [[2]]  # type: ignore[union-attr]
    assert settler.settle([]) == ()


def test_results_elsewhere_are_stored_before_the_acknowledgement(scene: Scene) -> None:
    settler = Settler(scene.app.broker, scene.consumer, scene.elsewhere)
    one, other = scene.fetched(1, 2)
    settler.settle([scene.verdict(one), scene.retry(other)])
    assert scene.log == ["results"]
    assert (state_in(scene.elsewhere, one), state_in(scene.elsewhere, other)) == (
        "SUCCESS",
        "RETRY",
    )
    assert len(calls(scene.app, "again")) == 1
    assert scene.left() == 0


def test_what_follows_is_published_first_where_that_is_a_step_of_its_own(scene: Scene) -> None:
    broker = Plain(scene.app.broker, scene.log, atomic_settle=False)
    (delivery,) = scene.fetched(1)
    Settler(broker, scene.consumer, scene.elsewhere).settle([scene.retry(delivery)])
    assert scene.log == ["publish", "results"]
    assert len(calls(scene.app, "again")) == 1
    assert scene.left() == 0


@pytest.mark.parametrize("atomic", [True, False])
def test_after_a_failure_in_between_it_can_be_settled_again(scene: Scene, atomic: bool) -> None:
    broker = Plain(scene.app.broker, scene.log, atomic_settle=atomic)
    settler = Settler(broker, scene.consumer, scene.elsewhere)
    (delivery,) = scene.fetched(1)
    verdict = scene.retry(delivery)
    scene.elsewhere.away = True
    for _ in range(2):
        with pytest.raises(OperationalError):
            settler.settle([verdict])
        assert scene.left() == 1
        assert state_in(scene.elsewhere, delivery) is None
    scene.elsewhere.away = False
    settler.settle([verdict])
    assert scene.left() == 0
    assert state_in(scene.elsewhere, delivery) == "RETRY"
    assert len(calls(scene.app, "again")) == 1
    # Some brokers do not recognize what is published again.
    assert scene.log.count("publish") == (0 if atomic else 1)


def test_a_body_that_was_published_is_not_so_again_by_whoever_runs_its_last_call_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot be published and its last call acknowledged in one step."""
    results = scene.app.result_store()
    broker = Apart(scene.app.broker, scene.log, atomic_settle=False)
    chord([scene.task.s(1)], scene.task.s())()
    (delivery,) = scene.consumer.fetch(FetchRequest(("celery",), 100), 0.0)

    def die(settlements: Sequence[Settlement], fetch: FetchRequest | None = None) -> Settled:
        raise OperationalError("It is not acknowledged.")

    monkeypatch.setattr(scene.consumer, "settle", die)
    for _ in range(2):  # each a process of its own, which remembers nothing
        settler = Settler(broker, scene.consumer, results, Chords(scene.app, results))
        with pytest.raises(OperationalError):
            settler.settle([scene.verdict(delivery)])
    assert scene.log == ["publish"]


def test_without_a_result_store_nothing_is_stored(scene: Scene) -> None:
    settler = Settler(scene.app.broker, scene.consumer, None)
    one, other = scene.fetched(1, 2)
    settler.settle([scene.verdict(one), scene.retry(other)])
    settler.store(encode(TaskResult("i", states.STARTED)), scene.verdict(one).run.prepared)
    assert scene.left() == 0
    assert len(calls(scene.app, "again")) == 1


def test_what_settles_nothing_is_stored_too(scene: Scene) -> None:
    settler = Settler(scene.app.broker, scene.consumer, scene.app.results)
    (one,) = scene.fetched(1)
    settler.store(encode(TaskResult("i", states.STARTED)), scene.verdict(one).run.prepared)
    assert scene.app.AsyncResult("i").state == states.STARTED


def test_what_was_taken_away_is_refused_and_said(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    settler = Settler(scene.app.broker, scene.consumer, scene.app.results)
    kept, taken = scene.fetched(1, 2)
    scene.app.broker.take_back(scene.consumer.owner.id, [taken.key])
    with caplog.at_level(logging.WARNING, "umbel.worker"):
        settler.settle([scene.verdict(kept), scene.verdict(taken)])
    results = scene.app.result_store()
    assert (state_in(results, kept), state_in(results, taken)) == ("SUCCESS", None)
    assert caplog.messages[-1] == (
        f"The outcome of task {taken.message.task_id} was not stored: its lease was taken over"
        " meanwhile, so it runs or ran elsewhere."
    )


def test_of_what_was_taken_away_it_is_said_if_it_is_stored_elsewhere(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    results = Store(unique_id(), [])
    settler = Settler(Plain(scene.app.broker, []), scene.consumer, results)
    (taken,) = scene.fetched(1)
    scene.app.broker.take_back(scene.consumer.owner.id, [taken.key])
    with caplog.at_level(logging.WARNING, "umbel.worker"):
        settler.settle([scene.verdict(taken)])
    assert state_in(results, taken) == "SUCCESS"
    assert caplog.messages[-1] == (
        f"The outcome of task {taken.message.task_id} was stored, but its message went back meanwhile,"
        " so it runs or ran elsewhere, too."
    )


def test_an_owner_that_was_taken_for_dead_settles_nothing(scene: Scene) -> None:
    settler = Settler(scene.app.broker, scene.consumer, scene.app.results)
    (delivery,) = scene.fetched(1)
    consumer_of(scene.app).reclaim(scene.consumer.owner.id, None)
    with pytest.raises(LeaseLost):
        settler.settle([scene.verdict(delivery)])
    assert state_in(scene.app.result_store(), delivery) is None


class Replies(Store):
    """One that sends results to who asked."""

    reply_to = "queue of this process"
    told: Sequence[tuple[ResultRecord, Any]] = ()

    def put_of(self, results: Sequence[tuple[ResultRecord, Any]]) -> None:
        self.told = results


def test_who_waits_for_a_call_that_cannot_be_read_is_told(app: Umbel) -> None:
    """As one whose content type is refused: else its client waits for nothing."""
    name = unique_id()
    replies = Replies(name, [])
    properties = {"reply_to": "asker", "correlation_id": "7"}
    message = Message({"id": "7", "task": "t"}, properties, b"", "application/x-unknown", "binary")
    app.broker.publish([Publication("celery", message, unique_id())], 1.0)
    consumer = consumer_of(app)
    (delivery,) = consumer.fetch(FetchRequest(("celery",), 1), 0.0)
    prepared = Runner(app, "h").prepare(delivery)
    assert not isinstance(prepared.work, Job)
    verdict = decide(Run(prepared, prepared.work), app.conf.snapshot, app.clock)
    Settler(Apart(app.broker, []), consumer, replies).settle([verdict])
    [(record, known)] = replies.told
    assert (record.task_id, record.state) == ("7", states.FAILURE)
    assert (known.reply_to, known.correlation_id) == ("asker", "7")
    forget_space(name)
