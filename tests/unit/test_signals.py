import ast
import gc
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from umbel import signals
from umbel.signals import Signal


@dataclass(frozen=True)
class Task:
    name: str


class Listener:
    def __init__(self) -> None:
        self.heard: list[object] = []

    def hear(self, sender: object, **arguments: Any) -> str:
        self.heard.append((sender, arguments["signal"], arguments.get("value")))
        return "heard"


@pytest.fixture
def signal() -> Signal:
    return Signal("happened", ("value",))


def test_a_receiver_gets_sender_signal_and_arguments(signal: Signal) -> None:
    listener = Listener()
    signal.connect(listener.hear)
    assert signal.send("me", value=1) == [(listener.hear, "heard")]
    assert listener.heard == [("me", signal, 1)]


def test_receivers_are_called_in_the_order_they_connected(signal: Signal) -> None:
    listeners = [Listener() for _ in range(3)]
    for listener in listeners:
        signal.connect(listener.hear)
    assert [receiver for receiver, _ in signal.send(None)] == [each.hear for each in listeners]


def test_nobody_listening_is_fine(signal: Signal) -> None:
    assert signal.send("me") == []
    assert not signal.has_listeners()


def test_connect_is_a_decorator_with_and_without_arguments(signal: Signal) -> None:
    @signal.connect
    def plain(**_: Any) -> str:
        return "plain"

    def bound(**_: Any) -> str:
        return "bound"

    assert signal.connect(sender="proj.add")(bound) is bound

    assert plain() == "plain"
    assert [answer for _, answer in signal.send("proj.add")] == ["plain", "bound"]
    assert [answer for _, answer in signal.send("proj.other")] == ["plain"]


def test_receivers_are_held_weakly(signal: Signal) -> None:
    listener = Listener()

    def function(**_: Any) -> None: ...

    signal.connect(listener.hear)
    signal.connect(function)
    assert len(signal.receivers) == 2
    del listener, function
    gc.collect()
    assert signal.receivers == []
    assert signal.send("me") == []
    assert not signal.has_listeners()


def test_dead_receivers_are_dropped_when_another_connects(signal: Signal) -> None:
    for _ in range(100):
        signal.connect(Listener().hear)
    gc.collect()
    kept = Listener()
    signal.connect(kept.hear)
    assert len(signal._receivers) == 1


def test_weak_false_keeps_the_receiver(signal: Signal) -> None:
    signal.connect(lambda **_: "kept", weak=False)
    gc.collect()
    assert [answer for _, answer in signal.send(None)] == ["kept"]


@pytest.mark.parametrize(
    ("wanted", "sender", "heard"),
    [
        ("proj.add", "proj.add", True),
        ("proj.add", Task("proj.add"), True),
        (Task("proj.add"), Task("proj.add"), True),
        (Task("proj.add"), "proj.add", True),
        ("proj.add", Task("proj.other"), False),
        ("proj.add", None, False),
        (None, "proj.add", True),
        (None, None, True),
    ],
)
def test_a_task_is_known_by_its_name(
    signal: Signal, wanted: object, sender: object, heard: bool
) -> None:
    listener = Listener()
    signal.connect(listener.hear, sender=wanted)
    assert signal.has_listeners(sender) is heard
    signal.send(sender)
    assert bool(listener.heard) is heard


def test_a_sender_without_a_name_is_itself(signal: Signal) -> None:
    one, other, listener = object(), object(), Listener()
    signal.connect(listener.hear, sender=one)
    signal.send(other)
    assert not listener.heard
    signal.send(one)
    assert len(listener.heard) == 1


def test_the_same_receiver_is_connected_once_for_each_sender(signal: Signal) -> None:
    listener = Listener()
    for _ in range(2):
        signal.connect(listener.hear)
        signal.connect(listener.hear, sender="proj.add")
    assert len(signal.send("proj.add")) == 2


def test_dispatch_uid_makes_different_functions_the_same_receiver(signal: Signal) -> None:
    one, other = Listener(), Listener()
    signal.connect(one.hear, dispatch_uid="audit")
    signal.connect(other.hear, dispatch_uid="audit")
    assert len(signal.send("me")) == 1
    assert signal.disconnect(dispatch_uid="audit")
    assert signal.send("me") == []


def test_disconnect_needs_the_same_receiver_and_sender(signal: Signal) -> None:
    listener = Listener()
    signal.connect(listener.hear, sender="proj.add")
    assert not signal.disconnect(listener.hear)
    assert not signal.disconnect(Listener().hear, sender="proj.add")
    assert signal.disconnect(listener.hear, sender="proj.add")
    assert not signal.disconnect(listener.hear, sender="proj.add")


def test_a_raising_receiver_is_logged_and_disturbs_nobody(
    signal: Signal, caplog: pytest.LogCaptureFixture
) -> None:
    error = ValueError("not today")

    def fail(**_: Any) -> None:
        raise error

    listener = Listener()
    signal.connect(fail)
    signal.connect(listener.hear)
    with caplog.at_level(logging.ERROR, "umbel.signals"):
        answers = signal.send("me")
    assert answers == [(fail, error), (listener.hear, "heard")]
    [record] = caplog.records
    assert "happened" in record.getMessage()
    assert record.exc_info is not None


def test_a_receiver_may_disconnect_itself_while_it_is_called(signal: Signal) -> None:
    def once(**_: Any) -> str:
        signal.disconnect(once)
        return "once"

    listener = Listener()
    signal.connect(once)
    signal.connect(listener.hear)
    assert [answer for _, answer in signal.send(None)] == ["once", "heard"]
    assert [answer for _, answer in signal.send(None)] == ["heard"]


def test_every_signal_is_known_by_the_name_it_has_in_the_module() -> None:
    found = {name: each for name, each in vars(signals).items() if isinstance(each, Signal)}
    assert len(found) >= 19
    assert {name: each.name for name, each in found.items()} == {name: name for name in found}
    assert repr(signals.task_success) == "<Signal: task_success (result, runtime)>"


# Receivers that are tried again


class Slept:
    def __init__(self) -> None:
        self.pauses: list[float] = []

    def time(self) -> float:
        return 0.0

    monotonic = time

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_a_receiver_may_be_called_until_it_does_not_raise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Slept()
    signal = Signal("s", clock=clock)
    calls: list[Any] = []

    def connect() -> None:
        def receive(**arguments: Any) -> str:
            calls.append(arguments)
            if len(calls) < 20:
                raise ValueError("not yet")
            return "done"

        signal.connect(receive, retry=True)

    connect()  # it is held, though nobody else does
    assert [answer for _, answer in signal.send("me", x=1)] == ["done"]
    assert calls == [{"sender": "me", "signal": signal, "x": 1}] * 20
    assert clock.pauses[:4] == [2, 4, 6, 8]
    assert max(clock.pauses) == 30
    assert "trying again in 2 s." in caplog.text


def test_such_a_receiver_is_disconnected_by_itself() -> None:
    signal = Signal("s")

    def receive(**arguments: Any) -> None: ...

    signal.connect(receive, retry=True)
    signal.connect(receive, retry=True)
    assert len(signal.receivers) == 1
    assert signal.disconnect(receive)
    assert not signal.is_heard


#: dir(celery.signals) of Celery 5.7.0
CELERYS = """
after_setup_logger after_setup_task_logger after_task_publish beat_embedded_init beat_init
before_task_publish celeryd_after_setup celeryd_init eventlet_pool_apply eventlet_pool_postshutdown
eventlet_pool_preshutdown eventlet_pool_started heartbeat_sent import_modules setup_logging
task_failure task_internal_error task_postrun task_prerun task_received task_rejected task_retry
task_revoked task_sent task_success task_unknown user_preload_options worker_before_create_process
worker_init worker_process_init worker_process_shutdown worker_ready worker_shutdown
worker_shutting_down
"""


def test_every_signal_of_celery_is_there() -> None:
    found = {name for name, each in vars(signals).items() if isinstance(each, Signal)}
    assert found == set(CELERYS.split())
    assert signals.task_success.providing_args == {"result", "runtime"}


def sent_by(path: Path) -> Iterator[str]:
    """Give the signals that a file sends, or hands to a function that does."""
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call):
            found = list(call.args)
            if isinstance(call.func, ast.Attribute) and call.func.attr == "send":
                found.append(call.func.value)
            for each in found:
                if isinstance(each, ast.Attribute) and ast.unparse(each.value) == "signals":
                    yield each.attr


def test_the_page_says_of_which_signals_that_they_are_not_sent() -> None:
    source = Path(signals.__file__)
    said = re.findall(r"^#: (.*(?:\n#:.*)*)\n(\w+) = Signal\(", source.read_text(), re.MULTILINE)
    assert {name for _, name in said} == set(CELERYS.split())
    sent = {name for path in source.parent.rglob("*.py") for name in sent_by(path)}
    assert {name for text, name in said if text.startswith("Not sent")} == {
        name for _, name in said if name not in sent
    }


def test_a_receiver_must_be_ready_for_arguments_to_come() -> None:
    signal = Signal("s")

    def receive(sender: object) -> None: ...

    with pytest.raises(ValueError, match=r"must accept keyword arguments: \*\*kwargs\."):
        signal.connect(receive)
    signal.connect(dict, "me", False)  # as in Celery, also by position
    assert signal.has_listeners("me")
    assert not signal.has_listeners("you")
