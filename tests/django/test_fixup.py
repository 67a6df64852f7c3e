"""What an app does where DJANGO_SETTINGS_MODULE is set."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings

from tests.conftest import only_call
from tests.django.support import run
from umbel import ImproperlyConfigured, Task, Umbel, signals
from umbel.contrib.django import DjangoTask
from umbel.engines.memory.space import forget_space


class TestSettings:
    @pytest.mark.parametrize("namespace", ["CELERY", "UMBEL"])
    def test_of_a_namespace(self, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {
            "BROKER_URL": "memory://here",
            "TASK_ALWAYS_EAGER": True,
            "BEAT_SCHEDULE": {"weekly": {"task": "charge", "schedule": 60}},
            "HELPER": ["kept"],
        }.items():
            monkeypatch.setattr(settings, f"{namespace}_{name}", value, raising=False)
        app = Umbel("proj")
        app.config_from_object("django.conf:settings", namespace=namespace)
        assert app.conf.broker_url == "memory://here"
        assert app.conf.task_always_eager
        assert app.conf.beat_schedule["weekly"]["task"] == "charge"
        assert app.conf["helper"] == ["kept"]
        assert app.conf.timezone == "UTC"

    def test_an_old_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settings, "CELERYBEAT_SCHEDULE", {}, raising=False)
        monkeypatch.setattr(settings, "CELERY_ALWAYS_EAGER", True, raising=False)
        app = Umbel("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        assert app.conf.task_always_eager

    def test_late_as_the_article_reads_them(self, shop: Any) -> None:
        """They are read in the method ready() of an AppConfig."""
        assert shop.conf.task_default_queue == "books"
        assert shop.conf.helper_of_the_project == "kept"
        assert shop.conf.origin("task_default_queue").place == "django.conf:settings"


class TestTasks:
    def test_are_found_in_all_installed_apps_as_the_article_does(self, shop: Any) -> None:
        assert {"charge", "charge_async", "charge_user"} <= shop.tasks.keys()
        assert "project_name.books.tasks" in sys.modules

    def test_are_found_without_naming_the_packages(self) -> None:
        app = Umbel("proj", broker="memory://")
        found = app.autodiscover_tasks(force=True)
        assert found is not None
        assert [module.__name__ for module in found] == ["project_name.books.tasks"]

    def test_are_found_when_a_worker_imports_its_modules(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Umbel("proj", broker="memory://")
        app.autodiscover_tasks()
        monkeypatch.delitem(sys.modules, "project_name.books.tasks")
        app.import_modules()
        assert "project_name.books.tasks" in sys.modules

    def test_have_djangos_class(self) -> None:
        app = Umbel("proj", broker="memory://")

        @app.task
        def task() -> None: ...

        @app.task
        async def coroutine() -> None: ...

        assert isinstance(task, DjangoTask)
        assert isinstance(coroutine, DjangoTask)

    def test_have_the_class_that_the_app_names(self) -> None:
        class Mine(Task[..., Any]): ...

        app = Umbel("proj", broker="memory://", task_cls=Mine)

        @app.task
        def task() -> None: ...

        assert isinstance(task, Mine)
        assert not isinstance(task, DjangoTask)


class TestFixups:
    def test_no_project(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
        app = Umbel("proj", broker="memory://")
        assert app.integrations.packages() is None
        assert not app.has_own_task_class

    def test_no_fixups_are_wanted(self) -> None:
        class Bare(Umbel):
            builtin_fixups = ()

        for app in (Umbel("proj", broker="memory://", fixups=[]), Bare("proj")):
            assert app.integrations.packages() is None

    def test_a_fixup_of_ones_own(self) -> None:
        def fixup(app: Umbel) -> Any:
            made.append(app)
            return SimpleNamespace(autodiscover_tasks=lambda: ["project_name.books"])

        made: list[Umbel] = []
        app = Umbel("proj", broker="memory://", fixups=[fixup])
        assert made == [app]
        assert app.fixups == [fixup]
        found = app.autodiscover_tasks(force=True)
        assert [module.__name__ for module in found or ()] == ["project_name.books.tasks"]

    def test_the_only_app_is_current_though_it_is_not_to_be(self) -> None:
        app = Umbel("proj", broker="memory://", set_as_current=False)
        Umbel("other", broker="memory://", set_as_current=False)
        assert DjangoTask.app.fget(Task()) is app  # type: ignore[attr-defined]


class TestSetUp:
    def test_a_call_before_django_is_set_up_and_the_app_has_settings(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(apps, "ready", False)
        app = Umbel()

        @app.task(name="task")
        def task() -> None: ...

        for call in (task.delay, task.apply_async, lambda: app.send_task("task")):
            with pytest.raises(ImproperlyConfigured, match=r"Call django\.setup\(\) first"):
                call()
        assert not list(tmp_path.iterdir())

    def test_a_call_before_django_is_set_up_of_an_app_that_has_settings(
        self, monkeypatch: pytest.MonkeyPatch, memory: str
    ) -> None:
        monkeypatch.setattr(apps, "ready", False)
        app = Umbel("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.send_task("charge", (1,))
        assert only_call(app, "books").task == "charge"
        forget_space("shop")

    def test_checks_are_said_by_a_worker_alone(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app = Umbel("proj", broker="memory://")
        monkeypatch.setattr(settings, "ROOT_URLCONF", "config.nowhere")
        monkeypatch.setattr(settings, "DEFAULT_AUTO_FIELD", "")
        monkeypatch.setattr(settings, "CACHES", {})
        app.import_modules()
        assert caplog.text == ""
        self.be_a_worker(app)
        monkeypatch.setenv("CELERY_SKIP_CHECKS", "true")
        app.import_modules()
        assert caplog.text == ""

    def be_a_worker(self, app: Umbel) -> None:
        instance = SimpleNamespace(hostname="w@h", app=app)
        signals.celeryd_init.send("w@h", instance=instance, conf=app.conf, options={})

    def test_what_checks_find_is_said(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        app, other = (Umbel("proj", broker="memory://") for _ in range(2))
        monkeypatch.setattr(settings, "CACHES", {})
        self.be_a_worker(app)
        other.import_modules()
        assert caplog.text == ""
        app.import_modules()
        assert "A check of Django's found: ?: (caches.E001)" in caplog.text


class TestProcesses:
    """What needs a process in which Django is not set up yet."""

    def test_a_call_without_setup(self, project: Path) -> None:
        text = "from project_name.taskapp import app; app.send_task('charge', (1,))"
        said = run(project, "-c", text, code=1)
        assert "Call django.setup() first, or run the program by manage.py." in said

    def test_settings_that_are_not_there(self, project: Path) -> None:
        words = ("-m", "umbel", "-A", "project_name.taskapp", "worker")
        variables = {"DJANGO_SETTINGS_MODULE": "config.setings.local"}
        said = run(project, *words, code=2, variables=variables)
        assert "DJANGO_SETTINGS_MODULE is 'config.setings.local', and there is no module" in said
        assert "'config.setings'" in said
        assert "Traceback" not in said

    def test_a_lazy_discovery_that_ready_asks_for(self, project: Path) -> None:
        """Who connects to a signal while it is sent does not hear it: Django is set up before."""
        text = (
            "from project_name.taskapp import app; find = app.autodiscover_tasks\n"
            "app.autodiscover_tasks = lambda *_, **more: find()\n"
            "app.import_modules(); print('charge' in app.tasks)"
        )
        assert "True" in run(project, "-c", text)

    def test_a_command_sets_django_up(self, project: Path) -> None:
        said = run(project, "-m", "umbel", "-A", "project_name.taskapp", "list", "tasks")
        assert "charge_async" in said

    def test_loggers_are_heard_though_the_setting_turns_all_off(self, project: Path) -> None:
        text = (
            "import logging; from project_name.taskapp import app; from django.conf import settings\n"
            "settings.LOGGING = {'version': 1}; app.import_modules()\n"
            "print([logging.getLogger(name).disabled for name in ('asyncio', 'umbel', 'umbel.signals')])"
        )
        assert "[True, False, False]" in run(project, "-c", text)

    def test_the_directory_is_importable(self, project: Path) -> None:
        """What has no own directory in sys.path: an installed script."""
        text = (
            "import os, sys; sys.path.remove('')\n"
            "os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings.local'\n"
            "from umbel import Celery; app = Celery(); import project_name.taskapp, django.conf\n"
            "print(django.conf.settings.ROOT_URLCONF)"
        )
        assert "config.urls" in run(project, "-c", text)

    def test_django_is_not_imported_before_it_is_needed(self, project: Path) -> None:
        text = "import sys; from umbel import Celery; Celery('x'); print('django' in sys.modules)"
        variables = {"DJANGO_SETTINGS_MODULE": "config.settings.local"}
        assert "False" in run(project, "-c", text, variables=variables)


def test_the_environment_names_the_project() -> None:
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "config.settings.local"
