"""The app: settings, tasks, and the engines behind its URLs."""

from __future__ import annotations

import difflib
import os
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Concatenate, Literal, TypeVar, Unpack, overload
from urllib.parse import quote

from umbel import current, publish
from umbel.amqp import AMQP
from umbel.backend import Backend
from umbel.broadcasts import listeners
from umbel.clock import SYSTEM, Clock
from umbel.engines import open_engine
from umbel.exceptions import DuplicateTaskNameWarning, ImproperlyConfigured, NotRegistered
from umbel.functions import code_of, described, is_async_function, is_loaded_again, without_partials
from umbel.location import calling_frame, calling_module, default_directory, script_name, shown_url
from umbel.message import Publication
from umbel.options import CallOptions, TaskKeywords, check_task_keywords
from umbel.ports import Broker, Engine, QueueAdmin, ResultStore
from umbel.result import AsyncResult
from umbel.settings import COMMAND_LINE, Config, Origin, Rank, sources
from umbel.task import AsyncTask, P, R, Task
from umbel.waiting import stop_listening

_T = TypeVar("_T")
_shared: dict[str, Task[Any, Any]] = {}


class Tasks(Mapping[str, Task[Any, Any]]):
    """An app's tasks by name, those made with ``@shared_task`` included."""

    def __init__(self) -> None:
        self._own: dict[str, Task[Any, Any]] = {}

    def add(self, task: Task[Any, Any]) -> Task[Any, Any]:
        """Register a task under its name, and return the task that has the name now.

        That is the first one, as in Celery: another function of the same name is not registered,
        with a DuplicateTaskNameWarning. A module that is loaded again replaces its tasks.
        """
        shared = _shared.get(task.name)
        if task.name not in self._own and shared and _is_other(shared, task):
            _warn_of_duplicate(shared, task)
            # A copy, since calls of a shared task go through whichever app is current.
            task = shared.of(task.app)
        return _keep_first(self._own, task)

    def __getitem__(self, name: str) -> Task[Any, Any]:
        found = self._own.get(name) or _shared.get(name)
        if found is None:
            near = difflib.get_close_matches(name, list(self), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise NotRegistered(
                f"There is no task {name!r} in this app.{hint} Is the module that defines it imported, for"
                " example through the setting `include`?"
            )
        return found

    def __iter__(self) -> Iterator[str]:
        yield from sorted(self._own.keys() | _shared.keys())

    def __len__(self) -> int:
        return len(self._own.keys() | _shared.keys())


class Umbel:
    """A task queue application.

    ``Umbel()`` works as it is: messages and results go to an SQLite file in the project's
    ``.umbel`` directory. `main` is the name given to tasks defined in a script; `broker` and
    `backend` are URLs; `include` lists modules that a worker imports; other keywords are settings.
    """

    def __init__(
        self,
        main: str | None = None,
        *,
        broker: str | None = None,
        backend: str | None = None,
        include: Sequence[str] | None = None,
        set_as_current: bool = True,
        clock: Clock = SYSTEM,
        **settings: Any,
    ) -> None:
        self.main = main
        self.clock = clock
        given = {"broker_url": broker, "result_backend": backend, "include": include}
        self.conf = Config(
            settings | {name: value for name, value in given.items() if value is not None}
        )
        self.amqp = AMQP(lambda: self.conf.snapshot, self._listeners)
        self.tasks = Tasks()
        self._module, self._module_file = calling_module()
        self._engines: dict[str, Engine] = {}
        self._lock = threading.RLock()
        self.backend = Backend(self)
        self._checked_consumers = False
        if set_as_current:
            current.set_default_app(self)

    # Tasks

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        *,
        bind: Literal[True],
        base: type[Task[..., Any]] | None = ...,
        **options: Unpack[TaskKeywords],
    ) -> _BoundMaker: ...
    @overload
    def task(
        self,
        *,
        bind: Literal[False] = ...,
        base: type[Task[..., Any]] | None = ...,
        **options: Unpack[TaskKeywords],
    ) -> _Maker: ...
    def task(
        self,
        *functions: Callable[..., Any],
        bind: bool = False,
        base: type[Task[..., Any]] | None = None,
        **options: Any,
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(bind=True, queue="mails")``.

        With `bind` the function's first argument is the task itself. Raises TypeError for unknown
        options.
        """

        def make(function: Callable[..., Any]) -> Task[Any, Any]:
            return self.tasks.add(make_task(self, self.main, function, bind, base, options))

        return make(*functions) if functions else make

    def publish(
        self, publications: Sequence[Publication], options: CallOptions | None = None
    ) -> None:
        """Send publications to the broker; what `delay` and its kin do last.

        Of the options only those count that say how a publish is tried again.
        """
        broker = self.broker
        publish.send(broker, publications, self.conf.snapshot, self.clock, options)
        if not self._checked_consumers:
            self._checked_consumers = True
            publish.warn_if_never_consumed(broker, self._how_to_consume)

    def _listeners(self, exchange: str) -> list[str]:
        return listeners(self.engine(self.broker_url).state, exchange)

    def _how_to_consume(self) -> str:
        module = script_name() if self._module == "__main__" else self._module
        return (
            f"No worker has ever consumed from {self.show_url(self.broker_url)}. Start one with:"
            f" umbel -A {module} worker"
        )

    # Engines

    @property
    def broker_url(self) -> str:
        """The broker's URL: the setting, else the SQLite file of the project."""
        return self.conf.snapshot.broker_url or self.default_url

    @property
    def default_url(self) -> str:
        """The URL of the project's own SQLite file."""
        configured = self.conf.snapshot.data_dir
        directory = default_directory(self._module, self._module_file, configured)
        return f"sqlite:///{quote((directory / 'umbel.db').as_posix(), safe='/:')}"

    @property
    def result_url(self) -> str | None:
        """The result store's URL; None when there are no results."""
        settings = self.conf.snapshot
        if settings.result_backend is not None:
            return (
                None if settings.result_backend.startswith("disabled") else settings.result_backend
            )
        return self.default_url if settings.broker_url is None else None

    def engine(self, url: str) -> Engine:
        """Return the engine of a URL, opened once."""
        with self._lock:
            found = self._engines.get(url)
            if found is None:
                found = self._engines[url] = self.new_engine(url)
            return found

    def new_engine(self, url: str) -> Engine:
        """Return an engine with connections of its own, for whoever must not wait for the others."""
        settings = self.conf.snapshot
        options: dict[str, Any] = {"durability": settings.sqlite_durability}
        if url == self.result_url:
            options |= settings.result_backend_transport_options
        if url == self.broker_url:
            options |= settings.broker_transport_options
        return open_engine(url, options)

    @property
    def broker(self) -> Broker:
        """The broker. Raises ImproperlyConfigured when the URL's engine cannot be one."""
        broker = self.engine(self.broker_url).broker
        if broker is None:
            raise ImproperlyConfigured(
                f"broker_url names an engine that is no broker: {self.broker_url}"
            )
        return broker

    @property
    def queues(self) -> QueueAdmin:
        """The queue administration of the broker."""
        queues = self.engine(self.broker_url).queues
        if queues is None:
            raise ImproperlyConfigured("This broker does not let anyone look into its queues.")
        return queues

    @property
    def results(self) -> ResultStore | None:
        """The result store, or None when there is none."""
        url = self.result_url
        return None if url is None else self.engine(url).results

    def result_store(self) -> ResultStore:
        """Return the result store. Raises ImproperlyConfigured when results are not kept."""
        store = self.results
        if store is None:
            raise ImproperlyConfigured(
                "Results are not kept: broker_url is set and result_backend is not. Set result_backend, for"
                " example to the same URL as broker_url."
            )
        return store

    def show_url(self, url: str) -> str:
        """Return a URL for people to read: a file's path, or the URL without its secrets."""
        return shown_url(url)

    # Settings, results and modules

    def config_from_object(
        self,
        source: object,
        silent: bool = False,
        force: bool = False,
        namespace: str | None = None,
    ) -> None:
        """Take settings from a module, by its name or itself, or from another object or a mapping.

        ``"settings"`` names a module and ``"proj:attribute"`` something in one; it is imported when a
        setting is first read, or at once with `force`. With a `namespace` only names that begin with it
        count: ``CELERY_TASK_ACKS_LATE`` for ``CELERY``. What was given to the app where it was made
        stays. Raises ImproperlyConfigured for wrong settings, ImportError, unless `silent`, when
        there is no such module.
        """

        def load() -> bool:
            try:
                found = sources.from_object(source, namespace)
            except sources.StillImported:
                return False
            except ImportError:
                if not silent:
                    raise
            else:
                self.conf.load(found.values, Origin(Rank.LOADED, found.place))
            return True

        if (isinstance(source, str) and not force) or not load():
            self.conf.put_off(load)

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> None:
        """Take settings from the module that an environment variable names.

        Raises ImproperlyConfigured, unless `silent`, when the variable is not set.
        """
        module = os.environ.get(variable_name)
        if module:
            self.config_from_object(module, silent=silent, force=force)
        elif not silent:
            raise ImproperlyConfigured(
                f"The environment variable {variable_name} is not set. It must name the module that holds"
                " the settings."
            )

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Take settings from words such as ``worker.concurrency=4`` and ``(json)`` values."""
        del namespace  # in Celery, the part before a name that begins with a dot
        self.conf.load(sources.from_words(argv), COMMAND_LINE)

    def add_defaults(self, values: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Give defaults of one's own: a mapping, or what is called for one when settings are read."""
        if callable(values):
            make = values
            self.conf.put_off(lambda: self.conf.add_defaults(make()))
        else:
            self.conf.add_defaults(values)

    def AsyncResult(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        parent: AsyncResult[Any] | None = None,
    ) -> AsyncResult[Any]:
        """Return the result of a call by its id."""
        return AsyncResult(id, backend, task_name, self, parent)

    def import_modules(self) -> None:
        """Import the modules of the settings ``imports`` and ``include``."""
        settings = self.conf.snapshot
        for module in (*settings.imports, *settings.include):
            import_module(module)

    def select_queues(self, queues: str | Sequence[str] | None = None) -> None:
        """Let workers of this app consume from these queues only, unless ``-Q`` says otherwise."""
        self.amqp.queues.select(queues)

    def set_current(self) -> None:
        """Make this app current for this thread."""
        current.set_current_app(self)

    def close(self) -> None:
        """Close all connections; they are opened again when used."""
        with self._lock:
            for engine in self._engines.values():
                stop_listening(engine.results)
                engine.close()
            self._engines.clear()

    def __enter__(self) -> Umbel:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Umbel {self.main or '__main__'} at {id(self):#x}>"


class _Maker:
    """What ``@app.task(...)`` is, for type checkers: keeps the function's parameters and result."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Return the task."""


class _BoundMaker:
    """What ``@app.task(bind=True)`` is, for type checkers: the first parameter is the task."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...
    def __call__(self, function: Any, /) -> Any:
        """Return the task."""


def make_task(
    app: Umbel | None,
    main: str | None,
    function: Callable[..., Any],
    bind: bool,
    base: type[Task[..., Any]] | None,
    options: Mapping[str, Any],
) -> Task[Any, Any]:
    """Return a task for a function. Raises TypeError for something else and for unknown options."""
    if not callable(function):
        raise TypeError(f"A task is made from a function, not from {function!r}.")
    kind = base or (AsyncTask if is_async_function(function) else Task)
    check_task_keywords(options, kind)
    given = dict(options)
    given.pop("shared", None)
    name = given.pop("name", None) or task_name(function, main)
    return kind(function, name=name, app=app, bind=bind, options=given)


def task_name(function: Callable[..., Any], main: str | None) -> str:
    """Return the name of a task: its module and function.

    A function of a script, whose module is ``__main__`` there, is named as a worker that imports
    the script names it, unless the app was given a name.
    """
    function = without_partials(function)
    module = function.__module__
    if module == "__main__":
        module = main or script_name()
    return f"{module}.{getattr(function, '__name__', type(function).__name__)}"


def _keep_first(registry: dict[str, Task[Any, Any]], task: Task[Any, Any]) -> Task[Any, Any]:
    """Register a task if its name is free, or held by an earlier load of it; return who holds it then."""
    first = registry.setdefault(task.name, task)
    if first.function is task.function:
        return first
    if _is_other(first, task):
        _warn_of_duplicate(first, task)
        return first
    registry[task.name] = task
    return task


def _is_other(first: Task[Any, Any], second: Task[Any, Any]) -> bool:
    """Tell whether the second of two tasks is another one, and not the first of a module loaded again."""
    if is_loaded_again(first.function, second.function):
        # One run of a module's body defines each function once, unless a name was used twice.
        body = calling_frame().f_code.co_consts
        codes = (code_of(first.function), code_of(second.function))
        return codes[0] is not codes[1] and all(any(it is code for it in body) for code in codes)
    return first.function is not second.function


def _warn_of_duplicate(first: Task[Any, Any], second: Task[Any, Any]) -> None:
    text = (
        f"Two functions are registered as the task {first.name!r}: first {described(first.function)}, then"
        f" {described(second.function)}. Calls under this name run the first; the second was not registered."
        " Rename one of them, or give it a name of its own: @app.task(name=...)."
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


@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], base: type[Task[..., Any]] | None = ..., **options: Unpack[TaskKeywords]
) -> _BoundMaker: ...
@overload
def shared_task(
    *,
    bind: Literal[False] = ...,
    base: type[Task[..., Any]] | None = ...,
    **options: Unpack[TaskKeywords],
) -> _Maker: ...
def shared_task(
    function: Callable[..., Any] | None = None,
    /,
    *,
    bind: bool = False,
    base: type[Task[..., Any]] | None = None,
    **options: Any,
) -> Any:
    """Make a task that belongs to every app; calls go through the app that is current then."""

    def make(function: Callable[..., Any]) -> Task[Any, Any]:
        return _keep_first(_shared, make_task(None, None, function, bind, base, options))

    return make if function is None else make(function)


Celery = Umbel
