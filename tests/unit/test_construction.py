"""The arguments of Celery's app: each works or says once that it has no meaning."""

from __future__ import annotations

import types
from typing import Any

import pytest

from tests.conftest import only_call
from umbel import Task, Umbel
from umbel.construction import taken_from


@pytest.mark.parametrize("name", ["loader", "amqp", "events", "control"])
def test_what_has_no_meaning_says_so_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        given: Any = {name: "proj:Something"}
        Umbel(set_as_current=False, **given)
    assert caplog.text.count(f"The argument {name} of an app has no meaning here") == 1


def test_what_is_not_given_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    given: dict[str, Any] = {"loader": None, "fixups": [], "autofinalize": True, "queue": 1}
    taken_from(given)
    assert given == {"queue": 1}
    assert caplog.text == ""


def test_autofinalize(caplog: pytest.LogCaptureFixture) -> None:
    Umbel(set_as_current=False, autofinalize=False)
    assert "autofinalize=False of an app has no meaning here" in caplog.text


def test_changes_are_settings(memory: str) -> None:
    changes = {"task_default_queue": "changed", "timezone": "Europe/Paris"}
    app = Umbel(broker=memory, changes=changes, timezone="Asia/Tokyo", set_as_current=False)
    assert (app.conf.task_default_queue, app.conf.timezone) == ("changed", "Asia/Tokyo")


def test_a_source_of_settings(memory: str) -> None:
    source = types.SimpleNamespace(task_default_queue="source", broker_url="memory://other")
    app = Umbel(broker=memory, config_source=source, set_as_current=False)
    assert (app.conf.task_default_queue, app.broker_url) == ("source", memory)


def test_a_namespace_is_that_of_later_sources_too(memory: str) -> None:
    source = types.SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="source", task_default_queue="no")
    app = Umbel(broker=memory, namespace="CELERY", set_as_current=False)
    app.config_from_object(source)
    assert app.conf.task_default_queue == "source"


def test_a_source_that_does_not_exist(memory: str) -> None:
    app = Umbel(
        broker=memory, config_source="nowhere", config_source_silent=True, set_as_current=False
    )
    assert app.conf.task_default_queue == "celery"
    with pytest.raises(ImportError):
        _ = Umbel(config_source="nowhere", set_as_current=False).conf.task_default_queue


def test_tasks(app: Umbel) -> None:
    class Mine(Task[..., int]):
        name = "mine"

        def run(self) -> int:
            return 1

    other = Umbel(tasks={"mine": Mine()}, set_as_current=False)
    assert other.tasks["mine"]() == 1
    assert other.tasks["mine"].app is other


def test_strict_typing(memory: str) -> None:
    app = Umbel(broker=memory, strict_typing=False)

    @app.task(name="free")
    def free(x: int) -> None: ...

    @app.task(name="strict", typing=True)
    def strict(x: int) -> None: ...

    @Umbel(broker=memory).task(typing=False)
    def also_free(x: int) -> None: ...

    free.delay(1, 2)  # type: ignore[call-arg]
    assert only_call(app).args == [1, 2]
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        strict.delay(1, 2)  # type: ignore[call-arg]
    also_free.delay()  # type: ignore[call-arg]


def test_a_subclass_hears_when_it_is_made() -> None:
    class App(Umbel):
        def on_init(self) -> None:
            self.heard = True

    assert App(set_as_current=False).heard


@pytest.mark.parametrize(
    ("written", "meant"), [("brokr", "broker"), ("backends", "backend"), ("task_clss", "task_cls")]
)
def test_a_slip_in_an_argument_is_told(written: str, meant: str) -> None:
    given: dict[str, Any] = {written: "memory://"}
    with pytest.raises(TypeError, match=rf"no argument '{written}'\. Did you mean '{meant}'\?"):
        Umbel(set_as_current=False, **given)


def test_a_setting_of_a_plugin_is_no_slip() -> None:
    assert Umbel(set_as_current=False, blog=1, beat_dburi="x").conf["blog"] == 1
