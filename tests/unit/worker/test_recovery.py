"""Taking over what the dead held, when the broker does not answer in the middle of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of
from umbel import Umbel
from umbel.exceptions import OperationalError, TimeLimitExceeded
from umbel.message import Delivery
from umbel.ports import Action, FetchRequest, Owner
from umbel.worker.decide import Verdict
from umbel.worker.page import Held, Snapshot
from umbel.worker.recovery import Recovery
from umbel.worker.settler import Settler


class Unreliable(Settler):
    """A settler whose server does not answer for a while."""

    answers = True

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        if not self.answers:
            raise OperationalError("no answer")
        return super().settle(verdicts, fetch, hold)


class Node:
    """A supervisor's recovery, and a child that died while it ran the first of its deliveries."""

    def __init__(self, app: Umbel, **options: Any) -> None:
        task = app.task(name="proj.add")(lambda x, y: x + y)
        for number in range(3):
            task.apply_async((number, number), **options)
        self.app = app
        self.supervisor = consumer_of(app)
        self.settler = Unreliable(app.broker, self.supervisor, app.results)
        self.recovery = Recovery(app, app.broker, lambda: self.settler)
        dead = consumer_of(app)
        self.held = held = dead.fetch(FetchRequest(["celery"], 3), 0)
        states = (Held.RUNNING, Held.FINISHED, Held.WAITING)
        self.page = Snapshot(
            pid=1,
            started=1.0,
            owner=dead.owner.id,
            batch=1,
            held=dict(zip((delivery.key for delivery in held), states, strict=True)),
            running_since=0.0,
            soft_deadline=0.0,
            hard_deadline=0.0,
            heartbeat=0.0,
        )

    def ready(self) -> int:
        return self.app.queues.depths()["celery"].ready


def test_everything_a_dead_child_held_waits_again(app: Umbel) -> None:
    node = Node(app)
    node.recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    assert node.ready() == 3
    again = consumer_of(app).fetch(FetchRequest(["celery"], 3), 0)
    assert sorted(delivery.crashes for delivery in again) == [0, 0, 1]


def test_what_was_taken_over_is_kept_until_it_is_settled(app: Umbel) -> None:
    node = Node(app)
    node.settler.answers = False
    with pytest.raises(OperationalError):
        node.recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    assert node.ready() == 1  # what never started went back in the first step
    with pytest.raises(OperationalError):
        node.recovery.settle_undecided()

    # The supervisor asks again for the dead child, of which nobody has anything left.
    node.settler.answers = True
    node.recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    assert node.ready() == 3
    node.recovery.settle_undecided()
    assert node.ready() == 3


class Picky(Settler):
    """A settler whose store cannot take the outcome of one message."""

    bad = ""

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        for verdict in verdicts:
            settlement = verdict.settlement
            if settlement.delivery.key == self.bad and settlement.action is not Action.DEAD_LETTER:
                raise ValueError("no such text")
        return super().settle(verdicts, fetch, hold)


def test_an_outcome_that_no_store_can_take_does_not_hold_up_the_others(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(app)
    settler = Picky(app.broker, node.supervisor, app.results)
    settler.bad = node.page.keys(Held.RUNNING)[0]
    recovery = Recovery(app, app.broker, lambda: settler)
    recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    assert node.ready() == 2
    (letter,) = app.queues.dead_letters(10)
    assert letter.reason == "Its outcome cannot be stored: ValueError: no such text"
    assert "is now a dead letter (umbel dead list): Its outcome cannot be stored" in caplog.text
    assert not recovery._undecided


def test_a_node_does_not_take_over_its_own_children(app: Umbel) -> None:
    node = Node(app)
    living = app.broker.consumer(Owner("child", "mine", "host", 1), 0.0)
    node.recovery.expired("mine")
    assert living.fetch(FetchRequest(["celery"], 1), 0) == []  # it is still attached


def test_a_task_may_be_retried_where_its_process_died(app: Umbel) -> None:
    node = Node(app)
    app.tasks["proj.add"].retry_on_worker_lost = True
    node.recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    depth = app.queues.depths()["celery"]
    assert (depth.ready, depth.scheduled) == (2, 1)


def test_a_child_that_was_killed_for_a_time_limit(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    """The task fails; what ran beside it, in another executor, is not to blame."""
    node = Node(app)
    app.tasks["proj.add"].time_limit = 2
    exceeded, beside, _ = node.page.held
    page = replace(node.page, condemned=exceeded)
    page.held[beside] = Held.RUNNING
    (result,) = [delivery.message.task_id for delivery in node.held if delivery.key == exceeded]
    node.recovery.child_died(page.owner, page, "pid 1 ended with signal 9 (SIGKILL)")
    assert node.ready() == 2
    again = consumer_of(app).fetch(FetchRequest(["celery"], 3), 0)
    assert [delivery.crashes for delivery in again] == [0, 0]
    with pytest.raises(TimeLimitExceeded) as raised:
        app.AsyncResult(str(result)).get(timeout=0)
    assert raised.value.args == (2,)
    assert f"Hard time limit (2s) exceeded for proj.add[{result}]" in caplog.messages


def test_the_limit_is_the_calls_own_and_failures_may_be_tried_again(app: Umbel) -> None:
    node = Node(app, time_limit=7)
    app.tasks["proj.add"].acks_on_timeout = False
    page = replace(node.page, condemned=node.page.keys(Held.RUNNING)[0])
    node.recovery.child_died(page.owner, page, "pid 1 vanished")
    assert node.ready() == 3


def test_a_message_on_which_nobody_can_decide_does_not_hold_up_the_others(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    node = Node(app)
    task: Any = app.tasks["proj.add"]
    task.retry_on_worker_lost, task.default_retry_delay = True, "soon"
    node.recovery.child_died(node.page.owner, node.page, "pid 1 vanished")
    assert node.ready() == 2
    (letter,) = app.queues.dead_letters(10)
    assert letter.reason.startswith(
        "Its process died (pid 1 vanished), and what becomes of it cannot be decided: TypeError: "
    )
    assert app.AsyncResult(str(letter.message.task_id)).state == "FAILURE"
    assert "is now a dead letter (umbel dead list): Its process died" in caplog.text
    node.recovery.settle_undecided()
    assert len(app.queues.dead_letters(10)) == 1
