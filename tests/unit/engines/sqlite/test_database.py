from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from umbel.clock import SystemClock
from umbel.engines.sqlite import SqliteEngine
from umbel.engines.sqlite.database import APPLICATION_ID, Database
from umbel.exceptions import BrokerFull, EncodeError, ImproperlyConfigured, OperationalError
from umbel.ports import Owner
from umbel.testing.conformance.support import fetch, ids, publication, until

#: Locks the file of its argument for writing, says so, and goes on when its input ends.
HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO queue (name) VALUES ('held')")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "umbel.db"


@pytest.fixture
def engine(path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(f"sqlite:///{path}", {})
    yield engine
    engine.close()


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = Database(path)
    yield database
    database.close()


def _make(path: Path, *statements: str) -> bytes:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path.read_bytes()


# Files that are not ours


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE users (name TEXT)"],
        ["PRAGMA application_id = 4711", "CREATE TABLE users (name TEXT)"],
        ["PRAGMA application_id = 4711"],
    ],
)
def test_a_database_of_another_program_is_refused_and_left_as_it_is(
    path: Path, database: Database, statements: list[str]
) -> None:
    before = _make(path, *statements)
    with pytest.raises(ImproperlyConfigured, match=r"umbel\.db is a database of another program"):
        database.write().__enter__()
    assert "is a database of another program" in str(database.problem())
    assert path.read_bytes() == before
    assert [item.name for item in path.parent.iterdir()] == ["umbel.db"]


def test_a_file_of_a_newer_umbel_is_refused_and_left_as_it_is(
    path: Path, database: Database
) -> None:
    before = _make(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 99",
        "CREATE TABLE message (x)",
    )
    with pytest.raises(ImproperlyConfigured, match=r"written by a newer umbel \(layout 99"):
        database.write().__enter__()
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, engine: SqliteEngine) -> None:
    path.write_bytes(b"These are notes, not a database.\n" * 100)
    before = path.read_bytes()
    with pytest.raises(ImproperlyConfigured, match="is not an SQLite file; it was left as it is"):
        engine.broker.publish([publication("1")], 1.0)
    assert "is not an SQLite file" in str(engine.problem())
    assert path.read_bytes() == before


def test_what_waiting_may_mend_is_no_problem(path: Path, engine: SqliteEngine) -> None:
    assert engine.problem() is None
    assert list(path.parent.iterdir()) == []
    engine.broker.publish([publication("1")], 5.0)
    assert engine.problem() is None


def test_a_damaged_file_is_named_and_left_as_it_is(path: Path, engine: SqliteEngine) -> None:
    engine.broker.publish([publication(str(number)) for number in range(2000)], 5.0)
    engine.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(OperationalError, match=r"umbel\.db.*\bdamaged\b.*\.recover"):
        engine.broker.publish([publication("x")], 1.0)
    engine.close()
    assert path.read_bytes() == content


def test_many_processes_open_a_new_file_at_the_same_time(path: Path) -> None:
    code = (
        "import sys; from umbel.engines.sqlite import SqliteEngine; sys.stdin.readline();"
        "e = SqliteEngine('sqlite:///' + sys.argv[1], {}); e.state.put('k', sys.argv[2], '');"
        "e.close()"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(path), str(n)], stdin=subprocess.PIPE)
        for n in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in processes] == [0] * 6
    engine = SqliteEngine(f"sqlite:///{path}", {})
    assert set(engine.state.items("k")) == set("012345")
    engine.close()


def test_many_threads_open_a_new_file_at_the_same_time(tmp_path: Path) -> None:
    def put(number: int) -> None:
        engine = SqliteEngine(f"sqlite:///{tmp_path}/{number // 4}.db", {})
        start.wait(30)
        engine.state.put("kind", str(number), "")
        engine.close()

    for _ in range(5):
        start = threading.Barrier(4)
        with ThreadPoolExecutor(4) as executor:
            list(executor.map(put, range(4)))
        (tmp_path / "0.db").unlink()


# The log


def test_the_log_is_written_back_and_does_not_grow_for_ever(
    path: Path, engine: SqliteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.engines.sqlite.database.CHECKPOINT_PAGES", 50)
    for number in range(100):
        engine.state.put("kind", str(number), "x" * 20_000)
    assert path.with_name("umbel.db-wal").stat().st_size < 500_000 < path.stat().st_size


# Locks


@pytest.fixture
def holder(path: Path, engine: SqliteEngine) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that has locked the file for writing."""
    engine.broker.publish([publication("before")], 5.0)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.send_signal(signal.SIGCONT)
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_who_keeps_the_file_locked_is_named(
    engine: SqliteEngine, holder: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(OperationalError, match=f"locked for more than .* by process {holder.pid}"):
        engine.broker.publish([publication("1")], 0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_a_stopped_process_that_keeps_the_file_locked_is_called_so(
    engine: SqliteEngine, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGSTOP)
    until(lambda: Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    with pytest.raises(OperationalError, match=f"{holder.pid}, which is stopped. .*-CONT"):
        engine.broker.publish([publication("1")], 0.05)


def test_a_publish_that_timed_out_has_changed_nothing_and_can_be_repeated(
    engine: SqliteEngine, holder: subprocess.Popen[bytes]
) -> None:
    one = publication("1")
    with pytest.raises(OperationalError):
        engine.broker.publish([one], 0.05)
    holder.kill()
    holder.wait()
    engine.broker.publish([one], 5.0)
    assert ids(engine.queues.peek("queue", 10)) == ["before", "1"]
    assert "held" not in engine.queues.depths()


def test_another_thread_that_keeps_the_file_busy_does_not_block_for_ever(
    database: Database,
) -> None:
    inside, leave = threading.Event(), threading.Event()

    def keep_busy() -> None:
        with database.write():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=keep_busy)
    thread.start()
    inside.wait(30)
    with pytest.raises(OperationalError, match=r"Another thread kept .* busy for 0\.05 s"):
        database.write(timeout=0.05).__enter__()
    leave.set()
    thread.join()


class PausingClock(SystemClock):
    """Its sleep says that it began, and ends when it is told to, or after a time."""

    def __init__(self) -> None:
        self.sleeping, self.wake = threading.Event(), threading.Event()
        self.ended = 0

    def sleep(self, seconds: float) -> None:
        self.sleeping.set()
        self.wake.wait(5)
        self.ended += 1


@pytest.mark.parametrize("durable", [True, False])
def test_threads_read_while_another_waits_for_the_lock_of_the_file(
    path: Path, holder: subprocess.Popen[bytes], durable: bool
) -> None:
    clock = PausingClock()
    database = Database(path, clock=clock)

    def write() -> int:
        with database.write(timeout=30) as connection:
            connection.execute("INSERT INTO queue (name) VALUES ('waited')")
            (level,) = connection.execute("PRAGMA synchronous").fetchone()
        return int(level)

    with ThreadPoolExecutor(1) as executor:
        level = executor.submit(write)
        assert clock.sleeping.wait(30)
        with database.read() as connection:
            assert connection.execute("SELECT name FROM queue").fetchall() == [("queue",)]
            assert not clock.ended
        holder.kill()
        holder.wait()
        if (
            not durable
        ):  # what another thread wrote in between decides nothing for the one that waits
            with database.write(durable=False):
                pass
        clock.wake.set()
        assert level.result(30) == 2
    with database.read() as connection:
        names = connection.execute("SELECT name FROM queue ORDER BY name").fetchall()
    assert names == [("queue",), ("waited",)]
    database.close()


@pytest.mark.usefixtures("holder")
def test_closing_while_a_thread_waits_for_the_lock_of_the_file(path: Path) -> None:
    clock = PausingClock()
    database = Database(path, clock=clock)
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lambda: database.write(timeout=0.05).__enter__())
        assert clock.sleeping.wait(30)
        database.close()
        clock.wake.set()
        with pytest.raises(OperationalError, match=r"locked for more than"):
            waiting.result(30)
    database.close()


# Room


def test_a_full_disk_is_said_so_and_nothing_is_changed(engine: SqliteEngine) -> None:
    engine.broker.publish([publication("before")], 5.0)
    with engine._database.read() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    many = [publication(str(number)) for number in range(5000)]
    with pytest.raises(BrokerFull, match=r"disk that holds .*umbel\.db is full; nothing was"):
        engine.broker.publish(many, 5.0)
    assert engine.queues.depths()["queue"].ready == 1
    with engine._database.read() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    engine.broker.publish(many, 5.0)
    assert engine.queues.depths()["queue"].ready == 5001


def test_a_file_whose_schema_is_garbage_is_called_damaged(path: Path) -> None:
    """SQLite says what it read there, which need not be a text."""
    with Database(path).write() as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = CAST(x'f2f2' AS TEXT) WHERE name = 'queue'"
        )
    for use in (Database(path).read, Database(path).write):
        with pytest.raises(OperationalError, match=r"The file is damaged and was left"), use():
            pytest.fail("not reached")


# Durability

PUBLISH = """
import os, sys
from umbel.engines.sqlite import SqliteEngine
from umbel.message import Message, Publication
engine = SqliteEngine(sys.argv[1], {})
for tag in ("first", "second"):
    os.write(2, f"publishing {tag}".encode())
    engine.broker.publish([Publication("q", Message({"id": tag}, {}, b""), tag)], 5.0)
    os.write(2, f"published {tag}".encode())
engine.close()
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("durability", "is_synced"), [("full", True), ("normal", False)])
def test_a_publish_returns_when_the_message_is_on_the_disk(
    tmp_path: Path, durability: str, is_synced: bool
) -> None:
    trace, url = tmp_path / "trace", f"sqlite:///{tmp_path}/umbel.db?durability={durability}"
    command = ["strace", "-f", "-e", "trace=write,fsync,fdatasync", "-o", str(trace)]
    found = subprocess.run(
        [*command, sys.executable, "-c", PUBLISH, url], capture_output=True, check=False
    )
    if b"ptrace" in found.stderr.lower():
        pytest.skip("strace may not trace here")
    assert found.returncode == 0, found.stderr
    _, _, rest = trace.read_text().partition("publishing second")
    during, _, _ = rest.partition("published second")
    assert ("sync(" in during) is is_synced


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_transaction_that_need_not_be_durable_does_not_wait_for_the_disk(
    database: Database, durable: bool, level: int
) -> None:
    with database.write(durable=durable) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


# Transactions


def test_a_failed_transaction_changes_nothing(database: Database) -> None:
    def fail() -> None:
        with database.write() as connection:
            connection.execute("INSERT INTO queue (name) VALUES ('x')")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    with database.read() as connection:
        assert connection.execute("SELECT count(*) FROM queue").fetchone() == (0,)


def test_what_is_too_large_is_no_trouble_of_the_file(database: Database) -> None:
    with database.write() as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10_000)
    for value in ("x" * 20_000, b"x" * 20_000):
        with (
            pytest.raises(
                EncodeError, match="cannot hold anything that large: string or blob too big"
            ),
            database.write() as connection,
        ):
            connection.execute("INSERT INTO queue (name) VALUES (?)", (value,))


def test_mistakes_in_statements_stay_what_they_are(database: Database) -> None:
    with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
        connection.execute("INSERT INTO queue (id, name) VALUES (1, NULL)")
    with pytest.raises(sqlite3.ProgrammingError), database.read() as connection:
        connection.execute("SELECT ?", ([],))
    with database.write() as connection:
        connection.execute("INSERT INTO queue (id, name) VALUES (1, 'good')")


class Interrupted(Database):
    """A database whose first transaction is interrupted when it has begun."""

    interrupts = 1

    def _begin(self, durable: bool) -> sqlite3.Connection | None:
        connection = super()._begin(durable)
        if self.interrupts:
            self.interrupts -= 1
            raise KeyboardInterrupt
        return connection


def test_an_interrupt_leaves_the_file_unlocked(tmp_path: Path) -> None:
    mine, other = Interrupted(tmp_path / "umbel.db"), Database(tmp_path / "umbel.db")
    with pytest.raises(KeyboardInterrupt), mine.write():
        pytest.fail("the transaction was interrupted")
    for database in (other, mine):
        with database.write(timeout=0.1) as connection:
            connection.execute("INSERT INTO queue (name) VALUES (?)", (str(database),))
    mine.close()
    other.close()


def test_waiting_costs_no_polling(engine: SqliteEngine) -> None:
    consumer = engine.broker.consumer(Owner("id", "node", "host", 1), 60.0)
    statements: list[str] = []
    with engine._database.read() as connection:
        connection.set_trace_callback(statements.append)
    assert fetch(consumer, wait=0.5) == []
    with engine._database.read() as connection:
        connection.set_trace_callback(None)
    assert len(statements) < 25
    consumer.close()


# Forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_waits_for_the_transaction_of_another_thread(engine: SqliteEngine) -> None:
    engine.broker.publish([publication("before")], 5.0)
    inside = threading.Event()

    def keep_busy() -> None:
        with engine._database.write() as connection:
            inside.set()
            for _ in range(2000):
                connection.execute("INSERT OR IGNORE INTO queue (name) VALUES ('busy')")

    thread = threading.Thread(target=keep_busy)
    thread.start()
    inside.wait(30)
    pid = os.fork()
    if pid == 0:
        try:
            engine.broker.publish([publication("child")], 2.0)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    thread.join()
    assert ids(engine.queues.peek("queue", 10)) == ["before", "child"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_threads_fork_at_the_same_time(tmp_path: Path) -> None:
    engines = [SqliteEngine(f"sqlite:///{tmp_path}/{name}.db", {}) for name in "ab"]
    publish_lock = threading.Lock()

    def fork(number: int) -> int:
        failed = 0
        for turn in range(15):
            pid = os.fork()
            if pid == 0:
                os._exit(_publish_all(engines, f"{number}-{turn}"))
            failed += os.waitpid(pid, 0)[1] != 0
            with publish_lock:
                failed += _publish_all(engines, f"parent-{number}-{turn}")
        return failed

    with ThreadPoolExecutor(4) as executor:
        assert [future.result(60) for future in [executor.submit(fork, n) for n in range(4)]] == [
            0
        ] * 4
    for engine in engines:
        assert engine.queues.depths()["queue"].ready == 4 * 15 * 2
        engine.close()


def _publish_all(engines: list[SqliteEngine], name: str) -> int:
    try:
        for engine in engines:
            engine.broker.publish([publication(name)], 30.0)
    except BaseException:  # noqa: BLE001 - in a forked child, which must not go on as a test run
        return 1
    return 0


def test_a_file_of_an_earlier_layout_is_refused_and_left_as_it_is(
    path: Path, database: Database
) -> None:
    before = _make(
        path,
        f"PRAGMA application_id = {APPLICATION_ID}",
        "PRAGMA user_version = 1",
        "CREATE TABLE message (x)",
    )
    with pytest.raises(ImproperlyConfigured, match="layout 1 of an umbel before its first release"):
        database.write().__enter__()
    assert path.read_bytes() == before


def test_a_text_that_is_not_utf8_is_refused_with_an_error_of_ours(engine: SqliteEngine) -> None:
    with pytest.raises(EncodeError, match="written as UTF-8"):
        engine.state.put("kind", "\ud800", "")
    engine.state.put("kind", "key", "")
