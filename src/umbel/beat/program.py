"""Beat as a program of its own: what ``umbel beat`` runs."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from umbel._version import __version__
from umbel.app import Umbel
from umbel.beat.service import Service
from umbel.clock import utc
from umbel.current import get_current_app
from umbel.exceptions import ImproperlyConfigured
from umbel.redirected import own_streams
from umbel.schedules.intervals import humanize_seconds
from umbel.worker.daemon import Standing, pidfile_of, stand_as, written


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says of beat; what it leaves out is None, and the settings' to say."""

    loglevel: str | int
    logfile: str | None = None
    schedule_filename: str | None = None
    scheduler: str | None = None
    max_interval: float | None = None
    hostname: str | None = None
    quiet: bool = False
    redirect_stdouts: bool | None = None
    redirect_level: Any = None
    colorize: bool | None = None
    standing: Standing | None = None

    def service(self, app: Umbel) -> Service:
        """Return the service of an app."""
        return Service(
            app,
            max_interval=self.max_interval,
            schedule_filename=self.schedule_filename,
            scheduler_cls=self.scheduler or app.conf.snapshot.beat_scheduler,
        )


def run_beat(load: Callable[[], Umbel], wanted: Wanted) -> int:
    """Run beat until a signal stops it; return the exit code of the process. `load` returns the app.

    Raises ImproperlyConfigured where it cannot run.
    """
    app = load()
    settings = app.conf.snapshot
    stand_as(settings, "beat", wanted.standing)
    logfile = wanted.logfile or settings.beat_logfile or None
    is_written = wanted.standing is not None and wanted.standing.pidfile is not None
    with (
        contextlib.nullcontext()
        if is_written
        else pidfile_of(settings, wanted.hostname or "beat@", "beat")
    ):
        run(app, replace(wanted, logfile=logfile))
    return 0


def run(app: Umbel, wanted: Wanted) -> None:
    """Run beat of an app in this process, until a signal stops it. Raises ImproperlyConfigured."""
    if not app.engine(app.broker_url).features.shared:
        raise ImproperlyConfigured(
            f"{app.broker_url} lives in one process, so what beat sends would reach no worker. Use another"
            " broker_url, or run beat in the worker: umbel worker -B -P solo."
        )
    app.finalize()
    service = wanted.service(app)
    text = banner(app, service, wanted)  # it finds the scheduler's class, or raises
    console = sys.stdout
    with own_streams():
        app.log.setup(
            wanted.loglevel,
            wanted.logfile,
            redirect_stdouts=app.either("worker_redirect_stdouts", wanted.redirect_stdouts),
            redirect_level=app.either("worker_redirect_stdouts_level", wanted.redirect_level),
            colorize=wanted.colorize,
            hostname=wanted.hostname,
        )
        if not wanted.quiet:
            print(text, file=console, flush=True)
        stop_by_signals(service)
        service.start()


def banner(app: Umbel, service: Service, wanted: Wanted) -> str:
    """Return what beat says when it starts."""
    scheduler = service.get_scheduler(lazy=True)
    kind = type(scheduler)
    local = utc(app.clock.time()).astimezone(app.timezone)
    most = scheduler.max_interval
    lines = [
        f"umbel beat v{__version__} is starting.",
        f"LocalTime -> {local.isoformat(sep=' ', timespec='seconds')}",
        "Configuration ->",
        f"    . broker -> {app.show_url(app.broker_url)}",
        f"    . scheduler -> {kind.__module__}.{kind.__qualname__}",
        scheduler.info,
        f"    . logfile -> {wanted.logfile or '[stderr]'}@%{wanted.loglevel}",
        f"    . maxinterval -> {humanize_seconds(most)} ({most:g}s)",
    ]
    return "\n".join(line for line in lines if line)


def stop_by_signals(service: Service) -> None:
    """Let TERM and INT end the service in order."""

    def stop(number: int, frame: FrameType | None) -> None:
        service.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


class Beat:
    """Celery's ``app.Beat``: beat as an object, with its arguments. It runs in the process that says so.

    What is None is the settings' to say. `socket_timeout` has no effect: engines have limits of their own.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - Celery's signature
        self,
        max_interval: float | None = None,
        app: Umbel | None = None,
        socket_timeout: float = 30,
        pidfile: str | None = None,
        no_color: bool | None = None,
        loglevel: str | int = "WARN",
        logfile: str | None = None,
        schedule: str | None = None,
        scheduler: str | None = None,
        scheduler_cls: str | None = None,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: str | None = None,
        quiet: bool = False,
        remote_control: bool | None = None,
        hostname: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app or get_current_app()
        self.pidfile = pidfile
        if remote_control:
            raise ImproperlyConfigured(
                "Beat takes no remote commands yet; leave out remote_control."
            )
        self.wanted = Wanted(
            loglevel=loglevel,
            logfile=logfile,
            schedule_filename=schedule,
            scheduler=scheduler or scheduler_cls,
            max_interval=max_interval,
            hostname=hostname,
            quiet=quiet,
            redirect_stdouts=redirect_stdouts,
            redirect_level=redirect_stdouts_level,
            colorize=None if no_color is None else not no_color,
        )

    def run(self) -> None:
        """Run until TERM or INT ends it. Raises ImproperlyConfigured where it cannot run."""
        path = None if self.pidfile is None else Path(self.pidfile).absolute()
        with contextlib.nullcontext() if path is None else written(path):
            run(self.app, self.wanted)
