"""The app: settings, tasks, and the engines behind its URLs."""

from __future__ import annotations

import os
import platform
import threading
import uuid
import warnings
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from umbel import (
    bug_report,
    calls,
    connections,
    current,
    discovery,
    dispatching,
    periodic,
    producers,
    programs,
    publish,
    security,
)
from umbel.absent import absent_from, tell_of_absent
from umbel.amqp import AMQP
from umbel.backend import Backend
from umbel.backends.names import other_stores
from umbel.broadcasts import listeners_of
from umbel.canvas.signable import P, R, app_signature
from umbel.clock import SYSTEM, Clock, utc
from umbel.construction import taken_from, warn_of_hooks
from umbel.control import Control
from umbel.dotted import named
from umbel.exceptions import AlwaysEagerIgnored
from umbel.finalization import Finalization
from umbel.integrations import Fixup, Integrations
from umbel.location import DefaultFile, calling_module, shown_url, worker_command
from umbel.log import Logging
from umbel.message import Publication
from umbel.opened import OpenEngines
from umbel.options import SEND_POSITIONS, CallKeywords, CallOptions, by_position, call_options
from umbel.ports import Broker, Engine, QueueAdmin, ResultStore
from umbel.registry import BoundMaker, Maker, Tasks, automatic_name, recipe
from umbel.result import AsyncResult, making
from umbel.settings import Config, Settings, loading, zone
from umbel.signals import Signal
from umbel.task import AsyncTask

# Under another name, since `Umbel.Task` is an app's own class.
from umbel.task import Task as TaskOf
from umbel.task_options import TaskKeywords, check_task_keywords


@tell_of_absent
class Umbel:
    """A task queue application.

    ``Umbel()`` works as it is: messages and results go to an SQLite file in the project's
    ``.umbel`` directory. `main` is the name given to tasks defined in a script; `broker` and
    `backend` are URLs; `include` lists modules that a worker imports; `task_cls` is the class of all
    tasks; other keywords are settings.
    """

    #: The class of the app's tasks, or where to find it: ``"shop.tasks:LoggedTask"``.
    task_cls: type[TaskOf[..., Any]] | str = TaskOf
    #: The class of ``app.log``, or where to find it.
    log_cls: type[Logging] | str = Logging
    _task_class: type[TaskOf[..., Any]] | None = None
    _checked_consumers = False
    #: Where results are read from, and what revokes calls.
    backend: Backend
    control: Control
    #: Where the functions are that integrate frameworks, for apps that are given no others as `fixups`.
    builtin_fixups: Iterable[Fixup] = frozenset({"umbel.fixups.django:fixup"})

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
        self.main, self.clock = main, clock
        how = taken_from(settings)
        warn_of_hooks(type(self))
        given = {"broker_url": broker, "result_backend": backend, "include": include}
        self.conf = Config(
            {**how.changes, **settings}
            | {name: value for name, value in given.items() if value is not None}
        )
        self.namespace = how.namespace
        self.strict_typing = how.strict_typing
        self.task_cls = how.task_cls or self.task_cls
        #: Options of the command line that the app adds: to a command by its name, to all as "preload".
        self.user_options: defaultdict[str, set[Any]] = defaultdict(set)
        #: Classes of umbel.bootsteps that the app adds to its workers: to "worker", or to "consumer".
        self.steps: defaultdict[str, set[Any]] = defaultdict(set)
        self.on_configure = Signal("app.on_configure")
        self.on_after_configure = Signal("app.on_after_configure", ("source",))
        self.on_after_finalize = Signal("app.on_after_finalize")
        self.on_after_fork = Signal("app.on_after_fork")
        self._tasks = Tasks(self)
        #: The periodic tasks that the app adds itself.
        self.periodic = periodic.Periodic(self)
        self._finalization = Finalization(self, self._tasks)
        self._module, self._file = calling_module()
        self._default_file = DefaultFile(self._module, self._file)
        in_force: Callable[[], Settings] = partial(attrgetter("conf.snapshot"), self)
        self.engines = OpenEngines(in_force, lambda: self.default_url, other_stores(self))
        self.log: Logging = _class(how.log or self.log_cls)(self)
        self.amqp = self.engines.amqp = AMQP(in_force, listeners_of(self))
        self.backend, self.control = Backend(self), Control(self)
        self.fixups = set(self.builtin_fixups) if how.fixups is None else how.fixups
        self.integrations = Integrations(self, self.fixups)
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
            kind = _class(self.task_cls)
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

        Options of ``autoretry_for`` and the like become attributes of the task. Raises TypeError for
        unknown ones.
        """
        found = task() if isinstance(task, type) else task
        check_task_keywords(options, type(found))
        for name, value in options.items():
            setattr(found, name, value)
        return self._tasks.register(found)

    @property
    def finalized(self) -> bool:
        """True when the app is complete: its settings are read, and its tasks annotated."""
        return self._finalization.done

    def finalize(self, auto: bool = False) -> None:
        """Send the signals of a complete app and set what ``task_annotations`` says, once.

        Called by workers when they have imported all modules, and before the first call is sent. Another
        thread's call waits until handlers of `on_configure` and `on_after_configure` have returned and the
        annotations are set; so these handlers must not wait for it. What fails is done again the next time,
        but for signals that were sent.
        """
        self._finalization.run()

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
        *more: Any,
        **options: Unpack[CallKeywords],
    ) -> AsyncResult[Any]:
        """Send a call of a task by its name, which need not be known here; its arguments are not checked.

        Celery's options may be given by their position: `countdown`, `eta`, `task_id` and so on.

        Raises TypeError for unknown options, EncodeError for arguments that cannot be sent, and
        OperationalError when the broker cannot be reached.
        """
        if not isinstance(name, str):
            raise TypeError(f"send_task needs the name of a task, not {name!r}.")
        named = by_position(SEND_POSITIONS, more, options, "send_task")
        checked = call_options(named, "send_task")
        self.finalize()
        if self.conf.snapshot.task_always_eager:
            text = "task_always_eager has no effect on send_task"
            warnings.warn(text, AlwaysEagerIgnored, stacklevel=2)
        return calls.send(self, name, args or (), kwargs or {}, checked)

    own_send_task = send_task  # one in its place sees all calls, as in Celery (hooks.py)

    def publish(
        self, publications: Sequence[Publication], options: CallOptions | None = None
    ) -> None:
        """Send publications to the broker; what `delay` and its kin do last.

        Of the options only those count that say how a publish is tried again.
        """
        outbox, settings = current.outbox.get(), self.conf.snapshot
        broker = self.engines.broker_by(settings) if outbox is None else outbox
        publish.send(broker, publications, settings, self.clock, options, producers.around(self))
        if not self._checked_consumers and outbox is None:
            self._checked_consumers = True
            publish.warn_if_never_consumed(broker, self._how_to_consume)

    def _how_to_consume(self) -> str:
        where = self.show_url(self.broker_url)
        how = worker_command(self._module, self._file)
        return f"No worker has ever consumed from {where}. Start one with: {how}"

    # Settings

    def config_from_object(
        self,
        obj: object,
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
        self.namespace = namespace or self.namespace
        loading.load_object(self.conf, obj, namespace=self.namespace, silent=silent, force=force)

    def config_from_envvar(
        self, variable_name: str, silent: bool = False, force: bool = False
    ) -> None:
        """Take settings from the module that an environment variable names.

        Raises ImproperlyConfigured, unless `silent`, when the variable is not set.
        """
        prefix = self.namespace
        loading.load_variable(
            self.conf, variable_name, namespace=prefix, silent=silent, force=force
        )

    def config_from_cmdline(self, argv: Iterable[str], namespace: str = "celery") -> None:
        """Take settings from words such as ``worker.concurrency=4`` and ``(json)`` values.

        `namespace` is there for Celery's sake and changes nothing.
        """
        loading.load_words(self.conf, argv)

    def add_defaults(self, fun: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Give defaults of one's own: a mapping, or what is called for one when settings are read."""
        loading.load_defaults(self.conf, fun)

    # Engines

    @property
    def broker_url(self) -> str:
        """The broker's URL: the setting, else the SQLite file of the project."""
        return self.engines.broker_url

    @property
    def default_url(self) -> str:
        """The URL of the project's own SQLite file."""
        return self._default_file.url(self.conf.snapshot.data_dir)

    @property
    def result_url(self) -> str | None:
        """The result store's URL; None when there are no results."""
        return self.engines.result_url

    def engine(self, url: str) -> Engine:
        """Return the engine of a URL, opened once."""
        return self.engines.engine(url)

    def new_engine(self, url: str) -> Engine:
        """Return an engine with connections of its own, for whoever must not wait for the others."""
        return self.engines.new_engine(url)

    @property
    def broker(self) -> Broker:
        """The broker. Raises ImproperlyConfigured when the URL's engine cannot be one."""
        return self.engines.broker

    @property
    def queues(self) -> QueueAdmin:
        """The queue administration of the broker. Raises ImproperlyConfigured when it has none."""
        return self.engines.queues

    @property
    def results(self) -> ResultStore | None:
        """The result store, or None when there is none."""
        return self.engines.results

    def result_store(self) -> ResultStore:
        """Return the result store. Raises ImproperlyConfigured when results are not kept."""
        return self.engines.result_store()

    def show_url(self, url: str) -> str:
        """Return a URL for people to read: a file's path, or the URL without its secrets."""
        return shown_url(url)

    # Results and modules

    AsyncResult = making.app_async_result
    ResultSet = making.app_result_set
    result_from_tuple = making.app_result_from_tuple

    @property
    def GroupResult(self) -> making.GroupResultOf:
        """What makes results of groups: ``app.GroupResult(id, results)``, ``app.GroupResult.restore(id)``."""
        return making.GroupResultOf(self)

    loader = property(discovery.Loader)
    import_modules = discovery.import_modules
    autodiscover_tasks = discovery.autodiscover_tasks
    add_periodic_task = periodic.add_periodic_task
    setup_security = security.setup_app_security

    def select_queues(self, queues: str | Sequence[str] | None = None) -> None:
        """Let workers of this app consume from these queues only, unless ``-Q`` says otherwise."""
        self.amqp.queues.select(queues)

    signature = app_signature
    dispatch = dispatching.dispatch

    # Connections and programs

    connection_for_read = connections.connection_for_read
    connection_for_write = connection = broker_connection = connections.connection_for_read
    connection_or_acquire = default_connection = connections.connection_or_acquire
    producer_or_acquire = default_producer = producers.producer_or_acquire
    pool = property(connections.connection_pool)
    producer_pool = property(producers.producer_pool)
    start = programs.start
    worker_main = programs.worker_main
    Beat = property(programs.beat_class)

    def bugreport(self) -> str:
        """Return what a bug report should contain: versions, tasks, changed settings; secrets are masked."""
        return bug_report.bugreport(self)

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

    @property
    def module(self) -> str:
        """The name of the module that made the app."""
        return self._module

    @property
    def timezone(self) -> tzinfo:
        """The app's time zone."""
        return zone(self.conf.snapshot)

    def uses_utc_timezone(self) -> bool:
        """Tell whether the app's time zone is UTC."""
        return str(self.timezone) == "UTC"

    def either(self, default_key: str, *values: Any) -> Any:
        """Return the first of the values that is not None; if there is none, that setting."""
        return next((value for value in values if value is not None), self.conf[default_key])

    def now(self) -> datetime:
        """Return the time, in the app's time zone."""
        return utc(self.clock.time()).astimezone(zone(self.conf.snapshot))

    def close(self) -> None:
        """Close all connections; they are opened again when used."""
        self.engines.close()

    def __enter__(self) -> Umbel:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Umbel {self.main or '__main__'} at {id(self):#x}>"


def _class(kind: Any) -> Any:
    """Return a class that is given itself, or by where it is."""
    return named(kind) if isinstance(kind, str) else kind


Celery = Umbel


if not TYPE_CHECKING:  # to type checkers, what is not here is missing

    def __getattr__(name: str) -> Any:
        raise absent_from(__name__, name)
