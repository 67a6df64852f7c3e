from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from umbel import declared
from umbel.exceptions import ImproperlyConfigured

Declare = Callable[[str], None]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Install a package that declares something."""
    information = tmp_path / "django_celery_beat-2.8.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: django-celery-beat\nVersion: 2.8\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (information / "entry_points.txt").write_text(text)

    return write


def test_a_scheduler_is_found_by_its_name(declare: Declare) -> None:
    declare("[celery.beat_schedulers]\ndjango = collections:OrderedDict\n")
    found = declared.scheduler("django")
    assert found is not None
    assert found.__name__ == "OrderedDict"
    assert declared.scheduler("redbeat") is None


def test_commands_are_in_order(declare: Declare) -> None:
    declare("[celery.commands]\nwatch = collections:Counter\nflower = collections:deque\n")
    assert [entry.name for entry in declared.commands()] == ["flower", "watch"]


def test_what_cannot_be_loaded_names_the_package(declare: Declare) -> None:
    declare("[celery.beat_schedulers]\ndjango = collections:Nothing\n")
    with pytest.raises(
        ImproperlyConfigured,
        match=r"django-celery-beat declares 'django' as one of celery\.beat_schedulers, but"
        r" collections:Nothing cannot be loaded: AttributeError",
    ):
        declared.scheduler("django")
