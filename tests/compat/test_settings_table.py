"""The table of settings is that of Celery 5.7, which ``record_settings.py`` recorded, and ours."""

import json
import math
from pathlib import Path
from typing import Any

from tests.each import for_each
from umbel.settings import TABLE, Config

GOLDEN = Path(__file__).parent / "golden" / "settings.json"
CELERY: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["settings"]

#: What Celery reads, and its documentation names, but its table of settings does not have.
READ_ELSEWHERE = {
    *(f"worker_{name}" for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")),
    *(f"beat_{name}" for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")),
    *(f"events_{name}" for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")),
    "cassandra_secure_bundle_path",
    "db_reuse_max",
    "override_backends",
    "redis_backend_credential_provider",
    "redis_backend_health_check_interval",
    "redis_client_name",
    "result_backend_thread_safe",
}


def plain(value: Any) -> Any:
    """Return a default as JSON has it."""
    if isinstance(value, tuple):
        return list(value)
    return "inf" if value == math.inf else value


def test_the_whole_table_was_recorded() -> None:
    assert len(CELERY) == 207


def test_every_setting_of_celerys_is_there_and_the_others_are_known() -> None:
    ours = {name for name, row in TABLE.items() if row.ours}
    assert TABLE.keys() == CELERY.keys() | READ_ELSEWHERE | ours
    assert not ours & (CELERY.keys() | READ_ELSEWHERE)


@for_each("name", CELERY)
def test_celerys_default_is_as_we_say(name: str) -> None:
    assert plain(TABLE[name].celery_default) == CELERY[name]["default"]


@for_each("name", CELERY)
def test_the_old_name_is_celerys(name: str) -> None:
    assert [TABLE[name].old_name] == CELERY[name]["old"]


@for_each("name", CELERY)
def test_the_old_name_is_understood(name: str) -> None:
    (old,) = CELERY[name]["old"]
    conf = Config({old: TABLE[name].default})
    assert conf.changed() == {name: conf[name]}


@for_each("name", CELERY)
def test_celerys_default_may_be_written(name: str) -> None:
    default = TABLE[name].celery_default
    kept = Config({name: default}).snapshot
    assert getattr(kept, name) == (TABLE[name].default if default is None else default)


def test_no_old_name_means_something_else_in_celery() -> None:
    meanings = {old: name for name, row in CELERY.items() for old in row["old"]}
    for name, row in TABLE.items():
        assert meanings.get(row.old_name or "", name) == name


def test_these_defaults_are_others_than_celerys() -> None:
    assert {name for name, row in TABLE.items() if row.differs} == {
        "broker_heartbeat",
        "task_acks_late",
        "task_reject_on_worker_lost",
        "task_publish_retry_policy",
        "worker_prefetch_multiplier",
        "redis_socket_timeout",
    }
