"""Django's connections around tasks, as around requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.core.cache import caches
from django.db import connection, connections, transaction
from django.db.backends.signals import connection_created
from project_name.books.models import Book

from umbel import Umbel, signals
from umbel.fixups.connections import Connections, close_all

pytestmark = pytest.mark.usefixtures("database")


@contextmanager
def looked_after(reuse_max: int | None = None) -> Iterator[Connections]:
    """Be a process that runs tasks."""
    found = Connections(reuse_max)
    found.look_after()
    try:
        yield found
    finally:
        signals.task_prerun.disconnect(found._before)
        signals.task_postrun.disconnect(found._after)
        connection_created.disconnect(found._created)


@contextmanager
def task_running(is_eager: bool = False, is_async: bool = False) -> Iterator[None]:
    """Send what is sent around a task."""
    request = SimpleNamespace(is_eager=is_eager)
    task = SimpleNamespace(name="task", request=request, is_async=is_async)
    about = {"task_id": "1", "task": task, "args": (), "kwargs": {}}
    signals.task_prerun.send(task, **about)
    yield
    signals.task_postrun.send(task, **about, retval=1, state="SUCCESS")


def run(work: Any = Book.objects.count, is_eager: bool = False, is_async: bool = False) -> None:
    with task_running(is_eager, is_async):
        work()


def is_open() -> bool:
    return connection.connection is not None


def close_here_and_of_coroutines() -> None:
    connection.close()
    SyncToAsync.single_thread_executor.submit(close_all).result(10)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    close_here_and_of_coroutines()
    yield
    close_here_and_of_coroutines()


@pytest.fixture
def age(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set CONN_MAX_AGE."""
    return lambda value: monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", value)


@pytest.mark.parametrize(("seconds", "kept"), [(0, False), (60, True), (None, True)])
def test_the_age_of_connections_counts(age: Any, seconds: int | None, kept: bool) -> None:
    age(seconds)
    with looked_after():
        run()
        assert is_open() == kept


def test_what_cannot_be_used_is_closed(age: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    age(None)
    with looked_after():
        run()
        first = connection.connection
        connection.errors_occurred = True
        run()
        assert connection.connection is first
        monkeypatch.setattr(connections["default"], "is_usable", lambda: False)
        connection.errors_occurred = True
        run()
        assert connection.connection is not first


def test_connections_are_checked_again_before_they_are_used(age: Any) -> None:
    age(None)
    with looked_after():
        run()
        connection.health_check_done = True
        run(lambda: None)
        assert not connection.health_check_done


@pytest.mark.parametrize("seconds", [0, None])
def test_connections_are_kept_for_so_many_tasks_as_the_setting_says(
    age: Any, seconds: int | None
) -> None:
    age(seconds)
    with looked_after(3):
        opened = []
        for _ in range(7):
            run()
            opened.append(is_open())
    assert opened == [True, True, False, True, True, False, True]


def test_calls_that_run_at_once_change_nothing(age: Any) -> None:
    age(0)
    Book.objects.count()
    with looked_after():
        run(is_eager=True)
        assert is_open()


def test_a_transaction_is_never_broken_off(age: Any) -> None:
    age(0)
    with looked_after(1), transaction.atomic():
        run()
        close_all()
        assert is_open()
        Book.objects.count()


def test_queries_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections["default"], "force_debug_cursor", True)
    with looked_after():
        for _ in range(3):
            run()
        assert len(connection.queries_log) == 1


def test_connections_of_coroutines_are_closed_where_they_were_opened(age: Any) -> None:
    def work() -> None:
        async def coroutine() -> int:
            return int(await Book.objects.acount())

        asyncio.run(coroutine())

    age(0)
    with looked_after():
        run(work, is_async=True)
        thread, opened = of_coroutines()
    assert thread != threading.get_ident()
    assert not opened


def of_coroutines() -> tuple[int, bool]:
    """Return the thread on which coroutines use the database, and whether it has a connection."""

    def look() -> tuple[int, bool]:
        return threading.get_ident(), is_open()

    SyncToAsync.single_thread_executor.submit(lambda: None).result(10)
    return asyncio.run(sync_to_async(look)())


@pytest.mark.parametrize("reuse_max", [None, 1])
def test_a_coroutine_reads_its_rows_to_the_end_while_others_begin_and_end(
    age: Any, reuse_max: int | None
) -> None:
    """They share a connection, which is closed when the last of them has ended."""

    async def read() -> list[str]:
        found = []
        with task_running(is_async=True):
            async for book in Book.objects.order_by("title").aiterator(chunk_size=1):
                found.append(str(book.title))
                with task_running(is_async=True):
                    await Book.objects.acount()
        return found

    age(0)
    titles = [f"Dune {number}" for number in range(3)]
    Book.objects.bulk_create(Book(title=title) for title in titles)
    connection.close()
    with looked_after(reuse_max):
        assert asyncio.run(read()) == titles
        _, opened = of_coroutines()
    assert not opened
    Book.objects.all().delete()


def test_a_broken_connection_of_coroutines_is_closed_though_others_run(
    age: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def find_it_broken() -> bool:
        await Book.objects.acount()
        await sync_to_async(break_it)()
        with task_running(is_async=True):
            return await sync_to_async(is_open)()

    def break_it() -> None:
        monkeypatch.setattr(connections["default"], "is_usable", lambda: False)
        connection.errors_occurred = True

    age(None)
    with looked_after(), task_running(is_async=True):
        assert not asyncio.run(find_it_broken())


def test_each_thread_counts_its_own_tasks(age: Any) -> None:
    age(None)
    opened: list[bool] = []

    def other() -> None:
        run()
        opened.append(is_open())
        connection.close()

    with looked_after(2):
        run()
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        opened.append(is_open())
        run()
        opened.append(is_open())
    assert opened == [True, True, False]


def test_caches_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    monkeypatch.setattr(caches["default"], "close", lambda **_: closed.append(1), raising=False)
    with looked_after():
        run()
    assert closed == [1]


def test_all_are_closed_before_a_process_forks(age: Any) -> None:
    age(None)
    app, other = (Umbel("proj", broker="memory://") for _ in range(2))
    instance = SimpleNamespace(hostname="w@h", app=app)
    signals.celeryd_init.send("w@h", instance=instance, conf=app.conf, options={})
    Book.objects.count()
    other.finalize()
    assert is_open()
    app.finalize()
    assert not is_open()
    Book.objects.count()
    signals.worker_before_create_process.send(None)
    assert not is_open()


def test_a_process_that_runs_tasks_looks_after_the_current_app_alone() -> None:
    app, other = (Umbel("proj", broker="memory://") for _ in range(2))
    before = signals.task_postrun.receivers
    signals.worker_process_init.send(None)
    (receiver,) = [one for one in signals.task_postrun.receivers if one not in before]
    fixups = [one.integrations._made[0] for one in (app, other)]
    assert [one._connections is None for one in fixups] == [True, False]
    signals.worker_process_init.send(None)
    assert len(signals.task_postrun.receivers) == len(before) + 1
    signals.task_postrun.disconnect(receiver)
    signals.task_prerun.disconnect(fixups[1]._connections._before)
