"""What must hold in a process where ``celery`` is umbel: run by test_alias.py in interpreters of their own.

``python -m tests.alias.inside installed`` calls `install_as_celery` first, ``distribution`` finds the
packages of umbel-as-celery on its path. It prints, for each check below, what was raised, or nothing.
"""

# mypy: disable-error-code="import-untyped,attr-defined,comparison-overlap,untyped-decorator"

from __future__ import annotations

import importlib
import importlib.util
import json
import pickle
import pkgutil
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

Check = Callable[[], None]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    CHECKS.append(function)
    return function


@check
def threads_that_import_at_once_get_one_module() -> None:
    """Stands first: nothing below celery is imported yet, of the distribution not even celery."""
    start = threading.Barrier(8)
    found: list[Any] = []

    def get() -> None:
        start.wait()
        import celery.app.trace

        from celery import Celery

        found.append((sys.modules["celery.app.trace"], celery.app.trace, Celery))

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trace, umbel = sys.modules["umbel.trace"], sys.modules["umbel"]
    assert found == [(trace, trace, umbel.Celery)] * 8
    assert trace.__spec__ is not None
    assert trace.__spec__.name == "umbel.trace"


@check
def a_module_is_the_very_one_under_both_names() -> None:
    import celery.app.trace

    import umbel.trace

    assert sys.modules["celery.app.trace"] is sys.modules["umbel.trace"]
    assert celery.app.trace is umbel.trace
    assert importlib.import_module("celery.app.trace") is umbel.trace


@check
def a_patch_hits_the_code_that_runs() -> None:
    import umbel.exceptions

    module = importlib.import_module("celery.exceptions")
    before = module.Retry
    try:
        module.Retry = module.Ignore
        assert umbel.exceptions.Retry is umbel.exceptions.Ignore
    finally:
        module.Retry = before


@check
def a_patch_of_what_was_there_before_hits_the_code_that_runs() -> None:
    """A thread may hold the distribution's own module, if it asked for it while another one imported it."""
    import umbel.states
    from umbel.alias import take_the_place_of

    now = sys.modules.get("celery.states")
    before = sys.modules["celery.states"] = ModuleType("celery.states")
    vars(before)["__getattr__"] = take_the_place_of("celery.states")
    assert sys.modules["celery.states"] is umbel.states
    before.STARTED = "BEGUN"
    assert umbel.states.STARTED == before.STARTED == "BEGUN"
    before.STARTED = "STARTED"
    assert umbel.states.STARTED == before.STARTED == "STARTED"
    before.more = 1
    assert umbel.states.more == 1
    del before.more
    assert not hasattr(umbel.states, "more")
    assert now in (None, umbel.states)


@check
def all_rows_are_modules_of_umbel_with_umbels_names() -> None:
    from umbel.alias.table import TABLE

    for name, target in TABLE.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # A package that is not installed where this runs is no matter of the table.
            assert str(error.name) == "pytest" or name.startswith(str(error.name)), error  # noqa: PT017
            continue
        assert module is sys.modules[target], name
        assert module.__name__ == target
        assert module.__spec__ is not None
        assert module.__spec__.name == target


@check
def submodules_are_attributes() -> None:
    import celery
    import celery.utils.log
    import kombu.utils.uuid
    from celery import app, signals, states
    from celery.utils import time as times
    from kombu.utils import uuid

    import umbel.states

    assert states is umbel.states is celery.states
    assert signals is umbel.signals
    assert app.task.Task is umbel.Task
    assert times is importlib.import_module("celery.utils.time")
    assert sys.modules["celery.states"] is states
    assert len(uuid()) == 36
    assert umbel.app.Umbel is umbel.Umbel, "the alias must set nothing on umbel itself"


@check
def it_can_be_looked_for_without_importing() -> None:
    found = importlib.util.find_spec("celery")
    assert found is not None
    assert importlib.util.find_spec("celery.app.amqp") is not None
    assert importlib.util.find_spec("no_such_package_at_all") is None
    assert importlib.util.find_spec("celery.no_such_module") is None
    assert importlib.util.find_spec("celery.loaders") is None


@check
def the_packages_can_be_walked() -> None:
    import celery

    found = {module.name for module in pkgutil.iter_modules(celery.__path__, "celery.")}
    assert {"celery.app", "celery.local", "celery.platforms"} <= found
    assert pkgutil.resolve_name("celery.app.base:Celery") is celery.Celery
    assert importlib.import_module("inspect").getsource(importlib.import_module("celery.local"))


@check
def pickles_name_either() -> None:
    from umbel import Task

    assert pickle.loads(b"ccelery.app.task\nTask\n.") is Task
    assert pickle.loads(pickle.dumps(Task)) is Task
    assert b"umbel.task" in pickle.dumps(Task)


@check
def star_imports_work() -> None:
    names: dict[str, Any] = {}
    exec("from celery import *", names)  # noqa: S102
    assert {"Celery", "shared_task", "current_app", "Task"} <= names.keys()


@check
def the_versions_are_celerys() -> None:
    import billiard
    import celery
    import kombu

    assert celery.__version__ == "5.7.0"
    assert celery.VERSION[:3] == celery.version_info[:3] == (5, 7, 0)
    assert celery.VERSION >= (5, 2)
    assert isinstance(celery.VERSION, celery.version_info_t)
    assert kombu.VERSION[:2] == (5, 7)
    assert billiard.VERSION[:2] == (4, 3)


@check
def what_is_missing_says_so() -> None:
    for statement, words in (
        ("import celery.concurrency", "celery.concurrency is part of Celery's worker from within"),
        ("import celery.app.nothing", "celery.app.nothing is no module of celery that umbel has"),
        ("import kombu.mixins", "kombu.mixins is kombu's"),
        ("from kombu import eventloop", "kombu.eventloop is kombu's"),
        ("from celery import maybe", "cannot import name 'maybe'"),
        ("from celery.exceptions import Terminated", "is raised by no part of umbel"),
        ("import billiard.heap", "billiard.heap is billiard's"),
    ):
        try:
            exec(statement)  # noqa: S102
        except ImportError as error:
            assert words in str(error), error  # noqa: PT017
        else:
            raise AssertionError(f"{statement} worked")


@check
def a_step_consumes_as_celerys_documentation_says() -> None:
    from celery import Celery, bootsteps
    from kombu import Consumer, Exchange, Queue

    import umbel

    mine = Queue("custom", Exchange("custom"), "routing_key")
    app = Celery(broker="memory://")
    got: list[object] = []

    class Step(bootsteps.ConsumerStep):  # type: ignore[misc]
        def get_consumers(self, channel: object) -> list[object]:
            options = {"queues": [mine], "callbacks": [self.handle], "accept": ["json"]}
            return [Consumer(channel, **options)]

        def handle(self, body: object, message: object) -> None:
            got.append(body)

    assert Consumer is umbel.Consumer
    with app.producer_or_acquire() as producer:
        producer.publish(
            {"hello": "you"},
            serializer="json",
            exchange=mine.exchange,
            routing_key="routing_key",
            declare=[mine],
            retry=True,
        )
    assert app.queues.depths()["custom"].ready == 1
    (consumer,) = Step(None).get_consumers(app.connection_for_read())
    assert [queue.name for queue in consumer.queues] == ["custom"]


@check
def tasks_are_made_and_run() -> None:
    from celery import Celery, current_app, shared_task
    from celery.app import app_or_default
    from kombu import Connection, Exchange, Queue

    app = Celery("proj", broker="memory://", backend="memory://")
    app.conf.task_queues = [Queue("mails", Exchange("mails"), routing_key="mails")]

    @shared_task
    def double(number: int) -> int:
        return number * 2

    assert double.apply((2,)).get() == 4
    assert app_or_default() is app is current_app._get_current_object()
    with Connection("memory://", transport_options={}) as connection:
        assert connection.ensure_connection(max_retries=1).connected


@check
def all_that_is_imported_can_be_listed() -> None:
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if name.partition(".")[0] in ("celery", "kombu", "billiard"):
            assert spec is not None
            assert spec.name.startswith("umbel."), name


def run() -> None:
    warned: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if sys.argv[1] == "installed":
            import umbel

            umbel.install_as_celery()
            umbel.install_as_celery()
        warned = [str(warning.message) for warning in caught]
    results = {}
    for one in CHECKS:
        try:
            one()
        except BaseException:  # noqa: BLE001
            results[one.__name__] = traceback.format_exc()
        else:
            results[one.__name__] = ""
    print(json.dumps({"warned": warned, "results": results}))


if __name__ == "__main__":
    run()
