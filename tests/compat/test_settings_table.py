"""The table of settings agrees with that of Celery 5.7, which ``record_settings.py`` recorded."""

import json
from pathlib import Path
from typing import Any

import pytest

from umbel.settings import TABLE, Config

GOLDEN = Path(__file__).parent / "golden" / "settings.json"
CELERY: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["settings"]
SHARED = [name for name in TABLE if name in CELERY]

#: Names that Celery has for another setting, and why we take them for ours.
TAKEN_OVER = {
    "BROKER_HOST": "broker_host, which Celery reads where broker_url is not set",
}


def plain(value: Any) -> Any:
    """Return a default as JSON has it."""
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", SHARED)
def test_celerys_default_is_as_we_say(name: str) -> None:
    assert plain(TABLE[name].celery_default) == CELERY[name]["default"]


@pytest.mark.parametrize("name", SHARED)
def test_every_old_name_is_understood(name: str) -> None:
    for old in CELERY[name]["old"]:
        assert Config({old: TABLE[name].default}).changed() == {name: TABLE[name].default}


@pytest.mark.parametrize("name", SHARED)
def test_no_old_name_means_something_else_in_celery(name: str) -> None:
    meanings = {old: other for other, row in CELERY.items() for old in row["old"]}
    for old in TABLE[name].old_names:
        assert meanings.get(old, name) == name or old in TAKEN_OVER


def test_settings_that_celery_does_not_have_have_no_old_names() -> None:
    assert {name: TABLE[name].old_names for name in TABLE if name not in CELERY} == {
        name: () for name in TABLE if name not in CELERY
    }


def test_a_setting_of_celery_that_we_do_not_have_yet_is_kept() -> None:
    names = {name for name in CELERY if name not in TABLE}
    names |= {old for name in names for old in CELERY[name]["old"]} - TAKEN_OVER.keys()
    assert Config(dict.fromkeys(names, 1)).changed() == dict.fromkeys(names, 1)


def test_the_whole_table_was_recorded() -> None:
    assert len(CELERY) > 200
    assert len(SHARED) >= 24
