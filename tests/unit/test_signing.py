from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import messages
from umbel import Umbel, serialization
from umbel.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    SecurityError,
)
from umbel.limits import DEFAULT
from umbel.message import decode
from umbel.security import setup_security
from umbel.signing import Files, setup
from umbel.worker.content import User, check_content

pytest.importorskip("cryptography")

KEYS = Path(__file__).parents[1] / "compat" / "golden" / "signed" / "keys"
FILES = Files(str(KEYS / "key.pem"), str(KEYS / "store" / "certificate.pem"), str(KEYS / "store"))
SETTINGS: dict[str, Any] = {
    "task_serializer": "auth",
    "accept_content": ["auth"],
    "security_key": FILES.key,
    "security_certificate": FILES.certificate,
    "security_cert_store": FILES.store,
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Nothing is signed any more after the test."""
    yield
    serialization.add(serialization.SIGNED)
    serialization.disable_insecure_serializers()


def write(value: Any) -> bytes:
    return serialization.serializer("auth").dumps(value)


def read(data: bytes) -> Any:
    return serialization.serializer("auth").read(data, DEFAULT)


Change = Callable[[list[bytes]], object]


def changed(data: bytes, change: Change) -> bytes:
    fields = base64.b64decode(data).split(b"\0\1", 4)
    change(fields)
    return base64.b64encode(b"\0\1".join(fields))


def test_what_was_signed_is_read() -> None:
    setup(FILES)
    for value in ({"a": [1, "größe", None]}, "\0\1"):
        assert read(write(value)) == value


def put(index: int, value: bytes) -> Change:
    return lambda fields: fields.__setitem__(index, value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put(4, b'{"a":2}'), "was changed since"),
        (put(1, base64.b64encode(bytes(256))), "was not signed with the key"),
        (
            put(0, base64.b64encode(b"Somebody 1")),
            "'Somebody 1', which is not in security_cert_store",
        ),
        (put(1, b"?"), "is not a signed one"),
        (put(0, base64.b64encode(b"\xff")), "is not a signed one"),
        (put(2, b"application/x-python-serialize"), "is refused"),
        (lambda fields: fields.pop(), "is not a signed one"),
    ],
)
def test_what_was_changed_is_refused(change: Change, reason: str) -> None:
    setup(FILES)
    with pytest.raises(DecodeError, match=reason):
        read(changed(write({"a": 1}), change))


@pytest.mark.parametrize("data", [b"", b"{}", b"AAEAAQ==", b"\xff"])
def test_what_is_no_signed_body_is_refused(data: bytes) -> None:
    setup(FILES)
    with pytest.raises(DecodeError, match="is not a signed one, as auth writes them"):
        read(data)


def test_certificates_expire() -> None:
    now = [0.0]
    setup(FILES, now=lambda: now[0])
    data = write(1)
    assert read(data) == 1
    now[0] = 7.3e9  # in the year 2201
    with pytest.raises(
        DecodeError, match="signed with the expired certificate 'DE Grüße GmbH tests"
    ):
        read(data)
    with pytest.raises(SecurityError, match="has expired: nobody would read what it signs"):
        setup(FILES, now=lambda: now[0])


def test_limits_hold_within_signed_bodies() -> None:
    setup(FILES)
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    with pytest.raises(DecodeError):
        read(write(deep))
    with pytest.raises(EncodeError, match="not JSON serializable"):
        write(object())


LOCKED = str(KEYS / "locked.pem")
WRONG = [
    (replace(FILES, key="/no/key"), "The private key /no/key cannot be read: No such file"),
    (replace(FILES, certificate="/no/c"), "The certificate /no/c cannot be read"),
    (replace(FILES, key=FILES.certificate), r"certificate\.pem cannot be used"),
    (replace(FILES, key=LOCKED), r"\(security_key_password is its password, where it has one\)"),
    (replace(FILES, key=LOCKED, password="no"), "cannot be used"),
    (replace(FILES, certificate=FILES.key), r"key\.pem is no certificate"),
    (replace(FILES, certificate=str(KEYS / "stranger.pem")), "does not belong to the key"),
    (replace(FILES, store="/no/store"), "There is no certificate in security_cert_store"),
    (replace(FILES, store=str(KEYS)), "is no certificate"),
]


@pytest.mark.parametrize(("files", "reason"), WRONG)
def test_keys_that_cannot_be_used(files: Files, reason: str) -> None:
    with pytest.raises((ImproperlyConfigured, SecurityError), match=reason):
        setup(files)


def test_what_else_can_be_given() -> None:
    with pytest.raises(ImproperlyConfigured, match="There is no digest 'sha0'"):
        setup(FILES, "sha0")
    with pytest.raises(ImproperlyConfigured, match="There is no digest 'sha512_t'"):
        setup(FILES, "sha512_t")
    setup(replace(FILES, key=str(KEYS / "locked.pem"), password=b"not a secret"))
    setup(replace(FILES, store=str(KEYS / "st*" / "cert*.pem")))


def test_a_certificate_is_in_its_store_once(tmp_path: Path) -> None:
    for name in ("a.pem", "b.pem"):
        shutil.copy(FILES.certificate, tmp_path / name)
    with pytest.raises(SecurityError, match=r"more than once: as .*b\.pem too"):
        setup(replace(FILES, store=str(tmp_path)))


# The app


def test_an_app_takes_its_keys_from_its_settings() -> None:
    with Umbel(broker="memory://", set_as_current=False, **SETTINGS) as app:
        app.setup_security()
        app.send_task("proj.add", (1,))
    assert read(write(1)) == 1


def test_celerys_function_is_for_the_current_app() -> None:
    Umbel(broker="memory://", **{**SETTINGS, "security_key": None})
    with pytest.raises(ImproperlyConfigured, match="the settings security_key"):
        setup_security({"json"})
    setup_security({"json"}, FILES.key)
    assert read(write(1)) == 1
    with pytest.raises(ImproperlyConfigured, match='Signed messages need task_serializer = "auth"'):
        setup_security(app=Umbel(set_as_current=False))


def test_what_is_missing_is_named() -> None:
    given = {**SETTINGS, "security_key": None, "security_cert_store": None}
    app = Umbel(set_as_current=False, **given)
    with pytest.raises(
        ImproperlyConfigured, match="the settings security_key, security_cert_store"
    ):
        app.setup_security()
    app.setup_security(key=FILES.key, store=FILES.store, digest="sha512")


def test_what_is_accepted_may_be_named_by_its_content_type(memory: str) -> None:
    given = {**SETTINGS, "accept_content": ["application/data"]}
    app = Umbel(broker=memory, set_as_current=False, **given)
    app.setup_security()
    check_content(app.conf.snapshot, User(), {})
    app.send_task("proj.add", (1,))
    (message,) = messages(app)
    assert decode(message, app.conf.accept_content).args == [1]


@pytest.mark.parametrize(
    "conf",
    [
        {"task_serializer": "json"},
        {"accept_content": ["auth", "json"]},
        {"accept_content": ["application/data", "json"]},
    ],
)
def test_signing_is_of_no_use_where_others_are_accepted(conf: dict[str, Any]) -> None:
    app = Umbel(set_as_current=False, **{**SETTINGS, **conf})
    with pytest.raises(ImproperlyConfigured, match='Signed messages need task_serializer = "auth"'):
        app.setup_security()


def test_a_worker_that_cannot_verify_does_not_start() -> None:
    for settings in (SETTINGS, {"accept_content": ["json", "auth"]}):
        app = Umbel(set_as_current=False, **settings)
        with pytest.raises(ImproperlyConfigured, match=r"app\.setup_security\(\) was not called"):
            check_content(app.conf.snapshot, User(), {})
    app = Umbel(set_as_current=False, **SETTINGS)
    app.setup_security()
    check_content(app.conf.snapshot, User(), {})


def test_a_client_that_cannot_sign_says_so() -> None:
    app = Umbel(broker="memory://", set_as_current=False, **SETTINGS)
    with pytest.raises(ImproperlyConfigured, match=r"app\.setup_security\(\) was not called"):
        app.send_task("proj.add")
    with pytest.raises(DecodeError, match=r"The body is signed \(auth\)"):
        serialization.decode(b"x", "application/data", ("auth",))
