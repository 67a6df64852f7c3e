"""Fail points: named places between two durable writes, at which a test can make the process die.

Inert unless UMBEL_FAILPOINTS is set when the process starts, for example
``UMBEL_FAILPOINTS="sqlite.settle.before_commit=kill@3"``: the third time the process comes there it
kills itself. Actions: ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``raise`` (OperationalError). Several
are separated by commas. ``UMBEL_FAILPOINTS_ONCE`` names a directory in which each that strikes makes
a file of its name, with the pid, the monotonic time and the action in it: the proof that it struck.
While that file is there it does not strike again, in whatever process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from umbel.clock import SYSTEM
from umbel.exceptions import ImproperlyConfigured, OperationalError

#: Every fail point there is; a test dies at each of them.
NAMES = (
    "sqlite.publish.before_commit",
    "sqlite.publish.after_commit",
    "sqlite.change.before_commit",
    "sqlite.change.after_commit",
    "sqlite.fetch.before_commit",
    "sqlite.fetch.after_commit",
    "sqlite.settle.before_commit",
    "sqlite.settle.after_commit",
    "sqlite.mark_early.before_commit",
    "sqlite.mark_early.after_commit",
    "sqlite.release.before_commit",
    "sqlite.release.after_commit",
    "sqlite.take_back.before_commit",
    "sqlite.take_back.after_commit",
    "sqlite.reclaim.before_commit",
    "sqlite.reclaim.after_commit",
    "sqlite.close.before_commit",
    "sqlite.close.after_commit",
    "redis.publish.before",
    "redis.publish.after",
    "redis.change.before",
    "redis.change.after",
    "redis.settle.before",
    "redis.settle.after",
    "redis.mark_early.before",
    "redis.mark_early.after",
    "redis.release.before",
    "redis.release.after",
    "redis.take_back.before",
    "redis.take_back.after",
    "redis.reclaim.before",
    "redis.reclaim.after",
    "redis.close.before",
    "redis.close.after",
    "spread.publish.between",
    "spread.settle.between",
    "spread.reclaim.between",
    "spread.close.between",
    "postgres.publish.before",
    "postgres.publish.after",
    "postgres.fetch.after",
    "postgres.settle.before",
    "postgres.settle.after",
    "postgres.change.before",
    "postgres.change.after",
    "postgres.mark_early.before",
    "postgres.mark_early.after",
    "postgres.release.before",
    "postgres.release.after",
    "postgres.take_back.before",
    "postgres.take_back.after",
    "postgres.reclaim.before",
    "postgres.reclaim.after",
    "postgres.close.before",
    "postgres.close.after",
    "rabbitmq.publish.before",
    "rabbitmq.publish.after",
    "rabbitmq.settle.before",
    "rabbitmq.settle.after",
    "rabbitmq.claim.before",
    "rabbitmq.claim.after",
    "rabbitmq.mark_early.before",
    "rabbitmq.mark_early.after",
    "rabbitmq.release.before",
    "rabbitmq.release.after",
    "rabbitmq.close.before",
    "rabbitmq.close.after",
    "child.before_start",
    "child.after_run",
    "child.before_settle",
    "chords.after_failures",
    "chords.after_parts",
    "chords.after_openings",
    "chords.before_close",
    "pieces.before_forget",
    "settler.after_publish",
    "settler.after_results",
    "supervisor.before_reclaim",
    "supervisor.after_reclaim",
    "beat.before_change",
    "beat.after_publish",
    "beat.after_change",
)


def _inert(name: str) -> None:
    """Do nothing: the production form."""


def _armed(plan: str, once: str | None) -> Callable[[str], None]:
    strikes: dict[str, tuple[str, int]] = {}
    for entry in filter(None, plan.split(",")):
        name, _, rest = entry.strip().partition("=")
        action, _, nth = rest.partition("@")
        if name not in NAMES or action not in ("kill", "stop", "raise"):
            raise ImproperlyConfigured(
                f"UMBEL_FAILPOINTS has {entry!r}, which names no fail point."
            )
        if nth and not nth.isdecimal():
            raise ImproperlyConfigured(f"UMBEL_FAILPOINTS has {entry!r}: {nth!r} is no number.")
        strikes[name] = (action, int(nth or 1))
    visits: dict[str, int] = {}

    def strike(name: str) -> None:
        if name not in strikes:
            return
        action, nth = strikes[name]
        visits[name] = visits.get(name, 0) + 1
        if visits[name] != nth or (once and not _first(Path(once, name), action)):
            return
        if action == "raise":
            raise OperationalError(f"The fail point {name} struck.")
        os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)

    return strike


def _first(path: Path, action: str) -> bool:
    """Make the file; False when it was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    os.write(descriptor, f"{os.getpid()} {SYSTEM.monotonic()} {action}\n".encode())
    os.close(descriptor)
    return True


fail_point: Callable[[str], None] = _inert
if os.environ.get("UMBEL_FAILPOINTS"):
    fail_point = _armed(os.environ["UMBEL_FAILPOINTS"], os.environ.get("UMBEL_FAILPOINTS_ONCE"))
