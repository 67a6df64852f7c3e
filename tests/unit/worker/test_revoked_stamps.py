"""What a process knows of revoked stamps."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.worker.revoking_scene import Scene
from tests.unit.worker.support import foreign
from umbel import Umbel, revoking, stamped
from umbel.clock import SystemClock
from umbel.exceptions import OperationalError
from umbel.message import Message
from umbel.ports import REVOKED, STAMPED
from umbel.worker import revocations as module
from umbel.worker.outcome import Revoked


class _Ago(SystemClock):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return super().time() - self._seconds


@pytest.fixture
def scene(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(app, monkeypatch)


def revoke(scene: Scene, **stamps: Any) -> None:
    scene.app.control.revoke_by_stamped_headers(stamps)


def revoke_ago(scene: Scene, seconds: float, signum: int | None = None, **stamps: Any) -> None:
    store, given = scene.app.engines.state_store(), stamped.given_stamps(stamps)
    stamped.revoke_stamps(store, given, _Ago(seconds), signum)


def follow(scene: Scene) -> None:
    """Hear of what is new as what holds tasks does."""
    scene.page.tell_revocations(scene.app.engines.state_store().version(REVOKED))
    scene.known.follow()


def test_who_has_one_of_the_stamps_does_not_start(scene: Scene) -> None:
    revoke(scene, tenant=["a", "b"], order=7)
    scene.send("1", tenant="a")
    scene.send("2", tenant="c")
    scene.send("3", tenant=["c", "b"], other=1)
    scene.send("4", order="7")
    scene.send("5", tenant="c", order=7)
    scene.send("6")
    scene.send("7", other="a")
    assert scene.learn() == {"1": 0, "2": 1, "3": 0, "4": 1, "5": 0, "6": 1, "7": 1}


def test_it_says_which_stamp_it_was(scene: Scene) -> None:
    revoke(scene, tenant="a")
    scene.send("1", tenant=["b", "a"])
    [fetched] = scene.fetch()
    scene.known.learn(scene.consumer.revocations, [fetched])
    admitted = scene.known.admit(scene.runner.prepare(fetched))
    assert admitted.work == Revoked(stamp={"tenant": "a"})
    assert scene.known.discarded == []  # there is no id to forget


def test_they_are_asked_for_only_where_there_is_news_of_them(scene: Scene) -> None:
    scene.send("0", tenant="a")
    assert scene.learn() == {"0": True}
    assert scene.state.asked == []
    scene.app.control.revoke("x")
    scene.send("1", tenant="a")
    assert scene.learn() == {"1": True}
    assert scene.state.asked == ["changes"] * 2  # ids, and what is to be ended
    revoke(scene, tenant="a")
    for number in (2, 3):
        scene.send(str(number), tenant="a")
        assert scene.learn() == {str(number): False}
    assert scene.state.asked == ["changes"] * 5
    scene.app.control.revoke("y")
    scene.send("4", tenant="a")
    assert scene.learn() == {"4": False}
    assert scene.state.asked == ["changes"] * 7
    revoke(scene, tenant="b")
    scene.send("5", tenant="b")
    scene.send("6", tenant="a")
    assert scene.learn() == {"5": False, "6": False}
    assert stamped.MARK not in scene.known.ids


@pytest.mark.parametrize(
    ("revoked", "has"),
    [
        (7, 7),
        (7, 7.0),
        (1, True),
        (uuid.UUID(int=5), uuid.UUID(int=5)),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}),
        ([[1, 2]], [[1, 2], 3]),
        (b"\x00", b"\x00"),
        ("\ud800\x00", "\ud800\x00"),
        ("", ""),
        (0, 0),
    ],
)
def test_values_of_any_type_are_compared(scene: Scene, revoked: Any, has: Any) -> None:
    revoke(scene, s=revoked)
    scene.send("1", s=has)
    scene.send("2", s=None)
    scene.send("3", s="other")
    scene.send("4", s=[])
    assert scene.learn() == {"1": False, "2": True, "3": True, "4": True}


@pytest.mark.parametrize(("revoked", "has"), [("7", 7), (7, "7"), ({"a": 1}, {"a": 2})])
def test_what_is_not_equal_runs(scene: Scene, revoked: Any, has: Any) -> None:
    revoke(scene, s=revoked)
    scene.send("1", s=has)
    assert scene.learn() == {"1": True}


def test_what_is_sent_long_after_runs(scene: Scene) -> None:
    revoke_ago(scene, stamped.MEANT + 5, tenant="a")
    revoke_ago(scene, stamped.MEANT - 60, tenant="b")
    scene.send("1", tenant="a")
    scene.send("2", tenant="b")
    foreign(scene.app, _message({"stamped_headers": ["tenant"], "stamps": {"tenant": ["a"]}}))
    assert scene.learn() == {"1": True, "2": False, "i": False}  # i may have been sent before
    revoke(scene, tenant="a")  # again
    scene.send("3", tenant="a")
    assert scene.learn() == {"3": False}


def test_what_was_sent_before_is_discarded_whenever_it_is_met(scene: Scene) -> None:
    revoke_ago(scene, 300 * 86400.0, tenant="a")
    sent_at = scene.app.clock.time() - 301 * 86400.0
    headers = {"stamped_headers": ["tenant"], "stamps": {"tenant": "a"}, "sent_at": sent_at}
    foreign(scene.app, _message(headers))
    assert scene.learn() == {"i": False}


def test_what_is_kept_no_more_does_not_count(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamped, "KEPT", 100.0)
    revoke_ago(scene, 200, tenant="a")
    scene.send("1", tenant="a")
    assert scene.learn() == {"1": True}
    assert not scene.known.heeds


@pytest.mark.parametrize(
    ("names", "stamps"),
    [
        (None, {"tenant": "a"}),
        ("tenant", {"tenant": "a"}),
        (["other"], {"tenant": "a"}),
        ([["tenant"], 7, None], {"tenant": "a"}),
        (["tenant"], {}),
        (["tenant"], None),
    ],
)
def test_stamps_that_are_none_do_not_count(scene: Scene, names: Any, stamps: Any) -> None:
    revoke(scene, tenant="a")
    foreign(scene.app, _message({"stamped_headers": names, "stamps": stamps}))
    assert scene.learn() == {"i": True}


def test_what_is_nested_deeply_stops_nobody(scene: Scene) -> None:
    revoke(scene, tenant="a")
    deep: Any = "a"
    for _ in range(480):
        deep = [deep]
    foreign(scene.app, _message({"stamped_headers": ["tenant"], "stamps": {"tenant": deep}}))
    assert scene.learn() == {"i": True}


def test_what_runs_is_to_be_ended_by_the_signal(scene: Scene) -> None:
    scene.send("1", tenant="a")
    scene.send("2", tenant="b")
    scene.send("3", tenant=["b", "c"])
    first, second, third = [scene.runner.prepare(one) for one in scene.fetch()]
    revoke(scene, tenant="b")
    follow(scene)
    assert scene.known.signal_for(second) is None
    scene.app.control.revoke_by_stamped_headers({"tenant": "c"}, terminate=True, signal="KILL")
    follow(scene)
    assert [scene.known.signal_for(one) for one in (first, second, third)] == [None, None, 9]


def test_what_is_to_be_ended_is_looked_for_an_hour(scene: Scene) -> None:
    scene.send("1", tenant="a")
    [item] = [scene.runner.prepare(one) for one in scene.fetch()]
    revoke_ago(scene, revoking.KEPT_TERMINATED + 1, 15, tenant="a")
    follow(scene)
    assert scene.known.signal_for(item) is None
    assert isinstance(scene.known.admit(item).work, Revoked)


def test_stamps_are_known_where_too_many_ids_are(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    revoke(scene, tenant="a")
    scene.app.control.revoke([f"other {number}" for number in range(20)])
    scene.send("1", tenant="a")
    scene.send("2")
    assert scene.learn() == {"1": False, "2": True}
    revoke(scene, tenant="b")
    scene.send("3", tenant="b")
    assert scene.learn() == {"3": False}


def test_any_number_of_stamps_may_be_revoked(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    scene = Scene(app, monkeypatch)
    revoke(scene, tenant=list(range(20)))
    scene.send("1", tenant=19)
    scene.send("2", tenant=20)
    assert scene.learn() == {"1": False, "2": True}


def test_they_are_asked_for_again_where_the_store_did_not_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke(scene, tenant="a")
    scene.send("1", tenant="a")
    fetched = scene.fetch()
    asked = scene.app.engines.state_store().changes

    def changes(kind: str, since: int, most: int) -> Any:
        if kind == STAMPED and silent:
            raise OperationalError("silent")
        return asked(kind, since, most)

    silent = True
    monkeypatch.setattr(scene.app.engines.state_store(), "changes", changes)
    with pytest.raises(OperationalError):
        scene.known.learn(scene.consumer.revocations, fetched)
    silent = False
    scene.known.learn(scene.consumer.revocations, fetched)
    assert isinstance(scene.known.admit(scene.runner.prepare(fetched[0])).work, Revoked)


def test_apart_they_are_heard_of_by_the_page(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(app, monkeypatch, told=False)
    scene.send("1", tenant="a")
    assert scene.learn() == {"1": True}
    revoke(scene, tenant="a")
    follow(scene)
    scene.send("2", tenant="a")
    assert scene.learn() == {"2": False}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"name": 1}', '{"name": "tenant", "at": null}'])
def test_what_cannot_be_read_is_left_out(scene: Scene, text: str) -> None:
    state = scene.app.engines.state_store()
    state.put(STAMPED, "x", text)
    state.put(STAMPED, "y", _entry(signal="x"))
    state.put(STAMPED, "z", _entry(of_later_versions=True))
    revoke(scene, tenant="a")
    scene.send("1", tenant="a")
    scene.send("2", tenant="z")
    assert scene.learn() == {"1": False, "2": False}


def _entry(**more: Any) -> str:
    return json.dumps(
        {"name": "tenant", "value": "z", "at": 1e12, "until": 1e12, "signal": None, **more}
    )


def _message(headers: dict[str, Any]) -> Message:
    body: Sequence[Any] = ([], {}, {})
    return Message(
        {"task": "t", "id": "i", "lang": "py", **headers},
        {"content_type": "application/json", "content_encoding": "utf-8"},
        json.dumps(body).encode(),
    )
