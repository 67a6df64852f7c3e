from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from umbel.engines.sqlite import SqliteEngine
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import ids, publication, until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(f"sqlite:///{tmp_path}/umbel.db", {})
    engine.broker.publish([publication("before")], 5.0)
    yield engine
    engine.close()


@contextlib.contextmanager
def busy(engine: SqliteEngine) -> Iterator[None]:
    """Let another thread be inside a transaction."""
    inside, leave = threading.Event(), threading.Event()

    def keep_busy() -> None:
        with engine._database.write():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    inside.wait(30)
    try:
        yield
    finally:
        leave.set()
        thread.join()


def test_threads_that_publish_at_the_same_time_share_transactions(engine: SqliteEngine) -> None:
    statements: list[str] = []
    with engine._database.read() as connection:
        connection.set_trace_callback(statements.append)
    with ThreadPoolExecutor(8) as executor:
        with busy(engine):
            done = [
                executor.submit(engine.broker.publish, [publication(str(number))], 30.0)
                for number in range(8)
            ]
            # One of them waits for the file, the others behind it.
            until(lambda: len(engine.broker._waiting) == 7)
        for future in done:
            future.result(30)
    with engine._database.read() as connection:
        connection.set_trace_callback(None)
    assert statements.count("COMMIT") == 3  # the one that kept busy, the first, the seven others
    assert engine.queues.depths()["queue"].ready == 9


def test_what_fails_for_one_thread_is_tried_again_by_the_others(engine: SqliteEngine) -> None:
    with ThreadPoolExecutor(2) as executor:
        with busy(engine):
            hasty = executor.submit(engine.broker.publish, [publication("hasty")], 0.3)
            until(engine.broker._publishing.locked)
            patient = executor.submit(engine.broker.publish, [publication("patient")], 30.0)
            with pytest.raises(OperationalError):
                hasty.result(30)
        patient.result(30)
    assert ids(engine.queues.peek("queue", 10)) == ["before", "patient"]


def test_who_waits_behind_another_publish_keeps_to_its_own_timeout(engine: SqliteEngine) -> None:
    with ThreadPoolExecutor(2) as executor:
        with busy(engine):
            patient = executor.submit(engine.broker.publish, [publication("patient")], 30.0)
            until(engine.broker._publishing.locked)
            with pytest.raises(OperationalError, match="busy for more than"):
                engine.broker.publish([publication("hasty")], 0.05)
        patient.result(30)
    assert ids(engine.queues.peek("queue", 10)) == ["before", "patient"]
