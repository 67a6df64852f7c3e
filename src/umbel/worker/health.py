"""Whether a node is well: what its keeper saw last, what follows from it, and the file that says so.

*Live* means that a new process would do no better. *Ready* means that the node takes messages. A broker that
is away makes a node not ready, and never dead: to start it anew would help nobody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from umbel.clock import Clock
from umbel.worker.child import IDLE_WAIT
from umbel.worker.page import Held, Snapshot

logger = logging.getLogger("umbel.worker")

#: Seconds for which the keeper may be at one thing before it hangs: a call of the broker may take some.
HANGS = 30.0
#: Seconds for which an idle child that hears the broker may have nothing to say, beside its longest wait.
DEAF = IDLE_WAIT + 30.0
#: Seconds between two writings of the file.
EVERY = 2.0


@dataclass(frozen=True, slots=True)
class ChildSeen:
    """A child as its page shows it; `contact` is when the broker last answered it."""

    busy: bool
    contact: float

    @classmethod
    def of(cls, page: Snapshot) -> ChildSeen:
        """Read it from its page."""
        return cls(bool(page.keys(Held.RUNNING)), max(page.contact, page.running_since))


def seen_by(pages: Iterable[Snapshot | None]) -> tuple[ChildSeen, ...]:
    """Read children from their pages, of those that still have one."""
    return tuple(ChildSeen.of(page) for page in pages if page is not None)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the keeper saw in its last step. Times are monotonic.

    `step` is when it last came to the end of anything, `contact` when the broker last answered it. `wanted`
    is how many children there should be: none where the node runs its tasks itself. `asks` says whether the
    keeper talks to the broker at all: where there are no leases to renew, only children know how that is.
    """

    step: float
    contact: float | None = None
    started: bool = False
    stopping: bool = False
    wanted: int = 0
    children: tuple[ChildSeen, ...] = ()
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Health:
    """The answer to probes; `why` is a sentence."""

    live: bool
    ready: bool
    why: str


def judge(seen: Seen | None, now: float, patience: float) -> Health:
    """Say whether a node is well; the broker may be away for `patience` seconds."""
    if seen is None:
        return Health(True, False, "The worker starts.")
    silent = now - seen.step
    if silent > HANGS:
        return Health(False, False, f"The supervisor has done nothing for {silent:.0f} s.")
    if seen.stopping:
        return Health(True, False, "The worker stops.")
    if seen.contact is None or now - seen.contact > patience:
        away = "has not answered yet"
        if seen.contact is not None:
            away = f"has not answered for {now - seen.contact:.0f} s"
        return Health(True, False, f"The broker {away}.")
    if not seen.started:
        return Health(True, False, "The worker starts.")
    return _judge_children(seen, now)


def _judge_children(seen: Seen, now: float) -> Health:
    """Say whether the children fetch, where the supervisor reaches the broker, or does not know."""
    deaf = [one for one in seen.children if not one.busy and now - one.contact > DEAF]
    if deaf:
        longest = max(now - one.contact for one in deaf)
        if not seen.asks:
            text = f"The broker has not answered {len(deaf)} children for {longest:.0f} s."
            return Health(True, False, text)
        text = (
            f"{len(deaf)} children have not fetched for {longest:.0f} s, though the broker answers."
        )
        return Health(False, False, text)
    if seen.wanted and not seen.children:
        return Health(True, False, f"None of {seen.wanted} children runs.")
    busy = sum(one.busy for one in seen.children)
    text = (
        f"{busy} of {len(seen.children)} children are busy." if seen.wanted else "The worker runs."
    )
    return Health(True, True, text)


class HealthFile:
    """Keeps a file that says how a node is, for ``umbel-health``, until it is closed."""

    def __init__(self, path: Path, hostname: str, clock: Clock, ask: Callable[[], Health]) -> None:
        self._path = path
        self._hostname = hostname
        self._clock = clock
        self._ask = ask
        self._told = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-health-file", daemon=True)

    def open(self) -> None:
        """Write the file, and go on doing so. Raises OSError where that is not possible."""
        self.write()
        self._thread.start()

    def write(self) -> None:
        """Write how the node is now; who reads sees all of it or what was before."""
        health = self._ask()
        said = {
            "node": self._hostname,
            "pid": os.getpid(),
            "at": self._clock.monotonic(),
            "live": health.live,
            "ready": health.ready,
            "why": health.why,
        }
        fresh = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(said) + "\n")
        fresh.replace(self._path)

    def _run(self) -> None:
        while not self._closed.wait(EVERY):
            try:
                self.write()
                self._told = False
            except OSError as error:
                if not self._told:
                    logger.warning("The file of the worker's health cannot be written. %s", error)
                self._told = True

    def close(self) -> None:
        """Write it no more, and delete it."""
        self._closed.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._path.unlink()
