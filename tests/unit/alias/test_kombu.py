from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from umbel import Umbel, current
from umbel.alias.kombu import common, connection, exceptions, pools, serialization
from umbel.alias.kombu.utils import encoding, url
from umbel.alias.kombu.utils import json as kombu_json
from umbel.exceptions import ContentDisallowed, EncodeError, OperationalError


def test_a_connection_needs_no_app() -> None:
    before = current.current_app_or_none()
    with connection.Connection("memory://", connect_timeout=2, transport_options={}) as found:
        assert found.connect() is found
        assert found.as_uri() == "memory://"
        assert found.default_channel.queue_declare("mails").message_count == 0
        assert found.clone().as_uri() == "memory://"
        assert found.app.conf.broker_connection_timeout == 2
    assert current.current_app_or_none() is before


def test_parts_of_a_url_belong_into_the_url() -> None:
    with pytest.raises(ValueError, match="was given password beside its URL"):
        connection.Connection("redis://host", password="secret")
    with pytest.raises(ValueError, match="was given userid, password and so on"):
        connection.Connection("redis://host", "guest")


def test_nothing_needs_to_be_declared() -> None:
    assert common.maybe_declare(common.Broadcast("all")) is False


def test_pools_can_be_reset(app: Umbel) -> None:
    pools.reset()
    with connection.Connection(app.broker_url) as found:
        assert found.connected


def test_errors_of_brokers_are_caught_by_kombus_names() -> None:
    for name in ("ConnectionError", "ChannelError", "OperationalError"):
        assert getattr(exceptions, name) is OperationalError
    assert issubclass(exceptions.LimitExceeded, exceptions.KombuError)


@pytest.mark.parametrize(
    ("value", "name", "written"),
    [
        (b"raw", None, ("application/data", "binary", b"raw")),
        ("ä", None, ("text/plain", "utf-8", "ä".encode())),
        ({"a": 1}, None, ("application/json", "utf-8", '{"a":1}')),
        ([1, "ä"], "yaml", ("application/x-yaml", "utf-8", "- 1\n- ä\n")),
    ],
)
def test_a_value_is_written_with_its_content_type(
    value: Any, name: str | None, written: Any
) -> None:
    found = serialization.dumps(value, name)
    assert (found[0], found[1]) == written[:2]
    assert serialization.loads(found[2], found[0], found[1], accept=[found[0]]) == value
    if name is None and not isinstance(value, dict):
        assert found == written


def test_what_is_not_accepted_is_refused() -> None:
    kind, code, body = serialization.registry.dumps({"a": 1}, "json")
    assert serialization.registry.loads(body, kind, code) == {"a": 1}
    with pytest.raises(ContentDisallowed):
        serialization.loads(b"x", "application/x-python-serialize", "binary")
    with pytest.raises(ContentDisallowed):
        serialization.loads(body, kind, code, accept=["yaml"])
    assert serialization.prepare_accept_content(["json"]) == frozenset({"application/json"})
    assert serialization.prepare_accept_content(None) is None


def test_a_serializer_of_ones_own() -> None:
    serialization.register(
        "plus", lambda value: f"+{value}", lambda text: text[1:], "application/x-plus"
    )
    try:
        kind, code, body = serialization.dumps("x", "plus")
        assert body == "+x"
        assert serialization.loads(body, kind, code, accept=["plus"]) == "x"
    finally:
        serialization.unregister("plus")


def test_json_carries_what_messages_carry() -> None:
    value = {"id": UUID(int=1), "day": date(2026, 1, 2), "sum": Decimal("1.5")}
    assert kombu_json.loads(kombu_json.dumps(value)) == value
    assert kombu_json.loads(json.dumps(value, cls=kombu_json.JSONEncoder)) == value
    assert kombu_json.dumps({"b": 1, "a": 2}, sort_keys=True) == '{"a": 2, "b": 1}'
    with pytest.raises(TypeError):
        kombu_json.dumps(object())
    with pytest.raises(EncodeError):
        serialization.dumps(object())


def test_texts_and_bytes() -> None:
    class Bad:
        def __str__(self) -> str:
            raise ValueError("no")

        __repr__ = __str__

    assert encoding.bytes_to_str(b"\xc3\xa4\xff") == "ä�"
    assert encoding.bytes_to_str(3) == 3
    assert encoding.str_to_bytes("ä") == encoding.ensure_bytes("ä") == b"\xc3\xa4"
    assert encoding.safe_str(b"a") == encoding.safe_str("a") == "a"
    assert "ValueError" in encoding.safe_str(Bad())
    assert "ValueError" in encoding.safe_repr(Bad())
    assert encoding.safe_repr([1]) == "[1]"


def test_urls_are_shown_without_passwords() -> None:
    assert url.sanitize_url("redis://me:secret@host/0") == "redis://me:********@host/0"
    assert url.maybe_sanitize_url("redis://me:secret@host/0") == "redis://me:********@host/0"
    assert url.maybe_sanitize_url(None) is None
    assert url.maybe_sanitize_url("secret") == "secret"
    assert url.safequote("a/b c") == "a%2Fb%20c"
