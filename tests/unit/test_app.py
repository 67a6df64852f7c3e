from __future__ import annotations

import runpy
import sys
import threading
import types
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ManualClock, calls, messages
from umbel import Celery, NotRegistered, Umbel, current_app, shared_task
from umbel.clock import SYSTEM_ZONE
from umbel.exceptions import DuplicateTaskNameWarning, ImproperlyConfigured
from umbel.ports import Engine, EngineOptions


def plain(x: int = 0) -> int:
    return x


def in_module(name: str, function_name: str = "work") -> Any:
    """Return a function as if it were defined in a module."""

    def work() -> None: ...

    work.__module__, work.__name__ = name, function_name
    return work


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module that stands for the script that was started."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


@pytest.fixture(autouse=True)
def _no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMBEL_DATA_DIR", raising=False)


# Names


def test_a_task_is_named_by_its_module_and_function(app: Umbel) -> None:
    assert app.task(plain).name == f"{__name__}.plain"
    assert app.task(in_module("shop.mails", "send")).name == "shop.mails.send"


def test_a_given_name_is_the_name(app: Umbel) -> None:
    assert app.task(name="mine")(plain).name == "mine"
    assert app.tasks["mine"].function is plain


def test_main_names_the_tasks_of_a_script_and_no_others() -> None:
    app = Umbel("proj", set_as_current=False)
    assert app.task(in_module("__main__")).name == "proj.work"
    assert app.task(in_module("other")).name == "other.work"


def test_without_main_a_script_is_named_as_a_worker_imports_it(script: types.ModuleType) -> None:
    script.__file__ = "/srv/shop/tasks.py"
    app = Umbel(set_as_current=False)
    assert app.task(in_module("__main__")).name == "tasks.work"


def test_without_main_a_module_that_is_run_has_its_full_name(script: types.ModuleType) -> None:
    script.__file__ = "/srv/shop/tasks.py"
    script.__spec__ = types.SimpleNamespace(name="shop.tasks")  # type: ignore[assignment]
    assert Umbel(set_as_current=False).task(in_module("__main__")).name == "shop.tasks.work"
    script.__spec__ = types.SimpleNamespace(name="shop.__main__")  # type: ignore[assignment]
    assert Umbel(set_as_current=False).task(in_module("__main__")).name == "shop.work"


@pytest.mark.usefixtures("script")
def test_without_a_file_the_script_has_no_other_name() -> None:
    assert Umbel(set_as_current=False).task(in_module("__main__")).name == "__main__.work"


# The registry


def test_an_unknown_task_says_what_to_do(app: Umbel) -> None:
    with pytest.raises(NotRegistered) as caught:
        app.tasks["nobody.knows"]
    assert str(caught.value) == (
        "There is no task 'nobody.knows' in this app. Is the module that defines it imported, for"
        " example through the setting `include`?"
    )
    with pytest.raises(KeyError):
        app.tasks["nobody.knows"]


def test_tasks_are_listed_by_name(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.registry._shared", {})
    app.task(name="b")(plain)
    app.task(name="a")(plain)
    shared_task(name="c")(plain)
    shared_task(name="a")(plain)
    assert list(app.tasks) == ["a", "b", "c"]
    assert len(app.tasks) == 3
    assert "b" in app.tasks
    assert app.tasks["a"].app is app  # the app's own goes before the shared one


# Two functions of one name


def load(path: Path, text: str, app: Umbel, name: str = "") -> Any:
    """Run a file with that text as a module; each time it is loaded anew."""
    path.write_text(text)
    found = runpy.run_path(str(path), {"app": app}, run_name=name or path.stem)
    return types.SimpleNamespace(**found)


ONE = "@app.task(name='t')\ndef one(): return 1\n"
OTHER = "@app.task(name='t', queue='x')\ndef other(): return 2\n"
TWICE = "@app.task\ndef work(): return 1\n\n@app.task\ndef work(): return 2\n"


def test_the_first_task_of_a_name_is_kept(app: Umbel, tmp_path: Path) -> None:
    first = load(tmp_path / "first.py", ONE, app).one
    with pytest.warns(DuplicateTaskNameWarning) as caught:
        second = load(tmp_path / "second.py", OTHER, app).other
    assert second is first
    assert app.tasks["t"] is first
    assert (second(), second.queue) == (1, None)
    assert [str(warning.message) for warning in caught] == [
        f"Two functions are registered as the task 't': first first.one ({tmp_path}/first.py:1), then"
        f" second.other ({tmp_path}/second.py:1). Calls under this name run the first; the second was not"
        " registered. Rename one of them, or give it a name of its own: @app.task(name=...)."
    ]
    assert (caught[0].filename, caught[0].lineno) == (f"{tmp_path}/second.py", 1)


def test_a_name_that_a_module_uses_twice_is_warned_of(app: Umbel, tmp_path: Path) -> None:
    with pytest.warns(DuplicateTaskNameWarning, match=r"twice\.py:1\), then .*twice\.py:4\)"):
        module = load(tmp_path / "twice.py", TWICE, app)
    assert module.work() == 1
    with pytest.warns(DuplicateTaskNameWarning, match="first twice.work"):
        load(tmp_path / "twice.py", TWICE.replace("app.task", "app.task()"), app)


def test_functions_that_a_function_makes_are_different_ones(app: Umbel) -> None:
    def make(number: int) -> Any:
        @app.task(name="t")
        def work() -> int:
            return number

        return work

    first = make(1)
    with pytest.warns(DuplicateTaskNameWarning, match=r"make\.<locals>\.work \(.*, then .*work \("):
        assert make(2) is first


def test_what_is_no_function_is_described_too(app: Umbel) -> None:
    class Add:
        def __call__(self) -> None: ...

    app.task(name="t")(Add())
    with pytest.warns(DuplicateTaskNameWarning, match=r"Add \(.*\.py:\d+\), then .*\.plain \("):
        app.task(name="t")(partial(plain, 1))
    app.task(name="sum")(sum)
    with pytest.warns(DuplicateTaskNameWarning, match=r"first builtins\.sum, then builtins\.len\."):
        app.task(name="sum")(len)


WRAPPED = f"""
import functools

def logged(function):
    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)
    return wrapper

{ONE.replace("def", "@logged" + chr(10) + "def")}"""


@pytest.mark.parametrize("text", [ONE, WRAPPED])
def test_a_module_that_is_loaded_again_replaces_its_tasks(
    app: Umbel, tmp_path: Path, text: str
) -> None:
    load(tmp_path / "tasks.py", text, app)
    again = load(tmp_path / "tasks.py", f"# edited\n{text.replace('return 1', 'return 7')}", app)
    assert app.tasks["t"] is again.one
    assert again.one() == 7


def test_a_script_that_is_imported_as_well_has_no_duplicates(app: Umbel, tmp_path: Path) -> None:
    load(tmp_path / "script.py", ONE, app, "__main__")
    imported = load(tmp_path / "script.py", ONE, app)
    assert app.tasks["t"] is imported.one


def test_a_function_is_registered_once(app: Umbel) -> None:
    assert app.task(plain) is app.task(queue="x")(plain)


@pytest.mark.usefixtures("no_shared_tasks")
def test_the_first_shared_task_of_a_name_is_kept(app: Umbel) -> None:
    first = shared_task(name="t")(plain)
    with pytest.warns(DuplicateTaskNameWarning, match="the task 't'"):
        assert shared_task(name="t")(in_module("other")) is first
    assert first == app.tasks["t"]


@pytest.mark.usefixtures("no_shared_tasks")
def test_a_shared_task_keeps_its_name_in_an_app_that_did_not_use_it(app: Umbel) -> None:
    shared_task(name="t")(plain)
    other_app = Umbel(set_as_current=True, broker="memory://")
    with pytest.warns(DuplicateTaskNameWarning, match="the task 't'"):
        kept = app.task(name="t")(in_module("other"))
    assert kept.function is plain
    assert kept.app is app.tasks["t"].app is app
    assert other_app.tasks["t"].app is not app


@pytest.fixture
def no_shared_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.registry._shared", {})


def test_celery_is_the_same_class() -> None:
    assert Celery is Umbel


def test_repr() -> None:
    assert repr(Umbel("proj", set_as_current=False)).startswith("<Umbel proj at 0x")
    assert repr(Umbel(set_as_current=False)).startswith("<Umbel __main__ at 0x")


# Where messages and results are


def urls(app: Umbel) -> tuple[str, str | None]:
    return app.broker_url, app.result_url


def test_nothing_set_means_the_file_of_the_project() -> None:
    app = Umbel(set_as_current=False)
    project = Path(__file__).parents[2]
    assert (project / "pyproject.toml").exists()
    assert urls(app) == (f"sqlite:///{project}/.umbel/umbel.db",) * 2


def test_an_app_of_a_module_elsewhere_has_its_file_there(tmp_path: Path) -> None:
    module: dict[str, Any] = {"__name__": "shop.app", "__file__": str(tmp_path / "shop" / "app.py")}
    exec("from umbel import Umbel\napp = Umbel(set_as_current=False)", module)  # noqa: S102
    assert module["app"].broker_url == f"sqlite:///{tmp_path}/.umbel/umbel.db"


def test_the_default_file_stays_where_it_was_found(tmp_path: Path) -> None:
    """It was looked for at each call, which took longer than all the rest of `delay`."""
    (tmp_path / "shop").mkdir()
    file = tmp_path / "shop" / "tasks.py"
    file.write_text("from umbel import Umbel\napp = Umbel(set_as_current=False)")
    app = runpy.run_path(str(file))["app"]
    first = app.broker_url
    (tmp_path / "pyproject.toml").touch()
    assert app.broker_url == first == f"sqlite:///{tmp_path}/shop/.umbel/umbel.db"
    app.conf.data_dir = str(tmp_path / "other")
    assert app.broker_url == f"sqlite:///{tmp_path}/other/umbel.db"


def test_a_broker_alone_means_no_results(memory: str) -> None:
    app = Umbel(broker=memory)
    result = app.task(plain).delay()
    assert urls(app) == (memory, None)
    assert app.results is None
    with pytest.raises(ImproperlyConfigured) as caught:
        result.get(timeout=1)
    assert str(caught.value) == (
        "Results are not kept: broker_url is set and result_backend is not. Set result_backend, for"
        " example to the same URL as broker_url."
    )


def test_a_result_backend_alone_leaves_the_broker_the_file(memory: str) -> None:
    app = Umbel(backend=memory, set_as_current=False)
    assert urls(app) == (app.default_url, memory)


@pytest.mark.parametrize("value", ["disabled://", "disabled"])
def test_results_can_be_turned_off(memory: str, value: str) -> None:
    app = Umbel(broker=memory, backend=value)
    assert urls(app) == (memory, None)
    app.task(plain).delay()
    assert len(messages(app)) == 1
    with pytest.raises(ImproperlyConfigured, match=f"not kept: result_backend is '{value}'"):
        app.result_store()


def test_results_of_the_default_file_can_be_turned_off() -> None:
    app = Umbel(backend="disabled://", set_as_current=False)
    assert urls(app) == (app.default_url, None)


def test_data_dir_and_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = Umbel(data_dir=str(tmp_path / "data"), set_as_current=False)
    assert urls(app) == (f"sqlite:///{tmp_path}/data/umbel.db",) * 2
    monkeypatch.setenv("UMBEL_DATA_DIR", str(tmp_path / "other"))
    assert urls(app) == (f"sqlite:///{tmp_path}/other/umbel.db",) * 2
    app.conf.broker_url = "memory://"
    assert urls(app) == ("memory://", None)


def test_the_default_file_works(tmp_path: Path) -> None:
    with Umbel(data_dir=str(tmp_path / "data")) as app:
        result = app.task(plain).delay(1)
        assert result.state == "PENDING"
        assert [call.args for call in calls(app)] == [[1]]
    assert (tmp_path / "data" / "umbel.db").exists()


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a%20b", "a b", "a%b", "añb", "a&b;c"])
def test_a_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    with Umbel(data_dir=str(tmp_path / name)) as app:
        app.task(plain).delay(1)
        assert app.show_url(app.broker_url) == str(tmp_path / name / "umbel.db")
    assert list(tmp_path.rglob("umbel.db")) == [tmp_path / name / "umbel.db"]


def test_settings_may_be_given_by_keyword_and_written_later(memory: str) -> None:
    app = Umbel(broker_url=memory, task_default_queue="main", set_as_current=False)
    assert (app.broker_url, app.conf.task_default_queue) == (memory, "main")
    app.conf.result_backend = memory
    assert app.results is not None


def test_wrong_settings_are_refused_where_they_are_written() -> None:
    with pytest.raises(ImproperlyConfigured, match="Did you mean 'task_acks_late'"):
        Umbel(task_ack_late=True, set_as_current=False)


def test_a_scheme_that_nobody_serves() -> None:
    app = Umbel(broker="redish://host", set_as_current=False)
    with pytest.raises(
        ImproperlyConfigured, match="No engine serves URLs that begin with 'redish'"
    ):
        app.task(plain).delay()


# What is shown of URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:////var/lib/shop/umbel.db", "/var/lib/shop/umbel.db"),
        ("sqlite:////var/my%20shop/umbel.db?durability=normal", "/var/my shop/umbel.db"),
        ("sqlite:///shop.db", "shop.db"),
        ("redis://user:secret@host:6379/0", "redis://user:********@host:6379/0"),
        ("redis://:secret@host", "redis://:********@host"),
        ("redis://host", "redis://host"),
        ("memory://name", "memory://name"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert Umbel(set_as_current=False).show_url(url) == shown


# Engines


class Counting(Engine):
    """An engine without ports that counts how often it was closed."""

    def __init__(self, url: str, options: EngineOptions) -> None:
        self.url = url
        self.options = options
        self.closed = 0

    @property
    def broker(self) -> None:
        return None

    queues = results = state = broadcast = broker

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    made: list[Counting] = []

    def open_one(url: str, options: Mapping[str, Any]) -> Counting:
        made.append(Counting(url, options))
        return made[-1]

    monkeypatch.setattr("umbel.opened.open_engine", open_one)
    return made


def test_an_engine_is_opened_once_and_closed_with_the_app(counting: list[Counting]) -> None:
    with Umbel(broker="x://", broker_transport_options={"a": 1}, set_as_current=False) as app:
        assert app.engine("x://") is app.engine("x://")
        own = app.new_engine("x://")
        assert own is not app.engine("x://")
    assert [engine.closed for engine in counting] == [1, 0]
    assert counting[0].options["a"] == 1
    app.engine("x://")
    assert len(counting) == 3


def test_each_engine_has_its_own_options(counting: list[Counting]) -> None:
    app = Umbel(
        broker="x://",
        backend="y://",
        broker_transport_options={"a": 1},
        result_backend_transport_options={"b": 2},
        set_as_current=False,
    )
    for url in ("x://", "y://", "z://"):
        app.new_engine(url)
    app.conf.result_backend = "x://"
    app.new_engine("x://")
    own = [{name: engine.options.get(name) for name in "ab"} for engine in counting]
    assert own == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
        {"a": None, "b": None},
        {"a": 1, "b": 2},
    ]
    assert {engine.options["durability"] for engine in counting} == {"full"}


@pytest.mark.usefixtures("counting")
def test_an_engine_that_is_no_broker_is_refused_by_name() -> None:
    url = "x://me:sesame@host"
    app = Umbel(broker=url, backend=url, set_as_current=False)
    shown = r"x://me:\*+@host"
    with pytest.raises(ImproperlyConfigured, match=f"broker_url is {shown}, whose engine keeps"):
        _ = app.broker
    with pytest.raises(ImproperlyConfigured, match=f"{shown} does not let anyone look into its"):
        _ = app.queues
    with pytest.raises(ImproperlyConfigured, match=f"result_backend, {shown}, keeps none"):
        app.result_store()


def test_an_app_can_be_used_again_after_it_was_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'umbel.db'}"
    app = Umbel(broker=url, backend=url)
    task = app.task(plain)
    for n in range(3):
        task.delay(n)
        app.close()
        app.close()
    assert [call.args for call in calls(app)] == [[0], [1], [2]]
    app.close()


# Modules


def test_the_modules_of_the_settings_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"umbel_test_{name}.py").write_text(
            f"from umbel import shared_task\n@shared_task(name='{name}')\ndef work(): ...\n"
        )
    monkeypatch.setattr("umbel.registry._shared", {})
    monkeypatch.syspath_prepend(tmp_path)
    app = Umbel(include=["umbel_test_two"], imports="umbel_test_one", set_as_current=False)
    assert list(app.tasks) == []
    app.import_modules()
    assert list(app.tasks) == ["one", "two"]
    for name in ("one", "two"):
        del sys.modules[f"umbel_test_{name}"]


# A complete app


def test_an_app_is_finalized_once_and_says_so(app: Umbel) -> None:
    heard: list[Any] = []

    @app.on_configure.connect
    def configure(sender: Umbel, **_: Any) -> None:
        heard.append(("configure", sender is app))
        sender.conf.task_default_queue = "q"

    @app.on_after_configure.connect
    def configured(sender: Umbel, source: Any, **_: Any) -> None:
        heard.append(("configured", source is app.conf))

    @app.on_after_finalize.connect
    def finalized(sender: Umbel, **_: Any) -> None:
        heard.append(("finalized", sender.finalized, "t" in sender.tasks))

    task = app.task(name="t")(plain)
    assert heard == []
    task.delay()
    app.finalize()
    assert heard == [("configure", True), ("configured", True), ("finalized", True, True)]
    assert len(calls(app, "q")) == 1


class Meanwhile:
    """One thread finalizes an app and holds on in the middle; another one sends a call then."""

    def __init__(self) -> None:
        self._entered, self._sent = threading.Event(), threading.Event()

    def hold(self) -> None:
        """Give the other thread time to send the call, which it must not do."""
        self._entered.set()
        self._sent.wait(0.2)

    def send(self, app: Umbel) -> None:
        """Send a call of a task while `hold` holds."""
        task = app.task(name="t")(plain)
        first = threading.Thread(target=app.finalize)
        first.start()
        assert self._entered.wait(5)
        task.delay()
        self._sent.set()
        first.join(5)


def test_no_thread_sends_before_the_annotations_are_set(app: Umbel) -> None:
    """A thread that calls while another one finalizes the app used to send by the task's own options."""
    meanwhile = Meanwhile()

    class Annotations:
        def annotate_any(self) -> Mapping[str, Any]:
            meanwhile.hold()
            return {"queue": "annotated"}

    app.conf.task_annotations = Annotations()
    meanwhile.send(app)
    assert (len(calls(app, "annotated")), len(calls(app))) == (1, 0)


@pytest.mark.parametrize("name", ["on_configure", "on_after_configure"])
def test_no_thread_sends_before_handlers_have_made_the_settings(app: Umbel, name: str) -> None:
    """A thread that called while another one's handler ran used to send by the settings before it."""
    meanwhile = Meanwhile()
    heard: list[str] = []

    def configure(sender: Umbel, **_: Any) -> None:
        meanwhile.hold()
        sender.conf.task_default_queue = "made"
        heard.append(name)

    getattr(app, name).connect(configure)
    app.on_after_finalize.connect(lambda **_: heard.append("finalized"), weak=False)
    meanwhile.send(app)
    assert (len(calls(app, "made")), len(calls(app))) == (1, 0)
    assert heard == [name, "finalized"]


def test_an_app_that_could_not_be_finalized_is_not(app: Umbel) -> None:
    """Wrong annotations used to stop the first call only; the second went on without them."""
    app.conf.task_annotations = {"*": "queue=mails"}
    task = app.task(name="t")(plain)
    for _ in range(2):
        with pytest.raises(ImproperlyConfigured, match="must have a mapping of attributes"):
            task.delay()
    app.conf.task_annotations = {"*": {"queue": "mails"}}
    task.delay()
    assert len(calls(app, "mails")) == 1


def test_handlers_hear_once_of_a_configuration_that_was_completed_late(app: Umbel) -> None:
    heard: list[str] = []

    @app.on_configure.connect
    def configure(**_: Any) -> None:
        heard.append("configure")

    @app.on_after_configure.connect
    def configured(sender: Umbel, **_: Any) -> None:
        heard.append(sender.conf.task_default_queue)
        assert sender.tasks is not None

    app.config_from_object("umbel_no_such_module")
    with pytest.raises(ModuleNotFoundError):
        app.finalize()
    sys.modules["umbel_no_such_module"] = module = types.ModuleType("umbel_no_such_module")
    module.task_default_queue = "late"  # type: ignore[attr-defined]
    try:
        app.finalize()
        app.finalize()
    finally:
        del sys.modules["umbel_no_such_module"]
    assert heard == ["configure", "late"]


def test_an_unknown_name_is_looked_up_without_a_search_for_the_nearest(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registering each task, and sending each call by an unknown name, compared it with all others."""

    def no_search(*_: Any, **__: Any) -> list[str]:
        raise AssertionError("only an error's text needs the nearest name")

    app.task(name="shop.charge")(plain)
    monkeypatch.setattr("difflib.get_close_matches", no_search)
    app.task(name="shop.refund")(plain)
    app.send_task("shop.chrge")
    assert "shop.chrge" not in app.tasks
    assert app.tasks.get("shop.chrge") is None


def use(app: Umbel, how: str) -> None:
    task = app.task(name="t")(plain)
    uses: dict[str, Any] = {
        "delay": task.delay,
        "apply": task.apply,
        "delay_many": lambda: task.delay_many([()]),
        "send_task": lambda: app.send_task("t"),
        "tasks": lambda: app.tasks,
        "finalize": app.finalize,
    }
    uses[how]()


@pytest.mark.parametrize("how", ["delay", "apply", "delay_many", "send_task", "tasks", "finalize"])
def test_what_uses_an_app_finalizes_it(app: Umbel, how: str) -> None:
    assert not app.finalized
    use(app, how)
    assert app.finalized


def test_defining_and_calling_tasks_does_not(app: Umbel) -> None:
    app.task(name="t")(plain)()
    app.task_of("t")
    assert not app.finalized


# Odds and ends of Celery's app


def test_ids_of_an_app(app: Umbel) -> None:
    other = Umbel("other", set_as_current=False)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.extend((app.oid, app.thread_oid)))
    thread.start()
    thread.join()
    assert app.oid == app.oid == found[0] != other.oid
    assert app.thread_oid == app.thread_oid != found[1]


def test_now_is_in_the_apps_time_zone(clock: ManualClock) -> None:
    app = Umbel(clock=clock, timezone="Asia/Tokyo", set_as_current=False)
    assert app.now().isoformat() == "2001-09-09T10:46:40+09:00"


def test_the_tasks_that_run(app: Umbel) -> None:
    @app.task(name="inner")
    def inner() -> Any:
        found = (app.current_task, app.current_worker_task)
        return [task and task.name for task in found]

    @app.task(name="outer")
    def outer() -> Any:
        return inner(), app.current_task is outer

    assert outer.apply().get() == (["inner", "outer"], True)
    assert inner() == ["inner", None]
    assert (app.current_task, app.current_worker_task) == (None, None)


def test_an_app_may_be_made_the_default(app: Umbel) -> None:
    other = Umbel("other", set_as_current=False)
    assert current_app.main == "proj"
    other.set_default()
    assert current_app.main == "other"


def test_the_time_zone_of_an_app() -> None:
    app = Umbel("proj", broker="memory://")
    assert (str(app.timezone), app.uses_utc_timezone()) == ("UTC", True)
    app.conf.timezone = "Europe/Berlin"
    assert (str(app.timezone), app.uses_utc_timezone()) == ("Europe/Berlin", False)
    assert app.now().tzinfo == app.timezone
    app.conf.update(timezone=None, enable_utc=False)
    assert app.timezone is SYSTEM_ZONE
    assert app.now().tzinfo is SYSTEM_ZONE


def test_either_a_value_or_a_setting() -> None:
    app = Umbel("proj", broker="memory://")
    assert app.either("task_default_queue") == "celery"
    assert app.either("task_default_queue", None, "", "video") == ""


def test_what_a_subclass_has_for_celery_is_told_to_mean_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Own(Umbel):
        amqp_cls = "proj:AMQP"

    Own("proj", broker="memory://")
    assert (
        "The attribute amqp_cls of Own has no meaning here: engines take the place" in caplog.text
    )


def test_the_results_of_a_task_are_its_apps() -> None:
    app = Umbel("proj", broker="memory://")
    assert app.task(lambda: None).backend is app.backend


def test_the_namespace_of_its_settings_is_known(memory: str) -> None:
    app = Umbel("proj", broker=memory)
    app.config_from_object({"CELERY_TIMEZONE": "Europe/Berlin"}, namespace="CELERY")
    assert (app.namespace, str(app.timezone)) == ("CELERY", "Europe/Berlin")
