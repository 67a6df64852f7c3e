"""An app's tasks by name, and how tasks are made of functions, for one app or for all."""

from __future__ import annotations

import inspect
import threading
import types
import warnings
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import TYPE_CHECKING, Any, Concatenate, Literal, Unpack, overload

from umbel import current, models
from umbel.absent import tell_of_absent
from umbel.built_in import BUILT_IN, OPTIONS
from umbel.canvas.signable import P, R
from umbel.exceptions import DuplicateTaskNameWarning, NotRegistered
from umbel.functions import (
    code_of,
    described,
    is_async_function,
    is_loaded_again,
    without_partials,
)
from umbel.location import calling_frame, script_name
from umbel.nearest import asked, meant
from umbel.options import warn_once
from umbel.task import AsyncTask, Task
from umbel.task_options import TaskKeywords, check_task_keywords

if TYPE_CHECKING:
    from umbel.app import Umbel


@dataclass(frozen=True, slots=True)
class Recipe:
    """What ``@app.task`` was given: enough to make the task, for any app."""

    function: Callable[..., Any]
    name: str
    bind: bool = False
    base: type[Task[..., Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def kind(self, app: Umbel | None) -> type[Task[Any, Any]]:
        """Return a class for this one task, below its base or the app's own `Task`."""
        base = self.base or _default_base(app, self.function)
        written = without_partials(self.function)
        run = self.function
        own = {name: value for name, value in self.options.items() if name not in _NOT_ATTRIBUTES}
        if self.options.get("pydantic"):
            run, own["dump_arguments"] = models.wrapped(self._modelled(), self.options)
        name = getattr(written, "__name__", None) or self.name
        attributes = {
            **own,
            "name": self.name,
            "function": staticmethod(self.function),
            "is_async": is_async_function(self.function),
            "run": _method(run) if self.bind else staticmethod(run),
            "__name__": name,
            "__doc__": written.__doc__,
            "__module__": written.__module__,
            "__wrapped__": staticmethod(self.function),
            "_app": app,
            "_recipe": self,
        }
        return types.new_class(name, (base,), exec_body=lambda space: space.update(attributes))

    def _modelled(self) -> models.Modelled:
        return models.Modelled(
            self.function, self.name, self.bind, is_async_function(self.function)
        )

    def make(self, app: Umbel | None) -> Task[Any, Any]:
        """Return the task. Raises ValueError for options that contradict each other."""
        task: Task[Any, Any] = self.kind(app)()
        task.verify()
        return task


#: Options that say how a task is made, and no more.
_NOT_ATTRIBUTES = frozenset({"name", "shared", "lazy", "filter", *models.OPTIONS})
_NO_MEANING = {
    "backend": "results go to the app's result store",
    "Strategy": "there are no strategies",
    "Request": "the worker has one kind of request",
}


def _default_base(app: Umbel | None, function: Callable[..., Any]) -> type[Task[..., Any]]:
    if app is not None and app.has_own_task_class:
        return app.Task
    return AsyncTask if is_async_function(function) else Task


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what becomes a method when it is a class's: partials and objects do not."""
    if inspect.isfunction(function):
        return function

    def run(self: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return run


def recipe(
    app: Umbel | None,
    function: Callable[..., Any],
    bind: bool,
    base: type[Task[..., Any]] | None,
    options: Mapping[str, Any],
) -> Recipe:
    """Return a recipe. Raises TypeError for what is no function or no task class, and for unknown options."""
    if not callable(function):
        raise TypeError(f"A task is made from a function, not from {function!r}.")
    kind = base or _default_base(app, function)
    if not issubclass(kind, Task):
        raise TypeError(f"The base of a task is {kind!r}, which is no subclass of umbel.Task.")
    check_task_keywords(options, kind)
    if bind and not _takes_itself(function):
        raise TypeError(
            f"{described(function)} takes no argument, but with bind=True its first one is the task itself:"
            f" write it as def {without_partials(function).__name__}(self)."
        )
    for name, meaning in _NO_MEANING.items():
        if options.get(name) is not None:
            warn_once(f"The option {name} of a task has no meaning here: {meaning}.")
    return Recipe(function, options.get("name") or _name(app, function), bind, base, dict(options))


def _takes_itself(function: Callable[..., Any]) -> bool:
    """Tell whether a function takes an argument by its position, or does not say."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return True
    by_position = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    return any(one.kind in (*by_position, Parameter.VAR_POSITIONAL) for one in parameters)


def _name(app: Umbel | None, function: Callable[..., Any]) -> str:
    function = without_partials(function)
    name = getattr(function, "__name__", type(function).__name__)
    module = function.__module__
    return automatic_name(None, name, module) if app is None else app.gen_task_name(name, module)


def automatic_name(main: str | None, name: str, module: str) -> str:
    """Return the name of a task: its module and function.

    A function of a script, whose module is ``__main__`` there, is named as a worker that imports
    the script names it, unless the app was given a name.
    """
    return f"{main or script_name() if module == '__main__' else module}.{name}"


@tell_of_absent
class Tasks(Mapping[str, Task[Any, Any]]):
    """An app's tasks by name, those made with ``@shared_task`` included.

    The tasks that every app has by itself are found by their names, and not listed.
    """

    NotRegistered = NotRegistered

    def __init__(self, app: Umbel) -> None:
        self._app = app
        self._own: dict[str, Task[Any, Any]] = {}
        self._made: dict[str, Task[Any, Any]] = {}
        self._hidden: set[str] = set()
        self._annotated = False
        self._lock = threading.RLock()

    def add(self, made: Recipe) -> Task[Any, Any]:
        """Make a task, register it under its name, and return the task that has the name now.

        That is the first one, as in Celery: another function of the same name is not registered,
        with a DuplicateTaskNameWarning. A module that is loaded again replaces its tasks.
        """
        first = None if self._is_built_in(made.name) else self.find(made.name)
        if first is not None:
            if first.function is made.function:
                return first
            if _is_other(first.function, made.function):
                _warn_of_duplicate(made.name, first.function, made.function, replaces=False)
                return first
        return self._bind(made.make(self._app))

    def register(self, task: Task[Any, Any] | type[Task[Any, Any]]) -> Task[Any, Any]:
        """Register an instance of a task class, or the class; return the task.

        It takes the place of another task of its name, with a DuplicateTaskNameWarning.
        """
        found = task() if isinstance(task, type) else task
        if isinstance(found, SharedTask):
            found = found._get_current_object()
        kind = type(found)
        if not found.name:
            found.name = self._app.gen_task_name(kind.__name__, kind.__module__)
        if not hasattr(found, "function"):
            described_by = kind.run if kind.__call__ is Task.__call__ else kind.__call__
            found.function, found.is_async = described_by, is_async_function(kind.run)
            found.__name__, found.__wrapped__ = kind.__name__, found.run
        found._app = self._app
        found.verify()
        first = self._own.get(found.name)
        if first is not None and first is not found and _is_other(first.function, found.function):
            _warn_of_duplicate(found.name, first.function, found.function, replaces=True)
        return self._bind(found)

    def _bind(self, task: Task[Any, Any]) -> Task[Any, Any]:
        self._own[task.name] = task
        self._hidden.discard(task.name)
        if self._annotated:
            task.annotate()
        task.on_bound(self._app)
        return task

    def unregister(self, name: str | Task[Any, Any]) -> None:
        """Forget a task, by its name or itself. Raises NotRegistered when there is none."""
        name = name if isinstance(name, str) else name.name
        _ = self[name]
        self._own.pop(name, None)
        self._hidden.add(name)

    def regular(self) -> dict[str, Task[Any, Any]]:
        """Return all tasks: there is no other kind."""
        return dict(self)

    def annotate(self) -> None:
        """Set what ``task_annotations`` has for the tasks there are, and from now on for all that come."""
        self._annotated = True
        for task in list(self._own.values()):
            task.annotate()

    def rebase(self) -> None:
        """Put the tasks that name no base below the app's own `Task`, which has just been set."""
        for task in list(self._own.values()):
            made = getattr(task, "_recipe", None)
            if isinstance(made, Recipe) and made.base is None:
                # The task stays what it is: others hold it already.
                task.__class__ = made.kind(self._app)
                task.__init__()  # type: ignore[misc]  # the new class may have state of its own
                task.forget_derived()
                if self._annotated:
                    task.annotate()

    def find(self, name: str) -> Task[Any, Any] | None:
        """Return a task by its name; None where there is none, which is not worth an error's text."""
        found = self._own.get(name)
        if found is None:
            found = self._made_of_shared(name)
        return self._built_in(name) if found is None else found

    def get(self, key: str, default: Any = None) -> Any:
        """Return a task by its name, or `default`."""
        found = self.find(key)
        return default if found is None else found

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def __getitem__(self, name: str) -> Task[Any, Any]:
        found = self._own.get(name) or self.find(name)
        if found is None:
            raise NotRegistered(
                f"There is no task {name!r} in this app.{_meant(name, list(self))} Is the module that"
                " defines it imported, for example through the setting `include`?"
            )
        return found

    def _made_of_shared(self, name: str) -> Task[Any, Any] | None:
        """Make a shared task for this app, once, whoever asks for it first."""
        with self._lock:
            found = self._own.get(name)
            if found is None and name in _shared and name not in self._hidden:
                found = self._bind(_shared[name].recipe.make(self._app))
            return found

    def _is_built_in(self, name: str) -> bool:
        """Tell whether the only task of a name is one that every app has."""
        return name in BUILT_IN and name not in self._names()

    def _built_in(self, name: str) -> Task[Any, Any] | None:
        """Return the task of a name that every app has."""
        if name not in BUILT_IN or name in self._hidden:
            return None
        with self._lock:
            found = self._made.get(name)
            if found is None:
                made = Recipe(BUILT_IN[name], name, bind=True, options=OPTIONS.get(name, {}))
                found = self._made[name] = made.make(self._app)
        return found

    def _names(self) -> set[str]:
        return self._own.keys() | (_shared.keys() - self._hidden)

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self._names())

    def __len__(self) -> int:
        return len(self._names())


#: Celery's name.
TaskRegistry = Tasks


def _meant(name: str, known: list[str]) -> str:
    """Return the question what was meant: a task of a function of that name, else the most similar one."""
    of_function = next((one for one in known if one.endswith(f".{name}")), None)
    return asked(of_function) if of_function else meant(name, known)


def _is_other(first: Callable[..., Any], second: Callable[..., Any]) -> bool:
    """Tell whether the second of two functions is another one, and not the first of a module loaded again."""
    if is_loaded_again(first, second):
        # One run of a module's body defines each function once, unless a name was used twice.
        body = calling_frame().f_code.co_consts
        codes = (code_of(first), code_of(second))
        return codes[0] is not codes[1] and all(any(it is code for it in body) for code in codes)
    return first is not second


def _warn_of_duplicate(
    name: str, first: Callable[..., Any], second: Callable[..., Any], *, replaces: bool
) -> None:
    effect = (
        "Calls under this name run the second, which took the first one's place."
        if replaces
        else "Calls under this name run the first; the second was not registered."
    )
    text = (
        f"Two functions are registered as the task {name!r}: first {described(first)}, then"
        f" {described(second)}. {effect} Rename one of them, or give it a name of its own:"
        " @app.task(name=...)."
    )
    frame = calling_frame()  # how far away it is differs, so that there is no one `stacklevel`
    warnings.warn_explicit(
        text,
        DuplicateTaskNameWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )


class SharedTask:
    """A task of every app: stands for the current app's own.

    Each app makes the task for itself, so that it has the app's base class and annotations.
    """

    def __init__(self, made: Recipe) -> None:
        object.__setattr__(self, "recipe", made)
        object.__setattr__(self, "_appless", None)
        written = without_partials(made.function)
        object.__setattr__(self, "__doc__", written.__doc__)
        object.__setattr__(self, "__module__", written.__module__)

    recipe: Recipe
    _appless: Task[Any, Any] | None

    def _get_current_object(self) -> Task[Any, Any]:
        """Return the current app's task; where there is no app at all, one without an app."""
        app = current.current_app_or_none()
        if app is not None:
            return app.task_of(self.recipe.name)
        if self._appless is None:
            object.__setattr__(self, "_appless", self.recipe.make(None))
        appless: Task[Any, Any] | None = self._appless
        assert appless is not None  # noqa: S101 - set just now
        return appless

    @property  # type: ignore[misc]  # nobody is to set it
    def __class__(self) -> Any:
        """The class of the task, so that `isinstance` sees one."""
        return type(self._get_current_object())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the current app's task here and now."""
        return self._get_current_object()(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if type(other) is SharedTask:
            return self.recipe is other.recipe
        return other is self._get_current_object()

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __reduce__(self) -> Any:
        return self._get_current_object().__reduce__()

    def __dir__(self) -> list[str]:
        return dir(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())


_shared: dict[str, SharedTask] = {}


class Maker:
    """What ``@app.task(...)`` is, for type checkers: keeps the function's parameters and result."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Return the task."""


class BoundMaker:
    """What ``@app.task(bind=True)`` is, for type checkers: the first parameter is the task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Return the task."""


def _share(made: Recipe) -> SharedTask:
    """Give a task to every app, unless its name is taken by another."""
    first = _shared.get(made.name)
    if first is not None:
        function = first.recipe.function
        if function is made.function:
            return first
        if _is_other(function, made.function):
            _warn_of_duplicate(made.name, function, made.function, replaces=False)
            return first
    shared = _shared[made.name] = SharedTask(made)
    return shared


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], base: type[Task[..., Any]] | None = ..., **options: Unpack[TaskKeywords]
) -> BoundMaker: ...
@overload
def shared_task(
    *,
    bind: Literal[False] = ...,
    base: type[Task[..., Any]] | None = ...,
    **options: Unpack[TaskKeywords],
) -> Maker: ...
def shared_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    bind: bool = False,
    base: type[Task[..., Any]] | None = None,
    **options: Any,
) -> Any:
    """Make a task that belongs to every app; calls go through the app that is current then."""

    def make(function: Callable[..., Any]) -> Any:
        made: Any = _share(recipe(None, function, bind, base, options))
        keep: Callable[..., Any] | None = options.get("filter")
        return keep(made) if keep else made

    return make if function is None else make(function)
