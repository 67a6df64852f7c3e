"""Bootsteps: their order, when each method is called, and what they find."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.each import for_each
from umbel import Umbel, bootsteps
from umbel.absent import NotThere
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.steps import StepConsumer, Steps, StepWorker, ordered

Calls = list[tuple[str, str]]


class Noted(bootsteps.StartStopStep):
    """A step that writes down which of its methods are called."""

    calls: Calls

    def note(self, method: str) -> None:
        self.calls.append((self.alias, method))

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.parent, self.options = parent, options
        self.note("init")

    def create(self, parent: Any) -> Any:
        self.note("create")

    def start(self, parent: Any) -> None:
        self.note("start")

    def close(self, parent: Any) -> None:
        self.note("close")

    def stop(self, parent: Any) -> None:
        self.note("stop")

    def terminate(self, parent: Any) -> None:
        self.note("terminate")


@pytest.fixture
def calls() -> Iterator[Calls]:
    found: Calls = []
    Noted.calls = found
    yield found
    del Noted.calls


@pytest.fixture
def stops() -> list[float | None]:
    return []


@pytest.fixture
def steps(app: Umbel, stops: list[float | None]) -> Steps:
    return Steps(app, "celery@host", stops.append)


def test_steps_start_in_order_and_stop_in_reverse(app: Umbel, steps: Steps, calls: Calls) -> None:
    class First(Noted):
        requires = ("celery.worker.components:Timer", "celery.worker.components:Beat")

    class Second(Noted):
        requires = (First,)

    class Taking(Noted):
        requires = ("celery.worker.consumer:Connection",)

        def shutdown(self, parent: Any) -> None:
            self.note("shutdown")

    app.steps["worker"].update([Second, First])
    app.steps["consumer"].add(Taking)
    steps.make({"fast": True})
    made = [(name, method) for name in ("First", "Second") for method in ("init",)]
    made += [(name, "create") for name in ("First", "Second")]
    assert calls == [*made, ("Taking", "init"), ("Taking", "create")]
    calls.clear()
    with steps.running(lambda: False):
        assert calls == [("First", "start"), ("Second", "start")]
        steps.start_consumer()
        assert calls.pop() == ("Taking", "start")
        calls.clear()
        for _ in range(2):  # it may be told more than once
            steps.close()
        assert calls == [
            ("Taking", "close"),
            ("Taking", "stop"),
            ("First", "close"),
            ("Second", "close"),
        ]
        calls.clear()
    assert calls == [("Taking", "shutdown"), ("Second", "stop"), ("First", "stop")]


def test_a_cold_end_terminates(app: Umbel, steps: Steps, calls: Calls) -> None:
    class One(Noted):
        pass

    app.steps["worker"].add(One)
    steps.make({})
    with steps.running(lambda: True):
        calls.clear()
    assert calls == [("One", "close"), ("One", "terminate")]


def test_what_is_created_is_started_and_stopped(app: Umbel) -> None:
    done: list[str] = []

    class Service:
        def start(self) -> None:
            done.append("start")

        def stop(self) -> None:
            done.append("stop")

    class One(bootsteps.StartStopStep):
        def create(self, parent: Any) -> Service:
            return Service()

    app.steps["worker"].add(One)
    for cold in (False, True):
        steps = Steps(app, "celery@host", print)
        steps.make({})
        with steps.running(lambda: cold):  # noqa: B023
            pass
    assert done == ["start", "stop"] * 2


def test_a_step_may_leave_itself_out(app: Umbel, steps: Steps, calls: Calls) -> None:
    class Out(Noted):
        enabled = False

    class Asked(Noted):
        def include_if(self, parent: Any) -> bool:
            return bool(self.options["wanted"])

    class Plain(bootsteps.Step):
        def create(self, parent: Any) -> None:
            parent.prepared = True

    app.steps["worker"].update([Out, Asked, Plain])
    steps.make({"wanted": False})
    assert [method for _, method in calls] == ["init", "init"]
    assert steps._worker.prepared is True
    with steps.running(lambda: False):
        assert [method for _, method in calls] == ["init", "init"]


def test_one_that_raises_at_its_end_holds_up_no_other(
    app: Umbel, steps: Steps, calls: Calls, caplog: pytest.LogCaptureFixture
) -> None:
    class First(Noted):
        pass

    class Broken(Noted):
        requires = (First,)

        def stop(self, parent: Any) -> None:
            raise ValueError("mine")

    app.steps["worker"].update([First, Broken])
    steps.make({})
    with steps.running(lambda: False):
        pass
    assert calls[-1] == ("First", "stop")
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "The method stop of the step" in record.getMessage()


def test_those_that_were_started_are_stopped_when_one_cannot_start(
    app: Umbel, steps: Steps, calls: Calls
) -> None:
    class First(Noted):
        pass

    class Broken(Noted):
        requires = (First,)

        def start(self, parent: Any) -> None:
            raise ValueError("mine")

    app.steps["worker"].update([First, Broken])
    steps.make({})
    with pytest.raises(ValueError, match="mine"), steps.running(lambda: False):
        raise AssertionError("it does not come so far")
    assert calls[-2:] == [("Broken", "stop"), ("First", "stop")]


def test_what_is_required_need_not_be_added() -> None:
    class Needed(bootsteps.Step):
        pass

    class Needy(bootsteps.Step):
        requires = (Needed, "Timer")

    class ByName(bootsteps.Step):
        requires = ("umbel.bootsteps:ConsumerStep",)

    assert ordered({Needy}) == [Needed, Needy]
    assert ordered({ByName}) == [bootsteps.ConsumerStep, ByName]
    assert ordered({"umbel.bootsteps:ConsumerStep"}) == [bootsteps.ConsumerStep]


class _Hub(bootsteps.Step):
    requires = ("celery.worker.components:Hub",)


class _Gossip(bootsteps.Step):
    requires = ("celery.worker.consumer:Gossip",)


class _Unknown(bootsteps.Step):
    requires = "celery.worker.components:Nothing"


class _Nameless(bootsteps.Step):
    requires = ("nowhere:Step",)


class _Ring(bootsteps.Step):
    pass


_Ring.requires = (_Ring,)


@for_each(
    ("step", "text"),
    [
        (
            _Hub,
            "_Hub requires celery.worker.components:Hub, which .* not have: its main process has no event",
        ),
        (_Gossip, "_Gossip requires celery.worker.consumer:Gossip, .* there are no events yet"),
        (
            _Unknown,
            "_Unknown requires celery.worker.components:Nothing, .* no step of Celery's has this",
        ),
        (_Nameless, "_Nameless requires nowhere:Step. There is no 'nowhere:Step'"),
        (_Ring, "These bootsteps require each other: .*_Ring"),
        (int, "app.steps has <class 'int'>, which is no class of umbel.bootsteps.Step"),
    ],
)
def test_what_cannot_be_required_is_named(step: Any, text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):
        ordered({step})


def test_what_steps_find(app: Umbel, steps: Steps, stops: list[float | None]) -> None:
    found: dict[str, Any] = {}

    class Worker(bootsteps.Step):
        def __init__(self, worker: StepWorker, **options: Any) -> None:
            found["worker"], found["options"] = worker, options

    class Consumer(bootsteps.Step):
        def __init__(self, c: StepConsumer, **options: Any) -> None:
            found["consumer"] = c

    app.steps["worker"].add(Worker)
    app.steps["consumer"].add(Consumer)
    steps.make({"concurrency": 3})
    worker, consumer = found["worker"], found["consumer"]
    assert found["options"] == {"concurrency": 3}
    assert (worker.app, worker.hostname, worker.consumer) == (app, "celery@host", consumer)
    assert (consumer.controller, consumer.timer) == (worker, worker.timer)
    assert consumer.connection.as_uri() == app.broker_url
    worker.stop()
    worker.terminate()
    assert stops == [None, 0.0]
    for parent, name, reason in (
        (worker, "hub", "has no hub: its main process has no event loop"),
        (worker, "pool", "has no pool: its child processes fetch and run tasks for themselves"),
        (consumer, "gossip", "has no gossip: there are no events yet"),
    ):
        assert not hasattr(parent, name)
        with pytest.raises(NotThere, match=reason):
            getattr(parent, name)
    with pytest.raises(AttributeError, match="StepWorker has no attribute 'nothing'"):
        _ = worker.nothing


def test_a_step_may_consume_with_what_it_makes(app: Umbel, steps: Steps) -> None:
    done: list[str] = []

    class Consumer:
        def consume(self) -> None:
            done.append("consume")

        def cancel(self) -> None:
            done.append("cancel")

    class Consuming(bootsteps.ConsumerStep):
        def get_consumers(self, channel: Any) -> list[Consumer]:
            done.append(channel.as_uri())
            return [Consumer()]

    app.steps["consumer"].add(Consuming)
    steps.make({})
    with steps.running(lambda: False):
        steps.start_consumer()
    assert done == [app.broker_url, "consume", "cancel", "cancel"]


def test_a_step_that_consumes_by_kombu_is_told(app: Umbel, steps: Steps) -> None:
    class Kombu(bootsteps.ConsumerStep):
        def get_consumers(self, channel: Any) -> Any:
            return channel.Consumer(queues=["mine"])

    app.steps["consumer"].add(Kombu)
    steps.make({})
    text = r"The step .*Kombu cannot consume: Connection\.Consumer is kombu's.* but umbel\.Consumer"
    with pytest.raises(ImproperlyConfigured, match=text), steps.running(lambda: False):
        steps.start_consumer()


def test_names_of_steps() -> None:
    class Own(bootsteps.StartStopStep):
        name = "mine"
        label = "short"

    class Other(bootsteps.StartStopStep):
        pass

    assert (Own.name, Own(None).alias, repr(Own(None))) == ("mine", "short", "<step: short>")
    assert Other.name.endswith("test_names_of_steps.<locals>.Other")
    assert Other(None).alias == "Other"
    assert Other(None).instantiate("umbel.bootsteps.Step", None).info(None) is None
    assert isinstance(Other(None).instantiate(dict, a=1), dict)
    with pytest.raises(NotImplementedError, match="has no method get_consumers"):
        bootsteps.ConsumerStep(None).get_consumers(None)
