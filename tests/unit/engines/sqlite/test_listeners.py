"""The rows of waiters: whoever is gone swallows no bell, and waiting works without them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from umbel.clock import SystemClock
from umbel.engines.sqlite import SqliteEngine, broadcast, consumer, subscription
from umbel.engines.sqlite.bell import STALE, Bell
from umbel.exceptions import OperationalError
from umbel.ports import Consumer, Owner
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    at_most,
    fetch,
    ids,
    in_thread,
    publication,
    record,
    until,
)

_attached: list[Consumer] = []


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "umbel.db"


@pytest.fixture
def engine(path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(f"sqlite:///{path}", {})
    yield engine
    while _attached:
        _attached.pop().close()
    engine.close()


def attach(engine: SqliteEngine) -> Consumer:
    owner = Owner(f"owner {len(_attached)}", "node", "host", 1)
    _attached.append(engine.broker.consumer(owner, 60.0))
    return _attached[-1]


def topics(engine: SqliteEngine) -> list[str]:
    with engine._database.read() as connection:
        found = connection.execute("SELECT topic FROM listener ORDER BY topic").fetchall()
    return [topic for (topic,) in found]


def die_waiting(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """Leave the file as a process does that is killed while it waits."""
    dead = attach(engine)
    with monkeypatch.context() as patched:
        patched.setattr(Bell, "wait", _interrupted)
        patched.setattr(Bell, "stop_listening", lambda bell, connection: None)
        with pytest.raises(KeyboardInterrupt):
            fetch(dead, wait=LONG)
    assert len(topics(engine)) == 1
    return dead


def _interrupted(bell: Bell, seconds: float) -> Any:
    raise KeyboardInterrupt


def age(engine: SqliteEngine, milliseconds: int) -> None:
    """Make all rows older, or of the future."""
    with engine._database.write() as connection:
        connection.execute("UPDATE listener SET since = since - ?", (milliseconds,))


# Whoever is gone


def test_a_reclaim_takes_the_rows_of_the_dead_out(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = die_waiting(engine, monkeypatch)
    heir = attach(engine)
    heir.reclaim(dead.owner.id, None)
    assert topics(engine) == []


def test_closing_takes_the_rows_out(engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    die_waiting(engine, monkeypatch).close()
    assert topics(engine) == []


@pytest.mark.parametrize("milliseconds", [STALE + 1000, -STALE - 60_000])
def test_a_cleanup_sweeps_rows_that_nobody_renews(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch, milliseconds: int
) -> None:
    die_waiting(engine, monkeypatch)
    assert engine.results.cleanup() == 0
    assert len(topics(engine)) == 1
    age(engine, milliseconds)
    assert engine.results.cleanup() == 0
    assert topics(engine) == []


def test_an_exception_that_ends_a_fetch_takes_its_row_out(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = attach(engine)
    monkeypatch.setattr(Bell, "wait", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(waiting, wait=LONG)
    assert topics(engine) == []


def test_an_exception_that_ends_a_wait_for_a_result_takes_its_row_out(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bell, "hear", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        engine.results.wait(["1"], LONG)
    assert topics(engine) == []


# Whoever lives


def since(engine: SqliteEngine) -> int:
    with engine._database.read() as connection:
        (found,) = connection.execute("SELECT coalesce(max(since), 0) FROM listener").fetchone()
    return int(found)


def test_who_waits_long_for_messages_lists_itself_again(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "RENEWAL", 0.0)
    waiting = attach(engine)
    with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
        until(lambda: topics(engine))
        age(engine, STALE)
        before = since(engine)
        until(lambda: since(engine) > before + STALE // 2)
        engine.broker.publish([publication("1")], 5.0)
        assert ids(found.result(PATIENCE)) == ["1"]


def test_who_waits_long_for_a_result_lists_itself_again(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "RENEWAL", 0.0)
    with at_most(PATIENCE), in_thread(lambda: engine.results.wait(["1"], LONG)) as found:
        until(lambda: topics(engine))
        age(engine, STALE)
        engine.results.cleanup()
        until(lambda: topics(engine))
        engine.results.put([record("1", "SUCCESS")])
        assert set(found.result(PATIENCE)) == {"1"}
    assert topics(engine) == []


def test_who_listens_long_to_broadcasts_lists_itself_again(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "RENEWAL", 0.0)
    subscription = engine.broadcast.listen(["*"])
    age(engine, STALE + 1000)
    engine.results.cleanup()
    assert topics(engine) == []
    assert subscription.receive(0.01) == []
    assert topics(engine) == ["broadcast"]
    subscription.close()
    assert topics(engine) == []


# Without a row


def test_a_result_is_waited_for_while_the_file_is_locked(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "REGISTERING", 0.05)
    engine.results.put([record("stored", "SUCCESS")])
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    store = "INSERT INTO result VALUES ('later', 'SUCCESS', '{}', NULL)"
    with at_most(PATIENCE):
        assert set(engine.results.wait(["stored"], LONG)) == {"stored"}
        assert engine.results.wait(["never"], 0.2) == {}
        timer = threading.Timer(0.2, lambda: (other.execute(store), other.execute("COMMIT")))
        timer.start()
        assert set(engine.results.wait(["later"], LONG)) == {"later"}
        timer.join()
    other.close()


def test_a_result_is_waited_for_when_nothing_can_be_written(
    engine: SqliteEngine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.results.put([record("stored", "SUCCESS")])
    with engine._database.read() as connection:
        connection.execute("PRAGMA query_only = 1")
    with at_most(PATIENCE):
        assert engine.results.wait(["stored", "later"], LONG)
        with in_thread(lambda: engine.results.wait(["later"], LONG)) as found:
            other = SqliteEngine(f"sqlite:///{path}", {})
            other.results.put([record("later", "SUCCESS")])
            other.close()
            assert set(found.result(PATIENCE)) == {"later"}
    with pytest.raises(OperationalError):
        engine.results.put([record("x", "SUCCESS")])


def test_an_id_that_is_not_utf8_can_be_waited_for(engine: SqliteEngine) -> None:
    assert engine.results.wait(["\ud800"], 0.01) == {}


class _Ahead(SystemClock):
    """A clock that a test puts forward."""

    seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


def test_one_look_that_is_held_up_puts_off_no_other(
    engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = _Ahead()
    monkeypatch.setattr(engine._database, "clock", clock)
    with closing(engine.results.subscribe()) as heard:
        heard.add(["1"])
        look = heard._get  # type: ignore[attr-defined]

        def held_up(task_ids: Any) -> Any:
            found = look(task_ids)
            monkeypatch.setattr(heard, "_get", look)
            clock.seconds = 3.0
            # Whoever stores the result tells nobody.
            with engine._database.write() as connection:
                connection.execute("DELETE FROM listener")
            engine.results.put([record("1", "SUCCESS")])
            return found

        monkeypatch.setattr(heard, "_get", held_up)
        assert set(heard.receive(PATIENCE)) == {"1"}
