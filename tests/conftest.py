"""What tests of all kinds share: an app in memory, a clock that a test moves, and what was sent."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.places import own_runtime_directory
from umbel import Umbel, current, registry
from umbel.clock import unique_id
from umbel.engines.memory.space import forget_space
from umbel.message import Call, Message, decode
from umbel.options import warn_once

# What is about processes, signals, user ids and terminals of Unix; Windows cannot even import it.
if not hasattr(os, "fork"):
    collect_ignore = [
        "cli",
        "docs",
        "e2e",
        "faults",
        "interop",
        "django/test_worker.py",
        *(f"unit/worker/test_{name}.py" for name in ("nodes", "processes", "stops")),
    ]

# No example may fail because the machine is busy: speed is measured elsewhere.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# Who is started in the background may have to ignore Ctrl+C, and so would all processes that tests start
# and end by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let the garbage collector leave alone what all tests are made of.

    Ten thousand tests are millions of objects, which stay. It would go through them again and again while
    they are made, which is most of the time that this takes, and later for each test that asks for it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _apart_from_other_tests() -> Iterator[None]:
    with own_runtime_directory():
        yield


class ManualClock:
    """A clock that a test moves. Its past is long over for the engines, which ask the system."""

    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(autouse=True)
def _no_current_app() -> Iterator[None]:
    """Let no test see the app that another one made current."""
    before = current._default_app[:]
    current._default_app.clear()
    yield
    current._default_app[:] = before


@pytest.fixture(autouse=True)
def _no_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test see tasks that another one shared, or the import of its module."""
    monkeypatch.setattr(registry, "_shared", {})
    current.set_current_app(None)


@pytest.fixture(autouse=True)
def _nothing_said_yet() -> None:
    """Let each test hear the warnings that a process gives once."""
    warn_once.cache_clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape halves of characters in what a test logged: reports travel between processes as UTF-8."""
    report = yield
    report.sections = [
        (title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections
    ]
    return report


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a memory engine with nothing in it."""
    name = unique_id()
    yield f"memory://{name}"
    forget_space(name)


@pytest.fixture
def app(memory: str) -> Umbel:
    """An app whose messages and results are in memory."""
    return Umbel("proj", broker=memory, backend=memory)


def messages(app: Umbel, queue: str = "celery") -> list[Message]:
    """Return what waits in a queue, in the order in which it will be delivered."""
    return [found.message for found in app.queues.peek(queue, 1000)]


def calls(app: Umbel, queue: str = "celery") -> list[Call]:
    """Return what waits in a queue as calls."""
    return [decode(message, ("json",)) for message in messages(app, queue)]


def only_call(app: Umbel, queue: str = "celery") -> Call:
    """Return the one call that waits in a queue."""
    (found,) = calls(app, queue)
    return found
