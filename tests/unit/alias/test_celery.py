"""Modules of Celery's that are our own here; tests/alias shows them under their names."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.absent import NotThereToImport
from umbel.alias import versions
from umbel.alias.billiard import einfo
from umbel.alias.celery import platforms
from umbel.alias.celery.app import app_or_default, defaults
from umbel.alias.celery.app import utils as app_utils
from umbel.alias.celery.registry import __getattr__ as of_registry
from umbel.alias.packages import attributes_of
from umbel.worker.bootstrap import find_app

DISTRIBUTION = Path(__file__).parents[3] / "packages" / "umbel-as-celery"


def test_which_app_is_meant(app: Umbel) -> None:
    other = Umbel(set_as_current=False)
    assert app_or_default(other) is other
    assert app_or_default() is app
    assert of_registry("tasks") is app.tasks
    with pytest.raises(AttributeError, match=r"celery\.registry"):
        of_registry("nothing")


def test_defaults_of_settings() -> None:
    assert defaults.DEFAULTS["task_default_queue"] == "celery"
    assert "%(task_id)s" in defaults.DEFAULT_TASK_LOG_FMT
    assert "%(processName)s" in defaults.DEFAULT_PROCESS_LOG_FMT
    assert "broker_url" in defaults.SETTING_KEYS
    assert app_utils.find_app is find_app


def test_signals_by_name() -> None:
    before = signal.getsignal(signal.SIGUSR2)
    try:
        platforms.signals["USR2"] = platforms.signals.ignored
        assert platforms.signals["SIGUSR2"] is signal.SIG_IGN
        platforms.signals.reset("USR2")
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
        platforms.signals.ignore("USR2")
        assert platforms.signals[signal.SIGUSR2] is signal.SIG_IGN
        platforms.signals["NOTHING"] = platforms.signals.ignored
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert platforms.signals.supported("term")
    assert not platforms.signals.supported("nothing")
    assert platforms.signal_name(15) == "TERM"


def test_the_platform() -> None:
    assert (platforms.EX_OK, platforms.EX_FAILURE) == (0, 1)
    assert platforms.pyimplementation()
    assert not platforms.isatty(None)
    assert platforms.set_process_title("celery", "worker") == "celery worker"


def test_attributes_are_own_names_modules_and_the_heads() -> None:
    found = attributes_of("celery", {"path": "os:path"}, head="umbel")
    assert found("path").join
    assert found("Umbel") is Umbel
    with pytest.raises(NotThereToImport, match=r"^celery\.worker\.WorkController is "):
        attributes_of("celery.worker")("WorkController")
    with pytest.raises(AttributeError, match=r"module 'celery\.bin' has no attribute 'nothing'"):
        attributes_of("celery.bin")("nothing")


def test_versions_compare_as_celerys() -> None:
    found = versions.version_info("5.7.0")
    assert found >= (5, 2)
    assert (found.major, found.minor, found.micro) == (5, 7, 0)


def test_an_exception_with_its_traceback() -> None:
    assert str(einfo.ExceptionInfo(ValueError("no"))) == "ValueError: no\n"
    try:
        raise KeyError("x")
    except KeyError:
        for info in (einfo.ExceptionInfo(), einfo.ExceptionInfo(sys.exc_info())):
            assert info.type is KeyError
            assert info.traceback.endswith("KeyError: 'x'\n")
    with pytest.raises(TypeError, match="is made where an exception is handled"):
        einfo.ExceptionInfo()
    assert issubclass(einfo.ExceptionWithTraceback, Exception)


def test_the_distribution_says_the_same_versions() -> None:
    project = (DISTRIBUTION / "pyproject.toml").read_text("utf-8")
    for name, version in (
        ("celery", versions.CELERY),
        ("kombu", versions.KOMBU),
        ("billiard", versions.BILLIARD),
    ):
        metadata = (DISTRIBUTION / "metadata" / name / "METADATA").read_text("utf-8")
        assert f"\nName: {name}\nVersion: {version}+umbel.0\n" in metadata
        assert f"purelib/{name}-{version}+umbel.0.dist-info" in project
        assert (DISTRIBUTION / "src" / name / "umbel_alias.txt").exists()
