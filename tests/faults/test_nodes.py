"""Nodes that lose their supervisor, their fork server, or everything at once; and warm shutdown."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import Fleet, Node, Told, lasts, wait_until
from tests.faults.scenes import EVERYWHERE
from umbel import states
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults


@EVERYWHERE
@pytest.mark.quick_on_rabbitmq
def test_supervisor_killed(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """P2: its children hand back, and the neighbour runs their tasks again, or reports them lost."""
    with make_fleet() as fleet:
        (one,) = fleet.start("one")
        for round_ in range(form.pick(1, 12)):
            # Longer than the moment that children are given to end what runs, and than the neighbour's start
            # on a busy machine before it: else they would end in time.
            (again,) = fleet.send("work", [(6.0,)])
            (never,) = fleet.send("once", [(6.0,)])
            wait_until(partial(_have_started, fleet, again, never), 5.0, "both children to be busy")
            (two,) = fleet.start(f"two{round_}")
            fleet.send_load(50, form.dice)
            fleet.send_load(20, form.dice, "once")
            SYSTEM.sleep(form.dice.uniform(0.0, 0.3))
            killed = one.kill_supervisor()
            wait_until(partial(_is_lost, fleet, never), 5.0, "a task to be reported as lost")
            assert SYSTEM.monotonic() - killed <= 2.0
            wait_until(fleet.is_quiet, 10.0, Told("quiet", fleet))
            one = two
        figures = settle(fleet)
        assert figures.duplicates >= form.pick(1, 12)
        assert max(figures.recoveries) <= 2.0


def _have_started(fleet: Fleet, *ids: str) -> bool:
    return set(ids) <= fleet.started()


def _is_lost(fleet: Fleet, id: str) -> bool:
    record = fleet.app.result_store().get([id]).get(id)
    return record is not None and record.state == states.FAILURE


@pytest.mark.quick_on_servers
def test_node_killed_with_all_its_children(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """A node that is started again takes up at once what it held, long before its leases end.

    How long its start takes is the machine's affair: a second later, its tasks run.
    """
    with make_fleet() as fleet:
        (one,) = fleet.start("one")
        starts = []
        for _ in range(form.pick(1, 10)):
            # A child may be between two tasks, or busy with its broker: one is in the middle of this.
            (long,) = fleet.send("work", [(1.0,)])
            wait_until(
                partial(_have_started, fleet, long), 10.0, Told("the long task to start", fleet)
            )
            fleet.send_load(form.pick(60, 100), form.dice)
            SYSTEM.sleep(form.dice.uniform(0.0, 0.3))
            begun = SYSTEM.monotonic()
            one.kill_all()
            (one,) = fleet.start("one")
            starts.append(SYSTEM.monotonic() - begun)
        figures = settle(fleet)
        assert figures.duplicates >= len(starts)
        assert max(figures.recoveries) <= max(starts) + 1.0


def test_fork_server_killed(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """Running children go on, and new ones can be started."""
    with make_fleet() as fleet:
        (one,) = fleet.start("one")
        fleet.send_load(form.pick(100, 2000), form.dice)
        for _ in range(form.pick(1, 10)):
            before = set(one.children())
            os.kill(one.fork_server(), signal.SIGKILL)
            for _ in lasts(0.3):
                assert set(one.children()) == before
                SYSTEM.sleep(0.05)
            one.kill_child(min(before))
            wait_until(partial(_has_another_child, one, before), 5.0, "another child")
        figures = settle(fleet)
        assert max(figures.recoveries, default=0.0) <= 1.0


@pytest.mark.forms("short", "full")
def test_fork_server_killed_while_imports_are_slow(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """Importing the app again takes longer than the leases, which are renewed all the same."""
    with make_fleet(worker_lease_ttl=1.5) as fleet:
        begun = SYSTEM.monotonic()
        (one,) = fleet.start("one", environment={"FAULTS_IMPORT": "2.5"})
        fleet.start("two")
        starts = SYSTEM.monotonic() - begun  # which take 10 s on a machine that is busy enough
        fleet.send("work", [(5.0,)] * 4)
        wait_until(lambda: len(fleet.started()) == 4, 5.0, "all children to be busy")
        before = set(one.children())
        os.kill(one.fork_server(), signal.SIGKILL)
        one.kill_child(min(before))
        wait_until(partial(_has_another_child, one, before), 10.0 + starts, "another child")
        figures = settle(fleet)
        assert figures.duplicates == 1


def _has_another_child(node: Node, before: set[int]) -> bool:
    return bool(set(node.children()) - before)


def test_warm_shutdown_under_load(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """TERM: running tasks end, the others go back within a second, and nothing runs twice."""
    with make_fleet() as fleet:
        for round_ in range(form.pick(1, 20)):
            (one,) = fleet.start(f"one{round_}")
            fleet.send("work", [(0.001,)] * 300)  # short ones, of which children hold many
            fleet.send_load(40, form.dice)
            SYSTEM.sleep(form.dice.uniform(0.05, 0.3))
            begun = SYSTEM.monotonic()
            one.stop()
            wait_until(lambda: not fleet.leased(), 5.0, "nothing to be held")
            delay = SYSTEM.monotonic() - begun
            assert delay <= 1.0
            assert one.wait() == 0
        fleet.start("two")
        figures = settle(fleet, delay)
        assert figures.duplicates == 0


def test_shutdown_in_time(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """TERM with a timeout: what still runs then goes back without blame, and runs once to its end."""
    with make_fleet(worker_shutdown_timeout=0.3) as fleet:
        for round_ in range(form.pick(1, 20)):
            (one,) = fleet.start(f"one{round_}")
            long = fleet.send("work", [(1.5,)] * 2)
            fleet.send_load(40, form.dice)
            wait_until(lambda: bool(set(long) & fleet.started()), 5.0, "a long one to run")  # noqa: B023
            begun = SYSTEM.monotonic()
            fleet.ledger.fault("stopped in time", tuple(one.children()), begun)
            one.stop()
            assert one.wait() == 0
            delay = SYSTEM.monotonic() - begun
            assert (
                delay <= 0.3 + 1.5
            )  # the time, and as long as a busy machine takes to end processes
            assert not fleet.leased()
        fleet.start("two")
        settle(fleet)
        evidence = fleet.evidence()
        assert {start.crashes for id in long for start in evidence.starts(id)} == {0}
