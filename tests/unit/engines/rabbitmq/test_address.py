"""URLs and options of RabbitMQ."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from tests.each import for_each
from umbel.engines.rabbitmq.address import Address, address_of
from umbel.exceptions import ImproperlyConfigured


@for_each(
    ("url", "options", "expected"),
    [
        ("amqp://", {}, {"hosts": (("localhost", 5672),), "username": "guest", "vhost": "/"}),
        ("amqp://host", {}, {"hosts": (("host", 5672),), "tls": None, "heartbeat": 6}),
        ("pyamqp://host:1/", {}, {"hosts": (("host", 1),), "vhost": "/"}),
        ("amqps://host", {}, {"hosts": (("host", 5671),), "tls": {}}),
        ("amqp://[::1]:7/v", {}, {"hosts": (("::1", 7),), "vhost": "v"}),
        ("amqp://[::1]", {}, {"hosts": (("::1", 5672),)}),
        ("amqp://u:p@h//", {}, {"username": "u", "password": "p", "vhost": "/"}),
        ("amqp://u:p%2Fq@h/a%2Fb", {}, {"password": "p/q", "vhost": "a/b"}),
        ("amqp://u:p@q@h/v", {}, {"username": "u", "password": "p@q", "hosts": (("h", 5672),)}),
        ("amqp://u:p@h/v?client_name=me@x", {}, {"client_name": "me@x", "hosts": (("h", 5672),)}),
        ("amqp://u:p?q@h/v?heartbeat=3", {}, {"password": "p?q", "vhost": "v", "heartbeat": 3}),
        ("amqp://u:p?q=r@h/v", {}, {"password": "p?q=r", "hosts": (("h", 5672),)}),
        ("amqp://me@x:p?q@h/v?heartbeat=3", {}, {"username": "me@x", "password": "p?q"}),
        ("amqp://u@h/v?", {}, {"username": "u", "vhost": "v"}),
        ("amqp://h", {"username": "u", "password": "p"}, {"username": "u", "password": "p"}),
        ("amqp://h", {"virtual_host": "v"}, {"vhost": "v"}),
        ("amqp://h?heartbeat=3", {"heartbeat": 60}, {"heartbeat": 3}),
        ("amqp://h", {"heartbeat": 0}, {"heartbeat": 0}),
        ("amqp://a;amqp://b:2", {}, {"hosts": (("a", 5672), ("b", 2))}),
        ("amqp://h", {"ssl": {"ca_certs": "x"}}, {"tls": {"ca_certs": "x"}}),
        ("amqp://h", {"ssl": {"ssl_ca_certs": "x"}}, {"tls": {"ca_certs": "x"}}),
        ("amqp://h", {"ssl": True, "ssl_ca_certs": "x"}, {"tls": {"ca_certs": "x"}}),
        (
            "amqp://h",
            {"socket_timeout": 2, "socket_connect_timeout": "3"},
            {"timeout": 2.0, "connect_timeout": 3.0},
        ),
    ],
)
def test_a_url_says_where_the_server_is(
    url: str, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = address_of(url, options)
    assert {name: getattr(found, name) for name in expected} == expected


@for_each(
    ("url", "options", "text"),
    [
        ("redis://h", {}, "no address of RabbitMQ"),
        ("", {}, "is empty"),
        ("amqp://h:port", {}, "no number"),
        ("amqp://a;amqps://b", {}, "one cluster"),
        ("amqp://a/x;amqp://b/y", {}, "one cluster"),
        ("amqp://h", {"heartbeat": "often"}, "heartbeat is 'often'"),
        ("amqp://h", {"ssl": {"certs": "x"}}, "no option 'certs'"),
        ("amqp://h?hartbeat=3", {}, "unknown parameter 'hartbeat'. Did you mean 'heartbeat'"),
        ("amqps://h?ssl_cafile=x&ssl_certfiles=y", {}, "Did you mean 'ssl_certfile'"),
        ("amqps://h", {"ssl_cert_reqs": "perhaps"}, "'perhaps'"),
    ],
)
def test_what_no_url_can_mean_is_refused(url: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        address_of(url, options)
    assert text in str(caught.value)


def test_secrets_are_not_shown() -> None:
    found = address_of("amqp://u:secret@h/v", {"ssl_password": "secret2", "ssl": True})
    assert "secret" not in f"{found!r} {found.shown} {found.place}"


@pytest.mark.parametrize("value", [False, "false", "No", "0"])
def test_names_are_not_checked_where_that_is_said(value: object) -> None:
    found = address_of("amqps://h", {"ssl_check_hostname": value})
    assert found.context().check_hostname is False
    assert address_of("amqps://h?ssl_check_hostname=true", {}).context().check_hostname is True


def test_certificates_and_names_are_checked_unless_told_otherwise() -> None:
    context = Address("", (), tls={}).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = Address("", (), tls={"cert_reqs": "none"}).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)
