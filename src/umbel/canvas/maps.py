"""`xmap`, `xstarmap` and `chunks`: many calls of one task as few messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self

from umbel.canvas.algebra import fresh, routed_as
from umbel.canvas.keys import Part
from umbel.canvas.lazy import several
from umbel.canvas.signature import Signature, maybe_signature
from umbel.canvas.texts import shortened
from umbel.canvas.workflows import group

if TYPE_CHECKING:
    from umbel.app import Umbel


class Mapped(Signature[Any]):
    """A signature that calls a task with each item of something."""

    _task_name: ClassVar[str]
    of: Part[Any] = Part("task", "The signature of the task.")
    items_of: Part[Any] = Part("it", "What it is called with.")

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        parts = {"task": task, "it": several(it)}
        super().__init__(self._task_name, (), parts, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> Self:
        """Return the signature that a dictionary is of."""
        made = fresh(d, app)
        made.kwargs["task"] = maybe_signature(made.kwargs["task"], app)
        return made  # type: ignore[return-value]

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the one call that there is; return its result, a list."""
        options = {name: value for name, value in options.items() if value is not None}
        options.setdefault("route_name", routed_as(self))
        return super().apply_async((), {"it": list(self.items_of)}, **options)

    @property
    def type(self) -> Any:
        """The task of umbel's own that makes the calls."""
        return self.app.tasks[self._task_name]


@Signature.register_type()
class xmap(Mapped):
    """Calls of a task with each item, one after the other in one process: ``add.map([...])``."""

    _task_name = "celery.map"

    def __repr__(self) -> str:
        return f"[{_name_of(self.of)}(x) for x in {shortened(self.items_of)}]"


@Signature.register_type()
class xstarmap(Mapped):
    """Calls of a task with each item as its arguments: ``add.starmap([(2, 2), (4, 4)])``."""

    _task_name = "celery.starmap"

    def __repr__(self) -> str:
        return f"[{_name_of(self.of)}(*x) for x in {shortened(self.items_of)}]"


@Signature.register_type()
class chunks(Signature[Any]):
    """Calls of a task with many arguments, `n` of them in each message: ``add.chunks(pairs, 100)``."""

    of: Part[Any] = Part("task", "The signature of the task.")

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        if type(n) is not int or n < 1:
            raise ValueError(
                f"chunks of {n!r} calls: give how many go into one message, 1 or more, chunks(items, 100)."
            )
        parts = {"task": task, "it": several(it), "n": n}
        super().__init__("celery.chunks", (), parts, immutable=True, **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> chunks:
        """Return the signature that a dictionary is of."""
        made = cls.__new__(cls)
        made.update(fresh(d, app))
        made._app = getattr(d, "_app", None) or app
        made.kwargs["task"] = maybe_signature(made.kwargs["task"], app)
        return made

    def __call__(self, **options: Any) -> Any:
        """Send the chunks; return a `GroupResult`."""
        return self.apply_async(**options)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Send the chunks; return a `GroupResult` of lists."""
        options.setdefault("route_name", _name_of(self.of))
        return self.group().apply_async(args, kwargs, **options)

    def apply(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Run the chunks here and now; return a `GroupResult` of lists."""
        return self.group().apply(args, kwargs, **options)

    def group(self) -> Any:
        """Return the chunks as a group, of a call for each, with their options."""
        task, it, n = (self.kwargs[name] for name in ("task", "it", "n"))
        calls = (xstarmap(task, part, app=self._app) for part in _parts(it, n))
        return group(calls, app=self._app, **self.options)

    @classmethod
    def apply_chunks(cls, task: Any, it: Iterable[Any], n: int, app: Umbel | None = None) -> Any:
        """Make chunks and send them."""
        return cls(task, it, n, app=app)()


def _parts(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _name_of(task: Any) -> Any:
    return task.get("task") if isinstance(task, Mapping) else getattr(task, "name", task)
