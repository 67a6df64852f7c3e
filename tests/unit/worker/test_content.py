"""What a worker makes sure of before it reads anything."""

import logging
import os

import pytest

from umbel import Umbel, serialization
from umbel.exceptions import ImproperlyConfigured, SecurityError
from umbel.worker.content import User, check_content, this_user

SOMEBODY = User((1000, 1000), ("users", "users"))
FORCED = {"C_FORCE_ROOT": "1"}


def check(app: Umbel, user: User = SOMEBODY, environ: dict[str, str] | None = None) -> None:
    check_content(app.conf.snapshot, user, environ or {})


@pytest.mark.parametrize(
    "settings",
    [
        {"task_compression": "gzp"},
        {"result_compression": "gzp"},
    ],
)
def test_what_is_not_known_is_an_error_at_the_start(app: Umbel, settings: dict[str, str]) -> None:
    app.conf.update(settings)
    with pytest.raises(ImproperlyConfigured, match="'gzp'; known are: "):
        check(app)


@pytest.mark.parametrize("name", ["accept_content", "task_serializer", "result_serializer"])
def test_a_serializer_that_is_known_no_longer_is_an_error_at_the_start(
    app: Umbel, name: str
) -> None:
    serialization.register("cbor", str, bytes.decode, "application/cbor")
    try:
        app.conf[name] = ["cbor"] if name == "accept_content" else "cbor"
    finally:
        serialization.unregister("cbor")
    with pytest.raises(ImproperlyConfigured, match="'cbor'; known are: "):
        check(app)


def test_what_is_known_is_none(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    app.conf.update(task_compression="bzip2", result_compression="lzma")
    check(app, User((0, 0), ("root", "root")))
    assert caplog.messages == []


@pytest.mark.parametrize("accept", [["json", "pickle"], ["application/x-python-serialize"]])
def test_pickle_is_warned_of_once(
    app: Umbel, accept: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    app.conf.accept_content = accept
    with caplog.at_level(logging.WARNING):
        check(app)
    assert [text for text in caplog.messages if "can run any code" in text] == caplog.messages
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    "user",
    [
        User((0, 0), ("root", "root")),
        User((1000, 0), ("users", "users")),
        User((1000, 1000), ("users", "wheel")),
        User((1000, 1000), ("sudo", "users")),
        User((1000, 1000), (None, "users")),
    ],
)
def test_pickle_is_refused_to_root(app: Umbel, user: User) -> None:
    app.conf.accept_content = ["pickle"]
    with pytest.raises(SecurityError, match="C_FORCE_ROOT=1"):
        check(app, user)
    check(app, user, FORCED)


def test_what_cannot_be_read_is_told(
    app: Umbel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    app.conf.accept_content = ["json", "yaml"]
    check(app)
    assert 'pip install "umbel[yaml]"' in caplog.text
    app.conf.task_serializer = "yaml"
    with pytest.raises(ImproperlyConfigured, match=r'pip install "umbel\[yaml\]"'):
        check(app)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="a system without user ids")
def test_this_user() -> None:
    user = this_user()
    assert user.ids == (os.getuid(), os.geteuid())
    assert len(user.groups) == 2
