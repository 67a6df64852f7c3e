"""Workers that are told to stop at an awkward moment, and those that take their place."""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest

from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, Node, wait_until
from tests.faults.memory import resident
from tests.faults.oracles import duplicates, percentile
from tests.faults.scenes import EVERYWHERE, RABBITMQ, at_each, points_of, send_some
from umbel.clock import SYSTEM, unique_id
from umbel.testing.ledger import Start

pytestmark = pytest.mark.faults

TERM, INT, QUIT, HUP = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP
#: The phases of a child's life in which a stop may find it. Who is held before a commit holds the lock of the
#: file, so that nobody else goes on either.
PHASES = [
    (engine, point)
    for engine, point in points_of("fetch", "settle", "mark_early", "release", "child")
    if not point.endswith(".before_commit")
]
#: RabbitMQ settles in several steps. Of quorum queues messages are taken and given back in another way.
PHASES += points_of(
    "settler", "settle", "claim", "mark_early", "release", "child", engines=["rabbitmq"]
)
PHASES += points_of("settle", "claim", "release", engines=["quorum"])


SEQUENCES = ((TERM,), (QUIT,), (INT, INT), (TERM, QUIT), (INT, TERM), (QUIT, QUIT))


def _name(sequence: Sequence[signal.Signals]) -> str:
    return "-".join(one.name.removeprefix("SIG") for one in sequence)


@at_each("point", PHASES)
@pytest.mark.parametrize("sequence", SEQUENCES, ids=_name)
@pytest.mark.forms("short", "full")
def test_stop_in_each_phase(
    make_fleet: MakeFleet,
    form: Form,
    settle: Settle,
    point: str,
    sequence: Sequence[signal.Signals],
) -> None:
    """D1: a child is held where it is, its worker is told to end, and another one does the rest."""
    _stop_there(make_fleet, form, settle, point, sequence)


@at_each("point", [("sqlite", "sqlite.settle.after_commit"), ("rabbitmq", "rabbitmq.settle.after")])
@pytest.mark.parametrize("sequence", [(TERM,), (QUIT,)], ids=_name)
@pytest.mark.forms("quick")
@pytest.mark.quick_on_rabbitmq
@pytest.mark.alone
def test_stop_in_a_phase(
    make_fleet: MakeFleet,
    form: Form,
    settle: Settle,
    point: str,
    sequence: Sequence[signal.Signals],
) -> None:
    """D1, where it is most delicate: what has ended is settled, and the child does not know it yet."""
    _stop_there(make_fleet, form, settle, point, sequence)


def _stop_there(
    make_fleet: MakeFleet,
    form: Form,
    settle: Settle,
    point: str,
    sequence: Sequence[signal.Signals],
) -> None:
    with make_fleet() as fleet:
        plan = fleet.fail_point(f"{point}=stop@{form.dice.randint(1, 3)}")
        (one,) = fleet.start("one", environment=plan)
        fleet.until_struck([point], partial(send_some, fleet, form.dice))
        struck = fleet.struck_by(point)
        wait_until(partial(_is_stopped, struck), 5.0, "the child to be stopped")
        cold = QUIT in sequence or sequence.count(INT) > 1
        told = SYSTEM.monotonic()
        if cold:
            fleet.ledger.fault("stopped coldly", tuple(one.children()), told)
        for number in sequence:
            one.process.send_signal(number)
            SYSTEM.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):  # a cold end waits for nobody
            os.kill(struck, signal.SIGCONT)
        assert one.wait() == (0 if sequence == (TERM,) else 1), one.text()
        fleet.start("two")
        settle(fleet)
        extras = list(duplicates(fleet.evidence()))
        assert cold or not extras
        # A child may have been about to acknowledge a message of which it had just made a copy.
        assert sum(extra.of_copy for extra in extras) <= 1 + (point == "rabbitmq.claim.after")
        # What runs again may send its follow-up again.
        again = [one.before for one in extras if not (one.of_copy or one.inherited)]
        # Who is held does not settle what has ended, while it may run another task.
        _check_neighbour(fleet, [start for start in again if start.pid != struck], told)


def _check_neighbour(fleet: Fleet, again: Sequence[Start], told: float) -> None:
    """Of a child that a cold end finds at work, what it runs starts again, and what it is about to settle."""
    ended = {end.run: end.t for end in fleet.history().ends}
    # Also in the moment between the word and the end of the child.
    late = [ended[start.run] for start in again if start.run in ended]
    assert len(again) - len(late) <= 1
    assert all(told - moment < 0.5 for moment in late)


def _is_stopped(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "T"


@EVERYWHERE
@pytest.mark.parametrize(
    "told", [True, pytest.param(False, marks=pytest.mark.forms("short", "full"))]
)
def test_workers_are_replaced_as_by_kubernetes(
    make_fleet: MakeFleet, form: Form, settle: Settle, told: bool
) -> None:
    """D2: TERM, some patience, KILL. Those that are told how much time they have need no KILL.

    Who is killed may have died of what ran in it: what is killed again and again, because it takes longer
    than the patience, is a dead letter at last.
    """
    rounds = {"quick": 1, "short": 2, "full": 20}[form.name]
    patience, running = form.pick((5.0 if told else 1.0, 2.0), (30.0, 60.0))
    settings = {"worker_shutdown_timeout": form.pick(0.5, 25.0)} if told else {}
    with make_fleet(**settings) as fleet:
        nodes = fleet.start("a", "b") if form.name == "quick" else fleet.start("a", "b", "c")
        longs = set()
        for number in range(rounds):
            old = nodes.pop(0)
            fleet.send_load(form.pick(60, 400), form.dice)
            (long,) = fleet.send("work", [(running,)])
            wait_until(lambda: long in fleet.started(), 30.0, "the long one to run")  # noqa: B023
            longs.add(long)
            killed = _replace(fleet, old, patience, told)
            assert not (told and killed), "it was told how much time it has"
            nodes += fleet.start(f"next{number}")
        # Long ones that were given back wait for one another.
        fleet.wait_until_quiet(30.0 + 3 * running)
        figures = settle(fleet)
        most = fleet.app.conf.worker_max_deliveries
        starts = Counter(start.id for start in fleet.history().starts)
        assert figures.dead <= (0 if told else sum(starts[id] == most for id in longs))
        assert figures.duplicates <= 2 * rounds


@EVERYWHERE
@pytest.mark.quick_on_rabbitmq
def test_a_task_that_is_caught_by_many_stops(make_fleet: MakeFleet, settle: Settle) -> None:
    """D2: workers that stop before it has ended are no deaths: it is no dead letter after three of them."""
    with make_fleet(worker_shutdown_timeout=0.1) as fleet:
        (long,) = fleet.send("work", [(2.0,)])
        for number in range(5):
            (node,) = fleet.start(f"node{number}")
            wait_until(lambda: _starts(fleet, long) == number + 1, 10.0, "the task to run")  # noqa: B023
            if number < 4:
                fleet.ledger.fault("stopped in time", tuple(node.children()))
                node.stop()
                assert node.wait() == 0, node.text()
        figures = settle(fleet)
        assert (figures.dead, figures.duplicates) == (0, 4)
        assert {start.crashes for start in fleet.history().starts} == {0}


def _starts(fleet: Fleet, id: str) -> int:
    return sum(start.id == id for start in fleet.history().starts)


def _replace(fleet: Fleet, node: Node, patience: float, told: bool) -> bool:
    """Let a node end as Kubernetes does; tell whether it had to be killed."""
    begun = SYSTEM.monotonic()
    if told:  # what runs when the time is up runs again
        fleet.ledger.fault("stopped in time", tuple(node.children()), begun)
    node.stop()
    wait_until(lambda: fleet.waits_nowhere(node), 1.0, "what it had not started to be back")
    while node.process.poll() is None and SYSTEM.monotonic() < begun + patience:
        SYSTEM.sleep(0.02)
    if node.process.poll() is None:
        node.kill_all()
        return True
    assert node.process.returncode == 0, node.text()
    return False


@EVERYWHERE
@pytest.mark.quick_on_rabbitmq
def test_workers_replaced_while_tasks_are_scheduled(
    make_fleet: MakeFleet, form: Form, settle: Settle, engine: str
) -> None:
    """D3: each runs once and in time, whoever is there then; no worker holds them in its memory."""
    tasks, rounds, ahead, spread = form.pick((300, 3, 4.0, 4.0), (100_000, 50, 120.0, 240.0))
    if engine in RABBITMQ and form.name == "full":
        # Which writes each into five quorum queues, one after the other: some hundred in a second.
        ahead, spread = 420.0, 900.0
    dice = form.dice
    with make_fleet() as fleet:
        (node,) = fleet.start("first")
        small, begun = resident(node.members()), SYSTEM.monotonic()
        due = {}
        for _ in range(tasks):
            id, now = unique_id(), SYSTEM.monotonic()
            due[id] = begun + ahead + dice.uniform(0.0, spread)
            countdown = max(due[id] - now, 0.1)
            due[id] = now + countdown
            # A server whose disk is behind may take more than the usual five seconds for one of so many.
            fleet.app.tasks["work"].apply_async(
                (0.0,), countdown=countdown, task_id=id, timeout=60.0
            )
            fleet.ledger.sent(id, "ok")
        assert resident(node.members()) - small < 20 * 2**20
        for number in range(rounds):
            # All the time, before the first is due and until the last.
            moment = begun + (ahead + spread) * number / rounds
            SYSTEM.sleep(max(moment - SYSTEM.monotonic(), 0.0))
            (other,) = fleet.start(f"node{number}")
            node.stop()
            assert node.wait() == 0
            node = other
        SYSTEM.sleep(max(begun + ahead + spread - SYSTEM.monotonic(), 0.0))
        fleet.wait_until_quiet(60.0)
        late = [start.t - due[start.id] for start in fleet.history().starts]
        assert len(late) == tasks
        assert min(late) > -0.1
        assert percentile(late, 0.99) <= 1.0
        assert settle(fleet).duplicates == 0
