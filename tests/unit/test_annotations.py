"""``task_annotations``, as Celery 5.7.0 was seen to apply them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from umbel import Task, Umbel
from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured


class OfTask:
    def annotate(self, task: Any) -> Mapping[str, Any] | None:
        return {"rate_limit": "1/s"} if task.name == "t" else None


class OfAny:
    def annotate_any(self) -> Mapping[str, Any]:
        return {"queue": "any"}


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return "around", function(*args, **kwargs)

    return wrapper


def annotated(memory: str, annotations: Any, **options: Any) -> Task[..., Any]:
    app = Umbel(broker=memory, backend=memory, task_annotations=annotations)

    @app.task(name="t", bind=True, **options)
    def work(self: Task[..., Any], x: int = 1) -> int:
        return x

    app.finalize()
    return work


@pytest.mark.parametrize(
    ("annotations", "rate_limit", "queue"),
    [
        (None, None, None),
        ({"t": {"rate_limit": "1/s"}}, "1/s", None),
        ({"other": {"rate_limit": "1/s"}}, None, None),
        ({"t": {"rate_limit": "1/s", "queue": "own"}, "*": {"rate_limit": "2/s"}}, "2/s", "own"),
        ([{"t": {"rate_limit": "1/s"}}, {"t": {"queue": "second"}}], "1/s", None),
        ([{"other": {"rate_limit": "3/s"}}, OfTask(), OfAny()], "1/s", "any"),
        (OfTask(), "1/s", None),
        ([f"{__name__}:OfTask", f"{__name__}.OfAny"], "1/s", "any"),
    ],
)
def test_where_annotations_come_from(
    memory: str, annotations: Any, rate_limit: str | None, queue: str | None
) -> None:
    task = annotated(memory, annotations)
    assert (task.rate_limit, task.queue) == (rate_limit, queue)


def test_they_go_before_the_decorators_options(memory: str) -> None:
    assert annotated(memory, {"t": {"queue": "b"}}, queue="a").queue == "b"


def test_functions_become_methods(memory: str) -> None:
    failed: list[Any] = []

    def on_failure(self: Task[..., Any], *arguments: Any) -> None:
        failed.append((self.name, arguments[0]))

    task = annotated(memory, {"t": {"on_failure": on_failure, "autoretry_for": (OSError,)}})
    result = task.apply((1, 2, 3))
    assert failed == [("t", result.result)]
    assert task.autoretry(ValueError()) is None


def test_methods_may_be_wrapped(memory: str) -> None:
    task = annotated(memory, {"t": {"@run": around, "@__call__": around}})
    assert task.run(3) == ("around", 3)
    assert task(3) == ("around", ("around", 3))
    assert task.apply((3,)).get() == ("around", ("around", 3))
    task.annotate()
    assert task.run(3) == ("around", 3)  # once, however often it is annotated


def test_a_function_without_self_stays_one(memory: str) -> None:
    app = Umbel(broker=memory, task_annotations={"t": {"@run": around}})

    @app.task(name="t")
    def work(x: int) -> Any:
        return x

    assert work.apply((3,)).get() == ("around", 3)


def test_later_tasks_are_annotated_too(memory: str) -> None:
    app = Umbel(broker=memory, task_annotations={"*": {"queue": "q"}})
    assert "t" not in app.tasks

    class Late(Task[..., Any]):
        name = "late"

    assert app.task(name="t")(print).queue == "q"
    assert app.register_task(Late).queue == "q"


@pytest.mark.parametrize("annotations", [{"t": 5}, {"*": ["queue"]}])
def test_what_is_no_mapping_is_refused(memory: str, annotations: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="but must have a mapping of attributes"):
        annotated(memory, annotations)


@pytest.mark.parametrize("path", ["nowhere:A", "os:nothing", "os", "nowhere.A"])
def test_a_name_of_nothing(path: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"There is no '{path}'"):
        named(path)
    assert named("os.path:join") is named("os.path.join")
