from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import UNREADABLE, delivery_of
from umbel import Umbel
from umbel.message import Delivery, Message, decode
from umbel.worker.execute import Runner
from umbel.worker.outcome import Job, NotDue, Postponed, Prepared
from umbel.worker.rates import SLACK, TURN, Rates, given_turn, turn_of


class Node:
    """Children of one node that share rates, and calls of a task that may start eight times a second."""

    def __init__(self, app: Umbel, clock: ManualClock, directories: Sequence[Path | None]) -> None:
        app.clock = clock
        self.clock = clock
        self.task = app.task(name="t", rate_limit="8/s")(lambda: None)
        self.other = app.task(name="u", rate_limit="1/m")(lambda: None)
        self.free = app.task(name="v")(lambda: None)
        self.runner = Runner(app, "celery@host")
        self.rates = [Rates(clock, directory) for directory in directories]

    def ask(self, prepared: Prepared, child: int = 0) -> float | None:
        """Return the turn that a call gets, None if it may start."""
        answer = self.rates[child].admit(prepared)
        if isinstance(answer.work, Postponed):
            assert (answer.delivery, answer.call) == (prepared.delivery, prepared.call)
            return round(answer.work.turn - START, 6)
        assert answer is prepared
        return None

    def call(self, turn: float | None = None, task: Any = None) -> Prepared:
        prepared = self.runner.prepare(delivery_of(task or self.task))
        if turn is None:
            return prepared
        message = given_turn(prepared.delivery.message, START + turn)
        return replace(prepared, delivery=replace(prepared.delivery, message=message))


START = ManualClock().time()
#: Seconds between two starts; a number that computers add up exactly.
STEP = 0.125


@pytest.fixture(params=["files", "one process"])
def node(
    request: pytest.FixtureRequest, app: Umbel, clock: ManualClock, tmp_path: Path
) -> Iterator[Node]:
    shared = request.param == "files"
    node = Node(app, clock, [tmp_path, tmp_path] if shared else [None])
    yield node
    for rates in node.rates:
        rates.close()


def test_calls_beyond_the_rate_get_turns_one_after_the_other(node: Node) -> None:
    call = node.call()
    children = len(node.rates)
    given = [node.ask(call, number % children) for number in range(5)]
    assert given == [None, STEP, 2 * STEP, 3 * STEP, 4 * STEP]
    # Who comes later gets behind them, though the rate would allow it by now.
    node.clock.now = START + 0.25
    assert node.ask(call) == 5 * STEP
    node.clock.now = START + 1
    assert node.ask(call) is None


def test_each_task_has_a_rate_of_its_own(node: Node) -> None:
    assert node.ask(node.call()) is None
    call = node.call(task=node.other)
    assert [node.ask(call), node.ask(call), node.ask(call)] == [None, 60, 120]
    free = node.call(task=node.free)
    assert [node.ask(free) for _ in range(100)] == [None] * 100


def test_what_has_its_turn_starts(node: Node) -> None:
    for _ in range(4):
        node.ask(node.call())
    for turn in (STEP, 2 * STEP, 3 * STEP):
        node.clock.now = START + turn
        assert node.ask(node.call(turn)) is None


def test_turns_that_come_in_a_clump_start_at_once_but_for_no_more_than_the_slack(
    node: Node,
) -> None:
    call = node.call()
    for _ in range(40):
        node.ask(call)
    node.clock.now = START + 30 * STEP  # the broker did not give anything back before
    given = [node.ask(node.call(turn * STEP)) for turn in range(1, 31)]
    early = int(SLACK / STEP) + 1
    assert given[:early] == [None] * early
    # The others go behind all that still wait.
    assert given[early:] == [(40 + number) * STEP for number in range(30 - early)]


def test_turns_of_another_time_give_no_right(node: Node) -> None:
    """No worker ran for an hour: what had its turn by then starts no faster for that."""
    node.clock.now = START + 3600
    started = [node.ask(node.call(turn * STEP)) for turn in range(50)].count(None)
    assert started == int(SLACK / STEP) + 1


def test_over_a_long_time_as_many_start_as_the_rate_says(node: Node) -> None:
    """A broker that gives back what is due every 0.7 s: order and pace are kept."""
    waiting: list[tuple[float, int]] = [(0.0, number) for number in range(100)]
    ran: list[tuple[float, int]] = []
    call = node.call()
    while waiting:
        due = [one for one in waiting if one[0] <= node.clock.now - START]
        waiting = [one for one in waiting if one not in due]
        for turn, number in due:
            given = node.ask(node.call(turn) if turn else call)
            if given is None:
                ran.append((node.clock.now, number))
            else:
                waiting.append((given, number))
        waiting.sort()
        node.clock.sleep(0.7)
    assert [number for _, number in ran] == list(range(100))
    assert 99 * STEP - SLACK <= ran[-1][0] - ran[0][0] <= 99 * STEP + SLACK


def test_a_clock_that_is_set_back_stops_nobody_for_long(node: Node) -> None:
    node.ask(node.call())
    node.clock.now -= 3600
    assert node.ask(node.call()) is not None
    node.clock.now += 2 * SLACK + 0.1
    assert node.ask(node.call(STEP)) is None


@pytest.mark.parametrize("facts", [{"count": 2}, {"crashes": 1}])
def test_what_was_delivered_before_is_parked_and_needs_no_turn(
    node: Node, facts: dict[str, Any]
) -> None:
    """A new message would not know of the processes that died of it."""
    fresh = node.call()
    for _ in range(40):
        node.ask(fresh)
    again = replace(fresh, delivery=replace(fresh.delivery, **facts))
    early = int(SLACK / STEP)
    assert [node.ask(again) for _ in range(early)] == [None] * early
    parked = node.rates[0].admit(again)
    assert parked.work == NotDue(START + (early + 1) * STEP)
    assert node.ask(fresh) == 40 * STEP  # no turn was taken
    node.clock.now = START + 2 * STEP
    assert node.ask(again) is None


def test_what_cannot_run_anyway_takes_nothing(node: Node) -> None:
    refused = node.runner.prepare(Delivery("k", "celery", UNREADABLE))
    assert not isinstance(refused.work, Job)
    for rates in node.rates:
        assert rates.admit(refused) is refused


def test_without_its_files_a_child_keeps_to_the_rate_by_itself(
    node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node.rates = [Rates(node.clock, tmp_path / "gone")]
    call = node.call()
    assert [node.ask(call) for _ in range(3)] == [None, STEP, 2 * STEP]
    assert caplog.text.count("Children do not share the rate limit of t, since") == 1


@pytest.mark.parametrize("found", [None, "5", -1.0, float("nan"), float("inf"), [], 0])
def test_a_turn_that_nobody_gave_is_none(found: Any) -> None:
    assert turn_of(Message({TURN: found}, {}, b"")) == 0.0


def test_a_turn_travels_with_its_message() -> None:
    message = Message({"task": "t"}, {}, b"x")
    assert turn_of(message) == 0.0
    assert turn_of(given_turn(message, 17.25)) == 17.25


def test_a_turn_is_no_header_of_the_callers(node: Node) -> None:
    sent = delivery_of(node.task, headers={"mine": 1})
    call = decode(given_turn(sent.message, START), ("json",))
    assert (call.headers, turn_of(sent.message)) == ({"mine": 1}, 0.0)
