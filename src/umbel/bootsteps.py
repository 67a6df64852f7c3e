"""Bootsteps: parts that an app adds to its workers, under Celery's names.

``app.steps["worker"].add(MyStep)`` adds a class; ``"consumer"`` takes those that are to start when the worker
takes messages. They run in a worker's main process, which runs no task. When each method is called is told in
the documentation, "Operate a worker"; what the worker has for them is umbel.worker.steps's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from umbel.dotted import named

__all__ = ["ConsumerStep", "StartStopStep", "Step"]


class Step:
    """A part that prepares something when a worker is made: in `__init__`, or in `create`."""

    #: Its name; by default that of its class, with the module.
    name: str = ""
    #: A short name for logs.
    label: str | None = None
    #: What starts before it, as classes or by name; all of the same worker or consumer.
    requires: Iterable[Any] = ()
    #: What `include_if` says by default.
    enabled: bool = True
    #: In Celery: whether it is drawn as one that may be left out, and whether it starts last.
    conditional: bool = False
    last: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not vars(cls).get("name"):
            cls.name = f"{cls.__module__}.{cls.__qualname__}"

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        """Be made for a worker, or what stands for its consumer; `kwargs` are options of the command line."""

    @property
    def alias(self) -> str:
        """A short name."""
        return self.label or self.name.rpartition(".")[2]

    def include_if(self, parent: Any) -> Any:
        """Tell whether the step is wanted."""
        return self.enabled

    def include(self, parent: Any) -> bool:
        """Create it if it is wanted; tell whether that was so."""
        if not self.include_if(parent):
            return False
        self.create(parent)
        return True

    def create(self, parent: Any) -> Any:
        """Make what the step is for."""

    def instantiate(self, name: Any, *args: Any, **kwargs: Any) -> Any:
        """Call a class, which may be given by its dotted name."""
        return (named(name) if isinstance(name, str) else name)(*args, **kwargs)

    def info(self, obj: Any) -> Any:
        """Return what is to be known of it; nobody asks yet."""

    def __repr__(self) -> str:
        return f"<step: {self.alias}>"


class StartStopStep(Step):
    """A step that is started and stopped with its worker; so is what `create` returns, if anything."""

    obj: Any = None

    def include(self, parent: Any) -> bool:
        """Create it if it is wanted, and be started with `parent` then."""
        if not self.include_if(parent):
            return False
        self.obj = self.create(parent)
        parent.steps.append(self)
        return True

    def start(self, parent: Any) -> Any:
        """Start."""
        if self.obj:
            return self.obj.start()
        return None

    def close(self, parent: Any) -> Any:
        """Hear that the worker has been told to stop."""

    def stop(self, parent: Any) -> Any:
        """Stop."""
        if self.obj:
            return self.obj.stop()
        return None

    def terminate(self, parent: Any) -> Any:
        """Stop, after a cold shutdown."""
        if self.obj:
            return getattr(self.obj, "terminate", self.obj.stop)()
        return None


class ConsumerStep(StartStopStep):
    """A step that consumes messages of its own, by objects that have `consume` and `cancel`.

    In Celery these are kombu's consumers; here they are `umbel.Consumer`, of the same arguments.
    """

    requires = ("celery.worker.consumer:Connection",)
    consumers: Any = None

    def get_consumers(self, channel: Any) -> Any:
        """Return what consumes; `channel` is ``app.connection_for_read()``."""
        raise NotImplementedError(f"The step {self.name} has no method get_consumers.")

    def start(self, c: Any) -> None:
        """Begin to consume."""
        self.consumers = self.get_consumers(c.connection)
        for consumer in self.consumers or ():
            consumer.consume()

    def stop(self, c: Any) -> None:
        """Consume no more."""
        for consumer in self.consumers or ():
            consumer.cancel()

    def shutdown(self, c: Any) -> None:
        """Hear that the worker ends."""
        self.stop(c)
