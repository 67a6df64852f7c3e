"""From a URL and options to an address."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from umbel.engines import open_engine
from umbel.engines.postgres.address import address_of
from umbel.engines.postgres.link import Link
from umbel.exceptions import ImproperlyConfigured, OperationalError

URL = "postgresql://user:secret@db.example:5433/shop"


def test_libpq_is_given_what_is_its_own_and_umbel_takes_the_rest() -> None:
    address = address_of(f"{URL}?schema=tasks&sslmode=require&poll_interval=0.1", {})
    assert address.parameters["host"] == "db.example"
    assert address.parameters["sslmode"] == "require"
    assert not {"schema", "poll_interval"} & address.parameters.keys()
    assert (address.schema, address.poll_interval) == ("tasks", 0.1)


def test_texts_are_any_texts_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    for given in ("", "&client_encoding=LATIN1"):
        address = address_of(f"{URL}?schema=tasks{given}", {})
        assert address.parameters["client_encoding"] == "UTF8"


def test_the_query_counts_more_than_the_options() -> None:
    options = {"schema": "given", "pooler": "transaction", "create_tables": False, "timeout": 2}
    address = address_of(f"{URL}?schema=named", options)
    assert (address.schema, address.pooler) == ("named", "transaction")
    assert (address.create_tables, address.timeout) == (False, 2.0)


def test_the_password_is_not_shown() -> None:
    address = address_of(URL, {})
    assert "secret" not in address.shown
    assert "secret" not in repr(address)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (URL, URL.replace("postgresql", "postgres").replace("secret", "other"), True),
        (URL, f"{URL}?schema=other", False),
        (URL, f"{URL}2", False),
    ],
)
def test_two_addresses_of_the_same_tables_are_known(one: str, other: str, same: bool) -> None:
    assert (address_of(one, {}).location == address_of(other, {}).location) is same


@pytest.mark.parametrize(
    ("query", "options", "text"),
    [
        ("shema=x", {}, "unknown parameter 'shema'. Did you mean 'schema'"),
        ("sslmod=require", {}, "Did you mean 'sslmode'"),
        ("", {"pooler": "pgbouncer"}, "pooler is 'pgbouncer', but must be auto, none, transaction"),
        ("poll_interval=soon", {}, "poll_interval is 'soon', but must be a number of seconds"),
        ("", {"schema": "x" * 64}, "at most 63 bytes"),
        ("", {"schema": 'x"y'}, "none of"),
        ("", {"ssl": True}, "broker_use_ssl is set, .*: add sslmode=verify-full"),
    ],
)
def test_what_cannot_be_meant_is_refused(query: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=text):
        address_of(f"{URL}?{query}", options)


def test_a_url_that_says_how_to_encrypt_agrees_with_broker_use_ssl() -> None:
    address = address_of(f"{URL}?sslmode=verify-ca", {"ssl": True})
    assert address.parameters["sslmode"] == "verify-ca"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_schemes_name_the_engine(scheme: str) -> None:
    engine = open_engine(f"{scheme}://localhost/shop")
    assert type(engine).__name__ == "PostgresEngine"


@pytest.mark.parametrize(("hosts", "seconds"), [("a", 4), ("a,b", 2), ("a:1,b:2,c:3", 2)])
def test_several_servers_share_the_time_of_connecting(
    monkeypatch: pytest.MonkeyPatch, hosts: str, seconds: int
) -> None:
    """Else a standby is not reached in time when the server before it does not answer."""
    asked: list[dict[str, Any]] = []

    def connect(**options: Any) -> None:
        asked.append(options)
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg.Connection, "connect", connect)
    with pytest.raises(OperationalError):
        Link(address_of(f"postgresql://{hosts}/shop", {}), 5.0)
    assert [one["connect_timeout"] for one in asked] == [seconds]


@pytest.mark.parametrize(
    ("refusal", "told", "passes"),
    [
        ('FATAL: role "nobody" does not exist', "does not accept the user", False),
        ('FATAL: role "nobody" is not permitted to log in', "does not accept the user", False),
        ('FATAL: database "shop" does not exist', "no such database", False),
        ('FATAL: too many connections for role "nobody"', "could not be opened", True),
        ("server closed the connection unexpectedly", "could not be opened", True),
        ("FATAL: canceling authentication due to timeout", "could not be opened", True),
        ("failed to resolve host 'authentication-db'", "cannot be reached", True),
        (
            'connection to server at "password-db", port 5432 failed: Connection refused',
            "cannot be reached",
            True,
        ),
        (
            'FATAL: password authentication failed for user "me"',
            "does not accept the user",
            False,
        ),
        (
            'FATAL: password authentication failed for user "me" Multiple connection attempts failed.'
            " All failures were: - host: 'a': connection failed: connection to server at \"a\" failed:"
            " Connection refused - host: 'b': connection failed:"
            ' FATAL: password authentication failed for user "me"',
            "does not accept the user",
            True,
        ),
    ],
)
def test_what_never_was_a_connection_was_not_lost(
    monkeypatch: pytest.MonkeyPatch, refusal: str, told: str, passes: bool
) -> None:
    def connect(**_: Any) -> None:
        raise psycopg.OperationalError(f"connection failed: {refusal}")

    monkeypatch.setattr(psycopg.Connection, "connect", connect)
    with pytest.raises(OperationalError, match=told) as caught:
        Link(address_of(URL, {}), 5.0)
    assert refusal in str(caught.value)
    assert "may have been done" not in str(caught.value)
    # What the settings have wrong is not tried again.
    assert caught.value.passes is passes
