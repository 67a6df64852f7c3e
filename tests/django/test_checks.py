"""What ``manage.py check`` says of umbel's settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks

from umbel import Umbel, signals
from umbel.contrib.django import checks
from umbel.contrib.django.checks import check_umbel


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set a setting of the project, whose app reads all of them anew."""

    def put(name: str, value: Any, namespace: str = "CELERY") -> Umbel:
        monkeypatch.setattr(settings, name, value, raising=False)
        app = Umbel()
        app.config_from_object("django.conf:settings", namespace=namespace)
        monkeypatch.setattr(sys.modules["project_name.taskapp"], "app", app)
        return app

    return put


def found() -> str:
    return "\n".join(f"{message.id} {message.msg} {message.hint}" for message in check_umbel(None))


def test_nothing_is_wrong() -> None:
    assert found() == ""


def test_they_are_among_djangos_checks(setting: Any) -> None:
    setting("CELERY_TASK_TIME_LIMIT", "soon")
    assert "umbel.E001" in [message.id for message in run_checks()]


def test_a_name_that_is_misspelt(setting: Any) -> None:
    setting("CELERY_BROKR_URL", "memory://")
    assert "There is no setting 'brokr_url'. Did you mean 'broker_url'?" in found()


@pytest.mark.parametrize("namespace", ["CELERY", "UMBEL"])
def test_a_value_that_is_wrong(setting: Any, namespace: str) -> None:
    setting(f"{namespace}_TASK_TIME_LIMIT", "soon", namespace)
    assert "The setting task_time_limit is 'soon', but must be" in found()


@pytest.mark.parametrize("name", ["BROKER_URL", "RESULT_BACKEND"])
def test_a_server_that_nobody_serves(setting: Any, name: str) -> None:
    setting(f"CELERY_{name}", "sqs://localhost")
    assert f"umbel.E002 {name.lower()} of the app" in found()
    assert "No engine serves URLs that begin with 'sqs'" in found()


def test_a_file_that_cannot_be_made(setting: Any, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    setting("CELERY_BROKER_URL", f"sqlite:///{tmp_path}/file/umbel.db")
    assert f"umbel.db cannot be made ({tmp_path}/file is a file)" in found()


def test_a_directory_that_is_not_there_yet_is_not_made(setting: Any, tmp_path: Path) -> None:
    setting("CELERY_BROKER_URL", f"sqlite:///{tmp_path}/new/umbel.db")
    assert found() == ""
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer_is_not_asked(setting: Any) -> None:
    setting("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    assert found() == ""


def test_settings_that_no_app_reads(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    setting("UMBEL_TASK_TIME_LIMIT", 5)
    assert "umbel.W001 The settings have UMBEL_TASK_TIME_LIMIT, and no app reads it" in found()
    assert 'namespace="UMBEL"' in found()
    setting("UMBEL_TASK_TIME_LIMIT", 5, "UMBEL")
    assert "UMBEL" not in found()


def test_an_old_name_that_no_app_reads(setting: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app = setting("CELERYD_CONCURRENCY", 4)
    # Modules of other tests may have apps, too, which read all names.
    monkeypatch.setattr(checks, "project_apps", lambda: {"project_name.taskapp:app": app})
    said = found()
    assert "umbel.W002 The settings have CELERYD_CONCURRENCY, and no app reads it" in said
    assert "Name it CELERY_WORKER_CONCURRENCY." in said


def test_an_old_name_beside_the_new_one(setting: Any) -> None:
    """It may be for a program of another kind."""
    setting("BROKER_URL", "redis://localhost")
    setting("CELERY_BROKER_URL", "memory://shop")
    assert "BROKER_URL" not in found()


def test_a_worker_does_not_say_twice_what_is_wrong(
    setting: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends with the same error, when it uses the settings."""
    setting("CELERY_TASK_TIME_LIMIT", "soon")
    app = Umbel("proj", broker="memory://")
    instance = SimpleNamespace(hostname="w@h", app=app)
    signals.celeryd_init.send("w@h", instance=instance, conf=app.conf, options={})
    app.import_modules()
    assert "umbel.E" not in caplog.text
