"""Signed messages: what Celery signed, and what it read of ours, as ``record_signed.py`` recorded it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compat.test_golden import Record, as_message, untagged
from umbel import serialization
from umbel.exceptions import DecodeError
from umbel.limits import DEFAULT
from umbel.message import decode
from umbel.signing import Files, setup

pytest.importorskip("cryptography")

SIGNED = Path(__file__).parent / "golden" / "signed"
KEYS = SIGNED / "keys"
FILES = Files(str(KEYS / "key.pem"), str(KEYS / "store" / "certificate.pem"), str(KEYS / "store"))
READ = json.loads((SIGNED / "read-by-celery.json").read_text("utf-8"))
MESSAGES: dict[str, Record] = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted(SIGNED.glob("*.json"))
    if path.stem != "read-by-celery"
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing is signed any more after the test."""
    yield
    serialization.add(serialization.SIGNED)


def digest_of(name: str) -> str:
    return "sha512" if name == "digest" else "sha256"


@pytest.mark.parametrize("name", [name for name in MESSAGES if name not in ("pickle", "yaml")])
def test_what_celery_signed_is_read(name: str) -> None:
    setup(FILES, digest_of(name))
    record = MESSAGES[name]
    call = decode(as_message(record), ("auth",))
    assert list(call.args) == [*untagged(record["call"]["args"])]
    assert call.kwargs == {"z": "ü"}


@pytest.mark.parametrize("inner", ["pickle", "yaml"])
def test_another_serializer_within_is_read_only_where_it_is_allowed(inner: str) -> None:
    if inner == "yaml":
        pytest.importorskip("yaml")
    record = MESSAGES[inner]
    setup(FILES)
    with pytest.raises(
        DecodeError, match=r"is refused: accept_content lists only application/json"
    ):
        decode(as_message(record), ("auth",))
    setup(FILES, allowed=[inner])
    call = decode(as_message(record), ("auth",))
    assert [*call.args] == [*untagged(record["call"]["args"])]


def test_another_digest_is_not_read() -> None:
    setup(FILES)
    with pytest.raises(DecodeError, match="or not with this security_digest"):
        decode(as_message(MESSAGES["digest"]), ("auth",))


@pytest.mark.parametrize("record", READ)
def test_celery_has_read_what_we_sign(record: Any) -> None:
    setup(FILES, record["digest"])
    auth = serialization.serializer("auth")
    assert auth.read(record["signed"].encode(), DEFAULT) == record["value"]
    # What is signed today differs in nothing but the signature, which is never the same.
    then, now = (
        base64.b64decode(data).split(b"\0\1", 4)
        for data in (record["signed"], auth.dumps(record["value"]))
    )
    assert len(base64.b64decode(then.pop(1))) == len(base64.b64decode(now.pop(1))) == 256
    assert then == now
