"""Bootsteps: ``app.steps["worker"]`` and ``["consumer"]``, made, started and stopped with a worker.

They are of Celery's interface. Nothing of umbel's worker is one: a step runs beside it, in its main
process, and meets a `StepWorker` or a `StepConsumer`, which have of Celery's what there is here and say of
the rest why it is not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
from typing import Any, NoReturn

from umbel.absent import NotThere
from umbel.app import Umbel
from umbel.bootsteps import ConsumerStep, Step
from umbel.connections import Connection
from umbel.dotted import named
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.timer import Timer

logger = logging.getLogger("umbel.worker")

_EVENTS = "there are no events yet; the signals of umbel.signals tell of tasks"
_CONTROL = "there is no remote control yet"
_LOOP = "its main process has no event loop; use the timer, or a thread of your own"
_SCALER = "--autoscale has a rule of its own, which is no step"
_OWN = "its child processes fetch and run tasks for themselves"

#: Celery's own steps by name: "" where it may be required, since the worker has it or others only want to
#: start after it, which they do; else the reason why it is not there.
PARTS: Mapping[str, str] = {
    **dict.fromkeys(("Timer", "Pool", "StateDB", "Statedb", "Beat"), ""),
    **dict.fromkeys(("Consumer", "Connection", "Tasks", "Mingle"), ""),
    **dict.fromkeys(("Hub", "EventLoop"), _LOOP),
    **dict.fromkeys(("Events", "Gossip", "Heart"), _EVENTS),
    **dict.fromkeys(("Control", "Agent"), _CONTROL),
    **dict.fromkeys(("Autoscaler", "WorkerComponent"), _SCALER),
    "Autoreloader": "`umbel dev` starts a worker again when files change",
    "DelayedDelivery": "what is due later waits in the broker",
}

#: What steps find in Celery's worker and its consumer, and not here.
_ATTRIBUTES: Mapping[str, str] = {
    "hub": _LOOP,
    "autoscaler": _SCALER,
    "statedb": "the broker keeps what it holds in Celery",
    "blueprint": "it does not consist of steps",
    **dict.fromkeys(("event_dispatcher", "gossip", "heart"), _EVENTS),
    **dict.fromkeys(
        (
            *("pool", "task_consumer", "strategies", "qos", "task_buckets", "bucket_for_task"),
            *("reset_rate_limits", "apply_eta_task", "active_requests", "on_task_request"),
        ),
        _OWN,
    ),
    **dict.fromkeys(("add_task_queue", "cancel_task_queue"), _CONTROL),
}


class _Parent:
    """What steps are given. They may set attributes of their own."""

    def __init__(self, app: Umbel, hostname: str, timer: Timer) -> None:
        self.app = app
        self.hostname = hostname
        self.timer = timer
        #: The steps that are started, in order.
        self.steps: list[Any] = []

    def __getattr__(self, name: str) -> NoReturn:
        reason = _ATTRIBUTES.get(name)
        if reason is None:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        raise NotThere(f"A worker of umbel has no {name}: {reason}.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.hostname}>"


class StepWorker(_Parent):
    """The worker, as steps see it."""

    def __init__(
        self, app: Umbel, hostname: str, timer: Timer, stop: Callable[[float | None], object]
    ) -> None:
        super().__init__(app, hostname, timer)
        self._stop = stop
        self.consumer = StepConsumer(self)

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """Let the worker stop when its running tasks have ended. The arguments have no effect."""
        self._stop(None)

    def terminate(self, in_sighandler: bool = False) -> None:
        """Let the worker stop at once; what runs is run again elsewhere."""
        self._stop(0.0)


class StepConsumer(_Parent):
    """What takes messages, as steps see it."""

    def __init__(self, worker: StepWorker) -> None:
        super().__init__(worker.app, worker.hostname, worker.timer)
        self.controller = worker
        self.connection = Connection(worker.app)


class Steps:
    """The steps of one worker. `stop` stops it: within so many seconds, or when its tasks have ended."""

    def __init__(self, app: Umbel, hostname: str, stop: Callable[[float | None], object]) -> None:
        self._app = app
        self._timer = Timer(app.clock, lambda: stop(None))
        self._worker = StepWorker(app, hostname, self._timer, stop)
        self._started: dict[_Parent, list[Any]] = {}
        self._closed = False

    def make(self, options: Mapping[str, Any]) -> None:
        """Make all steps; they get the options of the command line. Raises ImproperlyConfigured."""
        for kind, parent in (("worker", self._worker), ("consumer", self._worker.consumer)):
            made = [step(parent, **options) for step in ordered(self._app.steps[kind])]
            for step in made:
                step.include(parent)

    @contextmanager
    def running(self, cold: Callable[[], bool]) -> Iterator[None]:
        """Start the worker's steps; stop them after the block, or terminate them where the end is `cold`."""
        try:
            self._start(self._worker)
            yield
        finally:
            self.close()
            self._send(self._worker.consumer, "shutdown")
            self._send(self._worker, "terminate" if cold() else "stop")
            self._timer.end()

    def start_consumer(self) -> None:
        """Start the consumer's steps: the worker takes messages."""
        self._start(self._worker.consumer)

    def close(self) -> None:
        """Tell the steps, once, that the worker has been told to stop; those of the consumer stop then."""
        if self._closed:
            return
        self._closed = True
        self._send(self._worker.consumer, "close", forwards=True)
        self._send(self._worker.consumer, "stop")
        self._send(self._worker, "close", forwards=True)

    def _start(self, parent: _Parent) -> None:
        started = self._started.setdefault(parent, [])
        for step in parent.steps:
            started.append(step)  # first: one that fails half-way is stopped, too
            try:
                step.start(parent)
            except (NotImplementedError, AttributeError, TypeError, ImportError) as error:
                if not isinstance(step, ConsumerStep):
                    raise
                raise ImproperlyConfigured(
                    f"The step {step.name} cannot consume: {error} Should it use kombu: its consumers do not"
                    " work with umbel's brokers, but umbel.Consumer, with the same arguments, does."
                ) from error

    def _send(self, parent: _Parent, method: str, *, forwards: bool = False) -> None:
        """Call a method of all that were started, the last one first; what raises holds up no other."""
        started = self._started.get(parent, ())
        for step in started if forwards else reversed(started):
            function = getattr(step, method, None)
            if function is None:
                continue
            try:
                function(parent)
            except Exception:
                logger.exception("The method %s of the step %s raised.", method, step.name)


def ordered(steps: set[Any]) -> list[type[Step]]:
    """Return the classes of steps, each after those it requires, which need not have been added.

    Raises ImproperlyConfigured where one requires what there is not, or itself.
    """
    graph: TopologicalSorter[type[Step]] = TopologicalSorter()
    left = sorted((_class(step) for step in steps), key=lambda step: step.name)
    seen = set[type[Step]]()
    while left:
        step = left.pop()
        if step in seen:
            continue
        seen.add(step)
        named_by = [step.requires] if isinstance(step.requires, str) else step.requires
        required = [found for one in named_by if (found := _required(step, one)) is not None]
        graph.add(step, *required)
        left += required
    try:
        return list(graph.static_order())
    except CycleError as error:
        names = ", ".join(sorted({step.name for step in error.args[1]}))
        raise ImproperlyConfigured(f"These bootsteps require each other: {names}.") from None


def _class(step: Any) -> type[Step]:
    found = named(step) if isinstance(step, str) else step
    if not (isinstance(found, type) and issubclass(found, Step)):
        raise ImproperlyConfigured(
            f"app.steps has {found!r}, which is no class of umbel.bootsteps.Step."
        )
    return found


def _required(step: type[Step], wanted: Any) -> type[Step] | None:
    """Return a class that a step requires; None where it is a part of every worker."""
    if isinstance(wanted, str):
        module, _, name = wanted.replace(":", ".").rpartition(".")
        if not module or module.startswith("celery."):
            reason = PARTS.get(name, "no step of Celery's has this name")
            if not reason:
                return None
            raise ImproperlyConfigured(
                f"The step {step.name} requires {wanted}, which a worker of umbel does not have: {reason}."
            )
    try:
        return _class(wanted)
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"The step {step.name} requires {wanted}. {error}") from None
