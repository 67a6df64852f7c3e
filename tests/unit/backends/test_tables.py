"""Results in the tables of Celery's database backend, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.missing import missing
from tests.postgres_servers import SHARED
from umbel import Umbel
from umbel.backends.store import BackendStore
from umbel.backends.tables import DatabaseBackend
from umbel.clock import unique_id
from umbel.exceptions import DecodeError, ImproperlyConfigured, OperationalError
from umbel.records import TaskResult, decode, encode
from umbel.request import Request
from umbel.result import GroupResult


def app_at(url: str, **settings: Any) -> Umbel:
    app = Umbel("tables", broker="memory://", backend=url, set_as_current=False)
    app.conf.update(settings)
    return app


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


@pytest.fixture
def app(file: Path) -> Iterator[Umbel]:
    with app_at(f"db+sqlite:///{file}") as made:
        yield made


@pytest.fixture
def schema() -> Iterator[str]:
    name = f"umbel_test_{unique_id()}"
    try:
        with psycopg.connect(SHARED, autocommit=True, connect_timeout=5) as connection:
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    except psycopg.Error as error:
        missing("postgres", f"no PostgreSQL answers at {SHARED} ({error})")
    yield name
    with suppress(psycopg.Error), psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(
            f'SET client_min_messages = error; DROP SCHEMA "{name}" CASCADE'.encode()
        )


def on_postgres(schema: str, **settings: Any) -> Umbel:
    url = SHARED.replace("postgresql://", "db+postgresql://")
    schemas = {"task": schema, "group": schema}
    return app_at(url, database_table_schemas=schemas, **settings)


def backend_of(app: Umbel) -> DatabaseBackend:
    store = app.result_store()
    assert isinstance(store, BackendStore)
    assert isinstance(store.backend, DatabaseBackend)
    return store.backend


def count(engine: sa.Engine) -> list[str]:
    """Return a list to which each statement is added that is sent from now on."""
    seen: list[str] = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        seen.append(statement)

    return seen


@pytest.mark.engine
@pytest.mark.parametrize("text", ["a \0 zero", "half \ud800 a pair"])
def test_a_traceback_with_what_databases_do_not_take_is_stored(schema: str, text: str) -> None:
    with on_postgres(schema) as app:
        backend = backend_of(app)
        backend.store_result("1", ValueError(text), "FAILURE", traceback=f"ValueError: {text}")
        found = app.AsyncResult("1")
        assert found.state == "FAILURE"
        assert str(found.result) == text
        assert found.traceback == f"ValueError: {text}".replace("\0", "\\x00").replace(
            "\ud800", "\\ud800"
        )


@pytest.mark.engine
def test_names_that_are_too_long_are_cut(schema: str) -> None:
    with on_postgres(schema, result_extended=True) as app:
        request = Request(id="1", task="t" * 300, hostname="w" * 300)
        backend_of(app).store_result("1", 1, "SUCCESS", request=request)
        assert app.AsyncResult("1").get(timeout=5) == 1
        assert app.AsyncResult("1").name == "t" * 155


def test_threads_share_what_is_open(app: Umbel) -> None:
    with ThreadPoolExecutor(8) as executor:
        found = list(executor.map(lambda _: id(backend_of(app).engine), range(64)))
    assert len(set(found)) == 1
    backend_of(app).store_result("1", 1, "SUCCESS")
    app.close()
    assert backend_of(app)._engines == {}


def test_a_fork_has_connections_of_its_own(app: Umbel) -> None:
    backend = backend_of(app)
    backend.store_result("1", 1, "SUCCESS")
    parents = backend.engine
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            backend.store_result("2", 2, "SUCCESS")
            code = 0 if backend.engine is not parents else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.engine is parents
    assert [app.AsyncResult(one).get(timeout=5) for one in "12"] == [1, 2]


@pytest.mark.parametrize("late", ["FAILURE", "STARTED", "PROGRESS"])
def test_a_success_that_comes_between_stays(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, late: str
) -> None:
    backend, other = backend_of(app), DatabaseBackend(app, url=backend_of(app).url)
    with closing(other.engine.raw_connection()):
        pass
    backend.store_result("1", {"step": 1}, "STARTED")
    look = backend._is_stored

    def slowly(*given: Any) -> bool:
        found = look(*given)
        other.store_result("1", "done", "SUCCESS")
        return found

    monkeypatch.setattr(backend, "_is_stored", slowly)
    backend.store_result("1", ValueError("late") if late == "FAILURE" else {}, late)
    assert app.AsyncResult("1").get(timeout=5) == "done"
    other.process_cleanup()


def test_who_stores_first_at_the_same_time_does_not_matter(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, other = backend_of(app), DatabaseBackend(app, url=backend_of(app).url)
    looks = iter([lambda: other.store_result("1", {}, "STARTED") or False])
    look = backend._is_stored
    monkeypatch.setattr(backend, "_is_stored", lambda *given: next(looks, lambda: look(*given))())
    backend.store_result("1", "done", "SUCCESS")
    assert app.AsyncResult("1").get(timeout=5) == "done"
    other.process_cleanup()


def test_what_another_stores_and_forgets_meanwhile_does_not_matter(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, other = backend_of(app), DatabaseBackend(app, url=backend_of(app).url)
    look, turns = backend._is_stored, iter(["stores", "forgets"])

    def between(*given: Any) -> bool:
        found = look(*given)
        match next(turns, ""):
            case "stores":
                other.store_result("1", {}, "STARTED")
            case "forgets":
                return False
        return found

    monkeypatch.setattr(backend, "_is_stored", between)
    backend.store_result("1", "done", "SUCCESS")
    assert app.AsyncResult("1").get(timeout=5) == "done"
    other.process_cleanup()


def test_a_group_that_is_saved_twice_at_the_same_time_is_there(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, other = backend_of(app), DatabaseBackend(app, url=backend_of(app).url)
    saved = GroupResult("g", [app.AsyncResult("1")], app=app)
    looks = iter([lambda: other.save_group("g", saved) and False])
    look = backend._is_stored
    monkeypatch.setattr(backend, "_is_stored", lambda *given: next(looks, lambda: look(*given))())
    saved.save()
    assert [one.id for one in backend.restore_group("g")] == ["1"]
    other.process_cleanup()


def test_saving_a_group_is_tried_again(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_of(app)
    for name in ("_save_group", "_restore_group", "_delete_group", "_cleanup"):
        fails_once(monkeypatch, backend, name)
    GroupResult("g", [app.AsyncResult("1")], app=app).save()
    assert [one.id for one in backend.restore_group("g")] == ["1"]
    app.result_store().cleanup()
    backend.delete_group("g")
    assert backend.restore_group("g") is None


def fails_once(monkeypatch: pytest.MonkeyPatch, backend: DatabaseBackend, name: str) -> None:
    """Let a call fail as one that was in a deadlock, and the next one go on."""
    errors = iter([sa.exc.OperationalError("INSERT", {}, Exception("Deadlock found"))])
    works = getattr(backend, name)

    def call(*given: Any) -> Any:
        for error in errors:
            raise error
        return works(*given)

    monkeypatch.setattr(backend, name, call)


@pytest.mark.parametrize("state", ["STARTED", "RETRY", "PROGRESS", "SUCCESS"])
def test_what_never_ended_is_deleted_too(app: Umbel, file: Path, state: str) -> None:
    backend = backend_of(app)
    for name in ("old", "new"):
        backend.store_result(name, ValueError("x") if state == "RETRY" else {}, state)
    assert (app.AsyncResult("new").date_done is None) == (state != "SUCCESS")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "UPDATE celery_taskmeta SET date_done = datetime(date_done, '-2 days') WHERE task_id = 'old'"
        )
        connection.commit()
    app.result_store().cleanup()
    assert [app.AsyncResult(name).state for name in ("old", "new")] == ["PENDING", state]


@pytest.mark.parametrize(
    ("backend", "settings", "said"),
    [
        ("db+nonsense://u:secret@h/x", {}, r"'nonsense://u:\*+@h/x'.*Can't load plugin"),
        ("db+oracle+cx_oracle://h/x", {}, "No module named 'cx_Oracle'"),
        ("db+postgresql://h:port/x", {}, "result_backend 'postgresql://h:port/x'"),
        ("db+sqlite://", {"database_engine_options": {"slip": 1}}, "'slip'"),
        ("database", {"database_url": "db+sqlite://"}, r"database_url 'db\+sqlite://'"),
        ("database", {}, "no database is named"),
    ],
)
def test_what_cannot_be_is_said_before_a_worker_takes_messages(
    backend: str, settings: dict[str, Any], said: str
) -> None:
    with app_at(backend, **settings) as app, pytest.raises(ImproperlyConfigured, match=said):
        app.new_engine(backend)  # as a node does when it starts


def made_at_once(make: Any) -> None:
    """Let many connect at the same moment, as processes of a worker do."""
    barrier = threading.Barrier(8)

    def connect(number: int) -> None:
        with make() as app:
            barrier.wait(20)
            backend_of(app).store_result(f"{number}", number, "SUCCESS")

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(connect, range(8)))
    with make() as app:
        assert [app.AsyncResult(f"{one}").get(timeout=5) for one in range(8)] == [*range(8)]


def test_many_make_the_tables_at_once_in_a_file(file: Path) -> None:
    made_at_once(lambda: app_at(f"db+sqlite:///{file}"))


@pytest.mark.engine
def test_many_make_the_tables_at_once_on_a_server(schema: str) -> None:
    made_at_once(lambda: on_postgres(schema))


@pytest.mark.engine
def test_many_add_the_same_columns_at_once(schema: str) -> None:
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f'CREATE SEQUENCE "{schema}".task_id_sequence'.encode())
        connection.execute(
            f'CREATE TABLE "{schema}".celery_taskmeta (id SERIAL PRIMARY KEY, task_id VARCHAR(155) UNIQUE,'
            " status VARCHAR(50), result BYTEA, date_done TIMESTAMP, traceback TEXT)".encode()
        )
    made_at_once(lambda: on_postgres(schema, result_extended=True))


def test_without_the_right_to_add_columns_results_are_kept_without_them(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155) UNIQUE,"
            " status VARCHAR(50), result BLOB, date_done DATETIME, traceback TEXT)"
        )

    def refuse(engine: sa.Engine) -> None:
        @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
        def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[Any, Any]:
            return statement.replace("ALTER TABLE", "ALTER NO TABLE"), parameters

    settings = {"result_extended": True, "database_engine_callback": refuse}
    with app_at(f"db+sqlite:///{file}", **settings) as app:
        request = Request(id="1", task="add", args=[1])
        backend_of(app).store_result("1", 1, "SUCCESS", request=request)
        result = app.AsyncResult("1")
        assert (result.get(timeout=5), result.name, result.children) == (1, None, None)
    assert "has no column 'children', and it cannot be added" in caplog.text
    assert "ALTER TABLE celery_taskmeta ADD COLUMN children BLOB" in caplog.text


def test_many_are_read_by_one_query(app: Umbel) -> None:
    backend = backend_of(app)
    names = [f"{number}" for number in range(40)]
    for name in names:
        backend.store_result(name, name, "SUCCESS")
    seen = count(backend.engine)
    found = app.result_store().get([*names, "unknown"])
    assert sorted(found) == sorted(names)
    assert len(seen) == 1


def test_who_waits_for_many_that_come_bit_by_bit_does_not_look_all_the_time(app: Umbel) -> None:
    backend, clock, took = backend_of(app), app.clock, 0.05
    names = [f"{number}" for number in range(8)]
    seen = count(backend.engine)

    @sa.event.listens_for(backend.engine, "before_cursor_execute")
    def read_slowly(_: Any, __: Any, statement: str, *___: Any) -> None:
        if statement.startswith("SELECT celery_taskmeta.id,"):
            threading.Event().wait(took)

    subscription = app.result_store().subscribe()
    subscription.add(names)
    begun = clock.monotonic()
    for name in names:
        backend.store_result(name, 1, "SUCCESS")
        assert list(subscription.receive(5)) == [name]
    assert clock.monotonic() - begun > len(names) * took * 3
    assert len([one for one in seen if one.startswith("SELECT celery_taskmeta.id,")]) == len(names)
    subscription.add(["new"])
    backend.store_result("new", 1, "SUCCESS")
    begun = clock.monotonic()
    assert list(subscription.receive(5)) == ["new"]
    assert clock.monotonic() - begun < took * 3
    subscription.close()


def test_how_often_it_tries_is_the_settings_to_say(file: Path) -> None:
    for settings, tries in (
        ({}, 4),
        ({"result_backend_max_retries": 1}, 2),
        ({"result_backend_always_retry": False}, 1),
    ):
        with app_at(f"db+sqlite:///{file}", **settings) as app:
            backend = backend_of(app)
            backend.store_result("1", 1, "SUCCESS")
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("ALTER TABLE celery_taskmeta RENAME TO gone")
            seen = count(backend.engine)
            with pytest.raises(OperationalError, match="no such table"):
                app.result_store().get(["1"])
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("ALTER TABLE gone RENAME TO celery_taskmeta")
        assert len(seen) == tries


def test_a_database_that_is_locked_is_waited_for_once(app: Umbel, file: Path) -> None:
    store, clock = app.result_store(), app.clock
    backend_of(app).store_result("1", 1, "SUCCESS")
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        begun = clock.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            store.get(["1"])  # SQLite waits for five seconds
        assert clock.monotonic() - begun < 9
        connection.execute("ROLLBACK")
    assert app.AsyncResult("1").get(timeout=5) == 1


def test_a_traceback_that_the_columns_have_no_characters_for_is_escaped(file: Path) -> None:
    """As MySQL's utf8 and latin1 refuse it."""

    def refuse(engine: sa.Engine) -> None:
        @sa.event.listens_for(engine, "before_cursor_execute")
        def look(_: Any, __: Any, ___: str, parameters: Any, *____: Any) -> None:
            if any(isinstance(one, str) and not one.isascii() for one in parameters):
                raise sa.exc.DataError("INSERT", parameters, Exception("Incorrect string value"))

    with app_at(f"db+sqlite:///{file}", database_engine_callback=refuse) as app:
        error = ValueError("smile \U0001f600")
        backend_of(app).store_result("1", error, "FAILURE", traceback=str(error))
        found = app.AsyncResult("1")
        assert (str(found.result), found.traceback) == (str(error), "smile \\U0001f600")


def leave_unreadable(app: Umbel, file: Path, state: str) -> None:
    """Store what a Celery before 5.7 left, which pickled whatever the serializer was."""
    backend_of(app).store_result("old", {}, state)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(
            "UPDATE celery_taskmeta SET result = ? WHERE task_id = 'old'", (pickle.dumps({}, 2),)
        )
        connection.commit()


def test_what_cannot_be_read_does_not_disturb_who_waits_for_others(app: Umbel, file: Path) -> None:
    leave_unreadable(app, file, "SUCCESS")
    subscription = app.result_store().subscribe()
    subscription.add(["old", "new"])
    [found] = subscription.receive(5).values()
    assert found.task_id == "old"
    with pytest.raises(DecodeError):
        decode(found)
    backend_of(app).store_result("new", 1, "SUCCESS")
    assert list(subscription.receive(5)) == ["new"]
    subscription.close()
    with pytest.raises(DecodeError):
        app.AsyncResult("old").get(timeout=5)


@pytest.mark.parametrize(
    "stamps", [b"no JSON", b'{"stamped_headers": ["a"], "stamps": ["a"]}', b"1"]
)
def test_stamps_that_cannot_be_read_leave_the_result(file: Path, stamps: bytes) -> None:
    with app_at(f"db+sqlite:///{file}", result_extended=True) as app:
        backend_of(app).store_result("1", 1, "SUCCESS")
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("UPDATE celery_taskmeta SET stamps = ?", (stamps,))
            connection.commit()
        assert app.AsyncResult("1").get(timeout=5) == 1


def test_a_failure_without_an_error_does_not_disturb_who_waits_for_others(
    app: Umbel, file: Path
) -> None:
    for name in ("odd", "new"):
        backend_of(app).store_result(name, 1, "SUCCESS")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE celery_taskmeta SET status = 'FAILURE' WHERE task_id = 'odd'")
        connection.commit()
    assert app.AsyncResult("new").get(timeout=5) == 1
    assert decode(app.result_store().get(["odd", "new"])["new"]).result == 1
    with pytest.raises(DecodeError, match="The result of task odd is no result"):
        app.AsyncResult("odd").get(timeout=5)


def test_a_state_that_cannot_be_read_does_not_keep_the_next_one_from_being_stored(
    app: Umbel, file: Path
) -> None:
    leave_unreadable(app, file, "STARTED")
    failed = TaskResult(task_id="old", state="FAILURE", result=ValueError("x"))
    app.result_store().put([encode(failed, None, app.conf.snapshot)])
    assert app.AsyncResult("old").state == "FAILURE"
