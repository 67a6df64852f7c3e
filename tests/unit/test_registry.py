"""Tasks of classes, shared tasks, and the class of an app's tasks."""

from __future__ import annotations

import inspect
import pickle
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import calls, only_call
from tests.unit.worker.support import delivery_of
from umbel import NotRegistered, Task, Umbel, current, current_app, records, shared_task
from umbel.exceptions import DuplicateTaskNameWarning, ImproperlyConfigured
from umbel.outcomes import Success
from umbel.records import TaskResult
from umbel.task import AsyncTask
from umbel.testing.running import run_pending
from umbel.worker.execute import Runner


@pytest.fixture
def runner(app: Umbel) -> Iterator[Runner]:
    runner = Runner(app, "celery@host")
    yield runner
    runner.close()


def work(runner: Runner, task: Task[..., Any], *args: Any) -> Any:
    """Return what a worker gets of a task."""
    outcome = runner.run(runner.prepare(delivery_of(task, *args))).outcome
    assert isinstance(outcome, Success), outcome
    return outcome.value


class Counter(Task[..., int]):
    """A task with a state of its own in each process; it does not call Task's ``__init__``."""

    def __init__(self) -> None:
        self.count = 0

    def run(self, by: int = 1) -> int:
        self.count += by
        return self.count


class Context(Task[..., Any]):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "context", self.run(*args, **kwargs)


class Other(Context):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return "other", self.run(*args, **kwargs)


# Classes


def test_a_class_is_a_task_by_an_instance(app: Umbel, runner: Runner) -> None:
    counter = app.register_task(Counter())
    assert counter.name == f"{__name__}.Counter"
    assert app.tasks[counter.name] is counter
    assert (counter.app, counter.__name__, counter.is_async) == (app, "Counter", False)
    assert (counter(), counter.run(2), counter.apply((3,)).get()) == (1, 3, 6)
    assert (work(runner, counter), work(runner, counter)) == (7, 8)
    assert counter.request.called_directly


def test_a_class_may_be_given_itself(app: Umbel) -> None:
    assert isinstance(app.register_task(Counter), Counter)


def test_a_class_names_itself_and_its_options(app: Umbel) -> None:
    class Send(Task[..., str]):
        name = "mails.send"
        queue = "mails"
        autoretry_for = (OSError,)

        def run(self, to: str) -> str:
            return f"{self.name} {to}"

    send = app.register_task(Send, max_retries=7)
    assert (send.name, send.max_retries) == ("mails.send", 7)
    assert send.autoretry(ValueError()) is None
    send.delay("me")
    assert only_call(app, "mails").args == ["me"]


def test_arguments_are_checked_against_run(app: Umbel) -> None:
    counter = app.register_task(Counter())
    with pytest.raises(TypeError, match="takes from 0 to 1 positional arguments but 2 were given"):
        counter.delay(1, 2)

    class Free(Context):
        def run(self) -> None: ...

    app.register_task(Free()).delay(1, 2)  # what its `__call__` takes, nobody knows


def test_an_async_class(app: Umbel, runner: Runner) -> None:
    class Crawl(Task[..., Any]):
        async def run(self, url: str) -> str:
            return url

    crawl = app.register_task(Crawl())
    assert crawl.is_async
    assert (work(runner, crawl, "u"), crawl.apply(("v",)).get()) == ("u", "v")


def test_a_task_without_a_name_says_how_to_get_one(app: Umbel) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"register_task\(Counter\(\)\)"):
        Counter().delay()
    assert Counter()() == 1


def test_a_class_without_run(app: Umbel) -> None:
    with pytest.raises(NotImplementedError, match=r"Tasks must define the run method\."):
        app.register_task(type("Empty", (Task,), {}))()


def test_registering_replaces_with_a_warning(app: Umbel) -> None:
    first, second = type("A", (Counter,), {"name": "t"}), type("B", (Context,), {"name": "t"})
    app.register_task(first)
    app.register_task(first)
    with pytest.warns(DuplicateTaskNameWarning, match="run the second, which took the first"):
        found = app.register_task(second)
    assert app.tasks["t"] is found


def test_contradictions_are_refused(app: Umbel) -> None:
    class Wrong(Counter):
        time_limit = 1
        soft_time_limit = 2

    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal to"):
        app.register_task(Wrong)


@pytest.mark.usefixtures("_no_shared_tasks")
def test_of_a_contradiction_it_is_said_whose_it_is(app: Umbel) -> None:
    """A shared task is made far from where it is written."""
    shared_task(name="wrong", time_limit=1, soft_time_limit=2)(lambda: None)
    with pytest.raises(ValueError, match="soft_time_limit is 2") as raised:
        dict(app.tasks)
    assert raised.value.__notes__ == ["The task wrong says so."]


def test_a_class_hears_when_it_is_bound(app: Umbel) -> None:
    heard: list[Umbel] = []

    class Hearing(Counter):
        @classmethod
        def on_bound(cls, app: Umbel) -> None:
            heard.append(app)

    app.register_task(Hearing)
    assert heard == [app]


# Bases


def test_a_base_keeps_state_for_its_tasks(app: Umbel, runner: Runner) -> None:
    @app.task(base=Counter, bind=True)
    def count(self: Counter) -> int:
        self.count += 1
        return self.count

    assert (count(), work(runner, count), work(runner, count)) == (1, 2, 3)
    assert isinstance(count, Counter)


def test_a_base_must_be_a_task_class(app: Umbel) -> None:
    with pytest.raises(
        TypeError, match=r"The base of a task is <class 'int'>, which is no subclass"
    ):
        app.task(base=int)(print)  # type: ignore[arg-type]


def test_a_nested_function_may_be_a_task(app: Umbel, runner: Runner) -> None:
    def make(factor: int) -> Task[..., Any]:
        @app.task(name=f"times{factor}")
        def times(x: int) -> int:
            return x * factor

        return times

    assert (work(runner, make(2), 5), work(runner, make(3), 5)) == (10, 15)


def test_a_function_keeps_its_looks(app: Umbel) -> None:
    def documented(x: int) -> None:
        """Say so."""

    task = app.task(documented)
    assert (task.__doc__, task.__name__, task.__module__) == ("Say so.", "documented", __name__)
    assert str(inspect.signature(task)) == "(x: 'int') -> 'None'"
    assert type(task).__name__ == "documented"


# The class of an app's tasks


def test_an_apps_task_class_is_below_task(app: Umbel) -> None:
    assert issubclass(app.Task, Task)
    assert app.Task is app.Task

    class Mine(app.Task):  # type: ignore[name-defined, misc]
        def run(self) -> Any:
            return self.app

    other = Umbel("other", broker="memory://")
    assert Mine()() is app is not current_app._get_current_object()
    assert other.register_task(Mine())() is other


@pytest.mark.parametrize("task_cls", [Context, f"{__name__}:Context", f"{__name__}.Context"])
def test_task_cls(memory: str, task_cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, inspect.getmodule(Context))
    app = Umbel(broker=memory, backend=memory, task_cls=task_cls)
    runner = Runner(app, "h")

    @app.task(name="one")
    def one() -> Any:
        return 1

    @app.task(name="two")
    async def two() -> Any:
        return 2

    assert (one(), work(runner, one), one.apply().get()) == (("context", 1),) * 3
    assert one.app is app
    assert type(two).__mro__[1] is app.Task
    runner.close()


def test_a_subclass_of_the_app_may_name_it(memory: str) -> None:
    class App(Umbel):
        task_cls = Context

        def gen_task_name(self, name: str, module: str) -> str:
            return f"own.{name}"

    app = App(broker=memory)

    @app.task
    def one() -> Any:
        return 1

    assert (one.name, one()) == ("own.one", ("context", 1))


def test_a_task_class_that_does_not_exist(memory: str) -> None:
    app = Umbel(broker=memory, task_cls="nowhere:Task")
    with pytest.raises(ImproperlyConfigured, match="There is no 'nowhere:Task'"):
        _ = app.Task


def test_the_task_class_may_be_set_late(app: Umbel, runner: Runner) -> None:
    """``celery.Task = ContextTask`` in Flask's factories comes after many tasks were defined."""

    @app.task(name="early", bind=True, queue="q")
    def early(self: Task[..., Any]) -> Any:
        return self.name

    @app.task(name="based", base=Counter)
    def based() -> Any:
        return 1

    @shared_task(name="shared")
    def shared() -> Any:
        return 2

    counter = app.register_task(Counter())
    assert (early(), shared()) == ("early", 2)
    app.Task = Context
    assert app.Task is Context

    @app.task(name="late")
    def late() -> Any:
        return 3

    assert work(runner, early) == early() == ("context", "early")
    assert app.tasks["early"] is early
    assert (late(), based(), shared(), counter()) == (("context", 3), 1, ("context", 2), 1)
    app.Task = Other
    assert (early(), late()) == (("other", "early"), ("other", 3))
    assert early.queue == "q"


# Shared tasks


@shared_task
def double(x: int) -> int:
    """Twice."""
    return 2 * x


@pytest.fixture
def shared(_no_shared_tasks: None) -> Task[..., Any]:
    return shared_task(bind=True, name="s", queue="q")(lambda self: (self.name, self.app.main))


def test_a_shared_task_is_each_apps_own(memory: str, shared: Task[..., Any]) -> None:
    one = Umbel("one", broker=memory, task_cls=Context)
    two = Umbel("two", broker=memory, task_annotations={"s": {"rate_limit": "1/s"}})
    assert (one.tasks["s"](), two.tasks["s"]()) == (("context", ("s", "one")), ("s", "two"))
    assert one.tasks["s"] is one.tasks["s"]
    assert (one.tasks["s"].rate_limit, two.tasks["s"].rate_limit) == (None, "1/s")
    assert shared == two.tasks["s"] != one.tasks["s"]
    assert shared.rate_limit == "1/s"
    one.set_current()
    assert shared == one.tasks["s"]
    assert shared() == ("context", ("s", "one"))
    assert isinstance(shared, Context)


def test_a_shared_task_behaves_like_the_one_it_stands_for(
    app: Umbel, shared: Task[..., Any]
) -> None:
    assert (shared.name, shared.queue) == ("s", "q")
    assert repr(shared) == repr(app.tasks["s"])
    assert hash(shared) == hash(app.tasks["s"])
    assert "delay" in dir(shared)
    shared.queue = "other"
    assert app.tasks["s"].queue == "other"
    assert pickle.loads(pickle.dumps(shared)) is app.tasks["s"]  # noqa: S301 - ours
    assert app.tasks.register(shared) is app.tasks["s"]
    shared.delay()
    assert len(calls(app, "other")) == 1


def test_a_shared_task_needs_no_app_to_be_called() -> None:
    assert double(4) == 8
    assert (double.__doc__, double.__module__, double.__name__) == ("Twice.", __name__, "double")
    assert isinstance(double, Task)


def test_a_base_of_a_shared_task(app: Umbel) -> None:
    @shared_task(base=Context, name="b")
    def based() -> Any:
        return 1

    assert based() == ("context", 1)


def test_the_same_function_is_shared_once(app: Umbel) -> None:
    def work() -> None: ...

    first = shared_task(name="w")(work)
    assert shared_task(name="w")(work) is first
    assert app.task(name="w")(work) is app.tasks["w"]


def test_an_async_function_may_be_shared(app: Umbel) -> None:
    @shared_task
    async def work() -> Any:
        return 5

    assert isinstance(work, AsyncTask)
    assert work.apply().get() == 5


# The mapping


def test_a_task_may_be_unregistered(app: Umbel, shared: Task[..., Any]) -> None:
    task = app.task(name="t")(lambda: None)
    app.tasks.unregister(task)
    assert list(app.tasks) == ["s"]
    with pytest.raises(NotRegistered):
        app.tasks.unregister("t")
    app.tasks.unregister("s")
    assert "s" not in app.tasks
    assert len(app.tasks) == 0
    other = Umbel("other", broker="memory://")
    assert other.tasks.regular() == {"s": other.tasks["s"]}
    assert app.task(name="t")(lambda: 1) is app.tasks["t"]


def test_a_filter_has_the_last_word(app: Umbel) -> None:
    made: Any = app.task(filter=lambda task: task.name, name="t", lazy=False, shared=False)(print)
    assert made == "t"
    shared_name: Any = shared_task(filter=lambda task: task.name, name="u")(print)
    assert shared_name == "u"


@pytest.mark.parametrize("option", ["backend", "Strategy", "Request"])
def test_options_without_a_meaning_say_so_once(
    app: Umbel, option: str, caplog: pytest.LogCaptureFixture
) -> None:
    options: Any = {option: "x"}
    for name in "ab":
        app.task(name=name, **options)(print)
    assert caplog.text.count(f"The option {option} of a task has no meaning here") == 1


def test_a_task_is_pickled_by_its_name(app: Umbel) -> None:
    task = app.task(name="t")(len)
    assert pickle.loads(pickle.dumps(task)) is task  # noqa: S301 - ours
    assert current.task_named("t") is task


def test_an_unknown_option_of_a_class_is_refused(app: Umbel) -> None:
    with pytest.raises(
        TypeError, match=r"has no option 'autoretry_four'\. Did you mean 'autoretry_for'"
    ):
        app.register_task(Task, autoretry_four=(OSError,))


def test_a_task_that_is_named_without_its_module_is_meant(app: Umbel) -> None:
    app.task(name="shop.mails.send")(lambda: None)
    with pytest.raises(NotRegistered, match=r"no task 'send'.*Did you mean 'shop\.mails\.send'"):
        _ = app.tasks["send"]


def test_a_bound_task_takes_itself(app: Umbel) -> None:
    def alone() -> None: ...

    def by_name(*, user: int) -> None: ...

    for function in (alone, by_name):
        with pytest.raises(
            TypeError, match=rf"takes no argument, .* write it as def {function.__name__}\("
        ):
            app.task(bind=True)(function)  # type: ignore[arg-type]
    app.task(bind=True)(lambda *args: None)


# Tasks that every app has


def test_expired_results_can_be_deleted_by_a_task(app: Umbel) -> None:
    """As django-celery-beat asks each day."""
    assert app.tasks["celery.backend_cleanup"].app is app
    assert app.results is not None
    expired = [records.encode(TaskResult(name, "SUCCESS", 1), 1.0) for name in ("a", "b")]
    app.results.put(expired)
    app.send_task("celery.backend_cleanup")
    (ran,) = run_pending(app)
    assert ran.state == "SUCCESS"
    assert app.results.cleanup() == 0
    app.results.put(expired)
    assert app.results.cleanup() == 2


def test_without_results_there_is_nothing_to_delete(memory: str) -> None:
    assert Umbel("proj", broker=memory).tasks["celery.backend_cleanup"].apply().get() is None


def test_a_task_that_every_app_has_is_not_listed_and_may_be_replaced(app: Umbel) -> None:
    name = "celery.backend_cleanup"
    built_in = app.tasks[name]
    assert (name in app.tasks, list(app.tasks)) == (True, [])
    assert app.tasks.get(name) is built_in

    @app.task(name=name)
    def own() -> None: ...

    assert app.tasks[name] is own
    app.tasks.unregister(name)
    assert name not in app.tasks
