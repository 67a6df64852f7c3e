"""What engines are given of the settings."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.engines.redis.address import address_of
from umbel.settings import Config
from umbel.settings.engines import engine_options

PROVIDER = object()


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


@pytest.mark.parametrize(
    ("setting", "value", "field", "found"),
    [
        ("redis_host", "r", "hosts", (("r", 6379),)),
        ("redis_port", 6380, "hosts", (("localhost", 6380),)),
        ("redis_db", 3, "database", 3),
        ("redis_username", "u", "username", "u"),
        ("redis_password", "p", "password", "p"),
        ("redis_client_name", "shop", "client_name", "shop"),
        ("redis_socket_timeout", 7, "timeout", 7.0),
        ("redis_socket_connect_timeout", 2, "connect_timeout", 2.0),
        ("broker_connection_timeout", 3, "connect_timeout", 3.0),
        ("redis_backend_health_check_interval", 9, "health_check_interval", 9.0),
        ("redis_backend_credential_provider", PROVIDER, "credential_provider", PROVIDER),
    ],
)
def test_celerys_settings_of_redis_are_heeded_by_its_result_store(
    setting: str, value: Any, field: str, found: Any
) -> None:
    address = address_of("redis://", options(results=True, **{setting: value}))
    assert getattr(address, field) == found
    assert getattr(address_of("redis://", options(results=True)), field) != found


def test_encryption_of_the_result_store_is_heeded() -> None:
    given: dict[str, Any] = {"redis_backend_use_ssl": {"ssl_ca_certs": "ca.pem"}}
    tls = address_of("redis://", options(results=True, **given)).tls
    assert tls is not None
    assert tls["ssl_ca_certs"] == "ca.pem"


def test_durability_is_a_setting() -> None:
    assert options()["durability"] == "full"
    assert options(sqlite_durability="normal")["durability"] == "normal"
