"""The app: settings, tasks, and the engines behind its URLs."""

from __future__ import annotations

import os
import platform
import threading
import uuid
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib import import_module
from typing import Any, Literal, Unpack, overload
from urllib.parse import quote

from umbel import calls, current, publish, signals
from umbel.amqp import AMQP
from umbel.annotations import named
from umbel.backend import Backend
from umbel.broadcasts import listeners
from umbel.clock import SYSTEM, Clock, utc
from umbel.configured import Configured
from umbel.construction import taken_from
from umbel.engines import open_engine
from umbel.exceptions import AlwaysEagerIgnored, ImproperlyConfigured
from umbel.location import calling_module, default_directory, script_name, shown_url
from umbel.message import Publication
from umbel.options import CallKeywords, CallOptions, TaskKeywords, call_options
from umbel.ports import Broker, Engine, QueueAdmin, ResultStore
from umbel.registry import BoundMaker, Maker, Tasks, automatic_name, recipe
from umbel.result import AsyncResult
from umbel.settings import Config, zone
from umbel.settings.engines import engine_options
from umbel.signals import Signal
from umbel.task import AsyncTask, P, R

# Under another name, since `Umbel.Task` is an app's own class.
from umbel.task import Task as TaskOf
from umbel.waiting import stop_listening


class Umbel(Configured):
    """A task queue application.

    ``Umbel()`` works as it is: messages and results go to an SQLite file in the project's
    ``.umbel`` directory. `main` is the name given to tasks defined in a script; `broker` and
    `backend` are URLs; `include` lists modules that a worker imports; `task_cls` is the class of all
    tasks; other keywords are settings.
    """

    #: The class of the app's tasks, or where to find it: ``"shop.tasks:LoggedTask"``.
    task_cls: type[TaskOf[..., Any]] | str = TaskOf

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
        how = taken_from(settings)
        given = {"broker_url": broker, "result_backend": backend, "include": include}
        self.conf = Config(
            {**how.changes, **settings}
            | {name: value for name, value in given.items() if value is not None}
        )
        self.namespace = how.namespace
        self.strict_typing = how.strict_typing
        self.task_cls = how.task_cls or self.task_cls
        self._task_class: type[TaskOf[..., Any]] | None = None
        self.finalized = False
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure", ("source",))
        self.on_after_finalize = Signal("app.on_after_finalize")
        self.on_after_fork = Signal("app.on_after_fork")
        self._lock = threading.RLock()
        self._tasks = Tasks(self, self._lock)
        self._module, self._module_file = calling_module()
        self._engines: dict[str, Engine] = {}
        self.amqp = AMQP(lambda: self.conf.snapshot, self._listeners)
        self.backend: Backend = Backend(self)
        self._checked_consumers = False
        if set_as_current:
            current.set_default_app(self)
        if how.config_source is not None:
            self.config_from_object(how.config_source, how.config_source_silent)
        for task in (how.tasks or {}).values():
            self._tasks.register(task)
        self.on_init()

    def on_init(self) -> None:
        """Be called when the app has been made; for subclasses."""

    # Tasks

    @property
    def tasks(self) -> Tasks:
        """The app's tasks by name. Reading this finalizes the app."""
        if not self.finalized:
            self.finalize()
        return self._tasks

    def task_of(self, name: str) -> TaskOf[Any, Any]:
        """Return a task by its name, also before the app is finalized."""
        return self._tasks[name]

    @property
    def Task(self) -> type[TaskOf[..., Any]]:
        """The class that this app's tasks are made with, unless they name a `base`.

        It may be set: then the tasks that there are take the new class too.
        """
        if self._task_class is None:
            kind: Any = named(self.task_cls) if isinstance(self.task_cls, str) else self.task_cls
            attributes = {"_app": self, "__doc__": kind.__doc__, "__module__": kind.__module__}
            self._task_class = type("Task", (kind,), attributes)
        return self._task_class

    @Task.setter
    def Task(self, kind: type[TaskOf[..., Any]]) -> None:
        self._task_class = kind
        self.task_cls = kind
        self._tasks.rebase()

    @property
    def has_own_task_class(self) -> bool:
        """Tell whether tasks are to be made with another class than everyone's."""
        return self.task_cls is not TaskOf

    def gen_task_name(self, name: str, module: str) -> str:
        """Return the name of a task that was given none, from its function's name and module."""
        return automatic_name(self.main, name, module)

    def register_task(
        self, task: TaskOf[Any, Any] | type[TaskOf[Any, Any]], **options: Any
    ) -> TaskOf[Any, Any]:
        """Register a task of a class, by an instance or the class itself; return the task.

        Options of ``autoretry_for`` and the like become attributes of the task.
        """
        found = task() if isinstance(task, type) else task
        for name, value in options.items():
            setattr(found, name, value)
        return self._tasks.register(found)

    def finalize(self, auto: bool = False) -> None:
        """Send the signals of a complete app and set what ``task_annotations`` says, once.

        Called by workers when they have imported all modules, and before the first call is sent.
        """
        if self.finalized:
            return
        with self._lock:
            if self.finalized:
                return
            self.finalized = True
            self.on_configure.send(self)
            _ = self.conf.snapshot
            self.on_after_configure.send(self, source=self.conf)
            self._tasks.annotate()
            self.on_after_finalize.send(self)

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> TaskOf[P, R]: ...
    @overload
    def task(
        self,
        *,
        bind: Literal[True],
        base: type[TaskOf[..., Any]] | None = ...,
        **options: Unpack[TaskKeywords],
    ) -> BoundMaker: ...
    @overload
    def task(
        self,
        *,
        bind: Literal[False] = ...,
        base: type[TaskOf[..., Any]] | None = ...,
        **options: Unpack[TaskKeywords],
    ) -> Maker: ...
    def task(
        self,
        *functions: Callable[..., Any],
        bind: bool = False,
        base: type[TaskOf[..., Any]] | None = None,
        **options: Any,
    ) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(bind=True, queue="mails")``.

        With `bind` the function's first argument is the task itself. Raises TypeError for unknown
        options.
        """

        def make(function: Callable[..., Any]) -> TaskOf[Any, Any]:
            made = self._tasks.add(recipe(self, function, bind, base, options))
            keep: Callable[..., TaskOf[Any, Any]] | None = options.get("filter")
            return keep(made) if keep else made

        return make(*functions) if functions else make

    def send_task(
        self,
        name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[Any]:
        """Send a call of a task by its name, which need not be known here; its arguments are not checked.

        Raises TypeError for unknown options, EncodeError for arguments that cannot be sent, and
        OperationalError when the broker cannot be reached.
        """
        if not isinstance(name, str):
            raise TypeError(f"send_task needs the name of a task, not {name!r}.")
        checked = call_options(options, "send_task")
        self.finalize()
        if self.conf.snapshot.task_always_eager:
            text = "task_always_eager has no effect on send_task"
            warnings.warn(text, AlwaysEagerIgnored, stacklevel=2)
        task = self._tasks.get(name)
        target = calls.Target(publish.Template(name, ignore_result=None))
        if task is not None:
            template = task.target(self, checked).template
            target = calls.Target(replace(template, ignore_result=None), task)
        publication = calls.maker(self, target, checked)(args or (), kwargs or {})
        calls.publish(self, [publication], checked)
        return calls.result_of(self, publication, checked, task)

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
        options = engine_options(
            self.conf.snapshot, broker=url == self.broker_url, results=url == self.result_url
        )
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

    # Results and modules

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
        for _, answer in signals.import_modules.send(self):
            if isinstance(answer, Exception):
                raise answer
        settings = self.conf.snapshot
        for module in (*settings.imports, *settings.include):
            import_module(module)

    def select_queues(self, queues: str | Sequence[str] | None = None) -> None:
        """Let workers of this app consume from these queues only, unless ``-Q`` says otherwise."""
        self.amqp.queues.select(queues)

    def set_current(self) -> None:
        """Make this app current for this thread."""
        current.set_current_app(self)

    def set_default(self) -> None:
        """Make this app current for the whole process."""
        current.set_default_app(self)

    @property
    def current_task(self) -> TaskOf[Any, Any] | None:
        """The task that runs here, the innermost one."""
        return current.running_task()

    @property
    def current_worker_task(self) -> TaskOf[Any, Any] | None:
        """The task that a worker or `apply` runs here, not one that it called as a function."""
        request = current.parent_call()
        return None if request is None or request.task is None else self.tasks[request.task]

    @property
    def oid(self) -> str:
        """An id of this app in this process."""
        return str(uuid.uuid3(uuid.NAMESPACE_OID, f"{platform.node()}-{os.getpid()}-{id(self)}"))

    @property
    def thread_oid(self) -> str:
        """An id of this app in this thread."""
        return str(uuid.uuid3(uuid.NAMESPACE_OID, f"{self.oid}-{threading.get_ident()}"))

    def now(self) -> datetime:
        """Return the time, in the app's time zone."""
        return utc(self.clock.time()).astimezone(zone(self.conf.snapshot))

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


Celery = Umbel
