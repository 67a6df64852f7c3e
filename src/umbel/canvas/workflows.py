"""`chain`, `group` and `chord`: signatures that consist of others.

The classes are thin: how they join is in algebra.py, what is sent for them in planning.py.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from umbel.canvas import running
from umbel.canvas.algebra import body_of, flat, folded, fresh, header_of, unchained
from umbel.canvas.keys import Part
from umbel.canvas.kinds import no_signature, require_signatures
from umbel.canvas.lazy import Lazy, several
from umbel.canvas.planning import Planner
from umbel.canvas.signature import Signature, maybe_signature, signature
from umbel.canvas.stamping import StampingVisitor, stamps_of
from umbel.canvas.texts import shown, shown_chain, shown_chord
from umbel.clock import unique_id
from umbel.result import allow_join_result

if TYPE_CHECKING:
    from umbel.app import Umbel


class Workflow(Signature[Any]):
    """A signature that consists of others."""

    @property
    def app(self) -> Umbel:
        """The app that it was made with, else that of the first of its tasks that has one."""
        return running.app_of(self) or super().app

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Any:
        """Send the workflow, with more arguments for what comes first; return its result to be."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send the workflow, with more arguments and options for what comes first.

        Returns its result to be. Raises what `Task.apply_async` does, and ImproperlyConfigured for a chord
        where no results are kept.
        """
        if self.app.conf.snapshot.task_always_eager:
            with allow_join_result():
                return self.apply(args, kwargs, **options)
        return self.app.dispatch(self, args or (), kwargs or {}, options)

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all calls, where that is not done yet, and return the result to be."""
        place = {
            "task_id": _id,
            "group_id": group_id,
            "chord": chord,
            "root_id": root_id,
            "parent_id": parent_id,
            "group_index": group_index,
        }
        made, result = Planner(self.app, unique_id).fixed(self, place)
        self.update(made)
        return result

    _freeze = freeze

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """Return its items, with all that a generator gives: `json.dumps` asks for them."""
        kwargs = self["kwargs"]
        if not any(isinstance(part, Lazy) for part in kwargs.values()):
            return super().items()
        read = {name: list(v) if isinstance(v, Lazy) else v for name, v in kwargs.items()}
        return {**self, "kwargs": read}.items()

    def __invert__(self) -> Any:
        return self.apply_async().get()


@Signature.register_type("chain")
class _chain(Workflow):
    """See `chain`."""

    tasks: Part[Any] = Part("tasks", "The signatures that run one after the other.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        options.pop("use_link", None)  # for protocol 1, which has no other way
        given = tasks[0] if len(tasks) == 1 and not isinstance(tasks[0], Mapping) else tasks
        super().__init__(
            "celery.chain", (), {"tasks": list(given)}, subtask_type="chain", **options
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> _chain:
        """Return the chain that a dictionary is of."""
        made = fresh(d, app)
        made.kwargs["tasks"] = [maybe_signature(task, app) for task in made.kwargs["tasks"]]
        return made  # type: ignore[return-value]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the chain; return the result of its last task."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a chain of copies of its tasks, with more arguments and options."""
        made = super().clone(*args, **kwargs)
        made.kwargs["tasks"] = [
            maybe_signature(task, self._app, clone=True) for task in made.kwargs["tasks"]
        ]
        return made

    def unchain_tasks(self) -> list[Signature[Any]]:
        """Return copies of its tasks: the last has the chain's callbacks, and each its errbacks."""
        return unchained(self)

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the chain here and now; return the result of its last task."""
        return running.run_chain(self, args or (), kwargs or {}, options)

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Put stamps on all tasks of the chain; see `Signature.stamp`."""
        seen = None if visitor is None else visitor.on_chain_start(self, **headers) or {}
        stamps = stamps_of(self.options, headers, seen, append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        self.kwargs["tasks"] = [maybe_signature(task, self.app) for task in self.tasks]
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **stamps)
        if visitor is not None:
            visitor.on_chain_end(self, **stamps)
        return self

    def __repr__(self) -> str:
        return shown_chain(self.tasks, f"<{type(self).__name__}@{id(self):#x}: empty>")


class chain(_chain):
    """Signatures that run one after the other, each with the result of the one before.

    ``chain(add.s(2, 2), add.s(4))`` is ``add.s(2, 2) | add.s(4)``. It takes several signatures, or one
    iterable of them.
    """

    def __new__(cls, *tasks: Any, **options: Any) -> Any:
        """Return what ``|`` makes of the tasks."""
        if options or not tasks or (len(tasks) == 1 and isinstance(tasks[0], Mapping)):
            return super().__new__(cls)
        given = list(_each(tasks))
        require_signatures(given)
        found = folded([maybe_signature(task) for task in given], [])
        if not isinstance(found, list):
            return found
        if cls is chain:
            return _chain(found)
        made = super().__new__(cls)
        _chain.__init__(made, found)
        return made

    def __init__(self, *tasks: Any, **options: Any) -> None:
        if "task" not in self:
            super().__init__(*tasks, **options)


@Signature.register_type("group")
class group(Workflow):
    """Signatures that run at the same time. ``group(add.s(i, i) for i in range(10))()`` sends them.

    It takes several signatures, or one iterable of them; a generator is read while they are sent. Options
    are those of all its calls.
    """

    tasks: Part[Any] = Part("tasks", "The signatures of the group.")

    def __init__(self, *tasks: Any, **options: Any) -> None:
        given: Any = tasks
        if len(tasks) == 1:
            given = tasks[0]
            if isinstance(given, group):
                given = given.tasks
            elif isinstance(given, Mapping):
                given = [maybe_signature(given).clone()]
            else:
                given = _each(tasks)
                given = several(given if isinstance(given, Sequence) else _checked(given))
        if not isinstance(given, Lazy):
            require_signatures(given)
        super().__init__("celery.group", (), {"tasks": given}, subtask_type="group", **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> group:
        """Return the group that a dictionary is of."""
        made = fresh(d, app)
        tasks = made.kwargs["tasks"]
        if not isinstance(tasks, Lazy):
            made.kwargs["tasks"] = type(tasks)(maybe_signature(task, app) for task in tasks)
        return made  # type: ignore[return-value]

    def __call__(self, *partial_args: Any, **options: Any) -> Any:
        """Send the group, with more arguments for each of its tasks; return its result."""
        return self.apply_async(partial_args, **options)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Self:
        """Let the calls begin one after the other: at `start` seconds, and so on by `step`.

        None begins later than at `stop`: the others begin with the last that does not.
        """
        moment = start
        for task in self.tasks:
            task.set(countdown=moment)
            if stop is None or moment + step <= stop:
                moment += step
        return self

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send all calls; return a `GroupResult`."""
        if link is not None:
            raise TypeError("Cannot add link to group: use a chord")
        if link_error is not None:
            raise TypeError("Cannot add link to group: do that on individual tasks")
        return super().apply_async(args, kwargs, **options)

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run all calls here and now; return a `GroupResult`."""
        return running.run_group(self, args or (), kwargs or {}, options)

    def set_immutable(self, immutable: bool) -> None:
        """Say whether its tasks take more arguments."""
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Let a call follow the first of the tasks, without its result. A chord follows all of them."""
        return self.tasks[0].link(callback.clone().set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Let a call follow each task that fails."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Put stamps on all tasks of the group; see `Signature.stamp`."""
        seen = None if visitor is None else visitor.on_group_start(self, **headers) or {}
        stamps = stamps_of(self.options, headers, seen, append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        self.kwargs["tasks"] = _stamped(self.tasks, self.app, visitor, append_stamps, stamps)
        if visitor is not None:
            visitor.on_group_end(self, **stamps)
        return self

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return bool(self.tasks)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return shown(self.tasks[0]["task"], f"group({self.tasks!r})")


@Signature.register_type("chord")
class chord(Workflow):
    """A group, its header, and what runs with the list of its results when all are there, its body.

    ``chord([add.s(2, 2), add.s(4, 4)])(total.s())`` sends one, and ``group(...) | total.s()`` makes one. When
    a task of the header fails, the body does not run; its errbacks do, with a ChordError.
    """

    tasks: Part[Any] = Part("header", "The signatures of the header.")
    body: Part[Any] = Part("body", "What runs when all of the header have ended well.")

    def __init__(
        self,
        header: Any,
        body: Any = None,
        task: str = "celery.chord",
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Umbel | None = None,
        **options: Any,
    ) -> None:
        options.pop("subtask_type", None)
        _unneeded(options)
        more = kwargs or {"kwargs": {}}
        parts = {**more, "header": _members(header, app), "body": _body(body, app)}
        super().__init__(task, args, parts, app=app, subtask_type="chord", **options)

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> _chord:
        """Return the chord that a dictionary is of."""
        made = fresh(d, app)
        header = made.kwargs.get("header")
        if isinstance(header, Mapping):
            made.kwargs["header"] = maybe_signature(header, app)
        elif not isinstance(header, Lazy):
            kind = tuple if isinstance(header, tuple) else list
            made.kwargs["header"] = kind(maybe_signature(task, app) for task in header or ())
        made.kwargs["body"] = maybe_signature(made.kwargs.get("body"), app)
        return made  # type: ignore[return-value]

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the chord, with another body if one is given; return the result of its body."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Send the calls of the header; return the result of the body, whose parent is that of the header.

        `interval`, `max_retries` and `eager` are there for Celery's sake and change nothing.
        """
        _unneeded(options)
        more = dict(kwargs or {})
        body = more.pop("body", None)
        whole = self if body is None else self._with_body(body)
        return super(_chord, whole).apply_async(args, more, **options)

    def _with_body(self, body: Any) -> _chord:
        made: _chord = fresh(self)  # type: ignore[assignment]
        made.kwargs["body"] = _body(body, self._app)
        return made

    def apply(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        propagate: bool = True,
        body: Any = None,
        **options: Any,
    ) -> Any:
        """Run the chord here and now; return the result of its body."""
        whole = self if body is None else self._with_body(body)
        return running.run_chord(whole, args or (), kwargs or {}, propagate, options)

    def clone(self, *args: Any, **kwargs: Any) -> Any:
        """Return a chord with a copy of its body, with more arguments and options."""
        made = super().clone(*args, **kwargs)
        made.kwargs["body"] = maybe_signature(made.kwargs.get("body"), clone=True)
        return made

    def link(self, callback: Any) -> Any:
        """Let a call follow the body; it gets the body's result."""
        body_of(self)  # it must have one
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Let a call follow if the body fails, or never runs since the header failed.

        With the setting ``task_allow_error_cb_on_chord_header`` also for each task of the header that fails.
        """
        body_of(self)  # it must have one
        errback = maybe_signature(errback)
        on_header = self.app.conf.snapshot.task_allow_error_cb_on_chord_header
        for task in header_of(self):
            if on_header:
                task.link_error(errback.clone())
            elif isinstance(task, _chord):
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def set_immutable(self, immutable: bool) -> None:
        """Say whether the tasks of the header take more arguments."""
        for task in header_of(self):
            task.set_immutable(immutable)

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Put stamps on header and body; see `Signature.stamp`."""
        seen = None if visitor is None else visitor.on_chord_header_start(self, **headers) or {}
        stamps = stamps_of(self.options, headers, seen, append_stamps)
        self.stamp_links(visitor, append_stamps, **stamps)
        header = self.kwargs["header"]
        place = header.kwargs if isinstance(header, group) else self.kwargs
        name = "tasks" if isinstance(header, group) else "header"
        place[name] = _stamped(place[name], self.app, visitor, append_stamps, stamps)
        if visitor is not None:
            visitor.on_chord_header_end(self, **stamps)
        if self.body is not None:
            if visitor is not None:
                seen = visitor.on_chord_body(self, **stamps) or {}
                stamps = stamps_of(self.options, stamps, seen, append_stamps)
            self.body.stamp(visitor, append_stamps, **stamps)
        return self

    def __length_hint__(self) -> int:
        """Return how many results the body waits for."""
        return sum(running.leaves(task) for task in flat(header_of(self), self._app))

    def __repr__(self) -> str:
        return shown_chord(self.tasks, self.body)


#: Celery's name of the class.
_chord = chord


def _unneeded(options: dict[str, Any]) -> None:
    """Leave out what says how Celery looks again and again whether a chord is complete."""
    for name in ("interval", "max_retries", "eager"):
        options.pop(name, None)


def _each(tasks: Sequence[Any]) -> Any:
    """Return the parts of a workflow that are given as several arguments, or as one iterable of them."""
    if len(tasks) != 1:
        return tasks
    if not isinstance(tasks[0], Iterable) or isinstance(tasks[0], str):
        raise no_signature(tasks[0])
    return tasks[0]


def _checked(tasks: Iterable[Any]) -> Iterator[Any]:
    """Yield signatures; raise TypeError at what is none."""
    for task in tasks:
        require_signatures((task,))
        yield task


def _body(body: Any, app: Umbel | None) -> Any:
    if body is not None:
        require_signatures([body])
    return maybe_signature(body, app)


def _members(header: Any, app: Umbel | None) -> Any:
    """Return the signatures that a chord is given as its header."""
    if isinstance(header, Mapping):
        header = signature(header, app=app)
    if isinstance(header, group | _chain):
        return header.tasks
    if isinstance(header, Signature):
        return [header]
    if isinstance(header, Lazy):
        return header
    if isinstance(header, list | tuple):
        return [signature(task, app=app) for task in header]
    return Lazy(signature(task, app=app) for task in _each((header or (),)))


def _stamped(
    tasks: Any,
    app: Umbel,
    visitor: StampingVisitor | None,
    append: bool,
    stamps: Mapping[str, Any],
) -> Any:
    """Stamp signatures; those of a generator when they are read."""

    def stamp(task: Any) -> None:
        task.stamp(visitor, append, **stamps)

    if isinstance(tasks, Lazy):
        tasks.each(stamp)
        return tasks
    found = [maybe_signature(task, app) for task in tasks]
    for task in found:
        stamp(task)
    return found
