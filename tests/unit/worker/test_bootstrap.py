from __future__ import annotations

import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from umbel import current_app
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.bootstrap import (
    Orders,
    Source,
    find_app,
    threads_and_connections,
)

Project = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Write files of a project; what is imported from them is forgotten after the test."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is None or str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def app_text(name: str, main: str = "found") -> str:
    return f"from umbel import Umbel\n{name} = Umbel({main!r})\n"


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("tasks_a", {"tasks_a": app_text("app")}),
        ("tasks_b", {"tasks_b": app_text("celery")}),
        ("tasks_c", {"tasks_c": app_text("queue")}),
        ("tasks_d", {"tasks_d": app_text("other", "no") + app_text("app")}),
        ("tasks_e:two", {"tasks_e": app_text("app", "no") + app_text("two")}),
        ("tasks_f.two", {"tasks_f": app_text("app", "no") + app_text("two")}),
        ("pack_a", {"pack_a/__init__": app_text("app")}),
        ("pack_b.tasks", {"pack_b/__init__": "", "pack_b/tasks": app_text("app")}),
        ("pack_c", {"pack_c/__init__": "", "pack_c/celery": app_text("app")}),
        ("pack_d.tasks:mine", {"pack_d/__init__": "", "pack_d/tasks": app_text("mine")}),
        ("pack_e.tasks.mine", {"pack_e/__init__": "", "pack_e/tasks": app_text("mine")}),
        ("spaces_a", {"spaces_a/celery": app_text("app")}),
    ],
)
def test_what_can_be_named(project: Project, name: str, files: dict[str, str]) -> None:
    assert find_app(name, str(project(files))).main == "found"


def test_without_a_directory_the_working_one_is_looked_in(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project({"tasks_cwd": app_text("app")}))
    assert find_app("tasks_cwd").main == "found"


@pytest.mark.parametrize(
    ("name", "tried"),
    [
        ("nowhere", ["module nowhere"]),
        ("nowhere.at.all", ["module nowhere.at.all", "module nowhere.at"]),
        ("nowhere:app", ["module nowhere"]),
        (
            "empty_a",
            ["module empty_a", "empty_a.app", "empty_a.celery", "module empty_a.celery"],
        ),
        ("empty_a:x", ["module empty_a", "empty_a.x"]),
        ("empty_a.x", ["module empty_a.x", "module empty_a", "empty_a.x"]),
        ("empty_a:number", ["empty_a.number"]),
    ],
)
def test_the_error_says_what_was_tried_and_where(
    project: Project, name: str, tried: list[str]
) -> None:
    directory = project({"empty_a": "number = 5\n"})
    with pytest.raises(ImproperlyConfigured) as caught:
        find_app(name, str(directory))
    text = str(caught.value)
    assert text.startswith(f"No app was found for -A {name}. Tried: ")
    for one in tried:
        assert one in text
    assert text.endswith(f"Directory: {directory}.")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shop_task", "shop_tasks"),
        ("shop_tasks:ap", "shop_tasks:app"),
        ("shop_tasks.ap", "shop_tasks:app"),
        ("sopping", "shopping"),
    ],
)
def test_the_error_asks_what_was_meant(project: Project, name: str, meant: str) -> None:
    directory = project({"shop_tasks": app_text("app"), "shopping/__init__": app_text("app")})
    with pytest.raises(ImproperlyConfigured, match=rf" Did you mean -A {meant}\?$"):
        find_app(name, str(directory))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tasks.py", "tasks"),
        ("./tasks.py", "tasks"),
        ("shop/tasks.py:app", "shop.tasks:app"),
        (r"shop\tasks.py", "shop.tasks"),
        ("shop/tasks", "shop.tasks"),
    ],
)
def test_a_file_is_no_module(name: str, meant: str) -> None:
    """A relative path was shown as a traceback, a file's name as an app that was not found."""
    with pytest.raises(ImproperlyConfigured) as caught:
        find_app(name)
    assert str(caught.value) == (
        f"-A {name} names a file, not a module. Name it as an import does: -A {meant}"
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("raise RuntimeError('mine')", RuntimeError),
        ("import nobody_has_this", ModuleNotFoundError),
        ("from umbel import nothing_of_this_name", ImportError),
        ("def broken(:", SyntaxError),
        ("raise SystemExit(3)", SystemExit),
    ],
)
def test_errors_of_the_module_itself_are_raised_as_they_are(
    project: Project, text: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        find_app("broken_a", str(project({"broken_a": text})))


def test_an_error_of_a_package_is_not_taken_for_a_missing_module(project: Project) -> None:
    directory = project(
        {"pack_x/__init__": "import nobody_has_this", "pack_x/tasks": app_text("app")}
    )
    with pytest.raises(ModuleNotFoundError, match="nobody_has_this"):
        find_app("pack_x.tasks", str(directory))


# Loading


def test_loading_applies_the_command_lines_settings_and_imports_all_modules(
    project: Project,
) -> None:
    directory = project(
        {
            "tasks_l": "from umbel import Umbel\napp = Umbel(include=['tasks_m'])\n",
            "tasks_m": "from tasks_l import app\n@app.task(name='m')\ndef m(): ...\n",
            "tasks_n": "from tasks_l import app\n@app.task(name='n')\ndef n(): ...\n",
        }
    )
    source = Source("tasks_l", str(directory), {"worker_concurrency": 3, "include": ["tasks_n"]})
    app = source.load()
    assert app.conf.worker_concurrency == 3
    assert {"m", "n"} <= set(app.tasks)


INIT = """
from umbel import Umbel
from umbel.signals import celeryd_init, import_modules
app = Umbel()
heard = []
@celeryd_init.connect(sender="celery@here")
def configure(sender, instance, conf, options, **_):
    heard.append((sender, instance.hostname, instance.app is app, conf is app.conf, options))
    conf.task_default_queue = "here"
    conf.worker_concurrency = 1
@import_modules.connect(sender=app)
def importing(sender, **_):
    heard.append(sender is app)
@app.on_after_finalize.connect
def complete(sender, **_):
    heard.append(sorted(name for name in sender.tasks if name == "n"))
"""


def test_receivers_of_celeryd_init_may_change_settings(project: Project) -> None:
    directory = project(
        {"tasks_i": INIT, "tasks_j": "from tasks_i import app\n@app.task(name='n')\ndef n(): ...\n"}
    )
    given = {"worker_concurrency": 3, "include": ["tasks_j"]}
    app = Source("tasks_i", str(directory), given, hostname="celery@here").load()
    assert (app.conf.task_default_queue, app.conf.worker_concurrency) == ("here", 3)
    assert sys.modules["tasks_i"].heard == [
        ("celery@here", "celery@here", True, True, given),
        True,
        ["n"],
    ]


def test_an_error_of_a_receiver_of_import_modules_is_raised(project: Project) -> None:
    text = INIT.replace("heard.append(sender is app)", "raise ValueError('cannot')")
    with pytest.raises(ValueError, match="cannot"):
        Source("tasks_e", str(project({"tasks_e": text})), {}, hostname="celery@there").load()


def test_only_what_the_command_line_says_counts_as_its_word(project: Project) -> None:
    directory = project({"tasks_o": app_text("app")})
    app = Source("tasks_o", str(directory), {}).load()
    assert "include" not in app.conf.changed()
    app.conf.include = ["json"]
    assert list(app.conf.include) == ["json"]


def test_the_loaded_app_is_the_current_one(project: Project) -> None:
    directory = project({"two_apps": app_text("app", "mine") + app_text("other", "theirs")})
    app = Source("two_apps", str(directory), {}).load()
    assert app.main == "mine"
    assert current_app.main == "mine"


def test_orders_travel_as_json() -> None:
    orders = Orders(Source("tasks", "/srv", {"a": 1}), ("a", "b"), "celery@host", "n", 2, "INFO")
    arrived = Orders.from_data(json.loads(json.dumps(orders.to_data())))
    assert arrived.source == orders.source
    assert list(arrived.queues) == ["a", "b"]
    assert (arrived.hostname, arrived.node, arrived.concurrency, arrived.loglevel) == (
        "celery@host",
        "n",
        2,
        "INFO",
    )


# What cannot be forked


def test_threads_and_sockets_are_named() -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="mine")
    one, other = socket.socketpair()
    thread.start()
    try:
        found = threads_and_connections([one.fileno()])
        assert "the thread 'mine'" in found
        assert f"the socket {other.fileno()}" in found
        assert f"the socket {one.fileno()}" not in found
    finally:
        stop.set()
        thread.join()
        one.close()
        other.close()
