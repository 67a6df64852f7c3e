import re
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.exceptions import ImproperlyConfigured
from umbel.options import warn_once
from umbel.settings import TABLE, Config, Declared, Settings, zone


class TestTable:
    def test_it_has_a_row_for_every_setting(self) -> None:
        assert list(TABLE) == list(Settings.__dataclass_fields__)

    @pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
    def test_every_row_explains_itself(self, row: Declared) -> None:
        assert row.doc.endswith((".", ")"))
        assert len(row.doc.split()) >= 3

    @pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
    def test_a_default_that_is_not_celerys_has_a_reason(self, row: Declared) -> None:
        assert bool(row.why) is (row.default != row.celery_default)

    @pytest.mark.parametrize("row", TABLE.values(), ids=TABLE)
    def test_every_default_is_a_value_of_its_type(self, row: Declared) -> None:
        assert Config({row.name: row.default})[row.name] == row.default

    def test_old_names_are_unique_and_in_upper_case(self) -> None:
        names = [old for row in TABLE.values() for old in row.old_names]
        assert len(set(names)) == len(names)
        assert all(name.isupper() for name in names)

    def test_no_name_could_be_a_slip_of_another(self) -> None:
        # Else the error for a near miss would hit a real setting.
        for name in TABLE:
            Config().update({name: TABLE[name].default})


class TestTypes:
    @pytest.mark.parametrize(
        ("name", "given", "kept"),
        [
            ("task_acks_late", True, True),
            ("task_acks_late", 0, False),
            ("worker_concurrency", 4, 4),
            ("worker_concurrency", "4", 4),
            ("worker_concurrency", 4.0, 4),
            ("worker_concurrency", None, None),
            ("result_expires", 60, 60.0),
            ("result_expires", "60", 60.0),
            ("result_expires", timedelta(minutes=1), 60.0),
            ("result_expires", None, None),
            ("broker_url", "sqlite:///a.db", "sqlite:///a.db"),
            ("broker_url", None, None),
            ("accept_content", ["json", "yaml"], ("json", "yaml")),
            ("accept_content", "json, yaml", ("json", "yaml")),
            ("imports", (), ()),
            ("imports", "proj.tasks", ("proj.tasks",)),
            ("worker_pool", "solo", "solo"),
            ("broker_transport_options", {"a": 1}, {"a": 1}),
            ("task_routes", {"proj.*": {"queue": "q"}}, {"proj.*": {"queue": "q"}}),
        ],
    )
    def test_values_become_the_type_of_the_setting(
        self, name: str, given: object, kept: object
    ) -> None:
        found = Config({name: given})[name]
        assert found == kept
        assert type(found) is type(kept)

    @pytest.mark.parametrize(
        ("name", "given", "told"),
        [
            ("task_acks_late", "yes", "True or False"),
            ("task_acks_late", 2, "True or False"),
            ("task_acks_late", None, "True or False"),
            ("worker_concurrency", 1.5, "a whole number"),
            ("worker_concurrency", True, "a whole number"),
            ("worker_concurrency", "many", "a whole number"),
            ("worker_concurrency", float("inf"), "a whole number"),
            ("worker_lease_ttl", None, "a number of seconds"),
            ("worker_lease_ttl", -1, "a number of seconds"),
            ("worker_lease_ttl", timedelta(seconds=-1), "a number of seconds"),
            ("worker_lease_ttl", float("nan"), "a number of seconds"),
            ("worker_lease_ttl", True, "a number of seconds"),
            ("worker_lease_ttl", float("inf"), "a number of seconds"),
            ("result_expires", float("inf"), "of 300 years at most, or None.*keeps them for ever"),
            ("result_expires", 1e300, "of 300 years at most, or None.*keeps them for ever"),
            ("result_expires", timedelta.max, "of 300 years at most"),
            ("worker_lease_ttl", "soon", "a number of seconds"),
            ("task_default_queue", 5, "a text"),
            ("task_default_queue", None, "a text"),
            ("accept_content", [1], "a list of texts"),
            ("accept_content", 5, "a list of texts"),
            ("worker_pool", "gevent2", "'prefork', 'solo'"),
            ("worker_pool", ["solo"], "'prefork', 'solo'"),
            ("broker_transport_options", 5, "a mapping"),
        ],
    )
    def test_a_wrong_value_is_told_with_the_name_and_what_it_must_be(
        self, name: str, given: object, told: str
    ) -> None:
        conf = Config()
        with pytest.raises(ImproperlyConfigured, match=f"{name} is .*{told}"):
            conf[name] = given
        assert conf.snapshot == Settings()

    @pytest.mark.parametrize("name", ["broker_url", "result_backend"])
    def test_a_wrong_url_is_not_shown_for_it_may_hold_a_password(self, name: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config({name: b"redis://:secret@host"})
        assert "secret" not in str(caught.value)


class TestNames:
    @pytest.mark.parametrize(
        ("spelling", "name"),
        [(old, row.name) for row in TABLE.values() for old in row.old_names]
        + [(name.upper(), name) for name in TABLE],
    )
    def test_old_names_and_upper_case_mean_the_setting(self, spelling: str, name: str) -> None:
        marker = Config({spelling: TABLE[name].default})
        assert marker.changed() == {name: TABLE[name].default}
        assert marker[spelling] == marker[name] == getattr(marker, spelling)
        assert spelling in marker

    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("task_ack_late", "task_acks_late"),
            ("task_acks_lates", "task_acks_late"),
            ("TASK_ACK_LATE", "task_acks_late"),
            ("broker_ulr", "broker_url"),
            ("import", "imports"),
            ("worker_lease_tll", "worker_lease_ttl"),
        ],
    )
    def test_a_near_miss_suggests_the_name(self, wrong: str, right: str) -> None:
        for write in (Config().__setitem__, Config().__setattr__):
            with pytest.raises(ImproperlyConfigured, match=f"'{wrong}'. Did you mean '{right}'"):
                write(wrong, 1)

    @settings(deadline=None)
    @given(
        st.sampled_from(sorted(TABLE)),
        st.integers(0, 100),
        st.sampled_from(["", "x", "xy"]),
        st.booleans(),
    )
    def test_one_or_two_wrong_letters_are_a_near_miss(
        self, name: str, position: int, typed: str, replacing: bool
    ) -> None:
        start = position % len(name)
        end = start + (max(1, len(typed)) if replacing else 0)
        wrong = name[:start] + typed + name[end:]
        if wrong == name:
            return
        with pytest.raises(ImproperlyConfigured, match="Did you mean"):
            Config({wrong: 1})

    def test_other_unknown_names_are_kept(self) -> None:
        conf = Config({"my_plugin_colour": "red"})
        conf.SENTRY_DSN = "https://example.org"
        assert conf.my_plugin_colour == conf["my_plugin_colour"] == "red"
        assert conf.changed() == {
            "my_plugin_colour": "red",
            "SENTRY_DSN": "https://example.org",
        }
        assert "SENTRY_DSN" in conf
        del conf["SENTRY_DSN"]
        assert "SENTRY_DSN" not in conf

    @pytest.mark.parametrize(
        "initial",
        [
            {"strict_settings": True, "my_plugin_colour": "red"},
            {"my_plugin_colour": "red", "strict_settings": True},
        ],
    )
    def test_strict_settings_refuses_them_in_any_order(self, initial: dict[str, Any]) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"my_plugin_colour.*strict_settings"):
            Config(initial)

    def test_reading_an_unknown_name(self) -> None:
        conf = Config()
        with pytest.raises(KeyError, match="my_plugin_colour"):
            conf["my_plugin_colour"]
        with pytest.raises(AttributeError, match="Did you mean 'task_acks_late'"):
            conf.task_ack_late  # noqa: B018 - reading it is the test
        assert conf.get("my_plugin_colour", "blue") == "blue"
        assert not hasattr(conf, "my_plugin_colour")
        assert not hasattr(conf, "__wrapped__")


class TestConfig:
    def test_items_and_attributes_are_the_same(self) -> None:
        conf = Config()
        conf.task_acks_late = False
        assert conf["task_acks_late"] is False
        conf["task_acks_late"] = True
        assert conf.task_acks_late is True

    def test_it_is_a_mapping_of_all_settings(self) -> None:
        conf = Config({"my_plugin_colour": "red"})
        assert dict(conf).keys() == {*TABLE, "my_plugin_colour"}
        assert len(conf) == len(TABLE) + 1
        conf.update(task_default_queue="other", worker_concurrency=2)
        assert (conf.task_default_queue, conf.worker_concurrency) == ("other", 2)

    def test_a_deleted_setting_is_the_default_again(self) -> None:
        conf = Config({"task_default_queue": "other"})
        del conf["CELERY_DEFAULT_QUEUE"]
        assert conf.task_default_queue == "celery"
        assert conf.changed() == {}

    def test_what_was_written_is_told_even_where_it_is_the_default(self) -> None:
        conf = Config({"task_default_queue": "celery", "enable_utc": True})
        assert conf.changed() == {"enable_utc": True, "task_default_queue": "celery"}
        assert repr(conf) == "<Config: 2 settings changed>"

    def test_two_configs_share_nothing(self) -> None:
        one, other = Config(), Config()
        one.broker_transport_options["a"] = 1
        del one["broker_transport_options"]
        one.broker_transport_options["b"] = 1
        assert other.broker_transport_options == {}
        assert TABLE["broker_transport_options"].default == {}
        assert Config().broker_transport_options == {}

    def test_a_mapping_is_copied_when_it_is_written(self) -> None:
        options = {"a": 1}
        conf = Config({"broker_transport_options": options})
        options["b"] = 2
        assert conf.broker_transport_options == {"a": 1}


class TestNotYet:
    """Settings that are accepted and not heeded yet."""

    def test_whoever_sets_one_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        warn_once.cache_clear()
        for _ in range(2):
            Config({"CELERYD_TASK_TIME_LIMIT": 30, "task_always_eager": True})
        assert caplog.messages == [
            "The setting task_time_limit is not enforced yet: tasks run as long as they like.",
            "The setting task_always_eager has no effect yet: calls are sent to the broker.",
        ]

    @pytest.mark.parametrize("name", [row.name for row in TABLE.values() if row.yet])
    def test_setting_the_default_is_no_news(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        warn_once.cache_clear()
        Config({name: TABLE[name].default})
        assert caplog.messages == []
        assert TABLE[name].default == TABLE[name].celery_default


class TestSnapshot:
    def test_a_write_replaces_it(self) -> None:
        conf = Config()
        before = conf.snapshot
        conf.task_default_queue = "other"
        del conf["task_acks_late"]
        assert before.task_default_queue == "celery"
        assert conf.snapshot.task_default_queue == "other"
        assert before == Settings()

    def test_without_a_write_it_stays_the_same(self) -> None:
        conf = Config()
        assert conf.snapshot is conf.snapshot

    def test_it_cannot_be_written(self) -> None:
        with pytest.raises(FrozenInstanceError):
            Config().snapshot.enable_utc = False  # type: ignore[misc]

    def test_a_refused_write_changes_nothing(self) -> None:
        conf = Config()
        before = conf.snapshot
        with pytest.raises(ImproperlyConfigured):
            conf.worker_concurrency = "many"
        assert conf.snapshot is before
        assert conf.changed() == {}


class TestZone:
    @pytest.mark.parametrize(("name", "hours"), [(None, 0), ("UTC", 0), ("Europe/Berlin", 2)])
    def test_the_zone_of_the_app(self, name: str | None, hours: int) -> None:
        summer = datetime(2050, 7, 1, tzinfo=UTC).astimezone(zone(Settings(timezone=name)))
        assert summer.utcoffset() == timedelta(hours=hours)

    @pytest.mark.parametrize("name", ["Mars/Phobos", "../etc/passwd", "Europe", "/UTC", "\0"])
    def test_a_name_that_is_none_is_told(self, name: str) -> None:
        wrong = replace(Settings(), timezone=name)
        with pytest.raises(ImproperlyConfigured, match=re.escape(repr(name))):
            zone(wrong)
