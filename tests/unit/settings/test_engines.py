"""What engines are given of the settings."""

from __future__ import annotations

from typing import Any

from umbel.settings import Config
from umbel.settings.engines import engine_options


def options(*, broker: bool = False, results: bool = False, **settings: Any) -> dict[str, Any]:
    return engine_options(Config(settings).snapshot, broker=broker, results=results)


def test_times_of_connections_count_for_all() -> None:
    found = options()
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (5.0, 4.0)
    found = options(broker_connection_timeout=1, redis_socket_timeout=2)
    assert (found["socket_timeout"], found["socket_connect_timeout"]) == (2.0, 1.0)
    found = options(broker_connection_timeout=1, redis_socket_connect_timeout=3)
    assert found["socket_connect_timeout"] == 3.0


def test_the_password_of_the_result_store_is_not_the_brokers() -> None:
    given: dict[str, Any] = {"redis_host": "results", "redis_password": "secret", "redis_db": 3}
    found = options(results=True, **given)
    assert (found["host"], found["password"], found["db"]) == ("results", "secret", 3)
    assert not {"host", "password", "db"} & options(broker=True, **given).keys()


def test_encryption_is_said_for_each() -> None:
    given: dict[str, Any] = {
        "broker_use_ssl": {"ssl_ca_certs": "b"},
        "redis_backend_use_ssl": {"ssl_ca_certs": "r"},
    }
    assert options(broker=True, **given)["ssl"] == {"ssl_ca_certs": "b"}
    assert options(results=True, **given)["ssl"] == {"ssl_ca_certs": "r"}
    assert "ssl" not in options(broker=True)


def test_transport_options_count_more_than_settings() -> None:
    found = options(results=True, result_backend_transport_options={"socket_timeout": 9})
    assert found["socket_timeout"] == 9


def test_each_has_its_own_prefix_of_keys_on_one_server() -> None:
    broker: dict[str, Any] = {"broker_transport_options": {"global_keyprefix": "b:"}}
    results: dict[str, Any] = {"result_backend_transport_options": {"global_keyprefix": "r:"}}
    both = options(broker=True, results=True, **broker, **results)
    assert (both["global_keyprefix"], both["result_keyprefix"]) == ("b:", "r:")
    both = options(broker=True, results=True, **results)
    assert (both.get("global_keyprefix"), both["result_keyprefix"]) == (None, "r:")
    both = options(broker=True, results=True, **broker)
    assert (both["global_keyprefix"], both["result_keyprefix"]) == ("b:", "")
