"""Signals: how code outside observes what umbel does. Receivers get `sender` and keyword arguments.

A receiver that raises is logged and does not disturb the others, nor what sent the signal.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

logger = logging.getLogger("umbel.signals")

Receiver = Callable[..., Any]
_R = TypeVar("_R", bound=Receiver)


class Signal:
    """Something that happens and that receivers may connect to.

    Receivers are held weakly unless `weak` is False. A receiver connected with a `sender` hears
    only that sender; task signals are sent by the task object, and ``sender="proj.add"`` means the
    task's name.
    """

    def __init__(self, name: str, arguments: tuple[str, ...] = ()) -> None:
        self.name = name
        self.arguments = arguments
        self._lock = threading.Lock()
        self._receivers: tuple[tuple[object, object, Callable[[], Receiver | None]], ...] = ()

    def connect(
        self,
        receiver: Receiver | None = None,
        *,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
    ) -> Any:
        """Connect a receiver; also a decorator, with or without arguments."""
        if receiver is None:
            return lambda function: self.connect(
                function, sender=sender, weak=weak, dispatch_uid=dispatch_uid
            )
        key = dispatch_uid if dispatch_uid is not None else _identity(receiver)
        with self._lock:
            alive = tuple(entry for entry in self._receivers if entry[2]() is not None)
            known = any(entry[:2] == (key, _name_of(sender)) for entry in alive)
            new = () if known else ((key, _name_of(sender), _reference(receiver, weak)),)
            self._receivers = (*alive, *new)
        return receiver

    def disconnect(
        self, receiver: Receiver | None = None, sender: object = None, dispatch_uid: object = None
    ) -> bool:
        """Forget a receiver; True if it was connected."""
        key = dispatch_uid if dispatch_uid is not None else _identity(receiver)
        with self._lock:
            left = tuple(entry for entry in self._receivers if entry[:2] != (key, _name_of(sender)))
            found = len(left) < len(self._receivers)
            self._receivers = left
        return found

    @property
    def receivers(self) -> list[Receiver]:
        """The receivers that are alive."""
        return [found for _, _, reference in self._receivers if (found := reference())]

    def has_listeners(self, sender: object = None) -> bool:
        """Tell whether anyone would hear `sender`; cheap enough for the hot path."""
        if not self._receivers:
            return False
        name = _name_of(sender)
        return any(
            wanted in (None, name) and reference() is not None
            for _, wanted, reference in self._receivers
        )

    def send(self, sender: object, **arguments: Any) -> list[tuple[Receiver, Any]]:
        """Call every receiver of `sender`; return each with its answer or what it raised."""
        if not self._receivers:
            return []
        answers: list[tuple[Receiver, Any]] = []
        name = _name_of(sender)
        for _, wanted, reference in self._receivers:
            receiver = reference()
            if receiver is None or (wanted is not None and wanted != name):
                continue
            try:
                answers.append((receiver, receiver(sender=sender, signal=self, **arguments)))
            except Exception as error:
                # Receivers are not ours, and one must not stop the others.
                logger.exception("Signal %s: the receiver %r raised", self.name, receiver)
                answers.append((receiver, error))
        return answers

    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal: {self.name} ({', '.join(self.arguments)})>"


def _identity(receiver: Receiver | None) -> object:
    """Return one key for a function or a bound method, though bound methods come and go."""
    function = getattr(receiver, "__func__", receiver)
    return id(getattr(receiver, "__self__", None)), id(function)


def _name_of(sender: object) -> object:
    """Return a task by its name, so that receivers may name a task that does not exist yet."""
    if sender is None or isinstance(sender, str):
        return sender
    name = getattr(sender, "name", None)
    return name if isinstance(name, str) else id(sender)


def _reference(receiver: Receiver, weak: bool) -> Callable[[], Receiver | None]:
    if not weak:
        return lambda: receiver
    if hasattr(receiver, "__self__") and hasattr(receiver, "__func__"):
        return weakref.WeakMethod(receiver)
    return weakref.ref(receiver)


before_task_publish = Signal(
    "before_task_publish",
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
)
after_task_publish = Signal("after_task_publish", ("body", "exchange", "routing_key", "headers"))
task_received = Signal("task_received", ("request",))
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
task_success = Signal("task_success", ("result",))
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
task_failure = Signal(
    "task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo")
)
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
task_rejected = Signal("task_rejected", ("message", "exc"))
task_unknown = Signal("task_unknown", ("message", "exc", "name", "id"))
worker_init = Signal("worker_init")
worker_ready = Signal("worker_ready")
worker_process_init = Signal("worker_process_init")
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
worker_shutdown = Signal("worker_shutdown")
setup_logging = Signal("setup_logging", ("loglevel", "logfile", "format", "colorize"))
after_setup_logger = Signal("after_setup_logger", ("logger", "loglevel", "logfile", "format"))
