"""`Signature`: a call as a value, which can be stored, passed on, completed and sent.

It is a dictionary with the keys that Celery's has, because it travels: as an argument, and as what follows a
call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack, overload

from umbel.absent import tell_of_absent
from umbel.backend import ResultBase
from umbel.canvas.algebra import fresh, join
from umbel.canvas.keys import Key, Option
from umbel.canvas.kinds import CLASSES, class_of, no_signature
from umbel.canvas.merging import merged_arguments, merged_options
from umbel.canvas.stamping import StampingVisitor, linked_stamps, stamps_of
from umbel.clock import unique_id
from umbel.current import get_current_app
from umbel.links import as_list
from umbel.options import CallKeywords
from umbel.representation import careful_repr

# Under another name, since `Signature.AsyncResult` is a signature's own.
from umbel.result import AsyncResult as Result
from umbel.result import EagerResult
from umbel.result.making import is_ignored

if TYPE_CHECKING:
    from umbel.app import Umbel
    from umbel.task import Task

R = TypeVar("R")
T = TypeVar("T")

Args = Sequence[Any]
Kwargs = Mapping[str, Any]


@tell_of_absent
class Signature(dict[str, Any], Generic[R]):
    """A call that has not been sent: a task's name, arguments, and options of `apply_async`.

    ``add.s(2)`` makes one. It may be partial: arguments given later go in front of its own, keywords and
    options take the place of its own. An immutable one, ``add.si(2, 2)``, takes no more arguments.
    """

    #: Kinds of signatures beside this one, by the ``subtask_type`` of their dictionaries.
    TYPES: ClassVar[dict[str | None, Any]] = CLASSES

    _app: Umbel | None = None
    _type: Task[..., Any] | None = None

    task: Key[Any] = Key("task", "The task's name.")
    args: Key[Any] = Key("args", "The positional arguments.")
    kwargs: Key[Any] = Key("kwargs", "The keyword arguments.")
    options: Key[dict[str, Any]] = Key("options", "The options of the call.")
    subtask_type: Key[str | None] = Key("subtask_type", "The kind of signature; None is this one.")
    immutable: Key[bool] = Key("immutable", "True where no more arguments are taken.")
    id: Option[str | None] = Option("task_id", "The id of the call, once there is one.")
    parent_id: Option[str | None] = Option("parent_id", "The id of the call that makes this one.")
    root_id: Option[str | None] = Option("root_id", "The id of the first call of the workflow.")

    def __init__(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        task: Any = None,
        args: Args | None = None,
        kwargs: Kwargs | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Umbel | None = None,
        **ex: Any,
    ) -> None:
        """Make a signature of a task, its name, or the dictionary of another signature.

        `ex` are more options. `type` is there for Celery's sake and changes nothing.
        """
        self._app = app
        if isinstance(task, dict):
            super().__init__(task)
            return
        name = getattr(task, "name", task)
        if name is not task:
            self._type = task
        super().__init__(
            task=name,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **ex},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[type[T]], type[T]]:
        """Register a kind of signature: a decorator for its class."""

        def register(kind: type[T]) -> type[T]:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, d: Mapping[str, Any], app: Umbel | None = None) -> Signature[Any]:
        """Return the signature, of whichever kind, that a dictionary is of.

        Raises NotImplementedError for a kind that there is not.
        """
        found = class_of(d)
        if found is not Signature and found is not cls:
            made: Signature[Any] = found.from_dict(d, app=app)
            return made
        return Signature(dict(d), app=app)

    # What it is about

    @property
    def app(self) -> Umbel:
        """The app that it was made with, else the current one."""
        return self._app or get_current_app()

    @property
    def type(self) -> Task[..., R]:
        """The task. Raises NotRegistered when the app has none of that name."""
        return self._type or self.app.tasks[self.task]

    @property
    def name(self) -> Any:
        """The task's name, as tasks have it."""
        return self.task

    @property
    def AsyncResult(self) -> Callable[[str], Result[R]]:
        """What makes the result of a call of the task."""
        known = self._type or self.app.tasks.find(self.task)
        return self.app.AsyncResult if known is None else known.AsyncResult

    # Calling

    def __call__(self, *partial_args: Any, **partial_kwargs: Any) -> R:
        """Run the task here and now, as a function."""
        args, kwargs, _ = self._merge(partial_args, partial_kwargs)
        return self.type(*args, **kwargs)

    def delay(self, *partial_args: Any, **partial_kwargs: Any) -> Result[R]:
        """Send the call to a worker, with more arguments; return its result to be."""
        return self.apply_async(partial_args, partial_kwargs)

    def apply_async(
        self,
        args: Args | None = None,
        kwargs: Kwargs | None = None,
        **options: Unpack[CallKeywords],
    ) -> Result[R]:
        """Send the call to a worker, with more arguments and options; return its result to be.

        A task that is not known here is sent by its name. Options of None leave the signature's own.
        Raises what `Task.apply_async` does.
        """
        args, kwargs, merged = self._merge(args, kwargs, _told(options))
        task = self._type or self.app.tasks.find(self.task)
        if task is None:
            return self.app.send_task(self.task, args, kwargs, **merged)
        return task.apply_async(args, kwargs, **merged)

    def apply(
        self, args: Args | None = None, kwargs: Kwargs | None = None, **options: Any
    ) -> EagerResult[R]:
        """Run the call here and now as a worker would, with more arguments and options."""
        args, kwargs, merged = self._merge(args, kwargs, _told(options))
        return self.type.apply(args, kwargs, **merged)

    def __invert__(self) -> R:
        """Send the call and wait for its result."""
        return self.apply_async().get()

    # Completing

    def _merge(
        self,
        args: Args | None = None,
        kwargs: Kwargs | None = None,
        options: Mapping[str, Any] | None = None,
        force: bool = False,
    ) -> tuple[Args, Kwargs, dict[str, Any]]:
        """Return the arguments and options with more of them; with `force` also if it is immutable."""
        merged = merged_options(self.options, options or {})
        if self.immutable and not force:
            return self.args, self.kwargs, merged
        return *merged_arguments(self.args, self.kwargs, args, kwargs), merged

    def clone(
        self, args: Args | None = None, kwargs: Kwargs | None = None, **opts: Any
    ) -> Signature[R]:
        """Return another signature of the same call, with more arguments and options."""
        if not (args or kwargs or opts or self.options) and type(self) is Signature:
            # Most calls of large groups are like this, and have nothing that would have to be copied deeply.
            same = fresh(self)
            same["args"] = tuple(same["args"])
            return same
        args, kwargs, options = self._merge(args, kwargs, opts)
        parts = {
            **self,
            "args": tuple(args),
            "kwargs": dict(kwargs),
            "options": copy.deepcopy(options),  # its links are its own
        }
        made = Signature.from_dict(parts, app=self._app)
        made._type = self._type
        return made

    partial = clone

    def replace(
        self,
        args: Args | None = None,
        kwargs: Kwargs | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Signature[R]:
        """Return another signature of the task, with these in place of its own where they are given."""
        made = self.clone()
        for name, value in (("args", args), ("kwargs", kwargs), ("options", options)):
            if value is not None:
                made[name] = value
        return made

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Add options of the call; return this signature."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Say whether it takes more arguments."""
        self.immutable = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Result[R]:
        """Fix the id of the call, if that is not done yet, and return its result to be.

        Send it only once then: two calls of one id are one to whoever reads results.
        """
        options = self.options
        task_id: str = options.setdefault("task_id", _id or unique_id())
        options.setdefault("reply_to", self.app.thread_oid)
        if group_id:
            options.setdefault("group_id", group_id)
        given = {"root_id": root_id, "parent_id": parent_id, "chord": chord}
        options.update({name: value for name, value in given.items() if value})
        if group_index is not None:
            options["group_index"] = group_index
        return self._result_of(task_id)

    _freeze = freeze

    def _result_of(self, task_id: str) -> Result[R]:
        """Return the result to be of this call; it is None at once where nothing is stored of it."""
        app = self.app
        task = self._type or app.tasks.find(self.task)
        result = (app if task is None else task).AsyncResult(task_id)
        result.ignored = is_ignored(self.options.get("ignore_result"), task, app.conf.snapshot)
        return result

    # What follows

    def link(self, callback: T) -> T:
        """Let a call follow when this one has ended well; it gets the result as its first argument.

        Returns the callback.
        """
        return self.append_to_list_option("link", callback)

    def link_error(self, errback: T) -> T:
        """Let a call follow when this one has failed; it gets the id of the failed call.

        Returns the errback.
        """
        return self.append_to_list_option("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """Link like `link_error`, and return this signature."""
        self.link_error(errback)
        return self

    def append_to_list_option(self, key: str, value: T) -> T:
        """Add a value to an option that is a list, unless it is there; return the value."""
        items = self._list_option(key)
        if value not in items:
            items.append(value)
        return value

    def extend_list_option(self, key: str, value: Any) -> None:
        """Add values to an option that is a list."""
        self._list_option(key).extend(as_list(value) or ())

    def _list_option(self, key: str) -> MutableSequence[Any]:
        items: Any = self.options.setdefault(key, [])
        if not isinstance(items, MutableSequence):
            items = self.options[key] = [items]
        made: MutableSequence[Any] = items
        return made

    def flatten_links(self) -> list[Signature[Any]]:
        """Return this signature and all that follow it when it ends well."""
        links = (
            maybe_signature(link, self._app) for link in as_list(self.options.get("link")) or ()
        )
        return [self, *(one for link in links for one in link.flatten_links())]

    def __or__(self, other: Any) -> Any:
        """Return what runs this signature, and then another with its result."""
        if isinstance(other, Signature):
            return join(self, other)
        if isinstance(other, ResultBase) or hasattr(other, "apply_async"):
            raise no_signature(other)
        return NotImplemented

    def __ior__(self, other: Any) -> Any:
        return self.__or__(other)

    if (
        TYPE_CHECKING
    ):  # else checkers take the one of dictionaries, where the right one is of a subclass

        def __ror__(self, other: Any) -> Any: ...

    # Stamps

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Self:
        """Put stamps on the call and on all that is linked to it; return this signature.

        They are `headers`, and what the `visitor` says. A stamp that is there already stays, or with
        `append_stamps` becomes a list of both.
        """
        self.stamp_links(visitor, append_stamps, **headers)
        seen = None if visitor is None else visitor.on_signature(self, **headers) or {}
        return self.set(**stamps_of(self.options, headers, seen, append_stamps))

    def stamp_links(
        self, visitor: StampingVisitor | None, append_stamps: bool = False, **headers: Any
    ) -> None:
        """Put stamps on all that is linked to the call."""
        for key in ("link", "link_error"):
            for written in as_list(self.options.get(key)) or ():
                link = maybe_signature(written, self.app)
                stamps = linked_stamps(visitor, key, link, headers, append_stamps)
                link.stamp(visitor, append_stamps, **stamps)

    # As a value

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with more arguments: ``proj.add(2, 2)``."""
        args, kwargs, _ = self._merge(args, kwargs, force=True)  # type: ignore[assignment]
        shown = [careful_repr(one) for one in args]
        shown += [f"{name}={careful_repr(value)}" for name, value in kwargs.items()]
        return f"{self.task}({', '.join(shown)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __json__(self) -> dict[str, Any]:
        return dict(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return signature, (dict(self),)

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        """Return its dictionary with options of its own: arguments may be what can be read only once."""
        made = memo[id(self)] = dict(self)
        made["options"] = copy.deepcopy(self.options, memo)
        return made


CLASSES[None] = Signature


def _told(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature[Any]:
    """Return a signature of a task, of its name with arguments, or of a dictionary; of a signature a copy."""
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, dict):
        return Signature.from_dict(varies, app=kwargs.get("app"))
    if not (isinstance(varies, str) or hasattr(varies, "apply_async")):
        raise no_signature(varies)
    return Signature(varies, *args, **kwargs)


subtask = signature


@overload
def maybe_signature(d: None, app: Umbel | None = None, clone: bool = False) -> None: ...
@overload
def maybe_signature(
    d: Mapping[str, Any], app: Umbel | None = None, clone: bool = False
) -> Signature[Any]: ...
@overload
def maybe_signature(d: T, app: Umbel | None = None, clone: bool = False) -> T: ...
def maybe_signature(d: Any, app: Umbel | None = None, clone: bool = False) -> Any:
    """Return a signature of a dictionary, and what is one as it is, or a copy with `clone`.

    With an `app` it becomes that app's. None stays None, and so does a text without an app.
    """
    if isinstance(d, dict):
        d = signature(d) if clone or not isinstance(d, Signature) else d
        if app is not None:
            d._app = app
        return d
    if d is not None and app is not None:
        raise TypeError(
            f"{d!r} is no signature, nor its dictionary: app.signature(name) makes one of a task's name."
        )
    return d


maybe_subtask = maybe_signature
