"""What experiments with networks share, whichever server is behind the proxy."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, Node, lasts, wait_until
from tests.faults.load import Load
from tests.faults.proxy import FLIP, HARMS, Proxy
from umbel.clock import SYSTEM, unique_id
from umbel.exceptions import OperationalError, UmbelError


def harm_connections(
    fleet: Fleet, proxy: Proxy, form: Form, harms: int, tasks: int, to: Iterable[int] = ()
) -> None:
    """Send tasks in as many parts as there are harms, in all kinds; with each it may be `to` processes."""
    dice, pids = form.dice, list(to)
    for _ in range(harms):
        fleet.send("work", [(dice.uniform(0.001, 0.01),) for _ in range(tasks // harms)])
        fleet.ledger.fault("connection harmed", pids)
        proxy.harm()
        SYSTEM.sleep(dice.uniform(0.0, 0.04))
    for _ in lasts(60.0):
        # Some are done to who says nothing more, and of few each kind need not be among them.
        if proxy.done.total() >= harms and set(proxy.done) == set(HARMS):
            break
        fleet.send("work", [(0.001,)])
        fleet.ledger.fault("connection harmed", pids)
        proxy.harm()
        SYSTEM.sleep(0.01)
    proxy.calm()
    assert proxy.done.total() >= harms
    assert set(proxy.done) == set(HARMS)


def flip_bits(fleet: Fleet, proxy: Proxy, form: Form, stay: bool = True) -> None:
    """B5: a network changes bits. Nobody hangs, and no more is lost than was changed.

    With `stay` no process ends. Else a child may, and is replaced, as whenever a server says what it would
    say if there were a mistake in a statement.

    Checksums of TCP let few such changes pass, and TLS none; protocols of servers have none. What is changed
    may be the name of a queue, or the id of a task, as well as a length.
    """
    flips, every = form.pick((40, 2_000), (1_000, 10_000))
    before = {pid for node in fleet.nodes for pid in node.children()}
    with Load(fleet, form.dice, 20, False, UmbelError) as load:
        proxy.flip(every)
        wait_until(lambda: proxy.done[FLIP] >= flips, form.pick(60.0, 600.0), "bits to be changed")
        proxy.flip(0)
        proxy.cut_all()  # of what was changed a part may be on its way
        load.await_more()
    accepted = {id for id, call in fleet.history().sent.items() if call.outcome == "ok"}
    last = fleet.send("work", [(0.0,)] * 100)
    wait_until(lambda: set(last) <= fleet.started(), 30.0, "the workers to consume still")
    assert not stay or {pid for node in fleet.nodes for pid in node.children()} == before
    assert all(node.process.poll() is None for node in fleet.nodes)

    def lost() -> set[str]:
        return accepted - {end.id for end in fleet.history().ends}

    wait_until(lambda: len(lost()) <= proxy.done[FLIP], 60.0, "what was accepted to run")
    print(
        f"{len(accepted)} calls, {proxy.done[FLIP]} bits changed, {len(lost())} calls lost by them,"
        f" {len(load.refusals)} refused"
    )


def check_that_they_consume(fleet: Fleet, seconds: float) -> None:
    """Workers consume still when the harms are over."""
    fleet.wait_until_quiet(120.0)
    last = fleet.send("work", [(0.0,)] * 100)
    wait_until(lambda: set(last) <= fleet.started(), seconds, "the workers to consume still")


def have_started(fleet: Fleet, pids: set[int], ids: Iterable[str]) -> bool:
    """Tell whether each of these was started by one of these processes."""
    return set(ids) <= {start.id for start in fleet.history().starts if start.pid in pids}


def until_started_by(fleet: Fleet, pids: set[int], patience: float = 15.0) -> float:
    """Send tasks until one of these processes starts one; return the seconds."""
    begun = SYSTEM.monotonic()

    def starts() -> bool:
        fleet.send("work", [(0.01,)] * 4)
        return any(start.t > begun and start.pid in pids for start in fleet.history().starts)

    wait_until(starts, patience, "the worker to be back")
    return SYSTEM.monotonic() - begun


def is_sent(fleet: Fleet, app: Any = None, **options: Any) -> bool:
    """Send a call, by default as the fleet does; it may be accepted also where that fails."""
    id = unique_id()
    fleet.ledger.sent(id, "unknown")
    try:
        (app or fleet.app).send_task("work", (0.0,), task_id=id, **options)
    except OperationalError:
        return False
    fleet.ledger.sent(id, "ok")
    return True


@contextmanager
def deaf_port() -> Iterator[int]:
    """Give a port that is open, and at which nobody accepts a connection."""
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        for _ in range(3):  # until no more fit into its queue
            one = stack.enter_context(closing(socket.socket()))
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]


def check_that_it_stops(node: Node, seconds: float) -> None:
    """A worker that finds nobody at its port says so, and can be stopped."""
    wait_until(lambda: "does not answer" in node.text(), seconds, "the worker to say so")
    node.stop()
    assert node.wait() == 0, node.text()


def settle_slow_work(fleet: Fleet, proxy: Proxy, settle: Settle, node: Node) -> None:
    """Hold what a worker did over a slow network against what it should: nothing ran twice."""
    proxy.slow_down(0.0)
    figures = settle(fleet)
    assert figures.duplicates == 0
    assert "does not answer" not in node.text(), node.text()
