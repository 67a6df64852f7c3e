"""What a process knows of what is revoked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from tests.unit.worker.revoking_scene import Scene
from umbel import Umbel, revoking
from umbel.clock import SYSTEM
from umbel.exceptions import OperationalError
from umbel.ports import REVOKED, TERMINATED, Changes, StateStore
from umbel.testing.conformance.support import PATIENCE
from umbel.worker import revocations as module
from umbel.worker.outcome import Revoked
from umbel.worker.page import Page
from umbel.worker.revocation_watch import RevocationWatch


@pytest.fixture
def scene(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(app, monkeypatch)


@pytest.fixture
def apart(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Where the state is in another place than the messages."""
    return Scene(app, monkeypatch, told=False)


def test_while_nothing_is_revoked_nothing_is_asked(scene: Scene) -> None:
    for _ in range(3):
        scene.send("a", "b")
        assert scene.learn() == {"a": True, "b": True}
    assert scene.state.asked == []
    assert not scene.known.ids


def test_who_learns_while_another_thread_reads_waits_for_all_of_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.app.control.revoke("a")
    version = scene.app.engines.state_store().version(REVOKED)
    known: list[bool] = []

    def learn() -> None:
        scene.known.learn(version, ())
        known.append(scene.known.heeds and "a" in scene.known.ids)

    other, read = threading.Thread(target=learn), revoking.until

    def until(value: str) -> float:  # asked while what was read is taken in
        if other.ident is None:
            other.start()
            other.join(0.2)  # it is to wait
        return read(value)

    monkeypatch.setattr(revoking, "until", until)
    scene.known.learn(version, ())
    other.join(PATIENCE)
    assert known == [True]


def test_it_is_asked_once_for_what_is_new(scene: Scene) -> None:
    scene.app.control.revoke(["a", "c"])
    for _ in range(3):
        scene.send("a", "b")
        assert scene.learn() == {"a": False, "b": True}
    assert scene.state.asked == ["changes", "changes"]  # of the two kinds
    scene.app.control.revoke("b")
    scene.send("a", "b")
    assert scene.learn() == {"a": False, "b": False}
    assert scene.state.asked == ["changes"] * 4


def test_an_id_that_is_kept_no_more_runs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.app.control.revoke("a")
    scene.send("a")
    assert scene.learn() == {"a": False}
    scene.known.let_go(settled=False)
    assert scene.known.discarded == ["a"]
    scene.known.let_go(settled=True)
    until = scene.known.ids["a"]
    assert until < scene.app.clock.time() + revoking.KEPT_DISCARDED + 1
    assert scene.learn() == {}
    scene.send("b")
    assert scene.learn() == {"b": True}  # and what it has stored itself is read
    monkeypatch.setattr(scene.known, "ids", {"a": scene.app.clock.time() - 1})
    scene.send("a")
    assert scene.learn() == {"a": True}


def test_with_too_many_it_asks_for_those_of_each_batch(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    scene.app.control.revoke([f"other {number}" for number in range(11)])
    scene.app.control.revoke("a")
    scene.send("a", "b")
    assert scene.learn() == {"a": False, "b": True}
    assert len(scene.known.ids) <= 10
    # Of stamps, too, for which there might be a mark among what is not told.
    assert scene.state.asked == ["changes", "changes", "changes", "pick"]
    scene.app.control.revoke("b")
    scene.send("b", "c")
    assert scene.learn() == {"b": False, "c": True}


def test_what_is_held_stays_revoked_when_there_come_to_be_too_many(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    scene.app.control.revoke(["held", *(f"other {number}" for number in range(9))])
    scene.send("held")
    [held] = scene.fetch()
    scene.known.learn(scene.consumer.revocations, [held])
    scene.app.control.revoke(["a", "b"])
    scene.send("a")
    assert scene.learn() == {"a": False}
    assert scene.known.admit(scene.runner.prepare(held)).work == Revoked()
    for number in range(30):
        scene.app.control.revoke(f"more {number}")
        scene.send(f"more {number}")
        assert scene.learn() == {f"more {number}": False}
        assert len(scene.known.ids) <= 20


def test_when_there_are_few_again_they_are_kept_in_mind(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    monkeypatch.setattr(module, "CROWDED_FOR", 0.0)
    scene.app.control.revoke([f"other {number}" for number in range(10)])
    scene.send("b")
    assert scene.learn() == {"b": True}
    scene.app.control.revoke("a")
    scene.send("a")
    assert scene.learn() == {"a": False}
    state = scene.app.engines.state_store()
    state.delete(REVOKED, [f"other {number}" for number in range(10)])
    scene.send("a")
    assert scene.learn() == {"a": False}
    assert scene.known.ids.keys() == {"a"}
    scene.state.asked.clear()
    scene.send("a", "b")
    assert scene.learn() == {"a": False, "b": True}
    assert scene.state.asked == []


def test_it_is_not_started_while_the_broker_s_own_store_does_not_answer(scene: Scene) -> None:
    scene.app.control.revoke("a")
    scene.send("a")
    scene.state.silent = True
    fetched = scene.fetch()
    with pytest.raises(OperationalError):
        scene.known.learn(scene.consumer.revocations, fetched)
    scene.state.silent = False
    scene.known.learn(scene.consumer.revocations, fetched)
    assert "a" in scene.known.ids


def test_apart_all_is_read_at_first_and_then_what_the_page_speaks_of(apart: Scene) -> None:
    apart.app.control.revoke("a")
    apart.send("a", "b")
    assert apart.learn() == {"a": False, "b": True}
    apart.app.control.revoke("b")
    apart.send("b")
    assert apart.learn() == {"b": True}
    apart.page.tell_revocations(apart.app.engines.state_store().version(REVOKED))
    assert apart.known.is_behind(SYSTEM.monotonic())
    apart.send("b")
    assert apart.learn() == {"b": False}
    assert not apart.known.is_behind(SYSTEM.monotonic())


def test_apart_tasks_run_while_the_store_is_silent(
    apart: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.0)
    apart.app.control.revoke("a")
    apart.state.silent = True
    apart.page.tell_revocations(1)
    for _ in range(3):
        apart.send("a")
        assert apart.learn() == {"a": True}
    assert caplog.text.count("What is revoked cannot be read") == 1
    assert apart.state.asked == ["changes"]  # and none waits again for a store that is silent
    apart.state.silent = False
    assert apart.known.is_behind(SYSTEM.monotonic() + module.AGAIN)
    apart.known.follow()
    apart.send("a")
    assert apart.learn() == {"a": False}


def test_who_is_to_be_ended_is_known_for_an_hour(scene: Scene) -> None:
    scene.send("a", "b")
    first, second = [scene.runner.prepare(one) for one in scene.fetch()]
    assert scene.known.signal_for(first) is None
    scene.app.control.terminate("a", signal="KILL")
    scene.page.tell_revocations(scene.app.engines.state_store().version(REVOKED))
    scene.known.follow()
    assert (scene.known.signal_for(first), scene.known.signal_for(second)) == (9, None)


def test_many_are_stored_so_that_who_runs_any_hears_of_some_at_a_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoking, "BATCH", 2)
    stored: list[tuple[str, set[str]]] = []
    put_all = scene.app.engines.state_store().put_all

    def put(kind: str, values: Mapping[str, str], ttl: float | None = None) -> None:
        stored.append((kind, set(values)))
        put_all(kind, values, ttl)

    monkeypatch.setattr(scene.state._state, "put_all", put)
    scene.app.control.terminate(["a", "b", "c", "a"])
    assert stored == [
        (TERMINATED, {"a", "b"}),
        (REVOKED, {"a", "b"}),
        (TERMINATED, {"c"}),
        (REVOKED, {"c"}),
    ]


def test_what_cannot_be_read_counts_for_ever(scene: Scene) -> None:
    state = scene.app.engines.state_store()
    state.put(REVOKED, "a", "{")
    state.put(REVOKED, "b", "[]")
    scene.send("a", "b")
    assert scene.learn() == {"a": False, "b": False}
    assert revoking.signum_of("nothing") == 15


def test_a_store_of_others_that_knows_no_changes_has_them(app: Umbel) -> None:
    state = app.engines.state_store()
    state.put(REVOKED, "a", "1")
    assert StateStore.changes(state, REVOKED, 0, 1) == Changes(1, {"a": "1"})
    assert StateStore.changes(state, REVOKED, 0, 0) == Changes(1, None)
    StateStore.put_all(state, REVOKED, {"b": "2"})
    assert StateStore.pick(state, REVOKED, ["b", "c"]) == {"b": "2"}


def test_who_watches_for_a_node_asks_only_where_its_broker_has_not_told(app: Umbel) -> None:
    app.control.revoke("a")
    version = app.engines.state_store().version(REVOKED)
    page = SimpleNamespace(tell_revocations=(told := list[int]()).append)
    asked: list[None] = []

    def state() -> StateStore:
        asked.append(None)
        return app.engines.state_store()

    broker = app.broker
    watch = RevocationWatch(state, lambda: [cast(Page, page)], broker)
    watch.step()
    assert (told, len(asked)) == ([version], 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker, "revocations", version + 1)
        watch.step()
        patch.setattr(broker, "revocations", 0)
        watch.step()
    assert (told, len(asked)) == ([version, version + 1], 1)
