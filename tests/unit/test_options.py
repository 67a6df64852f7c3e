import random
import typing
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.options import CALL_NAMES, CallKeywords, CallOptions, call_options
from umbel.policies import PublishPolicy, RetryPolicy, publish_policy
from umbel.settings import Config
from umbel.task_options import TASK_NAMES, TaskKeywords, check_task_keywords


def test_an_option_is_declared_alike_for_people_and_for_type_checkers() -> None:
    declared, known = typing.get_type_hints(CallOptions), typing.get_type_hints(CallKeywords)
    assert set(CALL_NAMES) == declared.keys() - {"stamps", "properties", "cleared"}
    assert {name: known[name] for name in CALL_NAMES} == {n: declared[n] for n in CALL_NAMES}
    for name in known.keys() - declared.keys():
        call_options({name: None})  # is known, though it is no field


def test_nothing_is_set_unless_it_is_given() -> None:
    empty = call_options({})
    assert empty.add_to_parent
    assert all(getattr(empty, name) in (None, 0, True) for name in CALL_NAMES)


def test_options_are_values() -> None:
    options = call_options({"queue": "video", "priority": 5})
    assert options == CallOptions(queue="video", priority=5)
    with pytest.raises(FrozenInstanceError):
        options.queue = "audio"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("countdwon", "countdown"),
        ("quue", "queue"),
        ("time_limits", "time_limit"),
        ("expire", "expires"),
        ("taskid", "task_id"),
    ],
)
def test_an_unknown_option_suggests_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(TypeError, match=rf"apply_async has no option '{wrong}'.*'{right}'\?"):
        call_options({wrong: 1})


def test_an_option_like_no_other_lists_them_all() -> None:
    with pytest.raises(TypeError, match=r"'xyz'. It has: task_id, countdown, .*retries"):
        call_options({"xyz": 1})


@pytest.mark.parametrize(
    "keywords",
    [
        {"countdown": 0},
        {"countdown": 0.25},
        {"eta": datetime(2050, 1, 1, tzinfo=UTC)},
        {"eta": "2050-01-01T00:00:00"},
        {"expires": 120},
        {"expires": datetime(2050, 1, 1, tzinfo=UTC)},
        {"priority": 0},
        {"priority": 255},
        {"time_limit": 30, "soft_time_limit": 30},
        {"time_limit": 30, "soft_time_limit": 20.5},
        {"soft_time_limit": 20.5},
        {"task_id": "my-own-id"},
        {"headers": {"x-trace": "abc"}},
        {"ignore_result": False, "shadow": "other", "retries": 2},
    ],
)
def test_good_values(keywords: dict[str, Any]) -> None:
    options = call_options(keywords)
    assert {name: getattr(options, name) for name in keywords} == keywords


@pytest.mark.parametrize(
    ("keywords", "error", "told"),
    [
        ({"eta": "soon"}, ValueError, "ISO 8601"),
        ({"eta": 5}, TypeError, "eta"),
        ({"headers": 5}, TypeError, "headers"),
        ({"countdown": float("nan")}, ValueError, "countdown"),
        ({"countdown": float("inf")}, ValueError, "countdown"),
        ({"countdown": "10"}, TypeError, "countdown"),
        ({"countdown": True}, TypeError, "countdown"),
        ({"priority": -1}, ValueError, "priority"),
        ({"priority": 256}, ValueError, "priority"),
        ({"priority": 1.5}, ValueError, "priority"),
        ({"priority": True}, ValueError, "priority"),
        ({"priority": "high"}, ValueError, "priority"),
        ({"time_limit": -1}, ValueError, "time_limit"),
        ({"time_limit": "30"}, TypeError, "time_limit"),
        ({"soft_time_limit": -0.5}, ValueError, "soft_time_limit"),
        ({"time_limit": 20, "soft_time_limit": 30}, ValueError, "soft_time_limit"),
        ({"task_id": ""}, TypeError, "task_id"),
        ({"task_id": 5}, TypeError, "task_id"),
    ],
)
def test_bad_values_are_refused_at_the_call(
    keywords: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        call_options(keywords)


class TestRetryPolicy:
    @pytest.mark.parametrize(
        ("error", "wanted"),
        [(OSError(), True), (ConnectionError(), True), (FileNotFoundError(), False)],
    )
    def test_what_is_retried(self, error: Exception, wanted: bool) -> None:
        policy = RetryPolicy(errors=(OSError,), never=(FileNotFoundError,))
        assert policy.wants(error) is wanted

    def test_nothing_is_retried_unless_asked_for(self) -> None:
        assert not RetryPolicy().wants(ValueError())

    def test_without_backoff_the_task_says_how_long(self) -> None:
        assert RetryPolicy().delay(3, random.Random(1)) is None

    @pytest.mark.parametrize(
        ("backoff", "delays"),
        [
            (True, [1, 2, 4, 8, 16, 32, 64, 100, 100]),
            (1, [1, 2, 4, 8, 16, 32, 64, 100, 100]),
            (5, [5, 10, 20, 40, 80, 100, 100]),
            # Celery would take 1; a fraction is meant as it is written.
            (0.5, [0.5, 1, 2, 4]),
            # As in Celery: whole seconds.
            (2.9, [2, 4, 8, 16]),
            (200, [100, 100]),
        ],
    )
    def test_without_jitter_the_delay_doubles_up_to_the_most(
        self, backoff: float, delays: list[float]
    ) -> None:
        policy = RetryPolicy(backoff=backoff, backoff_max=100, jitter=False)
        rng = random.Random(1)
        assert [policy.delay(retries, rng) for retries in range(len(delays))] == delays

    @settings(deadline=None)
    @given(st.floats(0.1, 1000), st.floats(0, 10_000), st.integers(0, 5000), st.randoms())
    def test_with_jitter_it_lies_between_nothing_and_that(
        self, backoff: float, most: float, retries: int, rng: random.Random
    ) -> None:
        full = RetryPolicy(backoff=backoff, backoff_max=most, jitter=False).delay(retries, rng)
        some = RetryPolicy(backoff=backoff, backoff_max=most).delay(retries, rng)
        assert full is not None
        assert some is not None
        assert 0 <= some <= full <= most

    def test_jitter_reaches_both_ends(self) -> None:
        rng = random.Random(1)
        policy = RetryPolicy(backoff=1)
        assert {policy.delay(2, rng) for _ in range(200)} == {0.0, 1.0, 2.0, 3.0, 4.0}

    def test_the_default_most_is_ten_minutes(self) -> None:
        assert RetryPolicy(backoff=1, jitter=False).delay(10_000, random.Random(1)) == 600


class Base:
    abstract = True
    audited = False


class TestTaskKeywords:
    @pytest.mark.parametrize("name", TASK_NAMES)
    def test_every_declared_one_is_known(self, name: str) -> None:
        check_task_keywords({name: None}, Base)

    def test_what_the_base_class_has_is_known(self) -> None:
        check_task_keywords({"audited": True}, Base)

    @pytest.mark.parametrize(
        ("wrong", "right"),
        [("max_retry", "max_retries"), ("ack_late", "acks_late"), ("auditd", "audited")],
    )
    def test_others_suggest_the_nearest(self, wrong: str, right: str) -> None:
        keywords = {"audited": True, wrong: True}
        with pytest.raises(TypeError, match=rf"@app.task has no option '{wrong}'.*'{right}'\?"):
            check_task_keywords(keywords, Base)

    def test_options_of_a_call_are_there_for_the_task_too(self) -> None:
        shared = {"queue", "priority", "time_limit", "soft_time_limit", "expires", "serializer"}
        assert shared <= typing.get_type_hints(TaskKeywords).keys()
        assert shared <= typing.get_type_hints(CallKeywords).keys()


def test_a_countdown_may_be_in_the_past_and_counts_more_than_an_eta() -> None:
    options = call_options({"countdown": -1.5, "eta": "2050-01-01T00:00:00"})
    assert options.countdown == -1.5


class TestPublishPolicy:
    def test_pauses_grow_up_to_the_most(self) -> None:
        policy = publish_policy({"interval_start": 1, "interval_step": 2, "interval_max": 5})
        away = OperationalError()
        assert [policy.pause(n, away) for n in range(5)] == [1, 3, 5, 6, 6]

    def test_errors_may_be_one_class_or_several(self) -> None:
        for written in (OSError, [OSError], (OSError,)):
            assert publish_policy({"retry_errors": written}).retry_errors == (OSError,)

    def test_later_mappings_count_more(self) -> None:
        found = publish_policy({"max_retries": 3, "interval_step": 1}, {"max_retries": None})
        assert found == PublishPolicy(max_retries=None, interval_step=1)

    @pytest.mark.parametrize("most", [0, 1, 5])
    def test_after_the_last_retry_it_is_over(self, most: int) -> None:
        pauses = [PublishPolicy(max_retries=most).pause(n, OperationalError()) for n in range(9)]
        assert [pause is not None for pause in pauses] == [n < most for n in range(9)]

    @pytest.mark.parametrize(
        ("policy", "error", "told"),
        [
            ({"max_retry": 3}, TypeError, "retry_policy has no option 'max_retry'.*'max_retries'"),
            ({"max_retries": -1}, ValueError, "max_retries"),
            ({"max_retries": 1.5}, ValueError, "max_retries"),
            ({"interval_step": "soon"}, TypeError, "interval_step"),
            ({"interval_max": None}, TypeError, "interval_max"),
            ({"interval_start": -1}, ValueError, "interval_start"),
            (3, TypeError, "retry_policy is 3"),
            ({"retry_errors": ["OSError"]}, TypeError, "retry_errors has 'OSError'"),
            ({"retry_errors": 5}, TypeError, "not iterable"),
        ],
    )
    def test_wrong_ones_are_refused_at_the_call(
        self, policy: Any, error: type[Exception], told: str
    ) -> None:
        with pytest.raises(error, match=told):
            call_options({"retry_policy": policy})
        with pytest.raises(ImproperlyConfigured, match=r"task_publish_retry_policy is .*a mapping"):
            Config({"task_publish_retry_policy": policy})


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"retry": "no"}, "retry is 'no'"),
        ({"routing_key": 5}, "routing_key"),
        ({"queue": 5}, "queue is 5"),
        ({"exchange": 5}, "An exchange is given as 5"),
        ({"exchange_type": 5}, "exchange_type is 5"),
    ],
)
def test_how_and_where_are_checked_too(keywords: dict[str, Any], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        call_options(keywords)


def test_a_delivery_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="delivery_mode is 3"):
        call_options({"delivery_mode": 3})
