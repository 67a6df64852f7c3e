"""``celery.platforms``: the operating system, signals by name, and the title of a process."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any] | int | None

EX_OK = 0
EX_FAILURE = 1
EX_UNAVAILABLE = getattr(os, "EX_UNAVAILABLE", 69)
EX_USAGE = getattr(os, "EX_USAGE", 64)
SYSTEM = platform.system()
IS_macOS = SYSTEM == "Darwin"
IS_WINDOWS = SYSTEM == "Windows"
SIGMAP = {found.value: found.name for found in signal.Signals}


def pyimplementation() -> str:
    """Return the name of what runs this Python: ``CPython``."""
    return platform.python_implementation()


def isatty(file: Any) -> bool:
    """Tell whether a file is a terminal."""
    try:
        return bool(file.isatty())
    except AttributeError:
        return False


def signal_name(number: int) -> str:
    """Return a signal's name without its SIG: ``TERM``."""
    return signal.Signals(number).name.removeprefix("SIG")


class Signals:
    """``signals``: handlers by the names of signals, ``signals["TERM"] = handler``."""

    ignored = signal.SIG_IGN
    default = signal.SIG_DFL

    def signum(self, name: int | str) -> int:
        """Return a signal's number. Raises AttributeError where there is no such signal."""
        if isinstance(name, int):
            return name
        upper = name.upper()
        number: int = getattr(signal, upper if upper.startswith("SIG") else f"SIG{upper}")
        return number

    def supported(self, name: str) -> bool:
        """Tell whether there is such a signal here."""
        try:
            self.signum(name)
        except AttributeError:
            return False
        return True

    def reset(self, *names: str) -> None:
        """Give signals the system's own handlers."""
        self.update((name, self.default) for name in names)

    def ignore(self, *names: str) -> None:
        """Ignore signals."""
        self.update((name, self.ignored) for name in names)

    def __getitem__(self, name: int | str) -> Any:
        return signal.getsignal(self.signum(name))

    def __setitem__(self, name: int | str, handler: Any) -> None:
        # No such signal here, or not the main thread: Celery lets both pass.
        with suppress(AttributeError, ValueError):
            signal.signal(self.signum(name), handler)

    def update(self, handlers: Iterable[tuple[str, Any]] = (), **more: Any) -> None:
        """Set several handlers."""
        for name, handler in (*dict(handlers).items(), *more.items()):
            self[name] = handler


signals = Signals()


def set_process_title(progname: str, info: str | None = None) -> str:
    """Return the title; it is shown where the package setproctitle is loaded already."""
    title = f"{progname} {info}" if info else progname
    shown = sys.modules.get("setproctitle")
    if shown is not None:
        shown.setproctitle(title)
    return title
