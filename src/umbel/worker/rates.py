"""Rate limits: how many calls of a task a node may start in a time.

The children of a node share what is left of a rate: one small file for each task in the node's directory,
under a lock of the system's. Tasks without a rate limit cost nothing.

A call beyond the rate is sent again in the step that settles it, due when its turn comes, and marked with
that turn. So it occupies neither a child nor memory, and other tasks of its queue go on. A file holds two
moments: before the first no call may start (`_Rate.free`), and the second is the next turn that nobody has
(`_Rate.turn`). Calls without a turn queue up behind all turns; so calls keep their order as far as the broker
keeps it. Brokers return what is due in clumps; so calls with a turn may be ahead of the rate, by no more than
`SLACK`. A turn that another node gave, or one long past because no worker ran, is therefore no right to
start: a call that comes too soon gets another turn.

A message that was delivered before is not sent again, since a new one would not know of that, nor of the
processes that died of it. It is parked until the next call may start, and needs no turn.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from umbel.clock import Clock
from umbel.message import Message
from umbel.worker.outcome import Job, NotDue, Postponed, Prepared

try:
    import fcntl
except ImportError:  # Windows, where a node is one process
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("umbel.worker")

#: Seconds by which calls with a turn may be ahead of the rate.
SLACK = 1.0

#: The header of ours that says when a message has its turn.
TURN = "rate_limit_turn"

_RATE = struct.Struct("<dd")


def turn_of(message: Message) -> float:
    """Return when a message that was over its task's rate limit had its turn; 0.0 where it was not."""
    found = message.headers.get(TURN)
    return float(found) if isinstance(found, float | int) and 0 < found < math.inf else 0.0


def given_turn(message: Message, turn: float) -> Message:
    """Return a message with its turn, in a header of ours."""
    return replace(message, headers={**message.headers, TURN: turn})


@dataclass(slots=True)
class _Rate:
    """What is left of one task's rate: two moments, in seconds since the epoch."""

    free: float = 0.0
    turn: float = 0.0

    def admit(self, interval: float, turn: float, now: float) -> float:
        """Let a call start, which has a turn or 0.0: then return 0.0, else the turn that it gets."""
        # Further ahead it can only be because the clock was set back.
        self.free = min(self.free, now + SLACK + interval)
        if self.free <= now + (SLACK if turn else 0.0) and (turn or self.turn <= now):
            self.free = max(self.free, now) + interval
            self.turn = max(self.turn, self.free)
            return 0.0
        given = max(self.turn, self.free, now)
        self.turn = given + interval
        return given


class Rates:
    """What is left of the rates of all tasks, for one process of a node.

    Without a `directory` it is shared by nobody but the threads of this process.
    """

    def __init__(self, clock: Clock, directory: Path | None = None) -> None:
        self._clock = clock
        self._directory = directory
        self._lock = threading.Lock()
        self._own: dict[str, _Rate] = {}
        self._files: dict[str, int] = {}

    def admit(self, prepared: Prepared) -> Prepared:
        """Return a delivery as it is, or postponed where its task's rate says so."""
        job, policy = prepared.work, prepared.policy
        if policy is None or not policy.rate or not isinstance(job, Job):
            return prepared
        delivery, now = prepared.delivery, self._clock.time()
        again = delivery.redelivered or delivery.crashes > 0
        turn = turn_of(delivery.message) or (now if again else 0.0)
        with self._lock, self._rate(job.task.name) as rate:
            given = rate.admit(1.0 / policy.rate, turn, now)
            if given and again:  # it needs none
                rate.turn, given = given, rate.free
        if not given:
            return prepared
        return Prepared(
            delivery, NotDue(given) if again else Postponed(given), prepared.call, policy
        )

    @contextlib.contextmanager
    def _rate(self, name: str) -> Iterator[_Rate]:
        file = None if self._directory is None else self._file(name, self._directory)
        if file is None or fcntl is None:
            yield self._own.setdefault(name, _Rate())
            return
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            found = os.pread(file, _RATE.size, 0)
            rate = _Rate(*_RATE.unpack(found)) if len(found) == _RATE.size else _Rate()
            yield rate
            os.pwrite(file, _RATE.pack(rate.free, rate.turn), 0)
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _file(self, name: str, directory: Path) -> int | None:
        """Return the number of the open file of a rate; None where it cannot be had."""
        found = self._files.get(name)
        if found is not None:
            return found
        path = directory / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.rate"
        try:
            file = self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:  # somebody deleted the directory, or the disk is full
            text = "Children do not share the rate limit of %s, since its file cannot be opened: %s"
            if name not in self._own:
                logger.warning(text, name, error)
            return None
        return file

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])
