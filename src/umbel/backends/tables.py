"""Results in the tables of Celery's database backend: ``db+postgresql://…`` and other URLs of SQLAlchemy.

Tables, columns and what is in them are Celery's (celery/backends/database/), so that either side reads what
the other one stored. Rows are read and written one by one, without SQLAlchemy's objects.
"""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from umbel import serialization, states
from umbel.backends.base import BaseBackend
from umbel.clock import utc
from umbel.dotted import named
from umbel.exceptions import DecodeError, ImproperlyConfigured
from umbel.masking import masked_url
from umbel.result_backend import Meta
from umbel.states import PROGRESS

try:
    import sqlalchemy as sa
    from sqlalchemy import exc as theirs

    from umbel.backends.schema import EXTENDED, Tables, has_zones
except ModuleNotFoundError as error:
    raise ImproperlyConfigured(
        "result_backend names a database, which needs SQLAlchemy. Run: pip install 'umbel[sqlalchemy]'"
    ) from error

#: Errors after which the database may answer again, or what another had stored may be gone.
_PASSING = (
    theirs.OperationalError,
    theirs.InterfaceError,
    theirs.TimeoutError,
    theirs.IntegrityError,
)
#: How often a call is made once more, where the settings do not say.
RETRIES = 3
#: How many results are read by one query.
MANY = 500
#: Most characters of a name.
NAME = 155
#: How a pickle of protocol 2 or later begins: results of Celery before 5.7, whatever the serializer was.
_PICKLED = b"\x80"
_PICKLE = "application/x-python-serialize"
#: Those that ``result_extended`` adds and that are names.
_NAMES = ("name", "worker", "queue")
#: MySQL's code for a text that the character set of a column cannot hold.
_NOT_IN_CHARSET = 1366
#: What it takes in any case, the most that a statement has beside its values, and what stands for two bytes.
_SMALL, _AROUND, _ESCAPED = 1 << 20, 1 << 10, (b"\0", b"\n", b"\r", b"\x1a", b'"', b"'", b"\\")
#: What is written by the serializer.
_WRITTEN = ("args", "kwargs", "children")


class DatabaseBackend(BaseBackend):
    """Keeps results in a database, by SQLAlchemy. See `Backend` for the arguments."""

    subpolling_interval = 0.5
    threads_share = True
    #: A database that is locked, or does not answer, takes seconds to say so.
    retries_for = 3.0

    def __init__(self, app: Any, url: str | None = None, **kwargs: Any) -> None:
        super().__init__(app, url=url, **kwargs)
        settings = app.conf.snapshot
        self.thread_safe = True
        if not app.conf.value_set_for("result_backend_always_retry"):
            self.always_retry = True
        if not app.conf.value_set_for("result_backend_max_retries"):
            self.max_retries = RETRIES
        self.extended: bool = settings.result_extended
        self._place = url or settings.database_url
        if not self._place:
            raise ImproperlyConfigured(
                "result_backend is 'database', and no database is named. Write"
                " result_backend = 'db+postgresql://host/name', or set database_url."
            )
        self._options: Mapping[str, Any] = settings.database_engine_options or {}
        self._callback = _callback(settings.database_engine_callback)
        self.tables = Tables(
            settings.database_table_names or {},
            settings.database_table_schemas or {},
            self.extended,
        )
        #: Engines, and what lets one thread make them, by processes: a fork has its parent's.
        self._engines: dict[int, sa.Engine] = {}
        self._making: dict[int, threading.Lock] = {}
        self._bare_engine()  # what cannot be is said before a worker takes messages

    @property
    def engine(self) -> sa.Engine:
        """SQLAlchemy's engine of this process, with tables. Its threads share it."""
        pid = os.getpid()
        found = self._engines.get(pid)
        if found is None:
            with self._making.setdefault(pid, threading.Lock()):
                found = self._engines.get(pid)
                if found is None:
                    self._leave_parents()
                    found = self._engines[pid] = self._ready_engine()
        return found

    def _leave_parents(self) -> None:
        """Let go of engines whose connections are another process's."""
        for pid in self._engines.keys() - {os.getpid()}:
            self._engines.pop(pid).dispose(close=False)

    def _ready_engine(self) -> sa.Engine:
        engine = self._new_engine()
        try:
            self.tables.make(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def _new_engine(self) -> sa.Engine:
        engine = self._bare_engine()
        if self._callback is not None:
            self._callback(engine)
        return engine

    def _bare_engine(self) -> sa.Engine:
        """Return an engine without connections."""
        try:
            url = sa.make_url(self._place)
            if url.drivername == "postgresql" and importlib.util.find_spec("psycopg2") is None:
                url = url.set(drivername="postgresql+psycopg")  # the one that umbel brings
            return sa.create_engine(url, **self._options)
        except (theirs.ArgumentError, ModuleNotFoundError, TypeError, ValueError) as error:
            name = "result_backend" if self.url else "database_url"
            raise ImproperlyConfigured(
                f"{name} {masked_url(self._place)!r} or database_engine_options: {error}"
            ) from error

    # Storing

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **_: Any,
    ) -> None:
        values = self._values(result, state, traceback, request)
        try:
            self._write(task_id, state, values)
        except theirs.DatabaseError as error:
            if not _is_of_data(error):
                self._refuse_too_large(values, error)
                raise
            # Columns may be of a character set that has no emojis, as MySQL's utf8 is, or less.
            plain = {name: _in_ascii(value) for name, value in values.items()}
            if plain == values:
                raise
            self._write(task_id, state, plain)

    def _refuse_too_large(self, values: Mapping[str, Any], error: theirs.DatabaseError) -> None:
        """Raise ValueError for what MySQL closes connections for, as if it were down, each time anew."""
        size = sum(_size_in_mysql(value) for value in values.values())
        if self.engine.dialect.name not in ("mysql", "mariadb") or size < _SMALL:
            return
        with self.engine.connect() as connection:
            most = connection.execute(sa.text("SELECT @@max_allowed_packet")).scalar_one()
        if size + _AROUND > most:
            raise ValueError(
                f"The result takes {size} bytes, and the database takes statements of {most}, which is its"
                " max_allowed_packet."
            ) from error

    def _write(self, task_id: str, state: str, values: Mapping[str, Any]) -> None:
        """Store columns of a result, unless what is there is to stay."""
        status = self.tables.task.c.status
        # In the statement itself: not every database has locks for rows.
        kept = states.READY_STATES if state == PROGRESS else {states.SUCCESS}
        changes = sa.or_(status.is_(None), status.not_in(kept))
        self._put(self.tables.task.c.task_id, task_id, values, changes)

    def _put(
        self, key: sa.Column[Any], name: str, values: Mapping[str, Any], *changes: Any
    ) -> None:
        """Store columns of the row that has this name as its key; of one that is there, if `changes` holds.

        Nothing is deleted for that: where there is no row, MySQL locks the place of it, for all who come.
        """
        change = sa.update(key.table).where(key == name, *changes).values(**values)
        try:
            with self.engine.begin() as connection:
                if self._is_stored(connection, key, name):
                    connection.execute(change)
                else:
                    connection.execute(sa.insert(key.table).values({key.name: name, **values}))
        except theirs.IntegrityError:
            with self.engine.begin() as connection:
                if not self._is_stored(connection, key, name):
                    raise
                connection.execute(change)  # another has just stored one

    def _is_stored(self, connection: sa.Connection, key: sa.Column[Any], name: str) -> bool:
        found = sa.select(key.table.c.id).where(key == name)
        return connection.execute(found).first() is not None

    def _values(self, result: Any, state: str, traceback: Any, request: Any) -> dict[str, Any]:
        """Return the columns of a result, as Celery fills them."""
        meta = self._get_result_meta(
            self._bytes(result), state, traceback, request, format_date=False, encode=True
        )
        stamped = meta.get("stamped_headers")
        children = meta.get("children")
        found = {name: meta.get(name) for name in ("status", "result")}
        found["traceback"] = _text(meta.get("traceback"))
        found["date_done"] = self._now()  # in each state, for `cleanup`
        found["children"] = self._bytes(children) if children else None
        if self.extended:
            found |= {name: meta.get(name) for name in EXTENDED}
            found |= {name: _text(meta.get(name), NAME) for name in _NAMES}
            found["stamps"] = None
            if stamped:
                stamps = {name: meta[name] for name in stamped if name in meta}
                found["stamps"] = self._bytes({"stamped_headers": stamped, "stamps": stamps})
        return {name: found[name] for name in found if name not in self.tables.spared}

    def _bytes(self, value: Any) -> bytes:
        data = self.encode(value)
        return data.encode() if isinstance(data, str) else bytes(data)

    # Reading

    def _get_task_meta_for(self, task_id: str) -> Meta:
        found = self._read([task_id]).get(task_id)
        return found or {"task_id": task_id, "status": states.PENDING, "result": None}

    def metas(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        """Return what is stored for tasks, many by one query."""
        found: dict[str, Meta] = {}
        for first in range(0, len(task_ids), MANY):
            found |= self._ensure_retryable(self._read, task_ids[first : first + MANY])
        return found

    def _read(self, task_ids: Sequence[str]) -> dict[str, Meta]:
        engine, table = self.engine, self.tables.task
        query = self.tables.read(engine).where(table.c.task_id.in_(task_ids))
        with engine.connect() as connection:
            rows = connection.execute(query).all()
        return {row.task_id: self._meta(row) for row in rows}

    def _meta(self, row: sa.Row[Any]) -> Meta:
        meta: Meta = {"children": None, **row._mapping}
        del meta["id"]
        meta["result"] = self._stored(meta["result"])
        for name in _WRITTEN:
            if meta.get(name) is not None:
                meta[name] = self.decode(meta[name])
        done = meta["date_done"] if meta["status"] in states.READY_STATES else None
        if done is not None:
            done = done.replace(tzinfo=UTC) if done.tzinfo is None else done.astimezone(UTC)
        meta["date_done"] = done
        meta |= self._stamps(meta.pop("stamps", None))
        try:
            return self.meta_from_decoded(meta)
        except (TypeError, ValueError) as error:  # of this result alone
            raise DecodeError(f"The result of task {row.task_id} is no result: {error}") from error

    def _stamps(self, data: Any) -> Meta:
        try:
            found = self.decode(data)
        except DecodeError:  # the result itself is there
            return {}
        if not isinstance(found, dict):
            return {}
        stamps = found.get("stamps")
        stamped: Meta = {"stamped_headers": found.get("stamped_headers")}
        return stamped | (stamps if isinstance(stamps, dict) else {})

    def _stored(self, payload: Any) -> Any:
        """Read a result; one that an older Celery pickled, too, if pickles are accepted."""
        try:
            return self.decode(payload)
        except DecodeError:
            data = bytes(payload)
            if not data.startswith(_PICKLED) or _PICKLE not in self.accept:
                raise
            return serialization.decode(data, _PICKLE, self.accept, self._limits)

    # Groups

    def _save_group(self, group_id: str, result: Any) -> Any:
        values = {
            "result": self._bytes(self._ids(result)),  # no objects of ours in pickles
            "date_done": self._now(),
        }
        self._put(self.tables.group.c.taskset_id, group_id, values)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        table = self.tables.group
        with self.engine.connect() as connection:
            row = connection.execute(
                sa.select(table.c.result, table.c.date_done).where(table.c.taskset_id == group_id)
            ).first()
        if row is None:
            return None
        result = self._stored(row.result)
        if hasattr(result, "as_tuple"):  # an object of Celery's, from a pickle
            result = result.as_tuple()
        if isinstance(result, list | tuple):
            result = self.app.result_from_tuple(result)
        return {"taskset_id": group_id, "result": result, "date_done": row.date_done}

    def _delete_group(self, group_id: str) -> None:
        table = self.tables.group
        with self.engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.taskset_id == group_id))

    # Deleting

    def _forget(self, task_id: str) -> None:
        table = self.tables.task
        with self.engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.task_id == task_id))

    def cleanup(self) -> None:
        """Delete what is older than ``result_expires``."""
        if self.expires:
            self._ensure_retryable(self._cleanup)

    def _cleanup(self) -> None:
        oldest = self._now() - timedelta(seconds=self.expires)
        with self.engine.begin() as connection:
            for table in (self.tables.task, self.tables.group):
                connection.execute(sa.delete(table).where(table.c.date_done < oldest))

    def process_cleanup(self) -> None:
        """Close the connections."""
        engine = self._engines.pop(os.getpid(), None)
        if engine is not None:
            engine.dispose()

    def _now(self) -> datetime:
        """Return the time as the tables have it: UTC without saying so, or what the server converts."""
        now = utc(self.app.clock.time())
        return now if has_zones(self.engine) else now.replace(tzinfo=None)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Tell whether the database may answer again."""
        return isinstance(exc, _PASSING) or bool(getattr(exc, "connection_invalidated", False))


def _text(text: Any, most: int | None = None) -> Any:
    """Return a text as every database takes it: with escapes for what is not UTF-8 and for zeros."""
    if not isinstance(text, str):
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")[:most]


def _size_in_mysql(value: Any) -> int:
    """Return how many bytes a text or bytes take in a statement of MySQL's, where some are escaped."""
    data = value.encode() if isinstance(value, str) else value
    return len(data) + sum(map(data.count, _ESCAPED)) if isinstance(data, bytes) else 0


def _is_of_data(error: theirs.DatabaseError) -> bool:
    """Tell whether a value is at fault. MySQL's drivers do not agree on what "incorrect string value" is."""
    code = next(iter(getattr(error.orig, "args", ())), None)
    return isinstance(error, theirs.DataError) or code == _NOT_IN_CHARSET


def _in_ascii(value: Any) -> Any:
    """Return a text with escapes for all that not every character set has."""
    return value.encode("ascii", "backslashreplace").decode() if isinstance(value, str) else value


def _callback(value: Any) -> Callable[[sa.Engine], object] | None:
    found: Callable[[sa.Engine], object] | None = named(value) if isinstance(value, str) else value
    if found is not None and not callable(found):
        raise ImproperlyConfigured(
            f"database_engine_callback is {value!r}, which cannot be called."
        )
    return found
