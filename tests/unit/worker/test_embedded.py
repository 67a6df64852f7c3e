"""A worker in threads of a process that does more than that."""

from __future__ import annotations

import threading

import pytest

from umbel import Umbel
from umbel.testing.conformance.support import PATIENCE, until
from umbel.worker.embedded import EmbeddedWorker, _Keeper
from umbel.worker.revocation_watch import RevocationWatch


def test_leases_are_renewed_while_a_state_store_elsewhere_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    is_silent, ends, renewed = threading.Event(), threading.Event(), list[None]()
    renew = _Keeper._renew

    def counted(keeper: _Keeper) -> None:
        renew(keeper)
        renewed.append(None)

    def step(watch: RevocationWatch) -> None:
        is_silent.set()
        ends.wait(2 * PATIENCE)

    monkeypatch.setattr(_Keeper, "_renew", counted)
    monkeypatch.setattr(RevocationWatch, "step", step)
    monkeypatch.setattr("umbel.worker.revocation_watch.LOOK", 0.01)
    app = Umbel(
        broker="memory://leases-here",
        state_url="memory://state-there",
        worker_lease_ttl=0.3,
        set_as_current=False,
    )
    worker = EmbeddedWorker(app)
    worker.start()
    try:
        assert is_silent.wait(PATIENCE)
        before = len(renewed)
        until(lambda: len(renewed) > before + 2)
    finally:
        ends.set()
        worker.stop()
        app.close()
