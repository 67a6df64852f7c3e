from datetime import UTC, datetime, timedelta

import pytest

from tests.each import for_each
from umbel.settings import TABLE, Config, Settings, spelling, zone
from umbel.settings.declare import Declared
from umbel.settings.table import near_miss, unrelated


class TestTable:
    def test_it_has_a_row_for_every_setting(self) -> None:
        assert list(TABLE) == list(vars(Settings()))
        assert {row.name for row in TABLE.values()} == set(TABLE)

    @for_each("row", TABLE.values())
    def test_every_row_explains_itself(self, row: Declared) -> None:
        explained = row.doc or row.unused
        assert explained.endswith((".", ")"))
        assert len(explained.split()) >= 2
        assert row.group
        assert not (row.later and row.unused)

    @for_each("row", TABLE.values())
    def test_a_default_that_is_not_celerys_has_a_reason(self, row: Declared) -> None:
        assert bool(row.why) is row.differs

    @for_each("row", TABLE.values())
    def test_every_default_is_a_value_of_its_type(self, row: Declared) -> None:
        assert row.value(row.default) == row.default

    @for_each("row", [row for row in TABLE.values() if row.like])
    def test_a_setting_that_stands_for_another_names_one(self, row: Declared) -> None:
        assert row.like is not None
        assert row.default is None
        assert Config()[row.name] == Config()[row.like]

    def test_old_names_are_unique_and_in_upper_case(self) -> None:
        names = [row.old_name for row in TABLE.values() if row.old_name]
        assert len(set(names)) == len(names)
        assert all(name.isupper() for name in names)


class TestSpelling:
    @for_each("name", TABLE)
    def test_a_name_an_old_name_and_upper_case_mean_the_setting(self, name: str) -> None:
        assert spelling(name) == spelling(name.upper()) == name
        assert spelling(TABLE[name].old_name or name) == name
        assert near_miss(name) == near_miss(name.upper()) == name

    @pytest.mark.parametrize("name", ["", "celery", "Task_Acks_Late", "celery_acks_late", "task_"])
    def test_nothing_else_does(self, name: str) -> None:
        assert spelling(name) is None

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("task_ack_late", "task_acks_late"),
            ("TASK_ACK_LATE", "task_acks_late"),
            ("CELERY_ACK_LATE", "CELERY_ACKS_LATE"),
            ("celery_acks_late", "CELERY_ACKS_LATE"),
            ("CELERYD_CONCURENCy", "CELERYD_CONCURRENCY"),
            ("broker_ulr", "broker_url"),
            ("SECRET_KEY", None),
        ],
    )
    def test_a_near_miss(self, name: str, found: str | None) -> None:
        assert near_miss(name) == found

    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("SECRET_KEY", True),
            ("REDIS_URL", True),
            ("DATA_DIR", True),
            ("BROKER_URL", False),
            ("CELERY_X", False),
            ("TASK_X", False),
            ("DATABASE_ENGINE_CALLBACK", False),  # Celery's old name
            ("task_x", False),
            ("secret_key", False),
        ],
    )
    def test_names_that_are_not_for_us(self, name: str, answer: bool) -> None:
        assert unrelated(name) is answer


class TestSettings:
    def test_they_do_not_change(self) -> None:
        settings = Settings({"task_default_queue": "mails"})
        with pytest.raises(AttributeError, match=r"does not change; set app\.conf\.enable_utc"):
            settings.enable_utc = False
        with pytest.raises(AttributeError, match=r"does not change; set app\.conf\.enable_utc"):
            del settings.enable_utc
        assert settings.replaced("enable_utc", False).enable_utc is False
        assert settings.enable_utc is True

    def test_they_are_values(self) -> None:
        assert Settings() == Settings()
        assert Settings() != Settings({"enable_utc": False})
        assert Settings().replaced("enable_utc", False) == Settings({"enable_utc": False})
        assert Settings() != object()


class TestZone:
    @pytest.mark.parametrize(("name", "hours"), [(None, 0), ("UTC", 0), ("Europe/Berlin", 2)])
    def test_the_zone_of_the_app(self, name: str | None, hours: int) -> None:
        there = zone(Settings({"timezone": name}))
        summer = datetime(2050, 7, 1, tzinfo=UTC).astimezone(there)
        assert summer.utcoffset() == timedelta(hours=hours)
