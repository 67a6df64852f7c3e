"""`umbel.contrib.testing`: what Celery has under these names."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.conftest import ManualClock
from umbel import Umbel, current_app, shared_task, signals
from umbel.contrib.testing import tasks
from umbel.contrib.testing import worker as of_worker
from umbel.contrib.testing.app import (
    DEFAULT_TEST_CONFIG,
    TestApp,
    Trap,
    UnitLogging,
    set_trap,
    setup_default_app,
)
from umbel.contrib.testing.manager import Manager, Sentinel
from umbel.contrib.testing.mocks import (
    ContextMock,
    TaskMessage,
    TaskMessage1,
    task_message_from_sig,
)
from umbel.contrib.testing.worker import TestWorkController, start_worker
from umbel.engines.memory.space import _spaces
from umbel.exceptions import ImproperlyConfigured, OperationalError, TimeoutError
from umbel.log import Logging

# Apps


def test_an_app_for_a_test() -> None:
    app = TestApp(config={"task_default_queue": "mine"})
    assert app.conf.task_default_queue == "mine"
    assert app.conf.broker_url == app.conf.result_backend
    assert app.conf.broker_url != TestApp().conf.broker_url
    assert isinstance(app.log, UnitLogging)
    assert app.log.already_setup
    assert type(TestApp(enable_logging=True).log) is Logging
    assert tasks.ping.name in app.tasks


def test_a_place_that_is_given_counts() -> None:
    assert TestApp(broker="memory://a", backend="memory://b").conf.broker_url == "memory://a"
    app = TestApp(config=DEFAULT_TEST_CONFIG)
    assert (app.conf.broker_url, app.conf.result_backend) == ("memory://", "memory://")
    theirs = TestApp(config={"broker_url": "memory://", "result_backend": "cache+memory://"})
    with start_worker(theirs):  # it pings
        pass


def test_what_was_current_is_so_again(app: Umbel) -> None:
    app.set_default()
    made = TestApp()
    with setup_default_app(made):
        made.set_default()
        made.set_current()
        made.send_task("somewhere.else")
        name = str(made.conf.broker_url).removeprefix("memory://")
        assert name in _spaces
    assert current_app._get_current_object() is app
    assert name not in _spaces


def test_a_trap(app: Umbel) -> None:
    with set_trap(app), pytest.raises(RuntimeError, match=r"depends on current_app.*'conf'"):
        _ = current_app.conf
    assert Trap()._is_coroutine is None


# Workers


def test_a_worker_and_its_signals(app: Umbel, new_threads: Callable[[], list[str]]) -> None:
    heard: list[Any] = []

    def hear(sender: Any = None, signal: Any = None, **facts: Any) -> None:
        heard.append((signal.name, sender, facts.get("worker")))

    three = ("test_worker_starting", "test_worker_started", "test_worker_stopped")
    for name in three:
        getattr(of_worker, name).connect(hear)
    with start_worker(app) as running:
        assert isinstance(running, TestWorkController)
        running.ensure_started()
        assert running.hostname.startswith("gen")
        assert current_app._get_current_object() is app
    assert heard == [
        ("test_worker_starting", app, None),
        ("test_worker_started", app, running),
        ("test_worker_stopped", app, running),
    ]
    assert new_threads() == []


def test_celerys_arguments(app: Umbel) -> None:
    with start_worker(
        app,
        concurrency=2,
        pool="threads",
        queues="a,b,c",
        exclude_queues=["c"],
        hostname="me@here",
        without_heartbeat=True,
        without_gossip=True,
        ping_task_timeout=5,
    ) as running:
        assert (running.queues, running.hostname, running.concurrency) == (
            ("a", "b"),
            "me@here",
            2,
        )
    with start_worker(app, concurrency=4) as running:
        # What one worker consumed from says nothing about the next; solo is one thread.
        assert (running.queues, running.concurrency) == (("celery",), 1)


def test_an_argument_that_there_is_not(app: Umbel) -> None:
    with pytest.raises(TypeError, match=r"no argument 'queus'\. Did you mean 'queues'"):
        start_worker(app, queus="a").__enter__()
    with pytest.raises(ImproperlyConfigured, match="no executor 'sollo'"):
        start_worker(app, pool="sollo").__enter__()
    with (
        pytest.warns(UserWarning, match="time_limit=3 has no effect"),
        start_worker(app, time_limit=3),
    ):
        pass
    with (
        pytest.warns(UserWarning, match="no executor 'prefork'"),
        start_worker(app, pool="prefork", concurrency=2) as running,
    ):
        assert running.concurrency == 2


def test_a_worker_without_results() -> None:
    app = Umbel("proj", broker="memory://no-results")
    with start_worker(app) as running:
        assert running.app is app


def test_a_broker_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, new_threads: Callable[[], list[str]]
) -> None:
    app = Umbel("proj", broker="memory://deaf")

    def refuse(*_: Any) -> None:
        raise OperationalError("nobody is there")

    monkeypatch.setattr(type(app.broker), "consumer", refuse)
    with pytest.raises(OperationalError, match=r"did not answer within 0\.05 s"):
        TestWorkController(app).start(timeout=0.05)
    assert new_threads() == []


def test_a_log_file_and_a_level(app: Umbel, tmp_path: Path) -> None:
    file = tmp_path / "worker.log"
    before = logging.getLogger().handlers[:], logging.getLogger("umbel").level
    root = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    with start_worker(app, loglevel="INFO", logfile=str(file)):
        pass
    logging.getLogger().setLevel(root)
    assert "celery.ping" in file.read_text()
    assert (logging.getLogger().handlers, logging.getLogger("umbel").level) == before


def test_the_log_of_a_test_is_left_alone(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    @app.task(name="fail")
    def fail() -> None:
        raise ValueError("boom")

    with start_worker(app):
        fail.delay().get(propagate=False, timeout=10)
    assert any("fail" in line and "boom" in line for line in caplog.messages)


def test_a_module_that_is_imported_again(app: Umbel) -> None:
    with start_worker(app) as running:
        running.reload(["json"])
        seen: list[Any] = []
        running.reload(["json"], reload=True, reloader=seen.append)
        assert [one.__name__ for one in seen] == ["json"]


def test_an_error_of_a_receiver_does_not_stop_the_worker(app: Umbel) -> None:
    def fail(**_: Any) -> None:
        raise ValueError("boom")

    signals.worker_process_init.connect(fail)
    with start_worker(app):
        pass
    signals.worker_process_init.disconnect(fail)


# Mocks


def test_messages() -> None:
    two = TaskMessage("add", id="i", args=(1, 2), kwargs={"x": 3}, shadow="s", retries=2)
    assert two.headers == {"id": "i", "task": "add", "shadow": "s", "retries": 2}
    assert (two.content_type, two.content_encoding) == ("application/json", "utf-8")
    embed = '{"callbacks":null,"errbacks":null,"chain":null}'
    assert two.body.replace(" ", "") == f'[[1,2],{{"x":3}},{embed}]'
    two.ack()
    two.ack.assert_called_once_with()
    one = TaskMessage1("add", id="i", args=(1,), retries=2)
    assert (one.headers, one.payload["retries"], one.payload["kwargs"]) == ({}, 2, {})


def test_a_message_of_a_signature(app: Umbel) -> None:
    class Sig:
        task, id, args, kwargs = "add", "i", (1,), {"y": 2}
        options: ClassVar = {
            "countdown": 60,
            "expires": 90,
            "link": [{"task": "then"}],
            "queue": "q",
        }

        def freeze(self) -> None: ...

    message = task_message_from_sig(app, Sig())
    assert message.payload[2]["callbacks"] == [{"task": "then"}]
    eta, expires = (datetime.fromisoformat(message.headers[name]) for name in ("eta", "expires"))
    assert 29 < (expires - eta).total_seconds() < 31
    assert message.headers["queue"] == "q"


def test_a_context() -> None:
    made = ContextMock(x=1)
    with made as given:
        assert given is made
    made.__exit__.assert_called_once_with(None, None, None)
    with pytest.raises(ValueError, match="boom"), ContextMock():
        raise ValueError("boom")


# Managers


@pytest.fixture
def manager(memory: str, clock: ManualClock) -> Manager:
    return Manager(Umbel("proj", broker=memory, backend=memory, clock=clock))


def missing() -> None:
    raise KeyError("x")


def test_waiting(manager: Manager, clock: ManualClock) -> None:
    tries: list[int] = []

    def third() -> str:
        tries.append(1)
        if len(tries) < 3:
            raise Sentinel
        return "there"

    begun = clock.now
    assert manager.wait_for(third, Sentinel) == "there"
    assert round(clock.now - begun, 3) == 0.7  # 0.1 and 0.6
    with pytest.raises(KeyError):
        manager.wait_for(missing, KeyError, max_retries=2)
    with pytest.raises(AssertionError, match="should not have happened: it"):
        manager.ensure_not_for_a_while(lambda: None, Sentinel, desc="it")
    manager.ensure_not_for_a_while(missing, KeyError)


def test_states_and_results(app: Umbel) -> None:
    manager = Manager(app)

    @shared_task(name="echo")
    def echo(x: int) -> int:
        return x

    with start_worker(app):
        results = [app.send_task("echo", (n,)) for n in range(3)]
        assert manager.join(results, timeout=10) == [0, 1, 2]
        assert manager.join(results[0], timeout=10) == [0]
        manager.assert_result_tasks_in_progress_or_completed(results)
        assert manager.missing_results(results) == []
    never = app.send_task("echo", (1,))
    assert manager.missing_results([never]) == [never.id]
    with pytest.raises(AssertionError, match="have no result"):
        manager.join(never, timeout=0, max_retries=2)
    assert issubclass(TimeoutError, Exception)


def test_what_needs_remote_control_says_so(manager: Manager) -> None:
    if hasattr(manager.app.control, "inspect"):
        pytest.skip("remote control is there")
    with pytest.raises(AttributeError, match="remote control"):
        manager.assert_accepted(["id"])
