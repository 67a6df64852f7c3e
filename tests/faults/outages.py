"""What experiments with servers share: outages, how long they last for users, and what is said of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import pytest

from tests.faults.conftest import Form, Settle
from tests.faults.fleet import Fleet, Node, wait_until
from tests.faults.load import Load
from tests.faults.oracles import percentile
from umbel.clock import SYSTEM
from umbel.exceptions import OperationalError


class Server(Protocol):
    """What can be ended and started again, or stopped for a while."""

    def stop(self) -> None: ...
    def start(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...


def load_of(fleet: Fleet, form: Form) -> Load:
    return Load(fleet, form.dice, form.pick(20, 250))


def has_more(load: Load, refused: int) -> bool:
    return len(load.refusals) > refused


def restart(fleet: Fleet, server: Server, seconds: float) -> None:
    fleet.ledger.fault("server killed", [])
    server.stop()
    SYSTEM.sleep(seconds)
    server.start()


def until_work_goes_on(fleet: Fleet, since: float | None = None) -> float:
    """Return the seconds until a task starts."""
    begun = SYSTEM.monotonic() if since is None else since

    def goes_on() -> bool:
        return any(start.t > begun for start in fleet.history().starts)

    wait_until(goes_on, 30.0, "work to go on")
    return min(start.t for start in fleet.history().starts if start.t > begun) - begun


def check_delays(delays: Sequence[float]) -> None:
    """Work goes on within 5 s after each outage, and within 3 s after 95 of 100."""
    assert max(delays) <= 5.0, delays
    assert len(delays) < 20 or percentile(list(delays), 0.95) <= 3.0, delays


def check_refusals(fleet: Fleet, load: Load) -> None:
    """Calls may fail while there is no server: in time, and with a reason."""
    limit = fleet.app.conf.broker_publish_timeout
    for one in load.refusals:
        assert one.seconds <= limit + 0.5
        words = ("cannot be reached", "did not answer", "lost")
        assert any(word in str(one.error) for word in words), one.error


def check_calls(fleet: Fleet, load: Load) -> None:
    """Calls may fail while there is no server: in time. Nothing else happens to them."""
    limit = fleet.app.conf.broker_publish_timeout
    assert all(one.seconds <= limit + 1.0 for one in load.refusals)


def check_words(nodes: list[Node], outages: int) -> None:
    """Each of a node's three processes says once that nobody answers, and once that somebody does."""
    for node in nodes:
        text = node.text()
        assert text.count("The broker does not answer") <= 3 * outages, text
        assert len(re.findall("answers .*again", text)) <= 3 * outages, text
        assert "Traceback" not in text


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    begun = SYSTEM.monotonic()
    yield
    assert SYSTEM.monotonic() - begun <= seconds


# Experiments that are the same on every server


def freeze_for_two_leases(
    fleet: Fleet, server: Server, form: Form, settle: Settle, seconds: float
) -> None:
    """Stop a server for longer than leases last: whoever lives keeps its tasks."""
    nodes = fleet.start("one", "two")
    fleet.send("work", [(seconds * 1.3,)] * 2)  # run on while nobody answers
    with load_of(fleet, form) as load:
        fleet.ledger.fault("server frozen", [])
        server.freeze()
        SYSTEM.sleep(seconds)
        server.thaw()
        delay = until_work_goes_on(fleet)
        load.await_more()
    check_refusals(fleet, load)
    figures = settle(fleet, delay)
    check_words(nodes, 1)
    assert figures.duplicates == 0
    assert delay <= 3.0


def outlive(
    fleet: Fleet,
    node: Node,
    form: Form,
    settle: Settle,
    name: str,
    outage: Callable[[], Sequence[str]],
) -> None:
    """Let a task outlive an outage in a child with other slots: what is new runs beside it in 2 s.

    `outage` may send something meanwhile, whose ids it returns.
    """
    seconds = form.pick(8.0, 60.0)
    (long,) = fleet.send(name, [(seconds,)])
    wait_until(lambda: long in fleet.started(), 5.0, "the long task to start")
    fleet.ledger.fault("server away", [])
    new = list(outage())
    begun = SYSTEM.monotonic()
    new += fleet.send(name, [(0.0,)] * 6)
    wait_until(lambda: set(new) <= fleet.started(), seconds, "what is new to start")
    delay = max(start.t for start in fleet.history().starts if start.id in new) - begun
    assert long not in {end.id for end in fleet.history().ends}
    assert delay <= 2.0
    assert fleet.app.AsyncResult(long).get(timeout=seconds)
    figures = settle(fleet, delay)
    check_words([node], 1)
    assert "elsewhere" not in node.text()
    assert Counter(start.id for start in fleet.history().starts) == Counter([long, *new])
    assert (figures.duplicates, figures.dead) == (0, 0)


@contextmanager
def away(fleet: Fleet, server: Server, says: str, waits: float) -> Iterator[Node]:
    """Take a server away from a node at work, for a block, and look at what calls and waiting say then.

    Calls fail in time with an error that `says` why; who waits a second for a result hears within `waits`
    seconds. When the server is back, all is there, and goes on.
    """
    (one,) = fleet.start("one")
    (done,) = fleet.send("work", [(0.0,)])
    fleet.wait_until_quiet()
    fleet.send("work", [(0.5,)] * 10)
    wait_until(lambda: len(fleet.started()) > 1, 5.0, "a task to start")
    fleet.ledger.fault("server away", [one.pid, *one.children()])
    server.stop()
    timeout, task = fleet.app.conf.broker_publish_timeout, fleet.app.tasks["work"]
    with at_most(timeout + 0.5), pytest.raises(OperationalError, match=says):
        task.delay(0.0)
    with at_most(waits), pytest.raises((OperationalError, TimeoutError)):
        fleet.app.AsyncResult("unknown").get(timeout=1.0)
    yield one
    server.start()
    assert fleet.app.AsyncResult(done).get(timeout=5.0)
    fleet.start("two")
