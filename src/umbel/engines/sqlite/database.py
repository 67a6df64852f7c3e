"""One SQLite file, shared by many processes: opening it safely, transactions, and errors that help.

Write-ahead logging, one connection for each process, every write in a ``BEGIN IMMEDIATE``
transaction. Waiting for the file's lock is done here and not by SQLite's busy handler, whose sleeps
grow to a tenth of a second.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import random
from typing import NoReturn

from umbel.clock import SYSTEM, Clock
from umbel.engines.forks import tell_of_forks
from umbel.engines.sql import script
from umbel.engines.sqlite import files
from umbel.exceptions import BrokerFull, EncodeError, ImproperlyConfigured, OperationalError

APPLICATION_ID = 0x756D626C  # "umbl"
SCHEMA_VERSION = 5
LOCK_TIMEOUT = 5.0
#: Pages of 4 kB after which a commit moves the log into the file: rare enough to cost little per
#: task.
CHECKPOINT_PAGES = 8000
#: The same where the disk has little room, of which the log takes a share at most: a log that has filled
#: the disk cannot be moved into the file any more, which needs some room itself.
FEWEST_PAGES, SHARE = 100, 16


class Database:
    """Transactions on one file.

    Threads share one connection, under one lock, which nobody holds while waiting for the file's;
    a fork opens its own.
    """

    def __init__(self, path: Path, *, durable: bool = True, clock: Clock = SYSTEM) -> None:
        self.path = path
        self.durable = durable
        self.clock = clock
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._synchronous = ""
        #: Called in the child after a fork, for what else threads of the parent may have held.
        self.after_fork: list[Callable[[], None]] = []
        tell_of_forks(self)

    @property
    def now(self) -> int:
        """The time in milliseconds."""
        return int(self.clock.time() * 1000)

    @contextlib.contextmanager
    def write(
        self, *, durable: bool = True, timeout: float = LOCK_TIMEOUT
    ) -> Iterator[sqlite3.Connection]:
        """Run a transaction that writes; with `durable` its data is on disk when this returns.

        Raises OperationalError when the lock cannot be had within `timeout` seconds or the file
        fails, BrokerFull when the disk is full, and EncodeError for a text that is not UTF-8; nothing
        has changed then.
        """
        deadline = self.clock.monotonic() + timeout
        left, pause = timeout, 0.0001
        while True:
            if not self._lock.acquire(timeout=max(left, 0.001)):
                raise OperationalError(f"Another thread kept {self.path} busy for {timeout:g} s.")
            try:
                connection = self._begin(durable and self.durable)
                if connection is not None:
                    with self._committed(connection):
                        yield connection
                    return
            finally:
                self._roll_back()  # after an interrupt before the transaction was somebody's
                # Between two tries, too: while another process writes, other threads here can read.
                self._lock.release()
            left = deadline - self.clock.monotonic()
            if left <= 0:
                raise OperationalError(files.who_locks(self.path, timeout))
            self.clock.sleep(pause * (0.5 + random()))  # only spreads the waiting out
            # Grows slowly: whoever publishes in a loop leaves only short gaps.
            pause = min(pause * 1.2, 0.002)

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Use the connection for reading single statements."""
        with self._lock:
            try:
                yield self._connect()
            except sqlite3.Error as error:
                self._raise(error)
            except UnicodeDecodeError as error:
                raise self._damaged(error) from error

    def _begin(self, durable: bool) -> sqlite3.Connection | None:
        """Begin a transaction that writes; None while another process does."""
        connection = self._connect()
        wanted = "FULL" if durable else "NORMAL"
        try:
            if wanted != self._synchronous:
                connection.execute(f"PRAGMA synchronous = {wanted}")
                self._synchronous = wanted
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            if _is_busy(error):
                return None
            self._raise(error)
        return connection

    @contextlib.contextmanager
    def _committed(self, connection: sqlite3.Connection) -> Iterator[None]:
        """Commit what is written inside, or undo it after an error."""
        try:
            yield
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                self._raise(error)
            if isinstance(error, UnicodeEncodeError):
                raise EncodeError(f"A text cannot be written as UTF-8: {error}.") from error
            if isinstance(error, UnicodeDecodeError):
                raise self._damaged(error) from error
            raise

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        files.prepare(self.path)
        self._synchronous = ""
        deadline = self.clock.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                return self._open_once()
            except sqlite3.Error as error:
                # Of processes that make a file at the same moment, SQLite tells some at once that it
                # is locked, without waiting.
                if not _is_busy(error) or self.clock.monotonic() >= deadline:
                    self._raise(error)
            except UnicodeDecodeError as error:
                raise self._damaged(error) from error
            self.clock.sleep(0.005 * (0.5 + random()))

    def _open_once(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_up(self, connection: sqlite3.Connection) -> None:
        application, version, has_tables = _marks(connection)
        is_ready = (application, version) == (APPLICATION_ID, SCHEMA_VERSION)
        if not is_ready:
            self._check_marks(application, version, has_tables)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ImproperlyConfigured(
                f"SQLite cannot keep a write-ahead log beside {self.path} (it offers {mode!r}). Put the file"
                " on a local disk: set data_dir, or UMBEL_DATA_DIR."
            )
        connection.execute(f"PRAGMA wal_autocheckpoint = {_checkpoint_pages(self.path)}")
        if not is_ready:
            self._create_tables(connection)
        connection.execute("PRAGMA busy_timeout = 0")

    def _check_marks(self, application: int, version: int, has_tables: int) -> None:
        """Refuse files that are not ours, or from another version of umbel.

        They are left untouched.
        """
        if application == APPLICATION_ID and version > SCHEMA_VERSION:
            raise ImproperlyConfigured(
                f"{self.path} was written by a newer umbel (layout {version}, this one knows"
                f" {SCHEMA_VERSION}). Upgrade umbel here, or use another file."
            )
        if application == APPLICATION_ID and version < SCHEMA_VERSION:
            raise ImproperlyConfigured(
                f"{self.path} has the layout {version} of an umbel before its first release, and this one"
                f" needs {SCHEMA_VERSION}. Finish its tasks with that umbel and delete it, or use"
                " another file."
            )
        if application not in (0, APPLICATION_ID) or (application == 0 and has_tables):
            raise ImproperlyConfigured(
                f"{self.path} is a database of another program. Choose another file in broker_url."
            )

    def _create_tables(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _marks(connection) == (0, 0, 0):  # else another process was faster
                for statement in script(__package__, "schema.sql"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _raise(self, error: sqlite3.Error) -> NoReturn:
        """Raise our error for one of SQLite's: what happened, where, and what to do.

        What no other try could mend is no trouble of the broker's: a value that is too large is an
        EncodeError, and mistakes in statements stay what they are.
        """
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, sqlite3.DataError) or code == sqlite3.SQLITE_TOOBIG:
            raise EncodeError(f"{self.path} cannot hold anything that large: {error}.") from error
        if isinstance(error, sqlite3.ProgrammingError | sqlite3.IntegrityError):
            raise error
        if code == sqlite3.SQLITE_NOTADB:
            raise ImproperlyConfigured(
                f"{self.path} is not an SQLite file; it was left as it is. Choose another file in broker_url."
            ) from error
        if code == sqlite3.SQLITE_FULL:
            raise BrokerFull(
                f"The disk that holds {self.path} is full; nothing was written. Free some space."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise OperationalError(files.who_locks(self.path, LOCK_TIMEOUT)) from error
        advice = _ADVICE.get(code, "")
        raise OperationalError(f"{self.path}: {error}.{advice}") from error

    def _damaged(self, error: UnicodeDecodeError) -> OperationalError:
        """Return what to raise where a text of the file, or of SQLite's complaint about it, is none."""
        return OperationalError(f"{self.path}: {error}.{_ADVICE[sqlite3.SQLITE_CORRUPT]}")

    def problem(self) -> str | None:
        """Return why the file cannot be used, however often one tries; it is not made for that."""
        try:
            if (found := files.problem(self.path)) is None and self.path.exists():
                with self.read():
                    pass
        except ImproperlyConfigured as error:
            return str(error)
        except OperationalError:  # it may be locked, or full, for now
            return None
        return found

    def close(self) -> None:
        """Close this process's connection; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def before_fork(self) -> None:
        """Wait for the transaction of another thread, and close.

        A child inherits SQLite's notes on the locks of an open file, but not the locks. It would
        believe that it holds what its parent held: then the parent, closing, deletes a log that the
        child still writes to.
        """
        self._lock.acquire()
        with contextlib.suppress(sqlite3.Error):
            self.close()

    def after_fork_in_parent(self) -> None:
        self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = threading.RLock()
        for callback in self.after_fork:
            callback()


_ADVICE = {
    sqlite3.SQLITE_CORRUPT: " The file is damaged and was left as it is: move it away with its -wal and"
    " -shm files and try `sqlite3 FILE .recover`.",
    sqlite3.SQLITE_READONLY: " This process may not write to it: check its owner and mode.",
    sqlite3.SQLITE_CANTOPEN: " Check that the directory exists and that this process may write to it.",
    sqlite3.SQLITE_IOERR: " The disk, or the file system, reported an error.",
}


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application id, layout and whether there are tables, as of one moment.

    One statement: between two of them another process may make the tables.
    """
    row: tuple[int, int, int] = connection.execute(
        "SELECT application_id, user_version, EXISTS (SELECT 1 FROM sqlite_master)"
        " FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    return row


def _checkpoint_pages(path: Path) -> int:
    """Return after how many pages of log it is moved into the file."""
    try:
        room = shutil.disk_usage(path.parent).free // 4096 // SHARE
    except OSError:  # some file systems do not tell
        return CHECKPOINT_PAGES
    return min(max(room, FEWEST_PAGES), CHECKPOINT_PAGES)


def _is_busy(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )
