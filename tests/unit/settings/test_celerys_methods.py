"""What Celery's own methods of ``app.conf`` answer; the values here are what Celery 5.7 said."""

import pytest

from umbel.settings import TABLE, Config


@pytest.fixture
def conf() -> Config:
    return Config(
        {
            "broker_url": "redis://user:pw@h:6379/0",
            "task_acks_late": True,
            "redis_password": "pw",
        },
        environment={},
    )


def test_table(conf: Config) -> None:
    shown = {
        "broker_url": "redis://user:********@h:6379/0",
        "redis_password": "********",
        "task_acks_late": True,
    }
    assert conf.table() == shown
    assert conf.table(censored=False) == conf.changed()
    assert conf.table(with_defaults=True).items() >= shown.items()
    assert conf.table(with_defaults=True).keys() == TABLE.keys()


def test_without_defaults(conf: Config) -> None:
    assert conf.without_defaults() == {
        "broker_url": "redis://user:pw@h:6379/0",
        "task_acks_late": True,
        "redis_password": "pw",
    }


def test_humanize(conf: Config) -> None:
    assert set(conf.humanize().splitlines()) == {
        "task_acks_late: True",
        "broker_url: 'redis://user:********@h:6379/0'",
        "redis_password: '********'",
    }
    assert len(conf.humanize(with_defaults=True).splitlines()) == len(TABLE)


def test_value_set_for(conf: Config) -> None:
    names = ["task_acks_late", "task_serializer", "CELERY_ACKS_LATE", "nope"]
    assert [conf.value_set_for(name) for name in names] == [True, False, True, False]
    conf.add_defaults({"result_expires": 5})
    assert conf.value_set_for("result_expires")


def test_first(conf: Config) -> None:
    assert conf.first("timezone", "task_serializer") == "json"
    assert conf.first("timezone") is None


@pytest.mark.parametrize(
    ("name", "namespace", "first", "rest"),
    [
        ("disable_rate_limits", "", "worker", "disable_rate_limits"),
        ("concurrency", "", "worker", "concurrency"),
        ("timezone", "", None, "timezone"),
        ("TIMEZONE", "", None, "timezone"),
        ("url", "", "broker", "url"),
        ("expires", "", "result", "expires"),
        ("acks_late", "", "task", "acks_late"),
        ("serializer", "", "event", "serializer"),
        ("serializer", "result", "result", "serializer"),
        ("queue_ttl", "event", "event", "queue_ttl"),
    ],
)
def test_find_option(conf: Config, name: str, namespace: str, first: str | None, rest: str) -> None:
    row = TABLE[f"{first}_{rest}" if first else rest]
    assert conf.find_option(name, namespace) == (first, rest, row)
    assert conf.find_value_for_key(name, namespace) == conf[row.name]


def test_what_does_not_exist(conf: Config) -> None:
    for fail in (conf.find_option, conf.find_value_for_key):
        with pytest.raises(KeyError, match="nope"):
            fail("nope")
    with pytest.raises(KeyError, match="worker_nope"):
        conf.get_by_parts("worker", "nope")


def test_get_by_parts(conf: Config) -> None:
    conf.worker_concurrency = 3
    assert conf.get_by_parts("worker", "concurrency") == 3
    assert conf.get_by_parts("", "timezone") is None
