"""Results in the tables of Celery's database backend, on MariaDB."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests.mariadb_servers import own_database
from umbel import Umbel
from umbel.backends.store import BackendStore
from umbel.backends.tables import DatabaseBackend
from umbel.result import GroupResult

pytestmark = pytest.mark.engine


@pytest.fixture
def url() -> Iterator[str]:
    with own_database() as found:
        yield f"db+{found}"


@pytest.fixture
def app(url: str) -> Iterator[Umbel]:
    with Umbel("tables", broker="memory://", backend=url, set_as_current=False) as made:
        yield made


def backend_of(app: Umbel) -> DatabaseBackend:
    store = app.result_store()
    assert isinstance(store, BackendStore)
    assert isinstance(store.backend, DatabaseBackend)
    return store.backend


def change(app: Umbel, statement: str) -> None:
    with backend_of(app).engine.begin() as connection:
        connection.exec_driver_sql(statement)


def test_groups_that_are_saved_at_the_same_time_lock_nobody_out(app: Umbel) -> None:
    """A deletion of what is not there locks its place, and two that insert there then are a deadlock."""
    app.conf.result_backend_always_retry = False
    backend = backend_of(app)
    _ = backend.engine
    barrier = threading.Barrier(8)

    def save(number: int) -> None:
        for turn in range(10):
            barrier.wait(20)
            for name in (f"{number} {turn}", f"all {turn}"):
                GroupResult(name, [app.AsyncResult(f"{number}")], app=app).save()

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(save, range(8)))
    found = GroupResult.restore("3 9", app=app)
    assert found is not None
    assert [one.id for one in found] == ["3"]


def test_what_is_longer_than_a_statement_may_be_is_refused(app: Umbel) -> None:
    """The server closes the connection then, as it does when it stops."""
    [most] = reading(app, "SELECT @@max_allowed_packet")
    _ = backend_of(app).engine
    change(app, "ALTER TABLE celery_taskmeta MODIFY result LONGBLOB")
    backend_of(app).store_result("fits", "x" * (most // 4), "SUCCESS")
    for text in ("x" * (most + 1), '"' * (most // 3)):
        with pytest.raises(ValueError, match=f"takes statements of {most}, which is its max_all"):
            backend_of(app).store_result("1", text, "SUCCESS")
    assert app.AsyncResult("1").state == "PENDING"


def reading(app: Umbel, query: str) -> Any:
    with backend_of(app).engine.connect() as connection:
        return connection.exec_driver_sql(query).one()


@pytest.mark.parametrize("kind", [sa.exc.DataError, sa.exc.OperationalError, sa.exc.DatabaseError])
def test_what_a_character_set_does_not_have_is_escaped_whatever_the_driver_calls_it(
    app: Umbel, kind: type[sa.exc.DatabaseError]
) -> None:
    """With the same code: PyMySQL a DataError, mysqlclient an OperationalError, others a DatabaseError."""

    def call_it_so(context: Any) -> None:
        if context.original_exception.args[0] == 1366:
            raise kind("INSERT", {}, context.original_exception)

    engine = backend_of(app).engine
    change(app, "ALTER TABLE celery_taskmeta CONVERT TO CHARACTER SET utf8mb3")
    sa.event.listen(engine, "handle_error", call_it_so)
    error = ValueError("smile \U0001f600")
    backend_of(app).store_result("1", error, "FAILURE", traceback=str(error))
    found = app.AsyncResult("1")
    assert (str(found.result), found.traceback) == (str(error), "smile \\U0001f600")
