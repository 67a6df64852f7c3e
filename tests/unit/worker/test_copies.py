"""Of the copies of a periodic run, the first that is taken up runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conftest import ManualClock, messages
from tests.unit.worker.support import delivery_of
from umbel import Umbel, publish
from umbel.beat import PersistentScheduler
from umbel.clock import unique_id
from umbel.exceptions import OperationalError
from umbel.periodic import COPY
from umbel.testing import worker
from umbel.testing.conformance.support import until
from umbel.worker.copies import AGAIN, KEPT, KIND, Copies
from umbel.worker.decide import decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import Copied, Job, NotDue, Prepared, Run


@pytest.fixture
def app(app: Umbel) -> Umbel:
    app.task(name="note")(lambda: None)
    return app


def prepared(app: Umbel, copy: str | None) -> Prepared:
    headers = None if copy is None else {COPY: copy}
    return Runner(app, "celery@host").prepare(delivery_of(app.tasks["note"], headers=headers))


def test_the_first_copy_runs_as_often_as_it_comes_and_no_other(app: Umbel) -> None:
    first, second = prepared(app, "run:a"), prepared(app, "run:b")
    for copies in (Copies(app), Copies(app)):
        assert copies.admit(first) is first
        late = copies.admit(second)
        assert isinstance(late.work, Copied)
        assert copies.admit(prepared(app, "other run:b")).work != late.work
    settlement = decide(Run(late, Copied()), app.conf.snapshot, app.clock).settlement
    assert (settlement.action.name, settlement.result, settlement.publish) == ("ACK", None, ())


def test_other_messages_ask_for_nothing(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.engines, "state_store", lambda: pytest.fail("It was asked."))
    one = prepared(app, None)
    assert Copies(app).admit(one) is one
    refused = Prepared(one.delivery, NotDue(5.0))
    assert Copies(app).admit(refused) is refused


@pytest.mark.parametrize("header", ["run\0:a", "run:\n", "ü:a", "r" * 200 + ":a", 5, ["run:a"]])
def test_a_header_of_somebody_elses_is_left_alone(
    app: Umbel, header: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.engines, "state_store", lambda: pytest.fail("It was asked."))
    one = Runner(app, "celery@host").prepare(delivery_of(app.tasks["note"], headers={COPY: header}))
    assert Copies(app).admit(one) is one


def test_a_store_that_is_away_puts_it_off(
    app: Umbel, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> bool:
        raise OperationalError("It is away.")

    app.clock = clock
    monkeypatch.setattr(app.engines.state_store(), "put_new", away)
    late = Copies(app).admit(prepared(app, "run:a"))
    assert late.work == NotDue(clock.now + AGAIN)


def test_without_a_store_it_runs_and_that_is_said_once(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(type(app.engine(app.broker_url)), "state", None)
    one = prepared(app, "run:a")
    for _ in range(2):
        assert Copies(app).admit(one) is one
    said = [line for line in caplog.messages if "may run twice when beat dies" in line]
    assert len(said) == 1
    assert "Set state_url" in said[0]


def test_what_is_known_of_copies_is_forgotten_in_time(app: Umbel) -> None:
    assert isinstance(Copies(app).admit(prepared(app, "run:a")).work, Job)
    assert app.engines.state_store().items(KIND) == {"run": "a"}
    assert KEPT == 86400  # a copy may wait behind a task that takes hours


def test_a_leader_that_dies_between_sending_and_noting_makes_no_second_run(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on RabbitMQ: nobody but the worker can tell that the second message is of the first one's run."""
    ran: list[str] = []
    app.task(name="count", bind=True)(lambda self: ran.append(self.request.id))
    app.conf.beat_schedule = {"often": {"task": "count", "schedule": 0.05}}
    dies, follows = PersistentScheduler(app), PersistentScheduler(app)
    for one in (dies, follows):
        monkeypatch.setattr(one.sender, "_joint", False)
    # A broker that does not know a message again.
    monkeypatch.setattr(
        publish, "spread", lambda messages: [replace(one, tag=unique_id()) for one in messages]
    )

    def dead(*_: object) -> list[bool]:
        raise OperationalError("It died.")

    with monkeypatch.context() as patch:
        patch.setattr(dies.store.state, "change", dead)
        until(lambda: dies.tick() > 0 and bool(messages(app)))
    until(lambda: follows.tick() >= 0 and len(messages(app)) > 1)
    ids = [message.headers["id"] for message in messages(app)]
    assert ids[0] == ids[1]
    with worker(app):
        until(lambda: len(ran) >= len(set(ids)))
        until(lambda: not messages(app))
    assert ran == list(dict.fromkeys(ids))
