"""A broker that does what it was asked to, and whose answer is lost: nobody may rely on either."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.worker.support import Made, consumer_of
from umbel import Umbel, failpoints
from umbel.exceptions import OperationalError
from umbel.ports import FetchRequest
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.child import Child
from umbel.worker.forkserver import make_child
from umbel.worker.page import Held, Page, Snapshot
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler

REQUEST = FetchRequest(("celery",), 10)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Umbel]:
    """An app whose broker has fail points."""
    url = f"sqlite:///{tmp_path}/umbel.db?durability=normal"
    app = Umbel("proj", broker=url, backend=url)
    yield app
    app.close()


@pytest.fixture
def ran() -> list[int]:
    return []


@pytest.fixture
def note(app: Umbel, ran: list[int]) -> Made:
    task: Made = app.task(name="note")(ran.append)
    return task


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page.create(tmp_path / "child.page")
    yield page
    page.close()


@pytest.fixture
def child(app: Umbel, page: Page) -> Child:
    orders = Orders(Source("app", "/", {}), ("celery",), "celery@host", "node", 1, "INFO")
    return make_child(app, orders, page, os.getpid())


@pytest.fixture
def lose_answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let an operation of the consumer raise once, after its commit."""

    def lose(operation: str) -> None:
        armed = failpoints._armed(f"sqlite.{operation}.after_commit=raise", None)
        monkeypatch.setattr("umbel.engines.sqlite.consumer.fail_point", armed)

    return lose


def leave(child: Child) -> None:
    """Let a child settle what it ran, and go."""
    child.stopping.set()
    child.run()


def leased(app: Umbel) -> int:
    return app.queues.depths()["celery"].leased


def test_what_was_fetched_comes_back(
    app: Umbel,
    child: Child,
    note: Made,
    lose_answer: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = child.consumer.owner.id
    lose_answer("fetch")
    result = note.delay(1)
    assert child._persist(lambda: child._fetch(REQUEST)) == ()
    assert "The broker answers again" in caplog.text
    (delivery,) = child._fetch(REQUEST)
    assert (delivery.message.task_id, delivery.count) == (result.id, 1)
    assert child.consumer.owner.id != first
    assert app.broker.renew("node", 60.0) == {child.consumer.owner.id}
    leave(child)


def test_what_was_fetched_with_a_settle_comes_back(
    app: Umbel,
    child: Child,
    note: Made,
    ran: list[int],
    lose_answer: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    results = [note.delay(0)]
    child.step()
    results.append(note.delay(1))
    lose_answer("settle")
    child.step()
    leave(child)
    assert ran == [0, 1]
    assert [result.state for result in results] == ["SUCCESS"] * 2
    assert leased(app) == 0
    assert "was not stored" not in caplog.text


def test_what_was_given_back_is_not_run(
    app: Umbel, child: Child, page: Page, lose_answer: Callable[[str], None]
) -> None:
    ran: list[Snapshot | None] = []

    @app.task
    def work() -> None:
        """Run long, so that the helper gives back the other."""
        with pytest.raises(OperationalError):
            child.release_waiting()
        ran.append(page.read())
        assert child.finished or child.waiting or child.returning

    work.delay_many([(), ()])
    deliveries = child.consumer.fetch(REQUEST, 0.0)
    lose_answer("release")
    child._work(deliveries)
    (seen,) = ran
    assert seen is not None
    assert seen.keys(Held.WAITING) == [deliveries[1].key]
    assert not child.returning
    (other,) = consumer_of(app).fetch(REQUEST, 0.0)
    assert (other.message.task_id, other.count) == (deliveries[1].message.task_id, 1)
    leave(child)


def early_calls(app: Umbel, ran: list[int]) -> list[str]:
    """Send calls that may start only once."""
    task: Made = app.task(name="once", acks_late=False)(ran.append)
    return [result.id for result in task.delay_many([(1,), (2,)])]


def test_what_was_marked_when_it_was_time_to_stop_never_started(
    app: Umbel, child: Child, page: Page, ran: list[int], lose_answer: Callable[[str], None]
) -> None:
    ids = early_calls(app, ran)
    deliveries = child.consumer.fetch(REQUEST, 0.0)
    lose_answer("mark_early")
    child.stopping.set()
    child._work(deliveries)
    child.run()
    assert ran == []
    assert leased(app) == 0
    found = consumer_of(app).fetch(REQUEST, 0.0)
    assert [(each.message.task_id, each.count) for each in found] == [(id, 1) for id in ids]


def test_who_dies_while_it_marks_has_started_nothing(
    app: Umbel,
    child: Child,
    page: Page,
    ran: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = early_calls(app, ran)
    deliveries = child.consumer.fetch(REQUEST, 0.0)

    def die(name: str) -> None:
        if name == "sqlite.mark_early.after_commit":
            raise KeyboardInterrupt

    monkeypatch.setattr("umbel.engines.sqlite.consumer.fail_point", die)
    with pytest.raises(KeyboardInterrupt):
        child._work(deliveries)
    recovery = Recovery(app, app.broker, lambda: Settler(app.broker, consumer_of(app), app.results))
    recovery.child_died(child.consumer.owner.id, page.read(), "pid 1 vanished")
    found = consumer_of(app).fetch(REQUEST, 0.0)
    assert [each.message.task_id for each in found] == ids
    assert [app.AsyncResult(id).state for id in ids] == ["PENDING"] * 2


def test_what_was_settled_without_an_answer_is_not_said_to_be_refused(
    app: Umbel,
    note: Made,
    lose_answer: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Though another answer is lost next, and the supervisor is another owner from then on."""
    note.delay_many([(1,), (2,)])
    one = FetchRequest(("celery",), 1)
    recovery = Recovery(app, app.broker, lambda: Settler(app.broker, consumer_of(app), app.results))
    dead = [
        (consumer, consumer.fetch(one, 0.0)) for consumer in (consumer_of(app), consumer_of(app))
    ]
    for (consumer, (held,)), operation in zip(dead, ("settle", "reclaim"), strict=True):
        page = Snapshot(1, 1.0, consumer.owner.id, 1, {held.key: Held.RUNNING}, 0.0, 0.0, 0.0, 0.0)
        lose_answer(operation)
        with pytest.raises(OperationalError):
            recovery.child_died(consumer.owner.id, page, "pid 1 vanished")
    recovery.settle_undecided()
    assert "was not stored" not in caplog.text
    assert [one.crashes for one in consumer_of(app).fetch(REQUEST, 0.0)] == [1, 1]
    recovery.close()


def test_what_was_taken_over_is_found(
    app: Umbel, note: Made, lose_answer: Callable[[str], None]
) -> None:
    note.delay_many([(1,), (2,), (3,)])
    dead = consumer_of(app)
    keys = [delivery.key for delivery in dead.fetch(REQUEST, 0.0)]
    held = dict(zip(keys, (Held.RUNNING, Held.FINISHED, Held.WAITING), strict=True))
    page = Snapshot(1, 1.0, dead.owner.id, 1, held, 0.0, 0.0, 0.0, 0.0)
    recovery = Recovery(app, app.broker, lambda: Settler(app.broker, consumer_of(app), app.results))
    for _ in range(2):  # the second time while it looks for what the first gave
        lose_answer("reclaim")
        with pytest.raises(OperationalError):
            recovery.child_died(dead.owner.id, page, "pid 1 vanished")
    recovery.settle_undecided()
    again = consumer_of(app).fetch(REQUEST, 0.0)
    assert {delivery.key.split(".")[0]: delivery.crashes for delivery in again} == {
        key.split(".")[0]: int(state is Held.RUNNING) for key, state in held.items()
    }
    recovery.close()
