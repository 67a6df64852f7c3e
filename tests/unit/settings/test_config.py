import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.each import for_each
from umbel.exceptions import ImproperlyConfigured
from umbel.masking import MASK
from umbel.options import warn_once
from umbel.settings import COMMAND_LINE, TABLE, Config, Origin, Rank, Settings, spelling

LOADED = Origin(Rank.LOADED, "proj.settings")
GIVEN = Origin(Rank.GIVEN, "the app's constructor")
OLD_NAMES = [row.old_name for row in TABLE.values() if row.old_name]


def refused(values: dict[str, Any], conf: Config | None = None, origin: Origin = LOADED) -> str:
    """Return the error of loading settings."""
    with pytest.raises(ImproperlyConfigured) as caught:
        (conf or Config(environment={})).load(values, origin)
    return str(caught.value)


class TestNames:
    @for_each(
        ("written", "name"),
        [(row.old_name, row.name) for row in TABLE.values() if row.old_name]
        + [(name.upper(), name) for name in TABLE],
    )
    def test_old_names_and_upper_case_mean_the_setting(self, written: str, name: str) -> None:
        conf = Config({written: TABLE[name].default})
        assert conf.changed() == {name: conf[name]}
        assert conf[written] == conf[name] == getattr(conf, written)
        assert written in conf
        assert conf.origin(written) == conf.origin(name) == GIVEN

    @pytest.mark.parametrize(
        ("wrong", "right"),
        [
            ("task_ack_late", "task_acks_late"),
            ("TASK_ACK_LATE", "task_acks_late"),
            ("CELERY_ACK_LATE", "CELERY_ACKS_LATE"),
            ("celeryd_concurrency", "CELERYD_CONCURRENCY"),
            ("broker_ulr", "broker_url"),
            ("import", "imports"),
            ("worker_lease_tll", "worker_lease_ttl"),
            ("TIME_ZONE", "timezone"),
        ],
    )
    def test_a_near_miss_suggests_the_name(self, wrong: str, right: str) -> None:
        for write in (Config().__setitem__, Config().__setattr__):
            with pytest.raises(ImproperlyConfigured, match=f"'{wrong}'. Did you mean '{right}'"):
                write(wrong, 1)

    @settings(deadline=None)
    @given(
        st.sampled_from([*TABLE, *OLD_NAMES]),
        st.lists(
            st.tuples(st.integers(0, 100), st.sampled_from("axX_7"), st.sampled_from("+-=")),
            min_size=1,
            max_size=2,
        ),
    )
    def test_one_or_two_slips_are_a_near_miss(
        self, name: str, slips: list[tuple[int, str, str]]
    ) -> None:
        wrong = name
        for place, letter, kind in slips:
            start = place % len(wrong)
            typed = "" if kind == "-" else letter
            wrong = wrong[:start] + typed + wrong[start + (kind != "+") :]
        if spelling(wrong) is not None:
            Config({wrong: TABLE[spelling(wrong) or ""].default})  # it is another setting's name
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

    def test_reading_an_unknown_name(self) -> None:
        conf = Config()
        with pytest.raises(KeyError, match="my_plugin_colour"):
            conf["my_plugin_colour"]
        with pytest.raises(AttributeError, match="Did you mean 'task_acks_late'"):
            conf.task_ack_late  # noqa: B018 - reading it is the test
        assert conf.get("my_plugin_colour", "blue") == "blue"
        assert not hasattr(conf, "my_plugin_colour")
        assert not hasattr(conf, "__wrapped__")


class TestStrictness:
    @pytest.mark.parametrize(
        "initial",
        [
            {"strict_settings": True, "my_plugin_colour": "red"},
            {"my_plugin_colour": "red", "strict_settings": True},
            {"STRICT_SETTINGS": True, "MY_PLUGIN_COLOUR": "red"},
        ],
    )
    def test_unknown_names_are_refused_in_any_order(self, initial: dict[str, Any]) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"(?i)my_plugin_colour.*strict_settings"):
            Config(initial)

    @pytest.mark.parametrize(
        "values",
        [{"strict_settings": True, "INSTALLED_APPS": []}, {"DEBUG": 1, "strict_settings": True}],
    )
    def test_a_modules_settings_for_others_are_not(self, values: dict[str, Any]) -> None:
        conf = Config()
        conf.load(values, LOADED)
        assert conf.strict_settings is True
        with pytest.raises(ImproperlyConfigured, match="'DEBUG', and strict_settings"):
            conf.DEBUG = True

    def test_names_like_ours_are(self) -> None:
        told = refused({"strict_settings": True, "CELERY_COLOUR": "red"})
        assert told == (
            "There is no setting 'CELERY_COLOUR', and strict_settings allows none that umbel does not"
            " know. Correct the name, or turn strict_settings off. It comes from proj.settings."
        )


class TestRanks:
    def test_who_counts_more(self) -> None:
        """Each says a queue of its own; they are asked in any order, and the last rank counts."""
        conf = Config({"task_default_queue": "given"}, environment={})
        conf.task_default_queue = "written"
        conf.load({"task_default_queue": "loaded"}, LOADED)
        conf.add_defaults({"task_default_queue": "added"})
        assert conf.task_default_queue == "written"
        conf.load({"task_default_queue": "ordered"}, COMMAND_LINE)
        conf.task_default_queue = "written again"
        assert conf.task_default_queue == "ordered"
        assert conf.origin("task_default_queue") == COMMAND_LINE

    def test_each_rank_beats_the_one_before(self) -> None:
        conf = Config(environment={})
        assert conf.origin("task_default_queue") == Origin(Rank.DEFAULT, "default")
        for rank in Rank:
            conf.load({"task_default_queue": rank.name}, Origin(rank, "here"))
            assert conf.task_default_queue == rank.name
            for lower in range(rank):
                conf.load({"task_default_queue": "lower"}, Origin(Rank(lower), "there"))
            assert conf.task_default_queue == rank.name
            assert conf.origin("CELERY_DEFAULT_QUEUE") == Origin(rank, "here")

    def test_of_equals_the_last_counts(self) -> None:
        conf = Config()
        for queue in ("one", "two"):
            conf.load({"task_default_queue": queue, "my_colour": queue}, LOADED)
        assert (conf.task_default_queue, conf.my_colour) == ("two", "two")

    def test_unknown_names_have_ranks_too(self) -> None:
        conf = Config({"my_colour": "given"})
        conf.load({"my_colour": "loaded"}, LOADED)
        assert (conf.my_colour, conf.origin("my_colour")) == ("given", GIVEN)

    @pytest.mark.parametrize(
        "name", ["broker_url", "broker_read_url", "broker_write_url", "result_backend"]
    )
    def test_the_environment_counts_more_than_the_code(self, name: str) -> None:
        both = {f"CELERY_{name.upper()}": "memory://c", f"UMBEL_{name.upper()}": "memory://u"}
        conf = Config({name: "memory://code"}, environment=both)
        conf[name] = "memory://later"
        assert conf[name] == "memory://u"
        place = f"the environment variable UMBEL_{name.upper()}"
        assert conf.origin(name) == Origin(Rank.ENVIRONMENT, place)
        both[f"UMBEL_{name.upper()}"] = ""
        assert Config({}, environment=both)[name] == "memory://c"
        conf.load({name: "memory://ordered"}, COMMAND_LINE)
        assert conf[name] == "memory://ordered"

    def test_a_wrong_variable_is_named(self) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            Config(environment={"CELERY_BROKER_URL": "guest:pw@host"})
        assert str(caught.value).startswith(f"The setting broker_url is 'guest:{MASK}@host', but")
        assert str(caught.value).endswith(
            "It comes from the environment variable CELERY_BROKER_URL."
        )

    def test_a_wrong_value_is_told_even_where_it_does_not_count(self) -> None:
        conf = Config({"worker_concurrency": 2})
        assert "worker_concurrency is 'many'" in refused({"worker_concurrency": "many"}, conf)
        assert conf.worker_concurrency == 2


class TestErrors:
    def test_one_is_told_with_its_place(self) -> None:
        assert refused({"worker_concurrency": "many"}).endswith(
            "None or 0: one for each CPU, and 100 for asyncio. It comes from proj.settings."
        )

    def test_many_are_told_at_once(self) -> None:
        values = {
            "worker_concurrency": "many",
            "task_ack_late": True,
            "enable_utc": False,
            "CELERY_TIMEZONE": "Mars",
        }
        conf = Config()
        first, *others = refused(values, conf).splitlines()
        assert first == "3 settings of proj.settings are wrong:"
        assert [line.partition(", but")[0] for line in others] == [
            "  - The setting worker_concurrency is 'many'",
            "  - There is no setting 'task_ack_late'. Did you mean 'task_acks_late'?",
            "  - The setting timezone (written CELERY_TIMEZONE) is 'Mars'",
        ]

    def test_a_refused_write_changes_nothing(self) -> None:
        conf = Config()
        before = conf.snapshot
        with pytest.raises(ImproperlyConfigured):
            conf.worker_concurrency = "many"
        with pytest.raises(ImproperlyConfigured):
            conf.task_ack_late = True
        assert conf.snapshot is before
        assert conf.changed() == {}


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
        assert conf.origin("task_default_queue").rank is Rank.DEFAULT
        with pytest.raises(KeyError):
            del conf["my_plugin_colour"]

    def test_all_settings_may_be_the_defaults_again(self) -> None:
        conf = Config({"task_default_queue": "other", "my_colour": "red"}, environment={})
        conf.clear()
        assert conf.changed() == {}
        assert dict(conf) == dict(Config(environment={}))

    def test_many_may_be_written_at_once(self) -> None:
        conf = Config(environment={})
        conf.update({"task_default_queue": "one"}, enable_utc=False)
        conf.update([("task_default_queue", "two")])
        assert conf.changed() == {"enable_utc": False, "task_default_queue": "two"}
        assert conf.origin("enable_utc") == Origin(Rank.WRITTEN, "app.conf")
        with pytest.raises(ImproperlyConfigured, match=r"2 settings of app\.conf are wrong"):
            conf.update(task_ack_late=True, worker_concurrency="many")

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

    def test_a_setting_may_stand_for_another(self) -> None:
        conf = Config({"broker_url": "memory://a", "task_default_queue": "mails"}, environment={})
        assert (conf.broker_read_url, conf.broker_write_url) == ("memory://a", "memory://a")
        assert conf.task_default_exchange == conf["task_default_routing_key"] == "mails"
        conf.broker_read_url = "memory://b"
        assert (conf.broker_read_url, conf.broker_write_url) == ("memory://b", "memory://a")


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


class TestPutOff:
    def test_it_is_done_once_before_the_first_read(self) -> None:
        conf, done = Config(), []
        conf.put_off(lambda: done.append(1))
        conf.worker_concurrency = 2
        assert done == []
        assert (conf.worker_concurrency, done) == (2, [1])
        conf.put_off(lambda: done.append(2))
        assert (conf.worker_concurrency, done) == (2, [1, 2])

    @pytest.mark.parametrize(
        "read",
        [
            lambda conf: conf.task_default_queue,
            lambda conf: conf["task_default_queue"],
            lambda conf: conf.snapshot,
            lambda conf: "my_colour" in conf,
            lambda conf: conf.get("my_colour"),
            lambda conf: conf.origin("my_colour"),
            lambda conf: conf.changed(),
            lambda conf: conf.table(),
            list,
            len,
            lambda conf: conf.finalize(),
            lambda conf: conf.__delitem__("task_default_queue"),
        ],
    )
    def test_every_kind_of_reading_counts(self, read: Any) -> None:
        conf = Config()
        conf.put_off(lambda: conf.load({"my_colour": "red", "task_default_queue": "q"}, LOADED))
        read(conf)
        assert conf._other == {"my_colour": "red"}

    def test_what_fails_fails_again(self) -> None:
        conf = Config()
        tries: list[int] = []

        def load() -> None:
            tries.append(len(tries))
            conf.load({"worker_concurrency": "many" if len(tries) < 3 else 3}, LOADED)

        conf.put_off(load)
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured, match="worker_concurrency is 'many'"):
                _ = conf.task_default_queue
        assert conf.worker_concurrency == 3
        assert len(tries) == 3

    def test_what_is_loaded_may_read_and_put_off(self) -> None:
        conf, seen = Config({"task_default_queue": "given"}), []

        def load() -> None:
            seen.append(conf.task_default_queue)
            conf.put_off(lambda: conf.load({"my_colour": "red"}, LOADED))

        conf.put_off(load)
        assert conf.my_colour == "red"
        assert seen == ["given"]

    def test_a_second_thread_waits_for_the_first_ones_loading(self) -> None:
        conf = Config()
        loading, go_on, seen = threading.Event(), threading.Event(), []

        def load() -> None:
            loading.set()
            assert go_on.wait(10)
            conf.load({"task_default_queue": "loaded"}, LOADED)

        conf.put_off(load)
        threads = [
            threading.Thread(target=lambda: seen.append(conf.task_default_queue)) for _ in range(3)
        ]
        threads[0].start()
        assert loading.wait(10)
        for thread in threads[1:]:
            thread.start()
        go_on.set()
        for thread in threads:
            thread.join(10)
        assert seen == ["loaded"] * 3


@pytest.fixture
def _warned_of_nothing() -> Iterator[None]:
    warn_once.cache_clear()
    yield
    warn_once.cache_clear()


@pytest.mark.usefixtures("_warned_of_nothing")
class TestWarnings:
    """Settings that are accepted, and not heeded yet or never."""

    def test_whoever_sets_one_is_told_once(self, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(2):
            Config({"CELERY_SEND_EVENTS": True, "worker_lost_wait": 5, "s3_bucket": "mine"})
        assert caplog.messages == [
            "The setting worker_send_task_events has no effect yet: events are not sent.",
            "The setting worker_lost_wait has no effect. A child is replaced as soon as its process has"
            " ended; nothing waits for it.",
            "The setting s3_bucket has no effect. umbel has no engine for this kind of server.",
        ]

    @pytest.mark.parametrize(
        "name", [row.name for row in TABLE.values() if row.later or row.unused]
    )
    def test_setting_the_default_is_no_news(
        self, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        Config({name: TABLE[name].default})
        assert caplog.messages == []
        assert TABLE[name].default == TABLE[name].celery_default

    def test_what_does_not_count_is_no_news(self, caplog: pytest.LogCaptureFixture) -> None:
        conf = Config({"worker_send_task_events": False})
        conf.load({"worker_send_task_events": True}, LOADED)
        assert caplog.messages == []


class TestCompatibility:
    """``umbel_compat="celery"`` restores Celery's defaults, and only where nobody wrote a setting."""

    def test_celerys_defaults(self) -> None:
        conf = Config({"umbel_compat": "celery"})
        differing = {name: row for name, row in TABLE.items() if row.differs}
        assert set(differing) >= {"task_acks_late", "worker_prefetch_multiplier"}
        for name, row in differing.items():
            assert conf[name] == (row.celery_default or False)
        assert conf.changed() == {"umbel_compat": "celery"}

    def test_what_was_written_stays_in_any_order(self) -> None:
        before = Config({"task_acks_late": True, "umbel_compat": "celery"})
        after = Config({"umbel_compat": "celery", "task_acks_late": True})
        assert before.task_acks_late is after.task_acks_late is True
        assert before.snapshot == after.snapshot

    def test_taking_things_back(self) -> None:
        conf = Config({"umbel_compat": "celery", "task_acks_late": True})
        del conf["task_acks_late"]
        assert conf.task_acks_late is False
        del conf["umbel_compat"]
        assert conf.snapshot == Settings()

    def test_anything_else_is_refused(self) -> None:
        with pytest.raises(
            ImproperlyConfigured, match=r"umbel_compat is 'kombu'.*'umbel', 'celery'"
        ):
            Config({"umbel_compat": "kombu"})
