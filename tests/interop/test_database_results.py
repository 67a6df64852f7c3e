"""Results that umbel and the real Celery store in one database, each read by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.interop.results import ResultsOfBoth, Sides
from tests.mariadb_servers import own_database
from tests.missing import missing
from tests.postgres_servers import SHARED
from umbel import Umbel
from umbel.backends.store import BackendStore
from umbel.backends.tables import DatabaseBackend
from umbel.clock import unique_id
from umbel.result import GroupResult

pytestmark = pytest.mark.engine
POSTGRES = SHARED.replace("postgresql://", "db+postgresql+psycopg://")
#: Where the tables are, and settings.
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("postgres", {}),
    (
        "postgres",
        {
            "result_serializer": "pickle",
            "timezone": "Europe/Berlin",
            "database_engine_options": {"connect_args": {"options": "-c timezone=Asia/Tokyo"}},
        },
    ),
    (
        "postgres",
        {"result_extended": True, "database_table_names": {"task": "tasks", "group": "groups"}},
    ),
    ("mariadb", {"result_extended": True, "result_serializer": "msgpack"}),
    ("sqlite", {"result_serializer": "yaml"}),
]


@pytest.fixture(scope="module", params=FORMS, ids=json.dumps)
def sides(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sides]:
    place, settings = request.param
    with ExitStack() as stack:
        if place == "postgres":
            schema = stack.enter_context(_own_schema())
            url = POSTGRES
            settings = {"database_table_schemas": {"task": schema, "group": schema}, **settings}
        elif place == "mariadb":
            url = f"db+{stack.enter_context(own_database())}"
        else:
            url = f"db+sqlite:///{tmp_path_factory.mktemp('tables') / 'results.db'}"
        accepted = ["json", "pickle", "yaml", "msgpack"]
        found = Sides(url, {"accept_content": accepted, **settings})
        stack.callback(found.close)
        yield found


@contextmanager
def _own_schema() -> Iterator[str]:
    schema = f"umbel_test_{unique_id()}"
    try:
        psycopg.connect(SHARED, connect_timeout=5).close()
    except psycopg.Error as error:
        missing("postgres", f"no PostgreSQL answers at {SHARED} ({error})")
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
    try:
        yield schema
    finally:
        _drop(schema)


def _drop(schema: str) -> None:
    with suppress(psycopg.Error), psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(
            f'SET client_min_messages = error; DROP SCHEMA "{schema}" CASCADE'.encode()
        )


class TestResults(ResultsOfBoth):
    pass


def backend_of(app: Umbel) -> DatabaseBackend:
    store = app.result_store()
    assert isinstance(store, BackendStore)
    assert isinstance(store.backend, DatabaseBackend)
    return store.backend


def test_states_of_each_are_seen_by_the_other(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    assert sides.theirs("state", ours) == sides.ours.AsyncResult(theirs).state == "PENDING"
    sides.ours.backend.store_result(ours, {"step": 1}, "STARTED")
    assert sides.theirs("state", ours) == "STARTED"
    sides.theirs("store", theirs, {"step": 1}, "PROGRESS")
    result = sides.ours.AsyncResult(theirs)
    assert (result.state, result.info) == ("PROGRESS", {"step": 1})


def test_a_success_of_each_stays_one(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, "done", "SUCCESS")
    sides.theirs("fail", ours, "late")
    assert sides.ours.AsyncResult(ours).get(timeout=5) == "done"
    sides.theirs("store", theirs, "done", "SUCCESS")
    sides.ours.backend.store_result(theirs, ValueError("late"), "FAILURE")
    assert sides.theirs("get", theirs, 5) == ["value", "done"]


def test_when_a_task_ended_is_the_same_moment_for_both(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, 1, "SUCCESS")
    sides.theirs("store", theirs, 1, "SUCCESS")
    for task_id in (ours, theirs):
        done = sides.ours.AsyncResult(task_id).date_done
        assert done is not None
        assert abs((sides.ours.now() - done).total_seconds()) < 60
    backend = backend_of(sides.ours)
    table = backend.tables.task
    with backend.engine.connect() as connection:
        found = sa.select(table.c.date_done).where(table.c.task_id.in_([ours, theirs]))
        first, second = connection.execute(found).scalars()
    assert abs((first - second).total_seconds()) < 60


def test_groups_of_each_are_restored_by_the_other(sides: Sides) -> None:
    ours, theirs = unique_id(), unique_id()
    app = sides.ours
    GroupResult(ours, [app.AsyncResult("a"), app.AsyncResult("b")], app=app).save()
    assert sides.theirs("restore", ours) == ["a", "b"]
    sides.theirs("save", theirs, ["c", "d"])
    found = GroupResult.restore(theirs, app=app)
    assert found is not None
    assert [one.id for one in found] == ["c", "d"]


def test_groups_are_saved_and_restored(sides: Sides) -> None:
    app, group = sides.ours, unique_id()
    saved = GroupResult(group, [app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    saved.save()
    saved.save()
    found = GroupResult.restore(group, app=app)
    assert found is not None
    assert [one.id for one in found] == ["a", "b"]
    found.delete()
    assert GroupResult.restore(group, app=app) is None


def test_what_expired_is_deleted(sides: Sides) -> None:
    old, new, theirs = unique_id(), unique_id(), unique_id()
    for task_id in (old, new):
        sides.ours.backend.store_result(task_id, 1, "SUCCESS")
    sides.theirs("store", theirs, 1, "SUCCESS")
    backend = backend_of(sides.ours)
    table = backend.tables.task
    backend.expires = 3600
    with backend.engine.begin() as connection:
        done = sa.select(table.c.date_done).where(table.c.task_id == old)
        long_ago = connection.execute(done).scalar_one() - timedelta(hours=2)
        connection.execute(
            sa.update(table).where(table.c.task_id == old).values(date_done=long_ago)
        )
    sides.ours.result_store().cleanup()
    assert sides.ours.AsyncResult(old).state == "PENDING"
    assert sides.ours.AsyncResult(new).state == "SUCCESS"
    assert sides.ours.AsyncResult(theirs).state == "SUCCESS"


def test_a_table_that_is_older_gets_its_missing_columns() -> None:
    """As Celery's 5.5 made it, which kept neither children nor more of a call."""
    with Umbel(broker="memory://", backend="db+sqlite://", set_as_current=False) as app:
        app.conf.result_extended = True
        app.conf.database_engine_options = {}
        backend = DatabaseBackend(app, url="sqlite://")
        engine = backend._new_engine()
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE celery_taskmeta (id INTEGER PRIMARY KEY, task_id VARCHAR(155) UNIQUE,"
                " status VARCHAR(50), result BLOB, date_done DATETIME, traceback TEXT)"
            )
        backend.tables.make(engine)
        with engine.begin() as connection:
            found = connection.exec_driver_sql("SELECT children, name, stamps FROM celery_taskmeta")
            assert found.fetchall() == []
        engine.dispose()
