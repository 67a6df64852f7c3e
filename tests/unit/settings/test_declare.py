"""Each kind of setting: what it takes, what it keeps, and what it says of anything else."""

from datetime import UTC, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.masking import MASK
from umbel.settings import TABLE, Config, Settings
from umbel.settings.declare import Declared, Kind, anything, choice, flag, unused

INFINITY = float("inf")


class TestWhatIsTaken:
    @pytest.mark.parametrize(
        ("name", "given", "kept"),
        [
            *[("task_acks_late", word, True) for word in (True, 1, "true", "Yes", " ON ", "1")],
            *[("task_acks_late", word, False) for word in (False, 0, "False", "no", "off", "0")],
            ("task_acks_on_failure", None, None),
            ("redis_db", -1, -1),
            ("redis_db", "6", 6),
            ("redis_db", 6.0, 6),
            ("redis_db", Decimal(6), 6),
            ("worker_concurrency", 4, 4),
            ("worker_concurrency", 0, 0),
            ("worker_concurrency", None, None),
            ("broker_heartbeat", 1, 1.0),
            ("broker_heartbeat", "0.5", 0.5),
            ("broker_heartbeat", None, None),
            ("result_expires", 60, 60.0),
            ("result_expires", "60", 60.0),
            ("result_expires", timedelta(minutes=1), 60.0),
            ("result_expires", Fraction(1, 2), 0.5),
            ("result_expires", 0, 0.0),
            ("result_expires", None, None),
            ("task_default_priority", 0, 0),
            ("task_default_priority", 255, 255),
            ("task_default_queue", "mails", "mails"),
            ("data_dir", "/var/lib", "/var/lib"),
            ("data_dir", PurePosixPath("/var/lib"), "/var/lib"),
            ("imports", ["proj.a", "proj.b"], ("proj.a", "proj.b")),
            ("imports", "proj.a, proj.b", ("proj.a", "proj.b")),
            ("imports", {"proj.a"}, ("proj.a",)),
            ("imports", (), ()),
            ("accept_content", ["json", "pickle"], ("json", "pickle")),
            ("accept_content", "json, application/x-shop", ("json", "application/x-shop")),
            ("task_serializer", "json", "json"),
            ("result_serializer", "pickle", "pickle"),
            ("timezone", "Europe/Paris", "Europe/Paris"),
            ("timezone", ZoneInfo("Europe/Paris"), "Europe/Paris"),
            ("timezone", None, None),
            ("broker_url", "sqlite:///a.db", "sqlite:///a.db"),
            ("broker_url", ["memory://a", "memory://b"], "memory://a;memory://b"),
            ("broker_url", "memory://a;memory://b", "memory://a;memory://b"),
            ("broker_url", "sqlite:////srv/a;b.db", "sqlite:////srv/a;b.db"),
            ("broker_url", None, None),
            ("result_backend", "disabled", "disabled"),
            ("result_backend", "django-db", "django-db"),
            ("result_backend", "proj.backend:Mine", "proj.backend:Mine"),
            ("result_backend", "proj.Mine+http://a", "proj.Mine+http://a"),
            ("result_backend", "db+sqlite:///a", "db+sqlite:///a"),
            ("result_backend", "db+oracle+cx_oracle://h/a", "db+oracle+cx_oracle://h/a"),
            ("worker_pool", "solo", "solo"),
            ("worker_redirect_stdouts_level", "info", "INFO"),
            ("broker_transport_options", {"a": 1}, {"a": 1}),
            ("task_routes", [("a", "b")], [("a", "b")]),
        ],
    )
    def test_it_becomes_the_settings_type(self, name: str, given: object, kept: object) -> None:
        found = Config({name: given})[name]
        assert found == kept
        assert type(found) is type(kept)

    @pytest.mark.parametrize(
        "name", ["task_reject_on_worker_lost", "broker_connection_retry_on_startup"]
    )
    def test_none_means_the_default_where_it_is_celerys(self, name: str) -> None:
        assert Config({name: None})[name] == TABLE[name].default

    def test_a_policy_of_retries_is_a_mapping(self) -> None:
        policy = {"max_retries": 1, "interval_start": 0.5}
        assert Config({"task_publish_retry_policy": policy}).task_publish_retry_policy == policy

    def test_a_mapping_is_copied(self) -> None:
        options = {"a": 1}
        conf = Config({"broker_transport_options": options})
        options["b"] = 2
        assert conf.broker_transport_options == {"a": 1}


SECONDS = "a number of seconds, such as 300, or a timedelta, of 300 years at most"


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("name", "given", "told"),
        [
            ("task_acks_late", "maybe", "True or False"),
            ("task_acks_late", 2, "True or False"),
            ("task_acks_late", 1.0, "True or False"),
            ("task_acks_late", None, "True or False"),
            ("redis_db", 1.5, "a whole number, or None"),
            ("redis_db", Decimal("1.5"), "a whole number, or None"),
            ("redis_db", True, "a whole number, or None"),
            ("worker_concurrency", "many", "a whole number, 0 or more, or None"),
            ("worker_concurrency", -1, "a whole number, 0 or more, or None"),
            ("worker_concurrency", INFINITY, "a whole number, 0 or more, or None"),
            ("worker_concurrency", [4], "a whole number, 0 or more, or None"),
            ("broker_heartbeat", "often", "a number, or None"),
            ("broker_heartbeat", True, "a number, or None"),
            ("broker_heartbeat", float("nan"), "a number, or None"),
            ("worker_lease_ttl", None, SECONDS),
            ("worker_lease_ttl", -1, SECONDS),
            ("worker_lease_ttl", timedelta(seconds=-1), SECONDS),
            ("worker_lease_ttl", float("nan"), SECONDS),
            ("worker_lease_ttl", True, SECONDS),
            ("worker_lease_ttl", INFINITY, SECONDS),
            ("worker_lease_ttl", "5m", SECONDS),
            ("result_expires", timedelta.max, f"{SECONDS}, or None"),
            ("task_default_priority", 256, "a whole number from 0 to 255, or None"),
            ("task_default_priority", -1, "a whole number from 0 to 255, or None"),
            ("task_default_queue", 5, "a text"),
            ("task_default_queue", None, "a text"),
            ("data_dir", 5, "a path, as a text or a Path, or None"),
            ("data_dir", b"/var", "a path, as a text or a Path, or None"),
            ("imports", ["a", 1], "a list of texts"),
            ("imports", 5, "a list of texts"),
            ("imports", {"a": 1}, "a list of texts"),
            ("imports", b"abc", "a list of texts"),
            ("timezone", "Mars/Phobos", "the name of an IANA time zone, such as Europe/Paris"),
            ("timezone", "../etc/passwd", "the name of an IANA time zone, such as Europe/Paris"),
            ("timezone", "Europe", "the name of an IANA time zone, such as Europe/Paris"),
            ("timezone", "\0", "the name of an IANA time zone, such as Europe/Paris"),
            ("timezone", UTC, "the name of an IANA time zone, such as Europe/Paris"),
            ("worker_pool", "gevent2", "one of 'prefork', 'solo'"),
            ("worker_pool", ["solo"], "one of 'prefork', 'solo'"),
            ("broker_transport_options", 5, "a mapping, such as a dict"),
            ("broker_transport_options", ["ab", "cd"], "a mapping, such as a dict"),
            ("broker_transport_options", [("a", 1)], "a mapping, such as a dict"),
        ],
    )
    def test_the_error_says_name_value_and_what_it_must_be(
        self, name: str, given: object, told: str
    ) -> None:
        conf = Config()
        with pytest.raises(ImproperlyConfigured) as caught:
            conf[name] = given
        assert str(caught.value).startswith(f"The setting {name} is {given!r}, but must be {told}")
        assert str(caught.value).endswith(TABLE[name].doc)
        assert conf.snapshot == Settings()

    @pytest.mark.parametrize(
        ("name", "given", "reason"),
        [
            (
                "task_serializer",
                "jsn",
                "There is no serializer 'jsn'; known are: auth, json, msgpack, pickle, yaml. Others are"
                " made known by umbel.serialization.register.",
            ),
            (
                "accept_content",
                ["json", "jsn"],
                "There is no serializer 'jsn'; known are: auth, json, ",
            ),
            ("result_serializer", "pickel", "There is no serializer 'pickel'"),
            ("task_publish_retry_policy", {"max_retry": 3}, "'max_retry'"),
            ("task_publish_retry_policy", {"max_retries": "x"}, "max_retries"),
            ("broker_url", "localhost:6379", "It does not begin with a scheme"),
            ("result_backend", "localhost:6379", "It does not begin with a scheme"),
            ("result_backend", "proj/backend:Mine", "It does not begin with a scheme"),
        ],
    )
    def test_where_more_is_known_it_is_said(self, name: str, given: object, reason: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config({name: given})
        assert f"The setting {name} is {given!r}, but must be" in str(caught.value)
        assert reason in str(caught.value)

    def test_the_written_name_is_told_where_it_is_another(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config().CELERYD_CONCURRENCY = "many"
        assert str(caught.value).startswith(
            "The setting worker_concurrency (written CELERYD_CONCURRENCY) is 'many', but"
        )

    @pytest.mark.parametrize("name", ["broker_url", "result_backend", "broker_read_url"])
    @pytest.mark.parametrize(
        "given",
        [
            b"redis://:pw@host",
            ["redis://:pw@host", 5],
            {"url": "redis://:pw@host"},
            "guest:pw@host",
            SimpleNamespace(url="pw"),
        ],
    )
    def test_a_wrong_url_is_shown_without_its_password(self, name: str, given: Any) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config({name: given})
        assert "pw" not in str(caught.value)
        assert str(caught.value).startswith(f"The setting {name} is ")

    def test_a_secret_is_not_shown(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config().redis_password = 12345
        assert str(caught.value) == (
            f"The setting redis_password is {MASK!r}, but must be a text, or None."
            " The password, where a URL has none."
        )

    def test_a_long_value_is_shortened(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config().beat_schedule = ["x" * 1000]
        assert "xxx..., but must be a mapping" in str(caught.value)
        assert len(str(caught.value)) < 400


class TestDeclaring:
    def row(self, declared: Any, name: str = "worker_x") -> Declared:
        assert isinstance(declared, Declared)
        owner = type("Group", (), {"__doc__": "A group.\n\nMore.", name: declared})
        found: Declared = vars(owner)[name]
        return found

    def test_a_row_knows_its_name_and_group(self) -> None:
        row = self.row(flag(True, "Doc."))
        assert (row.name, row.group, row.default, row.doc) == ("worker_x", "A group", True, "Doc.")
        assert row.wanted == "True or False"

    def test_a_default_of_none_allows_none(self) -> None:
        assert self.row(flag(None, "Doc.")).wanted == "True or False, or None"
        assert self.row(flag.or_none(True, "Doc.")).value(None) is None
        with pytest.raises(TypeError):
            Kind(len, "anything with a length")(2, "Doc.").value(None)  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("name", "old"),
        [
            ("worker_x", "CELERYD_X"),
            ("task_x", "CELERY_X"),
            ("beat_x", "CELERYBEAT_X"),
            ("result_x", "CELERY_RESULT_X"),
            ("broker_x", "BROKER_X"),
        ],
    )
    def test_the_old_name_follows_from_the_name(self, name: str, old: str) -> None:
        assert self.row(flag(True, "Doc."), name).old_name == old
        assert self.row(flag(True, "Doc.", old="OTHER"), name).old_name == "OTHER"
        assert self.row(flag(True, "Doc.", ours=True), name).old_name is None

    def test_what_differs_from_celery(self) -> None:
        row = self.row(flag(True, "Doc.", celery=False, why="Because."))
        assert (row.celery_default, row.differs, row.why) == (False, True, "Because.")
        same = self.row(flag(True, "Doc."))
        assert (same.celery_default, same.differs, same.why) == (True, False, "")
        ours = self.row(flag(True, "Doc.", ours=True))
        assert (ours.celery_default, ours.differs) == (None, False)

    def test_what_has_no_meaning_takes_anything(self) -> None:
        row = self.row(unused(3, "It has none.", old="OLD"))
        assert (row.unused, row.old_name, row.default) == ("It has none.", "OLD", 3)
        assert row.value("x") == "x"
        assert row.value(None) is None

    def test_a_choice_is_one_of_some_texts(self) -> None:
        row = self.row(choice("one", "TWO")("one", "Doc."))
        assert [row.value(given) for given in ("one", "two", "TWO")] == ["one", "TWO", "TWO"]
        assert row.wanted == "one of 'one', 'TWO'"

    def test_defaults_are_not_shared(self) -> None:
        row = self.row(anything({}, "Doc."))
        row.fresh_default()["a"] = 1
        assert row.default == row.fresh_default() == {}


@pytest.mark.parametrize("name", ["broker_url", "result_backend", "timezone"])
def test_an_empty_text_is_none_where_it_comes_from_a_variable_that_is_not_set(name: str) -> None:
    assert Config({name: ""})[name] is None
