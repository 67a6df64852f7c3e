import sys
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.masking import MASK
from umbel.settings import Config, Origin, Rank, sources
from umbel.settings.sources import from_object, from_words

MODULE = """
import os
from collections import OrderedDict
from datetime import timedelta
from os.path import join as join_paths

def helper(): ...

_private = 1
task_default_queue = "main"
result_expires = timedelta(hours=1)
my_plugin_colour = "red"
CELERY_ACKS_LATE = False
SHOP_TASK_DEFAULT_QUEUE = "shop"

class Local:
    task_default_queue = "local"
    inner = {"task_default_queue": "inner"}
"""

NAMES = Path(__file__).with_name("names_of_django_projects.txt")
#: A settings module as Django projects have it: names that are nobody's business here.
DJANGO = {
    "TIME_ZONE": "Europe/Paris",
    "INSTALLED_APPS": ["django.contrib.admin"],
    **dict.fromkeys(NAMES.read_text("utf-8").split(), object()),
}


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module with settings, and what they need."""
    (tmp_path / "umbel_test_settings.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "umbel_test_settings"
    sys.modules.pop("umbel_test_settings", None)


def loaded(source: object, namespace: str | None = None) -> Config:
    """Return the settings that are in force when an object's were loaded."""
    found = from_object(source, namespace)
    conf = Config(environment={})
    conf.load(found.values, Origin(Rank.LOADED, found.place))
    return conf


class TestPlaces:
    def test_a_module_by_its_name_or_itself(self, module: str) -> None:
        found = from_object(module)
        assert found == from_object(sys.modules[module])
        assert found == sources.Found(
            module,
            {
                "task_default_queue": "main",
                "result_expires": timedelta(hours=1),
                "my_plugin_colour": "red",
                "CELERY_ACKS_LATE": False,
                "SHOP_TASK_DEFAULT_QUEUE": "shop",
            },
        )

    @pytest.mark.parametrize(
        ("attribute", "queue"),
        [(":Local", "local"), (".Local", "local"), (":Local.inner", "inner")],
    )
    def test_something_in_a_module(self, module: str, attribute: str, queue: str) -> None:
        found = from_object(module + attribute)
        assert found.place == module + attribute
        assert found.values["task_default_queue"] == queue

    def test_a_class_an_object_and_a_mapping(self) -> None:
        class Mine:
            enable_utc = False

            def helper(self) -> None: ...

        assert from_object(Mine) == sources.Found("Mine", {"enable_utc": False})
        assert from_object(Mine()) == sources.Found(
            "an object of the class Mine", {"enable_utc": False}
        )
        assert from_object({"enable_utc": False}) == sources.Found(
            "a mapping", {"enable_utc": False}
        )

    def test_helpers_count_where_a_setting_is_called_so(self) -> None:
        class Mine:
            @staticmethod
            def broker_failover_strategy() -> None: ...

            class task_annotations: ...

            class Other: ...

        found = from_object(Mine).values
        assert found.keys() == {"broker_failover_strategy", "task_annotations"}

    def test_in_a_mapping_everything_counts(self) -> None:
        values = {"my_class": dict, "my_function": len, "_private": 1, 5: 6}
        assert from_object(values).values == {"my_class": dict, "my_function": len}

    @pytest.mark.parametrize(
        ("name", "error", "told"),
        [
            (
                "umbel_nowhere",
                ModuleNotFoundError,
                "No module named 'umbel_nowhere'; the settings 'umbel_nowhere' were to be read from"
                " there.",
            ),
            (
                "umbel_nowhere.settings",
                ModuleNotFoundError,
                "No module named 'umbel_nowhere'; the settings 'umbel_nowhere.settings' were to be"
                " read from there.",
            ),
            (
                "umbel_nowhere:Local",
                ModuleNotFoundError,
                "No module named 'umbel_nowhere'; the settings 'umbel_nowhere:Local' were to be"
                " read from there.",
            ),
            (
                "proj/settings.py:Local",
                ImproperlyConfigured,
                "'proj/settings.py:Local' names a file, not a module. Name it as an import does:"
                " 'proj.settings:Local'.",
            ),
            (
                "./settings",
                ImproperlyConfigured,
                "'./settings' names a file, not a module. Name it as an import does: 'settings'.",
            ),
            (
                "umbel_test_settings.py",
                ImproperlyConfigured,
                "'umbel_test_settings.py' names a file, not a module. Name it as an import does:"
                " 'umbel_test_settings'.",
            ),
            (
                "umbel_test_settings:Nope.inner",
                ImproperlyConfigured,
                "The settings 'umbel_test_settings:Nope.inner' were not found: umbel_test_settings has"
                " no 'Nope.inner'.",
            ),
        ],
    )
    @pytest.mark.usefixtures("module")
    def test_what_is_not_there(self, name: str, error: type[Exception], told: str) -> None:
        with pytest.raises(error) as caught:
            from_object(name)
        assert str(caught.value) == told

    def test_an_import_that_fails_within_is_shown_as_it_is(
        self, tmp_path: Path, module: str
    ) -> None:
        (tmp_path / f"{module}.py").write_text("import umbel_missing")
        with pytest.raises(ModuleNotFoundError) as caught:
            from_object(module)
        assert str(caught.value) == "No module named 'umbel_missing'"


class TestNamespace:
    @pytest.mark.parametrize("namespace", ["CELERY", "CELERY_"])
    def test_only_its_names_count(self, namespace: str) -> None:
        values = {
            "CELERY_BROKER_URL": "memory://",
            "CELERY_TASK_ACKS_LATE": False,
            "CELERY_MY_COLOUR": "red",
            "CELERY_TASK_RESULT_EXPIRES": 60,  # old names
            "CELERY_DEFAULT_QUEUE": "mails",
            "task_track_started": True,
            "TASK_TRACK_STARTED": True,
            "DEBUG": True,
        }
        expected = {
            "broker_url": "memory://",
            "task_acks_late": False,
            "my_colour": "red",
            "result_expires": 60.0,
            "task_default_queue": "mails",
        }
        assert loaded(values, namespace).changed() == expected
        assert loaded(types.SimpleNamespace(**values), namespace).changed() == expected

    def test_it_may_be_in_lower_case(self) -> None:
        assert loaded({"shop_enable_utc": False}, "shop").changed() == {"enable_utc": False}

    @pytest.mark.parametrize(
        ("written", "wrong", "right"),
        [
            ("CELERY_TASK_ACK_LATE", "task_ack_late", "task_acks_late"),
            ("CELERY_ACK_LATE", "CELERY_ACK_LATE", "CELERY_ACKS_LATE"),
            (
                "CELERY_TASK_RESULT_EXPIRE",
                "CELERY_TASK_RESULT_EXPIRE",
                "CELERY_TASK_RESULT_EXPIRES",
            ),
        ],
    )
    def test_a_slip_is_told(self, written: str, wrong: str, right: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            loaded({written: 1}, "CELERY")
        assert str(caught.value).startswith(
            f"There is no setting {wrong!r}. Did you mean {right!r}?"
        )

    def test_without_it_its_names_mean_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        conf = loaded(types.SimpleNamespace(CELERY_TASK_ALWAYS_EAGER=True, DEBUG=True))
        assert conf.changed() == {"DEBUG": True}
        assert caplog.messages == [
            "an object of the class SimpleNamespace sets CELERY_TASK_ALWAYS_EAGER, which means nothing"
            " unless the settings are read with namespace='CELERY'. Without it the setting is called"
            " task_always_eager."
        ]


class TestTwoNames:
    def test_two_values_for_one_setting_are_refused(self) -> None:
        values = {"result_expires": 1, "CELERY_TASK_RESULT_EXPIRES": 2}
        for source in (values, types.SimpleNamespace(**values)):
            with pytest.raises(ImproperlyConfigured) as caught:
                from_object(source)
            assert "two names of the setting result_expires, to" in str(caught.value)
            assert "CELERY_TASK_RESULT_EXPIRES" in str(caught.value)
            assert str(caught.value).endswith("Keep one of them.")

    def test_also_in_a_namespace_and_without_showing_secrets(self) -> None:
        values = {"CELERY_REDIS_PASSWORD": "pw", "redis_password": "other"}
        with pytest.raises(ImproperlyConfigured) as caught:
            from_object(values)
        assert str(caught.value) == (
            "a mapping sets CELERY_REDIS_PASSWORD and redis_password, two names of the setting"
            f" redis_password, to {MASK!r} and {MASK!r}. Keep one of them."
        )
        with pytest.raises(ImproperlyConfigured):
            from_object({"CELERY_ACKS_LATE": 1, "CELERY_TASK_ACKS_LATE": 0}, "CELERY")

    def test_old_and_new_names_may_stand_beside_each_other(self) -> None:
        values = {"result_expires": 1, "CELERY_TASK_RESULT_EXPIRES": 1, "CELERY_ACKS_LATE": False}
        assert loaded(values).changed() == {"result_expires": 1.0, "task_acks_late": False}


class TestDjango:
    @pytest.mark.parametrize("namespace", [None, "CELERY"])
    @pytest.mark.parametrize("strict", [False, True])
    def test_its_settings_are_no_mistakes(
        self, namespace: str | None, strict: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert len(DJANGO) >= 200
        ours = "CELERY_" if namespace else ""
        source: dict[str, Any] = {f"{ours}enable_utc": True, **DJANGO}
        if strict:
            source[f"{ours}strict_settings"] = True
        conf = loaded(types.ModuleType("proj.settings"), namespace)
        found = from_object(types.SimpleNamespace(**source), namespace)
        conf.load(found.values, Origin(Rank.LOADED, found.place))
        assert {name for name in conf.changed() if name.islower()} == {
            "enable_utc",
            "timezone",
            *(["strict_settings"] if strict else []),
        }
        assert conf.timezone == "Europe/Paris"
        assert caplog.messages == []

    def test_those_that_are_not_like_ours_may_be_read(self) -> None:
        conf = loaded(DJANGO)
        assert conf.INSTALLED_APPS == ["django.contrib.admin"]
        assert conf.REDIS_HOSTS

    @pytest.mark.parametrize("name", ["REDIS_HOST", "DATA_DIR", "DATABASE_URL"])
    def test_a_projects_own_servers_are_its_own(self, name: str) -> None:
        assert loaded({name: object()}).changed() == {}
        conf = loaded({f"CELERY_{name}": "sqlite:///a"}, "CELERY")
        assert conf[name] == "sqlite:///a"

    def test_the_time_zone_for_tasks_may_be_another(self) -> None:
        values = {"TIME_ZONE": "Europe/Paris", "timezone": "UTC"}
        assert loaded(values).timezone == "UTC"
        values = {"TIME_ZONE": "Europe/Paris", "CELERY_TIMEZONE": "UTC"}
        assert loaded(values).timezone == loaded(values, "CELERY").timezone == "UTC"
        assert loaded({"TIME_ZONE": None}).timezone is None

    def test_a_name_that_may_be_a_slip_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        assert loaded({"BROKR_URL": "memory://"}).changed() == {"BROKR_URL": "memory://"}
        assert caplog.messages == [
            "a mapping sets BROKR_URL, which umbel does not know. Did you mean broker_url?"
        ]

    def test_a_name_that_begins_like_ours_must_be_one(self) -> None:
        with pytest.raises(ImproperlyConfigured, match="Did you mean 'CELERYD_CONCURRENCY'"):
            loaded({"CELERYD_CONCURENCY": 2})


class TestWords:
    @pytest.mark.parametrize(
        ("word", "name", "value"),
        [
            ("worker_concurrency=4", "worker_concurrency", "4"),
            ("worker.concurrency=4", "worker_concurrency", "4"),
            ("Worker.Concurrency=4", "worker_concurrency", "4"),
            ("broker_url=redis://h?a=b", "broker_url", "redis://h?a=b"),
            ("task_default_queue=", "task_default_queue", ""),
            ("a=(int)4", "a", 4),
            ("a=(float)1.5", "a", 1.5),
            ("a=(bool)off", "a", False),
            ("a=(bool)1", "a", True),
            ("a=(str)(int)4", "a", "(int)4"),
            ("a=(string)4", "a", "4"),
            ('a=(json){"b": [1]}', "a", {"b": [1]}),
            ('a=(dict){"b": 1}', "a", {"b": 1}),
            ("a=(list)[1, 2]", "a", [1, 2]),
            ("a=(tuple)[1, 2]", "a", (1, 2)),
        ],
    )
    def test_a_word_is_a_setting(self, word: str, name: str, value: object) -> None:
        assert from_words([word]) == {name: value}

    @pytest.mark.parametrize(
        ("word", "told"),
        [
            (
                "worker_concurrency",
                "'worker_concurrency' is no setting: write name=value or, with a type,"
                " name=(json)value.",
            ),
            ("redis://:pw@host", f"'redis://:{MASK}@host' is no setting: write name=value"),
            (
                "a=(number)4",
                "a is given the type 'number', which is not known. Use one of json, string, str, int,"
                " float, bool, tuple, list, dict.",
            ),
            ("a=(int)four", "a is 'four', which cannot be read as int."),
            ("a=(bool)maybe", "a is 'maybe', which cannot be read as bool."),
            ("a=(tuple)5", "a is '5', which cannot be read as tuple."),
            ("a=(dict)[1]", "a is '[1]', which cannot be read as dict."),
            ("a=(json){", "a is '{', which cannot be read as json (Expecting property name"),
            ("redis_password=(int)pw", f"redis_password is {MASK!r}, which cannot be read as int."),
        ],
    )
    def test_anything_else_is_told(self, word: str, told: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            from_words([word])
        assert str(caught.value).startswith(told)
