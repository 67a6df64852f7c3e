"""Signals: how code outside observes what umbel does. Receivers get `sender` and keyword arguments.

A receiver that raises is logged and does not disturb the others, nor what sent the signal.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from umbel.absent import tell_of_absent
from umbel.clock import SYSTEM, Clock

logger = logging.getLogger("umbel.signals")

Receiver = Callable[..., Any]
_R = TypeVar("_R", bound=Receiver)


#: Seconds before a receiver that is to be persistent is tried again, and by which they grow.
FIRST_PAUSE = 2.0
MOST_PAUSE = 30.0


@tell_of_absent
class Signal:
    """Something that happens and that receivers may connect to.

    Receivers are held weakly unless `weak` is False. A receiver connected with a `sender` hears
    only that sender; task signals are sent by the task object, and ``sender="proj.add"`` means the
    task's name.
    """

    def __init__(self, name: str, arguments: tuple[str, ...] = (), clock: Clock = SYSTEM) -> None:
        self.name = name
        self.arguments = arguments
        self.providing_args = set(arguments)
        self._clock = clock
        self._lock = threading.Lock()
        self._receivers: tuple[tuple[object, object, Callable[[], Receiver | None]], ...] = ()
        #: False when there are no receivers at all; cheap enough for the hot path.
        self.is_heard = False

    def connect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool = True,
        dispatch_uid: object = None,
        retry: bool = False,
    ) -> Any:
        """Connect a receiver; also a decorator, with or without arguments.

        With `retry` a receiver that raises is called again until it does not, while the sender
        waits: after 2 seconds, 4, and so on up to 30. It is held, whatever `weak` says. Raises
        ValueError for a receiver that does not take keyword arguments, since more may come.
        """
        if receiver is None:
            return lambda function: self.connect(
                function, sender=sender, weak=weak, dispatch_uid=dispatch_uid, retry=retry
            )
        if not _takes_keywords(receiver):
            raise ValueError(f"The receiver {receiver!r} must accept keyword arguments: **kwargs.")
        key = dispatch_uid if dispatch_uid is not None else _identity(receiver)
        held = self._persistent(receiver) if retry else receiver
        with self._lock:
            alive = tuple(entry for entry in self._receivers if entry[2]() is not None)
            known = any(entry[:2] == (key, _name_of(sender)) for entry in alive)
            new = () if known else ((key, _name_of(sender), _reference(held, weak and not retry)),)
            self._receivers = (*alive, *new)
            self.is_heard = bool(self._receivers)
        return receiver

    def _persistent(self, receiver: Receiver) -> Receiver:
        """Return what calls a receiver until it does not raise."""

        def call(**arguments: Any) -> Any:
            pause = 0.0
            while True:
                try:
                    return receiver(**arguments)
                except Exception:
                    pause = min(pause + FIRST_PAUSE, MOST_PAUSE)
                    text = "Signal %s: the receiver %r raised; trying again in %g s."
                    logger.exception(text, self.name, receiver, pause)
                self._clock.sleep(pause)

        return call

    def disconnect(
        self,
        receiver: Receiver | None = None,
        sender: object = None,
        weak: bool | None = None,
        dispatch_uid: object = None,
    ) -> bool:
        """Forget a receiver; True if it was connected. `weak` is there for Celery's sake."""
        key = dispatch_uid if dispatch_uid is not None else _identity(receiver)
        with self._lock:
            left = tuple(entry for entry in self._receivers if entry[:2] != (key, _name_of(sender)))
            found = len(left) < len(self._receivers)
            self._receivers = left
            self.is_heard = bool(left)
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


def _takes_keywords(receiver: Receiver) -> bool:
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (TypeError, ValueError):  # what is written in C does not say
        return True
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


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


# Calls
#: In the client, before a message is sent; what `headers` and `properties` hold may be changed. Sender: the
#: task's name.
before_task_publish = Signal(
    "before_task_publish",
    ("body", "exchange", "routing_key", "headers", "properties", "declare", "retry_policy"),
)
#: In the client, once the broker has the message. Sender: the task's name.
after_task_publish = Signal("after_task_publish", ("body", "exchange", "routing_key", "headers"))
#: As `after_task_publish`, with the arguments read back: for receivers written for old Celery.
task_sent = Signal("task_sent", ("task_id", "task", "args", "kwargs", "eta", "taskset"))

# Tasks
#: In the child, when a message has been read and its task is to run. Sender: the task.
task_received = Signal("task_received", ("request",))
#: In the child, before the task runs. Sender: the task.
task_prerun = Signal("task_prerun", ("task_id", "task", "args", "kwargs"))
#: In the child, after the task ran, however that ended; `state` says how. Sender: the task.
task_postrun = Signal("task_postrun", ("task_id", "task", "args", "kwargs", "retval", "state"))
#: The task returned `result`; it took `runtime` seconds. Sender: the task.
task_success = Signal("task_success", ("result", "runtime"))
#: The task is to run again; `reason` is the `Retry`, its `exc` what went wrong. Sender: the task.
task_retry = Signal("task_retry", ("request", "reason", "einfo"))
#: The task raised `exception`. Sender: the task.
task_failure = Signal(
    "task_failure", ("task_id", "exception", "args", "kwargs", "traceback", "einfo")
)
#: What raised was not the task but something around it, such as storing its result. Sender: the task.
task_internal_error = Signal(
    "task_internal_error",
    ("task_id", "args", "kwargs", "request", "exception", "traceback", "einfo"),
)
#: A message is not run since its time is over (`expired`). Sender: the task's name.
task_revoked = Signal("task_revoked", ("request", "terminated", "signum", "expired"))
#: A message cannot be read, or not be run here, and becomes a dead letter. Sender: None.
task_rejected = Signal("task_rejected", ("message", "exc"))
#: A message names a task that this app does not have: each time it is offered to other workers again, and
#: when it becomes a dead letter. Sender: None.
task_unknown = Signal("task_unknown", ("message", "exc", "name", "id"))

# The worker
#: In each of a worker's processes that imports the app for itself (the main one, its fork server, and
#: children that are started from scratch): once the app's module and ``--config`` are imported, and before
#: the command line's settings count. Receivers may change settings by `conf`. Sender: the node's name.
celeryd_init = Signal("celeryd_init", ("instance", "conf", "options"))
#: In the worker, when its parts are made, before any of them runs. Sender: the node's name.
celeryd_after_setup = Signal("celeryd_after_setup", ("instance", "conf"))
#: Before the modules of ``imports`` and ``include`` are imported; what a receiver raises stops the worker.
#: Sender: the app.
import_modules = Signal("import_modules")
#: In the worker, when its app is imported and its log is set up. Sender: None.
worker_init = Signal("worker_init")
#: In the fork server, before it forks a child; not where children are started from scratch. Sender: the fork
#: server.
worker_before_create_process = Signal("worker_before_create_process")
#: In each process that runs tasks, before the first: the place to open connections of one's own. Sender:
#: the node's name.
worker_process_init = Signal("worker_process_init")
#: In each process that runs tasks, before it leaves; not when it is killed. Sender: the
#: node's name.
worker_process_shutdown = Signal("worker_process_shutdown", ("pid", "exitcode"))
#: In the worker, when it takes messages. Sender: the worker.
worker_ready = Signal("worker_ready")
#: In the worker, when it begins to stop: `sig` is the signal's name, `how` is ``Warm`` or ``Cold``.
#: Sender: the node's name.
worker_shutting_down = Signal("worker_shutting_down", ("sig", "how", "exitcode"))
#: In the worker, last. Sender: the worker.
worker_shutdown = Signal("worker_shutdown")
#: In the worker's main process, when it has renewed its leases. Sender: the worker.
heartbeat_sent = Signal("heartbeat_sent")

# Logs
#: Before logging is set up; when there is a receiver, that is left to it. Sender: None.
setup_logging = Signal("setup_logging", ("loglevel", "logfile", "format", "colorize"))
#: When the root logger is set up. Sender: None.
after_setup_logger = Signal(
    "after_setup_logger", ("logger", "loglevel", "logfile", "format", "colorize")
)
#: When the logger of tasks is set up. Sender: None.
after_setup_task_logger = Signal(
    "after_setup_task_logger", ("logger", "loglevel", "logfile", "format", "colorize")
)

# Beat and the command line
#: In each process that runs beat, when it starts, whether it sends or waits for its turn. Sender: the
#: service, whose `scheduler` is the scheduler.
beat_init = Signal("beat_init")
#: After it, where that process is a worker's. Sender: the service.
beat_embedded_init = Signal("beat_embedded_init")
#: Where the app adds options to all commands, in each process that imports it for a command, before its other
#: modules are imported: `options` are their values. Sender: the command's name.
user_preload_options = Signal("user_preload_options", ("app", "options"))

# Not sent here: there are no such pools. They exist so that code that connects to them loads.
#: Not sent: there is no such pool.
eventlet_pool_started = Signal("eventlet_pool_started")
#: Not sent.
eventlet_pool_preshutdown = Signal("eventlet_pool_preshutdown")
#: Not sent.
eventlet_pool_postshutdown = Signal("eventlet_pool_postshutdown")
#: Not sent.
eventlet_pool_apply = Signal("eventlet_pool_apply", ("target", "args", "kwargs"))
