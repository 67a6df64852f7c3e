"""How an app comes to its settings: from its constructor, from modules, variables and words."""

import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.settings import COMMAND_LINE, Origin, Rank

Write = Callable[[str], str]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Umbel:
    """An app without settings, whatever the environment says."""
    for name in ("UMBEL_BROKER_URL", "CELERY_BROKER_URL"):
        monkeypatch.delenv(name, raising=False)
    return Umbel("bare")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """What writes a module with settings, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(text: str) -> str:
        written.append(f"umbel_test_loading_{tmp_path.name}_{len(written)}".replace("-", "_"))
        (tmp_path / f"{written[-1]}.py").write_text(text)
        return written[-1]

    yield write
    for name in written:
        sys.modules.pop(name, None)


def share(monkeypatch: pytest.MonkeyPatch, **values: object) -> None:
    """Give modules of settings something to import."""
    module = types.ModuleType("shared_with_settings")
    vars(module).update(values)
    monkeypatch.setitem(sys.modules, module.__name__, module)


class TestFromObject:
    def test_a_name_is_imported_when_settings_are_read(self, bare: Umbel, write: Write) -> None:
        name = write("task_default_queue = 'mails'")
        bare.config_from_object(name)
        bare.conf.worker_concurrency = 2
        assert name not in sys.modules
        assert bare.conf.task_default_queue == "mails"
        assert name in sys.modules
        assert bare.conf.origin("task_default_queue") == Origin(Rank.LOADED, name)

    def test_with_force_it_is_imported_at_once(self, bare: Umbel, write: Write) -> None:
        name = write("task_default_queue = 'mails'")
        bare.config_from_object(name, force=True)
        assert name in sys.modules

    def test_an_object_is_read_at_once(self, bare: Umbel) -> None:
        with pytest.raises(ImproperlyConfigured, match="Did you mean 'task_acks_late'"):
            bare.config_from_object({"task_ack_late": True})

    def test_a_namespace(self, bare: Umbel, write: Write) -> None:
        bare.config_from_object(write("SHOP_ENABLE_UTC = False\nENABLE_UTC = 3"), namespace="SHOP")
        assert bare.conf.changed() == {"enable_utc": False}

    def test_a_missing_module_is_told_at_each_read(self, bare: Umbel) -> None:
        bare.config_from_object("umbel_nowhere")
        for _ in range(2):
            with pytest.raises(
                ModuleNotFoundError, match="the settings 'umbel_nowhere' were to be"
            ):
                _ = bare.conf.enable_utc
        with pytest.raises(ModuleNotFoundError):
            bare.config_from_object("umbel_nowhere", force=True)

    @pytest.mark.parametrize("force", [False, True])
    def test_silent_leaves_a_missing_module_out(self, bare: Umbel, force: bool) -> None:
        bare.config_from_object("umbel_nowhere", silent=True, force=force)
        assert bare.conf.enable_utc is True

    def test_silent_hides_no_wrong_settings(self, bare: Umbel, write: Write) -> None:
        bare.config_from_object(write("enable_utc = 'perhaps'"), silent=True)
        with pytest.raises(ImproperlyConfigured, match="enable_utc is 'perhaps'"):
            _ = bare.conf.enable_utc

    def test_the_module_is_named_with_its_mistakes(self, bare: Umbel, write: Write) -> None:
        name = write("enable_utc = 'perhaps'")
        bare.config_from_object(name)
        with pytest.raises(ImproperlyConfigured, match=f"It comes from {name}"):
            _ = bare.conf.task_default_queue

    def test_the_module_may_read_the_apps_settings(self, write: Write) -> None:
        app = Umbel(task_default_queue="mails")  # made current
        app.config_from_object(
            write(
                "from umbel import current_app\n"
                "queue_of_app = current_app.conf.task_default_queue\n"
                "result_expires = 5\n"
            )
        )
        assert app.conf.result_expires == 5
        assert app.conf.queue_of_app == "mails"

    def test_a_module_that_is_imported_by_itself_may_read_the_apps_settings(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It gets the defaults, and nothing of it is lost."""
        app = Umbel(set_as_current=False)
        share(monkeypatch, app=app)
        name = write(
            "from shared_with_settings import app\n"
            "seen = app.conf.task_default_queue\n"
            "task_default_queue = 'mine'\n"
        )
        app.config_from_object(name)
        assert import_module(name).seen == "celery"
        assert app.conf.task_default_queue == "mine"

    def test_a_thread_that_reads_and_one_that_imports_do_not_wait_for_each_other(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Umbel(set_as_current=False)
        importing, reading = threading.Event(), threading.Event()
        share(monkeypatch, app=app, importing=importing, reading=reading)
        name = write(
            "from shared_with_settings import *\n"
            "importing.set()\n"
            "assert reading.wait(10)\n"
            "seen = app.conf.task_default_queue\n"
            "task_default_queue = 'mine'\n"
        )
        app.config_from_object(name)
        found: list[str] = []

        def read() -> None:
            assert importing.wait(10)
            reading.set()
            found.append(app.conf.task_default_queue)

        reader = threading.Thread(target=read, daemon=True)
        importer = threading.Thread(target=import_module, args=(name,), daemon=True)
        for thread in (reader, importer):
            thread.start()
        for thread in (reader, importer):
            thread.join(10)
            assert not thread.is_alive()
        assert found == ["mine"]

    def test_of_several_the_last_counts(self, bare: Umbel, write: Write) -> None:
        bare.config_from_object({"task_default_queue": "one", "worker_concurrency": 1})
        bare.config_from_object(write("task_default_queue = 'two'"))
        assert (bare.conf.task_default_queue, bare.conf.worker_concurrency) == ("two", 1)

    def test_what_the_app_says_itself_stays(self, write: Write) -> None:
        app = Umbel(task_default_queue="given", set_as_current=False)
        app.conf.worker_concurrency = 1
        app.config_from_object(
            write("task_default_queue = 'q'\nworker_concurrency = 2\nenable_utc = False")
        )
        conf = app.conf
        assert (conf.task_default_queue, conf.worker_concurrency) == ("given", 1)
        assert conf.enable_utc is False


class TestFromVariable:
    def test_it_names_the_module(
        self, bare: Umbel, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = write("task_default_queue = 'mails'")
        monkeypatch.setenv("SHOP_SETTINGS", name)
        bare.config_from_envvar("SHOP_SETTINGS")
        assert name not in sys.modules
        assert bare.conf.task_default_queue == "mails"

    def test_with_force_at_once(
        self, bare: Umbel, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOP_SETTINGS", name := write("task_default_queue = 'mails'"))
        bare.config_from_envvar("SHOP_SETTINGS", force=True)
        assert name in sys.modules

    @pytest.mark.parametrize("value", [None, ""])
    def test_it_must_be_set(
        self, bare: Umbel, value: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SHOP_SETTINGS", raising=False)
        if value is not None:
            monkeypatch.setenv("SHOP_SETTINGS", value)
        with pytest.raises(ImproperlyConfigured) as caught:
            bare.config_from_envvar("SHOP_SETTINGS")
        assert str(caught.value) == (
            "The environment variable SHOP_SETTINGS is not set. It must name the module that holds the"
            " settings."
        )
        bare.config_from_envvar("SHOP_SETTINGS", silent=True)
        assert bare.conf.changed() == {}


class TestFromWords:
    def test_they_count_most(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("UMBEL_BROKER_URL", "memory://environment")
        app = Umbel(broker="memory://given", set_as_current=False)
        assert app.broker_url == "memory://environment"
        app.config_from_cmdline(["broker.url=memory://ordered", 'task_routes=(json){"a": "b"}'])
        app.conf.task_routes = None
        assert app.broker_url == "memory://ordered"
        assert app.conf.task_routes == {"a": "b"}
        assert app.conf.origin("broker_url") == COMMAND_LINE

    def test_texts_become_the_settings_type(self, bare: Umbel) -> None:
        bare.config_from_cmdline(
            ["worker.concurrency=4", "task_acks_late=no", "accept_content=json,yaml"]
        )
        assert bare.conf.changed() == {
            "worker_concurrency": 4,
            "task_acks_late": False,
            "accept_content": ("json", "yaml"),
        }

    def test_mistakes_are_told(self, bare: Umbel) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"'many', but.*from the command line"):
            bare.config_from_cmdline(["worker.concurrency=many"])


class TestDefaults:
    def test_they_count_where_nothing_else_is_said(self, bare: Umbel) -> None:
        bare.config_from_object({"task_default_queue": "loaded"})
        bare.add_defaults({"task_default_queue": "added", "worker_concurrency": 3})
        assert (bare.conf.task_default_queue, bare.conf.worker_concurrency) == ("loaded", 3)
        assert bare.conf.origin("worker_concurrency") == Origin(Rank.ADDED, "add_defaults")

    def test_a_function_is_called_when_settings_are_read(self, bare: Umbel) -> None:
        called = []

        def make() -> Mapping[str, Any]:
            called.append(1)
            return {"worker_concurrency": 3}

        bare.add_defaults(make)
        assert called == []
        assert bare.conf.worker_concurrency == 3
        assert called == [1]


class TestReadingAnew:
    def test_what_was_loaded_is_loaded_again_and_what_was_written_stays(self, bare: Umbel) -> None:
        source = types.SimpleNamespace(worker_concurrency=3, task_default_queue="a", plugin="x")
        bare.config_from_object(source)
        bare.conf.task_default_queue = "written"
        del source.plugin
        source.worker_concurrency, source.result_expires = 4, 60
        bare.conf.reread()
        assert (bare.conf.worker_concurrency, bare.conf.task_default_queue) == (4, "written")
        assert bare.conf.result_expires == 60
        assert "plugin" not in bare.conf
        del source.worker_concurrency
        bare.conf.reread()
        assert bare.conf.worker_concurrency is None

    def test_nothing_is_read_that_was_not_loaded(self, bare: Umbel) -> None:
        bare.conf.worker_concurrency = 3
        bare.conf.reread()
        assert bare.conf.worker_concurrency == 3
