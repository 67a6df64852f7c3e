"""``manage.py umbel``, and how it finds the project's app."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils.functional import SimpleLazyObject

from tests.django.support import run
from umbel import ImproperlyConfigured, Umbel
from umbel.contrib.django.finding import project_apps, project_place
from umbel.contrib.django.management.commands import umbel as command

PLACE = "project_name.taskapp:app"


@pytest.fixture(autouse=True)
def _no_apps_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the modules in which other tests have left an app: all that is imported is looked into."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("project_name") and any(
            issubclass(type(one), Umbel) for one in list(vars(module).values())
        ):
            monkeypatch.delitem(sys.modules, name)


class TestFinding:
    @pytest.fixture
    def module(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
        """Make a module that is imported."""

        def make(name: str, **variables: Any) -> ModuleType:
            found = ModuleType(name)
            vars(found).update(variables)
            monkeypatch.setitem(sys.modules, name, found)
            return found

        return make

    def test_the_only_one(self) -> None:
        assert project_place() == PLACE

    def test_one_that_a_function_of_another_module_has_made(
        self, module: Callable[..., ModuleType]
    ) -> None:
        app = Umbel("other", broker="memory://")
        module("far_away.and_deep", imported=app)
        module("shop_.main", queue=app)
        assert project_apps()["shop_.main:queue"] is app

    def test_several(self, module: Callable[..., ModuleType]) -> None:
        module("shop_.main", queue=Umbel("other", broker="memory://"))
        with pytest.raises(ImproperlyConfigured) as caught:
            project_place()
        assert f"This project has 2 apps: {PLACE}, shop_.main:queue." in str(caught.value)
        assert f"UMBEL_APP = {PLACE!r}" in str(caught.value)

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(sys.modules["project_name.taskapp"], "app")
        with pytest.raises(ImproperlyConfigured) as caught:
            project_place()
        assert "This project has no app." in str(caught.value)
        assert "config.celery, config.umbel, config.taskapp" in str(caught.value)
        assert "project_name.books.celery" in str(caught.value)

    def test_the_one_that_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(settings, "UMBEL_APP", "shop.main", raising=False)
        assert project_place() == "shop.main"
        monkeypatch.setenv("UMBEL_APP", "shop.other")
        assert project_place() == "shop.other"

    def test_what_stands_for_something_else_is_not_asked(
        self, module: Callable[..., ModuleType]
    ) -> None:
        def fail() -> None:
            raise AssertionError

        module("shop_.main", stranger=SimpleLazyObject(fail))
        assert project_place() == PLACE


def test_options_of_manage_py_are_its_own() -> None:
    words = ["worker", "--settings=a", "--pythonpath", "b", "-c", "1", "--", "--settings=kept"]
    assert command._without_djangos(words) == ["worker", "-c", "1", "--", "--settings=kept"]


class TestCall:
    def test_a_command(self, shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("umbel", "list", "tasks")
        assert "charge_user" in capsys.readouterr().out

    def test_one_that_fails(self, shop: Any, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(CommandError, match="umbel result nothing ended with exit code 3"):
            call_command("umbel", "result", "nothing")

    def test_no_app(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(sys.modules["project_name.taskapp"], "app")
        with pytest.raises(CommandError, match="This project has no app"):
            call_command("umbel", "queues")


def test_in_a_process_from_elsewhere(project: Path, tmp_path: Path) -> None:
    """What is sent is in the project's file, and counted."""
    manage = str(project / "manage.py")
    run(project, manage, "umbel", "call", "charge", "-a", "[1]", cwd=tmp_path)
    said = run(project, manage, "umbel", "queues", "--settings", "config.settings.local")
    assert "books" in said


def test_dev_watches_the_project_wherever_it_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv("PYTHONPATH", "")
    program = tmp_path / "manage.py"
    for words, directory in ((["queues", "--nothing"], "/"), (["dev", "--nothing"], str(tmp_path))):
        with pytest.raises(SystemExit):
            command.run(words, program)
        assert os.getcwd() == directory
        assert os.environ["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path)


def test_an_app_that_is_named_and_not_there(project: Path) -> None:
    variables = {"UMBEL_APP": "nowhere"}
    said = run(project, "manage.py", "umbel", "queues", code=2, variables=variables)
    assert "No app was found for -A nowhere" in said
