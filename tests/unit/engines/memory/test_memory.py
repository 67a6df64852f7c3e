from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from umbel.engines import open_engine
from umbel.engines.memory import MemoryEngine
from umbel.engines.memory.broadcast import KEPT
from umbel.engines.memory.space import forget_space
from umbel.exceptions import ImproperlyConfigured
from umbel.ports import Action, Owner, Settlement
from umbel.testing.conformance.support import fetch, ids, publication, record


class ManualClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    for name in ("", "a", "b"):
        forget_space(name)


OWNER = Owner("owner", "node", "host", 1)


def test_everyone_who_asks_for_a_name_shares_it() -> None:
    open_engine("memory://a").broker.publish([publication("1")], 1.0)  # type: ignore[union-attr]
    open_engine("memory://b").broker.publish([publication("2")], 1.0)  # type: ignore[union-attr]
    open_engine("memory://").broker.publish([publication("3")], 1.0)  # type: ignore[union-attr]
    assert [
        ids(MemoryEngine(f"memory://{name}", {}).queues.peek("queue", 10))
        for name in ("a", "b", "")
    ] == [["1"], ["2"], ["3"]]


def test_a_forgotten_name_begins_anew() -> None:
    old = MemoryEngine("memory://a", {})
    old.broker.publish([publication("1")], 1.0)
    forget_space("a")
    assert MemoryEngine("memory://a", {}).queues.depths() == {}
    assert ids(old.queues.peek("queue", 10)) == ["1"]


def test_a_path_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"has a path\. Write memory://name"):
        MemoryEngine("memory:///x", {})


def test_only_a_broker_of_the_same_name_shares_results() -> None:
    engine, other = MemoryEngine("memory://a", {}), MemoryEngine("memory://b", {})
    assert not engine.broker.shares(other.results)


def test_tomorrow_is_one_call() -> None:
    clock = ManualClock()
    engine = MemoryEngine("memory://a", {}, clock)
    engine.broker.publish([publication("tomorrow", due=clock.now + 86_400)], 1.0)
    engine.results.put([record("old", "SUCCESS", clock.now + 3600)])
    engine.state.put("kind", "key", "value", 3600)
    consumer = engine.broker.consumer(OWNER, 60)
    assert fetch(consumer) == []
    clock.now += 86_400
    assert engine.broker.expired() == [OWNER]
    assert ids(fetch(consumer)) == ["tomorrow"]
    assert engine.results.get(["old"]) == {}
    assert engine.results.cleanup() == 1
    assert engine.state.get("kind", "key") is None


def test_dead_letters_are_kept_until_they_expire() -> None:
    clock = ManualClock()
    engine = MemoryEngine("memory://a", {}, clock)
    engine.broker.publish([publication("1")], 1.0)
    consumer = engine.broker.consumer(OWNER, 60)
    [delivery] = fetch(consumer)
    buried = Settlement(delivery, Action.DEAD_LETTER, reason="r", expires=clock.now + 10)
    consumer.settle([buried])
    assert engine.results.cleanup() == 0
    clock.now += 10
    assert engine.results.cleanup() == 1
    assert engine.queues.dead_letters(10) == []


def test_a_listener_that_never_reads_keeps_only_the_newest() -> None:
    engine = MemoryEngine("memory://a", {})
    subscription = engine.broadcast.listen(["*"])
    for number in range(KEPT // 100 + 5):
        engine.broadcast.send("t", [str(number).encode()] * 100)
    received = subscription.receive(0.0)
    assert len(received) == KEPT
    assert received[0] == ("t", b"5")


def test_a_subscription_that_nobody_refers_to_is_forgotten() -> None:
    engine = MemoryEngine("memory://a", {})
    engine.broadcast.listen(["*"])
    engine.broadcast.send("t", [b"x"])
    assert len(engine._space.subscriptions) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_has_a_copy_that_works() -> None:
    engine = MemoryEngine("memory://a", {})
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            engine.broker.publish([publication("busy", "busy", tag="busy")], 1.0)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                try:
                    engine.broker.publish([publication("child")], 1.0)
                    consumer = engine.broker.consumer(OWNER, 60)
                    os._exit(0 if ids(fetch(consumer)) == ["child"] else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        thread.join()
    assert "queue" not in engine.queues.depths()
