"""P8, P9: a node is stopped for longer than its lease, or hardly gets a processor."""

from __future__ import annotations

import pytest

from tests.faults.conftest import Form, MakeFleet, Settle
from tests.faults.fleet import wait_until
from tests.faults.scenes import EVERYWHERE
from umbel.clock import SYSTEM

pytestmark = pytest.mark.faults


@EVERYWHERE
@pytest.mark.quick_on_rabbitmq
def test_node_frozen_beyond_its_lease(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """Others take over; the node that wakes up changes nothing, says so, and works again.

    Where messages are on RabbitMQ, results are elsewhere, and are stored before it is refused.
    """
    with make_fleet(worker_lease_ttl=form.pick(1.0, 15.0)) as fleet:
        lease = fleet.lease
        one, two = fleet.start("one", "two")
        long = fleet.send("work", [(lease / 2,)] * 4)
        wait_until(lambda: set(long) <= fleet.started(), 5.0, "all children to be busy")
        one.freeze()
        ids = [*long, *fleet.send_load(20, form.dice)]
        SYSTEM.sleep(3 * lease)
        values = {id: fleet.app.AsyncResult(id).get(timeout=1.0) for id in ids}
        assert set(values.values()) <= set(two.children())
        one.thaw()
        fenced = fleet.app.broker.features.fencing
        words = 3 if fenced else 2  # its supervisor has no leases then
        wait_until(lambda: _words(one.text()) == words, 5.0, "each of its processes to say so")
        found = {id: fleet.app.AsyncResult(id).get(timeout=1.0) for id in ids}
        changed = {id for id in ids if found[id] != values[id]}
        assert len(changed & set(long)) == len(changed) == (0 if fenced else 2)
        two.stop()
        two.wait()
        fleet.send_load(20, form.dice)  # only the node that was frozen is left
        figures = settle(fleet)
        assert figures.duplicates == 2
        assert max(figures.recoveries) <= lease + 5.0
        assert _words(one.text()) == words, one.text()


@EVERYWHERE
@pytest.mark.forms("short", "full")
def test_node_frozen_in_the_middle_of_a_batch(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """Its only child was about to start the next of many that it had taken: others run these.

    They run here no more when it wakes up, though it may not have heard by then that they are not its own.
    """
    point = "child.before_start"
    with make_fleet(worker_lease_ttl=form.pick(1.0, 15.0)) as fleet:
        fleet.concurrency = 1
        plan = fleet.fail_point(f"{point}=stop@{form.dice.randint(100, 200)}")
        (one,) = fleet.start("one", environment=plan)
        fleet.start("two")
        fleet.until_struck([point], lambda: fleet.send("work", [(0.0,)] * 300))
        one.freeze()
        SYSTEM.sleep(3 * fleet.lease)
        one.thaw()
        fleet.send_load(20, form.dice)
        settle(fleet)


@EVERYWHERE
@pytest.mark.forms("short", "full")
def test_supervisor_frozen_beyond_its_lease(
    make_fleet: MakeFleet, form: Form, settle: Settle
) -> None:
    """Its children work on under leases that nobody renews: they are refused, and attach again.

    On RabbitMQ each of them keeps its own connection alive, and nothing comes back.
    """
    with make_fleet(worker_lease_ttl=form.pick(1.0, 15.0)) as fleet:
        lease = fleet.lease
        one, _ = fleet.start("one", "two")
        long = fleet.send("work", [(lease * 2,)] * 4)
        wait_until(lambda: set(long) <= fleet.started(), 5.0, "all children to be busy")
        one.freeze_supervisor()
        fleet.send_load(50, form.dice)
        SYSTEM.sleep(3 * lease)
        one.thaw()
        fleet.send_load(50, form.dice)
        fleet.wait_until_quiet(6 * lease + 10)
        figures = settle(fleet)
        if fleet.app.broker.features.leases:
            assert figures.duplicates >= 2
        else:
            assert figures.duplicates == 0


def _words(log: str) -> int:
    """Count how often the node said that what it held was taken over, or that its connection was lost."""
    said = ("was taken for dead", "its message went back meanwhile", "The broker does not answer")
    return sum(map(log.count, said))


@pytest.mark.alone
def test_processors_are_taken(make_fleet: MakeFleet, form: Form, settle: Settle) -> None:
    """P9: twenty tasks compute at a time. Leases are renewed all the same: nobody is taken for dead."""
    lease, seconds, length = form.pick((2.0, 4.0, 1.0), (15.0, 600.0, 20.0))
    with make_fleet(worker_lease_ttl=lease) as fleet:
        fleet.concurrency = 10
        nodes = fleet.start("one", "two")
        for _ in range(int(seconds / (10 * length)) + 1):
            fleet.send("burn", [(length,)] * 20)
        fleet.send_load(form.pick(20, 1_000), form.dice)
        fleet.wait_until_quiet(60.0 + 20 * seconds)
        assert settle(fleet).duplicates == 0
        for node in nodes:
            assert "taken for dead" not in node.text()
            assert "fell silent" not in node.text()
