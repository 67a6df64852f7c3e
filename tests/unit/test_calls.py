"""Calls that are sent by name, from within tasks, and with Celery's options that mean nothing here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import calls, messages, only_call
from tests.unit.worker.support import delivery_of
from umbel import Task, Umbel
from umbel.exceptions import AlwaysEagerIgnored
from umbel.outcomes import Success
from umbel.worker.execute import Runner

Made = Task[..., Any]


# By name


def test_a_task_that_nobody_knows_here_is_sent(app: Umbel) -> None:
    result = app.send_task("a.b", [1], {"k": 2}, queue="q", task_id="i", priority=3)
    (message,) = messages(app, "q")
    assert result.id == "i"
    assert message.headers["task"] == "a.b"
    assert message.headers["ignore_result"] is None
    assert message.properties["priority"] == 3
    call = only_call(app, "q")
    assert (call.args, call.kwargs) == ([1], {"k": 2})


def test_what_is_known_of_a_task_counts_too_but_its_signature(app: Umbel) -> None:
    @app.task(name="t", queue="q", time_limit=5, priority=2, shadow_name=lambda *_: "no")
    def work() -> None: ...

    app.send_task("t", (1, 2), time_limit=7)
    (message,) = messages(app, "q")
    assert message.headers["timelimit"] == [7, None]
    assert message.headers["shadow"] is None
    assert message.properties["priority"] == 2
    assert only_call(app, "q").args == [1, 2]


def test_mistakes_are_refused(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"send_task has no option 'coutdown'.*'countdown'"):
        app.send_task("t", coutdown=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="The arguments of a call must be a list or a tuple"):
        app.send_task("t", "ab")
    with pytest.raises(TypeError, match="The keyword arguments of a call must be a mapping"):
        app.send_task("t", (), [1])  # type: ignore[arg-type]


def test_task_always_eager_has_no_effect(app: Umbel) -> None:
    app.conf.task_always_eager = True
    with pytest.warns(AlwaysEagerIgnored, match="task_always_eager has no effect on send_task"):
        app.send_task("t")
    assert len(calls(app)) == 1


# Options without an effect


@pytest.mark.parametrize("name", ["producer", "publisher", "connection", "router", "mandatory"])
def test_an_option_without_a_meaning_says_so_once(
    app: Umbel, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: Any = {name: object()}
    for _ in range(2):
        app.send_task("t", **options)
    assert len(calls(app)) == 2
    assert caplog.text.count(f"The option {name} has no meaning here") == 1
    options[name] = None
    app.send_task("t", **options)


@pytest.mark.parametrize("name", ["link", "link_error", "chain"])
def test_what_follows_is_checked_where_it_is_written(app: Umbel, name: str) -> None:
    task = app.task(name="t")(lambda: None)
    wrong: Any
    for wrong in ("t", [task], {"task": 5}, {"task": "t", "args": 1}, object()):
        with pytest.raises(TypeError, match=rf"{name} is .*, but must be a signature"):
            task.apply_async(**{name: wrong})
    misspelt: Any = {name: [task.s().set(countdwn=3)]}
    with pytest.raises(TypeError, match=r"of t has no option 'countdwn'.*Did you mean 'countdown'"):
        task.apply_async(**misspelt)
    assert calls(app) == []
    task.apply_async(**{name: None})  # type: ignore[arg-type]


# Names for logs


def test_a_task_may_say_what_it_is_called_in_logs(app: Umbel) -> None:
    def shadow_name(task: Made, args: Any, kwargs: Any, options: Any) -> str:
        return f"{task.name} {args} {kwargs} {options.get('queue')}"

    @app.task(name="t", shadow_name=shadow_name)
    def work(x: int, y: int = 0) -> None: ...

    work.apply_async((1,), {"y": 2}, queue="q")
    work.apply_async((1,), shadow="own", queue="q")
    assert [call.shadow for call in calls(app, "q")] == ["t (1,) {'y': 2} q", "own"]


# Children and parents


@pytest.fixture
def leaf(app: Umbel) -> Made:
    def leaf() -> None: ...

    made: Made = app.task(name="leaf")(leaf)
    return made


def test_what_a_task_calls_are_its_children(app: Umbel, leaf: Made) -> None:
    @app.task(bind=True)
    def parent(self: Made) -> Any:
        sent = [leaf.delay(), *leaf.delay_many([(), ()]), app.send_task("unknown")]
        leaf.apply_async(add_to_parent=False)
        noted = self.add_trail("own")
        return self.request.children == [*sent, noted]

    assert parent.apply().get() is True


def test_a_task_may_keep_no_trail(app: Umbel, leaf: Made) -> None:
    @app.task(bind=True, trail=False)
    def parent(self: Made) -> Any:
        leaf.delay()
        self.add_trail("own")
        return self.request.children

    assert parent.apply().get() == []


def test_a_worker_notes_children_too(app: Umbel, leaf: Made) -> None:
    @app.task(bind=True)
    def parent(self: Made) -> Any:
        return [leaf.delay().id], [child.id for child in self.request.children]

    runner = Runner(app, "h")
    outcome = runner.run(runner.prepare(delivery_of(parent))).outcome
    assert isinstance(outcome, Success)
    assert outcome.value[0] == outcome.value[1]
    runner.close()


@pytest.mark.parametrize(
    ("setting", "options", "expected"),
    [(False, {}, None), (True, {}, 7), (True, {"priority": 2}, 2)],
)
def test_a_parents_priority_may_be_inherited(
    app: Umbel, leaf: Made, setting: bool, options: Any, expected: int | None
) -> None:
    app.conf.task_inherit_parent_priority = setting

    @app.task
    def parent() -> None:
        leaf.apply_async(**options)

    parent.apply(priority=7)
    (message,) = messages(app)
    assert message.properties.get("priority") == expected
