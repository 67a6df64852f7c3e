"""The contract of forking: a child uses the same objects, and the parent goes on."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Callable

import pytest

from umbel.testing.conformance.support import (
    PATIENCE,
    Contract,
    Side,
    ack,
    fetch,
    ids,
    needs,
    record,
    until,
)


class ForkContract(Contract):
    """Objects that were made before a fork, used on both sides of it."""

    @pytest.fixture(autouse=True)
    def _forks(self, here: Side) -> None:
        needs(hasattr(os, "fork"), "forks on this system")
        needs(here.features.shared, "access for other processes")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_child_and_parent_publish_after_aforked(self, here: Side, there: Side) -> None:
        here.publish("before")
        wait = forked(lambda: here.publish("child 1", "child 2"))
        here.publish("parent")
        wait()
        here.publish("after")
        found = ids(fetch(there.consumer()))
        assert sorted(found, key=str) == ["after", "before", "child 1", "child 2", "parent"]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_consumes_what_the_parent_published(self, here: Side) -> None:
        here.publish("1")
        results = here.results

        def child() -> None:
            consumer = here.consumer()
            deliveries = fetch(consumer)
            assert ids(deliveries) == ["1"]
            ack(consumer, deliveries)
            results.put([record("1", "SUCCESS")])
            consumer.close()

        wait = forked(child)
        assert set(results.wait(["1"], PATIENCE)) == {"1"}
        wait()
        assert fetch(here.consumer()) == []

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_lets_go_of_a_subscription_and_the_parent_hears_on(
        self, here: Side, there: Side
    ) -> None:
        results = here.results
        subscription = results.subscribe()
        subscription.add(["1"])

        def child() -> None:
            subscription.close()
            own = results.subscribe()
            own.add(["2"])
            results.put([record("2", "SUCCESS")])
            assert set(own.receive(PATIENCE)) == {"2"}
            own.close()

        forked(child)()
        there.results.put([record("1", "SUCCESS")])
        assert set(subscription.receive(PATIENCE)) == {"1"}
        subscription.close()

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_is_not_hurt_by_what_other_threads_of_the_parent_were_doing(
        self, here: Side, there: Side
    ) -> None:
        stop = threading.Event()

        def keep_busy() -> None:
            while not stop.is_set():
                here.publish("busy", queue="busy")

        threads = [threading.Thread(target=keep_busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            waits = [forked(lambda name=name: here.publish(name)) for name in "abcdef"]  # type: ignore[misc]
            for wait in waits:
                wait()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert sorted(ids(fetch(there.consumer())), key=str) == list("abcdef")

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_a_child_goes_on_when_its_parent_has_closed(self, here: Side, there: Side) -> None:
        here.publish("before")
        read, write = os.pipe()

        def child() -> None:
            os.close(write)
            here.publish("child 1")
            os.read(read, 1)
            here.publish("child 2")

        wait = forked(child)
        until(lambda: here.queues.depths()["queue"].ready == 2)
        here.engine.close()
        os.close(write)
        wait()
        os.close(read)
        assert ids(fetch(there.consumer())) == ["before", "child 1", "child 2"]


def forked(function: Callable[[], object]) -> Callable[[], None]:
    """Run a function in a forked child; return a function that waits for the child's good end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        except BaseException:  # noqa: BLE001 - the child must not go on as a second test run
            traceback.print_exc()
        finally:
            os._exit(status)

    def end() -> tuple[int, int] | None:
        found = os.waitpid(pid, os.WNOHANG)
        return found if found[0] else None

    def wait() -> None:
        try:
            ended = until(end)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        assert ended == (pid, 0)

    return wait
