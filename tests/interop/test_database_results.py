"""Results that umbel and the real Celery store in one database, each read by the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import psycopg
import pytest

from tests.interop.results import ResultsOfBoth, Sides
from tests.postgres_servers import SHARED, missing
from umbel import Umbel
from umbel.backends.tables import DatabaseBackend
from umbel.clock import unique_id
from umbel.result import GroupResult

pytestmark = pytest.mark.engine
URL = SHARED.replace("postgresql://", "db+postgresql+psycopg://")
FORMS: list[dict[str, Any]] = [
    {},
    {"result_serializer": "pickle", "timezone": "Europe/Berlin"},
    {"result_extended": True, "database_table_names": {"task": "tasks", "group": "groups"}},
]


class InTables(Sides):
    """Both, with tables in a schema."""

    def __init__(self, schema: str, settings: dict[str, Any]) -> None:
        self.schema = schema
        super().__init__(
            URL,
            {
                "accept_content": ["json", "pickle"],
                "database_table_schemas": {"task": schema, "group": schema},
                **settings,
            },
        )


@pytest.fixture(scope="module", params=FORMS, ids=lambda form: json.dumps(form).strip("{}") or "-")
def sides(request: pytest.FixtureRequest) -> Iterator[InTables]:
    schema = f"umbel_test_{unique_id()}"
    try:
        psycopg.connect(SHARED, connect_timeout=5).close()
    except psycopg.Error as error:
        missing(f"no PostgreSQL answers at {SHARED} ({error})")
    with ExitStack() as stack, psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{schema}"'.encode())
        stack.callback(lambda: _drop(schema))
        found = InTables(schema, request.param)
        stack.callback(found.close)
        yield found


def _drop(schema: str) -> None:
    with suppress(psycopg.Error), psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(
            f'SET client_min_messages = error; DROP SCHEMA "{schema}" CASCADE'.encode()
        )


class TestResults(ResultsOfBoth):
    pass


def test_states_of_each_are_seen_by_the_other(sides: InTables) -> None:
    ours, theirs = unique_id(), unique_id()
    assert sides.theirs("state", ours) == sides.ours.AsyncResult(theirs).state == "PENDING"
    sides.ours.backend.store_result(ours, {"step": 1}, "STARTED")
    assert sides.theirs("state", ours) == "STARTED"
    sides.theirs("store", theirs, {"step": 1}, "PROGRESS")
    result = sides.ours.AsyncResult(theirs)
    assert (result.state, result.info) == ("PROGRESS", {"step": 1})


def test_a_success_of_each_stays_one(sides: InTables) -> None:
    ours, theirs = unique_id(), unique_id()
    sides.ours.backend.store_result(ours, "done", "SUCCESS")
    sides.theirs("fail", ours, "late")
    assert sides.ours.AsyncResult(ours).get(timeout=5) == "done"
    sides.theirs("store", theirs, "done", "SUCCESS")
    sides.ours.backend.store_result(theirs, ValueError("late"), "FAILURE")
    assert sides.theirs("get", theirs, 5) == ["value", "done"]


def test_when_a_task_ended_is_the_same_moment_for_both(sides: InTables) -> None:
    ours = unique_id()
    sides.ours.backend.store_result(ours, 1, "SUCCESS")
    done = sides.ours.AsyncResult(ours).date_done
    assert done is not None
    assert abs((sides.ours.now() - done).total_seconds()) < 60


def test_groups_are_saved_and_restored(sides: InTables) -> None:
    app, group = sides.ours, unique_id()
    saved = GroupResult(group, [app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    saved.save()
    saved.save()
    found = GroupResult.restore(group, app=app)
    assert found is not None
    assert [one.id for one in found] == ["a", "b"]
    found.delete()
    assert GroupResult.restore(group, app=app) is None


def test_what_expired_is_deleted(sides: InTables) -> None:
    old, new = unique_id(), unique_id()
    for task_id in (old, new):
        sides.ours.backend.store_result(task_id, 1, "SUCCESS")
    table = (sides.ours.conf.database_table_names or {}).get("task", "celery_taskmeta")
    with psycopg.connect(SHARED, autocommit=True) as connection:
        connection.execute(
            f'UPDATE "{sides.schema}"."{table}" SET date_done = date_done - interval \'2 days\''
            f" WHERE task_id = '{old}'".encode()
        )
    sides.ours.result_store().cleanup()
    assert sides.ours.AsyncResult(old).state == "PENDING"
    assert sides.ours.AsyncResult(new).state == "SUCCESS"


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
