"""How long connecting may take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel.engines.postgres import server as module
from umbel.engines.postgres.link import LEAST_CONNECT
from umbel.engines.postgres.server import Server
from umbel.exceptions import OperationalError

URL = "postgresql://127.0.0.1:1/shop"


def connecting(
    monkeypatch: pytest.MonkeyPatch, clock: ManualClock, takes: float
) -> tuple[Server, list[float]]:
    """Return a server that cannot be reached, which takes so long to find out, and the times of all tries."""
    tried: list[float] = []

    def connect(_: Any, timeout: float) -> None:
        tried.append(timeout)
        clock.now += takes
        raise OperationalError("nobody is there")

    monkeypatch.setattr(module, "Link", connect)
    return Server(URL, {}, clock), tried


def fail(server: Server, timeout: float) -> None:
    with pytest.raises(OperationalError, match="nobody is there"):
        server.dedicated(timeout)


def test_after_a_silent_server_no_try_takes_more_than_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    server, tried = connecting(monkeypatch, clock, takes=4.0)
    fail(server, 5.0)
    fail(server, 1.0)
    assert tried == [5.0]
    fail(server, LEAST_CONNECT)
    assert tried == [5.0, LEAST_CONNECT]
    clock.now += LEAST_CONNECT + 0.1  # it may be back
    fail(server, 1.0)
    assert tried == [5.0, LEAST_CONNECT, 1.0]


def test_after_one_that_refuses_at_once_it_is_tried_until_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, tried = connecting(monkeypatch, ManualClock(), takes=0.01)
    fail(server, 5.0)
    fail(server, 1.0)
    assert tried == [5.0, 1.0]
