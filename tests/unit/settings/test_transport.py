"""Options of brokers and result stores: misspelt, without effect, or another program's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.options import warn_once
from umbel.settings import Config
from umbel.settings.transport import FOREIGN, HEEDED, NEEDLESS

SETTINGS = ("broker_transport_options", "result_backend_transport_options")
DOCUMENTED = Path(__file__).parents[3] / "docs"


@pytest.fixture(autouse=True)
def unwarned() -> None:
    warn_once.cache_clear()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("visibilty_timeout", "visibility_timeout"),
        ("global_key_prefix", "global_keyprefix"),
        ("priority_step", "priority_steps"),
        ("master-name", "master_name"),
        ("fanout_patern", "fanout_patterns"),
        ("create_table", "create_tables"),
        ("shema", "schema"),
    ],
)
def test_a_slip_of_the_pen_is_told_where_it_is_written(setting: str, name: str, meant: str) -> None:
    with pytest.raises(
        ImproperlyConfigured,
        match=rf"In the setting {setting}: There is no option '{name}'\. Did you mean '{meant}'\?",
    ):
        Config({setting: {name: 1}})
    conf = Config()
    with pytest.raises(ImproperlyConfigured, match=setting):
        conf[setting] = {name: 1}
    assert conf[setting] == {}


def test_what_has_no_effect_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        Config({"broker_transport_options": {"max_connections": 50}})
    assert caplog.messages == [
        "The transport option max_connections has no effect. A process has one connection for each"
        " thread that needs one at a time, and no pool."
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"fanout_prefix": True, "fanout_patterns": True, "visibility_timeout": 43200},
        {"socket_keepalive": True, "retry_on_timeout": True, "max_connections": None},
        {"region": "eu-west-1", "predefined_queues": {"q": {"url": "x"}}, "wait_time_seconds": 20},
        {"of_a_third_party": 1, "x": 2},
    ],
)
def test_nothing_is_said_of_defaults_and_of_what_others_read(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    conf = Config({"broker_transport_options": options})
    assert conf.broker_transport_options == options
    assert caplog.messages == []


@pytest.mark.parametrize(("page", "least"), [("redis", 20), ("postgres", 5)])
def test_what_docs_say_of_an_engine_is_heeded(page: str, least: int) -> None:
    text = (DOCUMENTED / f"{page}.md").read_text("utf-8")
    table = text.partition("| option |")[2].partition("\n\n")[0]
    names = {
        name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert len(names) > least
    assert names <= set(HEEDED)


def test_what_kombu_and_redis_py_take_is_known() -> None:
    redis = pytest.importorskip("kombu.transport.redis")
    known = {*HEEDED, *NEEDLESS, *FOREIGN}
    assert set(redis.Channel.from_transport_options) <= known
    assert set(redis.SentinelChannel.from_transport_options) <= known
    for name in NEEDLESS.keys() & {*redis.SentinelChannel.from_transport_options}:
        assert getattr(redis.SentinelChannel, name) in NEEDLESS[name][0], name
