"""`app.control`: revoking from a client."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel, revoking
from umbel.exceptions import EncodeError, ImproperlyConfigured
from umbel.ports import REVOKED, STAMPED, TERMINATED
from umbel.stamped import MARK, read_stamp


def stored(app: Umbel, kind: str) -> dict[str, str]:
    return app.engines.state_store().items(kind)


def test_ids_are_stored_for_a_long_time(app: Umbel) -> None:
    assert app.control.revoke("a") is None
    assert app.control.revoke(["b", "c", "b"], reply=True, timeout=1.0) == []
    found = stored(app, REVOKED)
    assert found.keys() == {"a", "b", "c"}
    ends = [revoking.until(value) - app.clock.time() for value in found.values()]
    assert all(revoking.KEPT - 60 < left < revoking.KEPT + 1 for left in ends)
    assert stored(app, TERMINATED) == {}


def test_nothing_changes_without_ids(app: Umbel) -> None:
    app.control.revoke([])
    assert app.engines.state_store().version(REVOKED) == 0


def test_many_are_stored_in_steps(app: Umbel) -> None:
    app.control.revoke([str(number) for number in range(2500)])
    assert len(stored(app, REVOKED)) == 2500
    assert app.engines.state_store().version(REVOKED) >= 3


@pytest.mark.parametrize(
    ("signal", "number"), [("SIGTERM", 15), ("kill", 9), (9, 9), ("2", 2), (None, 15)]
)
def test_a_signal_is_given_by_name_or_number(app: Umbel, signal: Any, number: int) -> None:
    app.control.terminate("a", signal=signal)
    assert revoking.signum_of(stored(app, TERMINATED)["a"]) == number
    assert stored(app, REVOKED).keys() == {"a"}


@pytest.mark.parametrize("signal", ["SIGNOTHING", 0, 1000, "SIGSTOP", "CONT", 1.5])
def test_what_is_no_signal_that_ends_a_process_is_refused(app: Umbel, signal: Any) -> None:
    with pytest.raises(ValueError, match="signal is"):
        app.control.revoke("a", terminate=True, signal=signal or "0")
    assert stored(app, REVOKED) == {}


def test_what_is_no_id_is_refused(app: Umbel) -> None:
    with pytest.raises(TypeError, match="is no task's id"):
        app.control.revoke(["a", 1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="Did you mean 'timeout'"):
        app.control.revoke("a", timeuot=1)
    assert stored(app, REVOKED) == {}


def test_results_revoke_themselves(app: Umbel) -> None:
    result = app.AsyncResult("a")
    result.revoke(terminate=True, signal="SIGKILL", wait=True, timeout=1)
    assert revoking.signum_of(stored(app, TERMINATED)["a"]) == 9
    app.GroupResult(
        "g", [app.AsyncResult("b"), app.GroupResult("h", [app.AsyncResult("c")])]
    ).revoke()
    assert stored(app, REVOKED).keys() == {"a", "b", "c"}


def stamps(app: Umbel) -> list[tuple[str, Any, int | None]]:
    found = [read_stamp(text) for text in stored(app, STAMPED).values()]
    return sorted(((one.name, one.value, one.signal) for one in found if one is not None), key=repr)


def test_stamps_are_stored_for_a_long_time(app: Umbel) -> None:
    assert app.control.revoke_by_stamped_headers({"a": "b"}) is None
    assert app.control.revoke_by_stamped_headers({"a": ["b", "c"], "d": 7}, reply=True) == []
    assert stamps(app) == [("a", "b", None), ("a", "c", None), ("d", 7, None)]
    for text in stored(app, STAMPED).values():
        one = read_stamp(text)
        assert one is not None
        assert one.until == pytest.approx(app.clock.time() + revoking.KEPT, abs=60)
        assert one.at == pytest.approx(app.clock.time(), abs=60)
    assert stored(app, REVOKED).keys() == {MARK}


def test_stamps_are_given_as_words_too(app: Umbel) -> None:
    app.control.revoke_by_stamped_headers(["a=b", "a=c=d"])
    assert stamps(app) == [("a", "b", None), ("a", "c=d", None)]


def test_with_a_signal_what_has_a_stamp_is_ended_too(app: Umbel) -> None:
    app.AsyncResult("any").revoke_by_stamped_headers(
        {"a": {1}}, terminate=True, signal="KILL", wait=True, timeout=1
    )
    app.control.revoke_by_stamped_headers({"a": 1})  # which takes nothing back
    assert [signal for _, _, signal in stamps(app) if signal] == [9]
    assert len(stored(app, STAMPED)) == 2


def test_many_stamps_are_stored_in_steps(app: Umbel) -> None:
    app.control.revoke_by_stamped_headers({"b": list(range(2500))})
    assert len(stamps(app)) == 2500


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ("a=b", TypeError),
        (None, TypeError),
        ({1: "b"}, TypeError),
        ({"a": None}, ValueError),
        ({"a": ["b", None]}, ValueError),
        (["a"], ValueError),
        (["=b"], ValueError),
        ([1], ValueError),
        ({"a": object()}, EncodeError),
    ],
)
def test_what_is_no_stamp_is_refused(app: Umbel, headers: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        app.control.revoke_by_stamped_headers(headers, terminate=True)
    assert stored(app, REVOKED) == stored(app, STAMPED) == {}


def test_nothing_changes_without_stamps(app: Umbel) -> None:
    app.control.revoke_by_stamped_headers({})
    app.control.revoke_by_stamped_headers({"a": []})
    assert app.engines.state_store().version(REVOKED) == 0
    with pytest.raises(ValueError, match="signal is"):
        app.control.revoke_by_stamped_headers({"a": "b"}, terminate=True, signal="SIGNOTHING")
    with pytest.raises(TypeError, match="Did you mean 'timeout'"):
        app.control.revoke_by_stamped_headers({"a": "b"}, timeuot=1)


def test_without_a_state_store_it_says_what_to_set() -> None:
    with (
        Umbel(broker="amqp://localhost", set_as_current=False) as app,
        pytest.raises(ImproperlyConfigured, match="Set state_url"),
    ):
        app.control.revoke("a")


def test_the_rest_of_remote_control_is_absent(app: Umbel) -> None:
    with pytest.raises(NotImplementedError, match="later version"):
        app.control.ping()  # type: ignore[attr-defined]
