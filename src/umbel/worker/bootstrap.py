"""What a worker's processes do first.

Find the app, set up logging, take orders from the supervisor.
"""

from __future__ import annotations

import dataclasses
import os
import stat
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing import current_process
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from umbel import current, signals
from umbel.app import Umbel
from umbel.dotted import is_missing, meant_by_file
from umbel.exceptions import ImproperlyConfigured
from umbel.nearest import nearest
from umbel.settings import COMMAND_LINE
from umbel.worker import preload
from umbel.worker.daemon import stand_as

#: The executors of children that run many tasks at a time.
CONCURRENT = ("threads", "asyncio")


@dataclass(frozen=True, slots=True)
class Source:
    """Where the app comes from, the settings that the command line adds, and the worker's name.

    `config` names a module of settings that is loaded into the app. `options` are the values of the options
    that the app adds to the worker's, `preload` of those that it adds to all commands' (preload.py).
    """

    app: str
    workdir: str
    settings: Mapping[str, Any]
    config: str | None = None
    hostname: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    preload: Mapping[str, Any] | None = None

    def load(self) -> Umbel:
        """Import the app and the modules it names, and apply the command line's settings.

        Receivers of ``celeryd_init`` may change settings before that: it is sent in each process
        that loads the app for itself, so that they are the same in all.
        """
        app = find_app(self.app, self.workdir)
        if self.config:
            app.config_from_object(self.config)
        preload.announce(app, "worker", self.preload)
        signals.celeryd_init.send(
            self.hostname,
            instance=SimpleNamespace(hostname=self.hostname, app=app),
            conf=app.conf,
            options={**self.settings, **self.options},
        )
        given = dict(self.settings)
        if "include" in given:
            given["include"] = (*app.conf.snapshot.include, *given["include"])
        app.conf.load(given, COMMAND_LINE)
        stand_as(app.conf.snapshot)
        # The module may make several; shared tasks belong to the one that was named.
        current.set_default_app(app)
        app.import_modules()
        app.finalize()
        return app


@dataclass(frozen=True, slots=True)
class Orders:
    """How a node runs; the same for its supervisor and its children.

    `concurrency` is how many tasks it runs at a time or, for the executors ``threads`` and ``asyncio``, how
    many each of its `processes` does.
    """

    source: Source
    queues: Sequence[str]
    hostname: str
    node: str
    concurrency: int
    loglevel: str
    logfile: str | None = None
    #: The most children of a node that takes more, or lets some leave, as it needs them.
    most: int | None = None
    executor: str = "prefork"
    processes: int = 1

    @property
    def slots(self) -> int:
        """How many tasks a child runs at a time; 0 for one that runs them without an executor beside."""
        return self.concurrency if self.executor in CONCURRENT else 0

    @property
    def children(self) -> int:
        """How many child processes there are."""
        return self.processes if self.slots else self.concurrency

    def to_data(self) -> dict[str, Any]:
        """Return the orders as JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Orders:
        """Read what `to_data` wrote."""
        return cls(**{**data, "source": Source(**data["source"])})


def find_app(name: str, workdir: str | None = None) -> Umbel:
    """Return the app that ``-A`` names: ``module``, ``module:attribute`` or ``package.module.attribute``.

    In a module the attributes ``app`` and ``celery`` are tried, then any app there is, then the
    module's submodule ``celery``. Raises ImproperlyConfigured with what was tried.
    """
    meant = meant_by_file(name)
    if meant is not None:
        raise ImproperlyConfigured(
            f"-A {name} names a file, not a module. Name it as an import does: -A {meant or 'tasks'}"
        )
    directory = workdir or os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module_name, _, attribute = name.partition(":")
    tried: list[str] = []
    module = _imported(module_name, tried)
    if module is None and "." in module_name and not attribute:
        module_name, _, attribute = module_name.rpartition(".")
        module = _imported(module_name, tried)
    if module is not None:
        app = _app_in(module, attribute, tried)
        if app is None and not attribute:
            submodule = _imported(f"{module_name}.celery", tried)
            app = None if submodule is None else _app_in(submodule, "", tried)
        if app is not None:
            return app
    raise ImproperlyConfigured(
        f"No app was found for -A {name}. Tried: {'; '.join(tried)}. Directory: {directory}."
        f"{_meant_app(module, module_name, attribute, directory)}"
    )


def _meant_app(module: ModuleType | None, name: str, attribute: str, directory: str) -> str:
    """Return the question which app was meant: another of the module's, or another module here."""
    if module is not None:
        apps = [name for name, found in vars(module).items() if isinstance(found, Umbel)]
        near = nearest(attribute, apps) if attribute else None
        return "" if near is None else f" Did you mean -A {module.__name__}:{near}?"
    try:
        paths = list(Path(directory).iterdir())
    except OSError:
        return ""
    here = [path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()]
    near = nearest(name, here)
    return "" if near is None else f" Did you mean -A {near}?"


def _imported(name: str, tried: list[str]) -> ModuleType | None:
    """Import a module; None when there is no such module. Errors within it are raised."""
    tried.append(f"module {name}")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if is_missing(error, name):
            return None
        raise


def _app_in(module: ModuleType, attribute: str, tried: list[str]) -> Umbel | None:
    names = (attribute,) if attribute else ("app", "celery")
    for name in names:
        tried.append(f"{module.__name__}.{name}")
        found = getattr(module, name, None)
        if isinstance(found, Umbel):
            return found
    if attribute:
        return None
    return next((found for found in vars(module).values() if isinstance(found, Umbel)), None)


def set_up_logging(app: Umbel, orders: Orders, child: int = 0) -> None:
    """Set up the log of this process of a node; `child` is a child's number."""
    settings = app.conf.snapshot
    if child:
        current_process().name = f"ForkPoolWorker-{child}"
    app.log.process_index = child
    app.log.setup(
        orders.loglevel,
        orders.logfile,
        redirect_stdouts=settings.worker_redirect_stdouts,
        redirect_level=settings.worker_redirect_stdouts_level,
        hostname=orders.hostname,
    )


def open_descriptors() -> list[int]:
    """Return the numbers of what is open, but for the standard streams; none where the system lists none."""
    try:
        numbers = [int(name) for name in os.listdir("/dev/fd")]
    except OSError:
        return []
    # The one that was used for listing is closed by now.
    return [number for number in sorted(numbers) if number > 2 and _is_open(number)]


def inherited_descriptors() -> set[int]:
    """Return which of these came from whoever started this program.

    What Python opens itself does not outlive the start of another one; so it is known that it did not either.
    """
    return {number for number in open_descriptors() if os.get_inheritable(number)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def threads_and_connections(known: Collection[int] = ()) -> list[str]:
    """Return by name what makes this process unfit to be forked.

    Threads, and sockets other than those whose numbers are `known`.
    """
    found = [
        f"the thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread is not threading.main_thread()
    ]
    for descriptor in open_descriptors():
        if descriptor not in known and stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            found.append(f"the socket {descriptor}")
    return found
