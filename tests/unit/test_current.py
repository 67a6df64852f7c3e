from __future__ import annotations

import asyncio
import threading

import pytest

from umbel import Umbel, current_app, current_task
from umbel.current import get_current_app, running, set_current_app
from umbel.request import Request


def test_without_an_app_the_error_says_how_to_make_one() -> None:
    with pytest.raises(RuntimeError, match=r"There is no app yet\. Make one first"):
        get_current_app()


def test_the_latest_app_is_current_in_every_thread() -> None:
    Umbel("one")
    latest = Umbel("two")
    Umbel("three", set_as_current=False)
    found: list[Umbel] = []
    thread = threading.Thread(target=lambda: found.append(get_current_app()))
    thread.start()
    thread.join()
    assert found == [latest]
    assert get_current_app() is latest


def test_a_thread_may_have_an_app_of_its_own() -> None:
    latest, own = Umbel("latest"), Umbel("own", set_as_current=False)
    found: list[Umbel] = []

    def work() -> None:
        own.set_current()
        found.append(get_current_app())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [own]
    assert get_current_app() is latest
    own.set_current()
    assert get_current_app() is own
    set_current_app(None)
    assert get_current_app() is latest


def test_a_coroutine_may_have_an_app_of_its_own() -> None:
    latest, own = Umbel("latest"), Umbel("own", set_as_current=False)

    async def choose() -> Umbel:
        own.set_current()
        return get_current_app()

    async def main() -> tuple[Umbel, Umbel]:
        return await asyncio.create_task(choose()), get_current_app()

    assert asyncio.run(main()) == (own, latest)


def test_current_app_passes_on_to_the_app_of_the_moment() -> None:
    Umbel("one")
    assert current_app.main == "one"
    two = Umbel("two")
    assert current_app.main == "two"
    assert repr(current_app) == f"<current app: {two!r}>"


def test_no_task_is_current_outside_of_one() -> None:
    Umbel("one")
    assert not current_task
    with pytest.raises(AttributeError, match="No task runs here, so current_task has no 'name'"):
        _ = current_task.name


def test_the_running_task_is_current() -> None:
    app = Umbel("one")

    @app.task(name="t")
    def work() -> bool:
        return bool(current_task)

    token = running.set(Request(id="i", task="t", called_directly=False))
    try:
        assert current_task
        assert current_task.name == "t"
        assert current_task.request.id == "i"
    finally:
        running.reset(token)
    assert work() is True  # as in Celery: a task that is called as a function runs too
