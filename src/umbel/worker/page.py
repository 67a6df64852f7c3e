"""A page of memory that a child shares with its supervisor: what it holds, what runs, and a fence.

Writing to it costs a child no system call and no message. When the child is dead, or stuck in C
code that keeps the interpreter lock, the supervisor reads from it which deliveries were waiting,
running or finished.

The page is a file, so that whoever takes over a dead node can read it too. Only the child writes
it, except for the fence: the supervisor writes there the number of the batch of which, and of those
before it, the child may start nothing more. A child first says "running" and then looks at the
fence; the supervisor first sets the fence, waits a moment, and then reads the states. So of any
delivery at least one of the two knows that the other has it.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from pathlib import Path
from typing import Self

#: Most deliveries that a child holds at a time which runs one after the other; see slot_page.py for others.
CAPACITY = 512
KEY_SIZE = 40
#: Stands for the number of deliveries where each has a place for itself.
EACH = -1

_IDENTITY = struct.Struct("<16sqd48s")  # format, pid, start of the process, owner id
_NUMBER = struct.Struct("<q")
_MOMENT = struct.Struct("<d")
_KEY = struct.Struct(f"{KEY_SIZE}s")
_BATCH = struct.Struct("<qq")  # number of the batch, deliveries in it
_CLOCK = struct.Struct("<ddd")  # start of the running one, its soft and its hard deadline
_FORMAT = b"umbel page 1"

_FORMER_AT, _OWNER_SIZE = 80, 48
_FENCE_AT = 128
_BATCH_AT = 136
_CAPACITY_AT = 152
_CLOCK_AT = 160
_HARD_AT = 176
_REVOCATIONS_AT = 184
_BEAT_AT = 192
_CONTACT_AT = 200
_CONDEMNED_AT = 208
_SIGNUM_AT = 248
_STATES_AT = 256


def size_of(capacity: int) -> int:
    """Return the bytes of a page: head, and of each delivery its state, its key and its clock."""
    return _STATES_AT + capacity * (1 + KEY_SIZE + _CLOCK.size)


SIZE = size_of(CAPACITY)


class Held(IntEnum):
    """What a child is doing with a delivery it holds."""

    GONE = 0
    WAITING = 1
    RUNNING = 2
    FINISHED = 3


#: What a child writes for each task. To look up a member of an enumeration takes ten times as long.
GONE, WAITING, RUNNING, FINISHED = map(int, Held)
_ALL_WAITING = bytes([WAITING]) * CAPACITY


@dataclass(frozen=True, slots=True)
class Course:
    """When a delivery that runs started, and its deadlines, by the monotonic clock; 0 where it has none."""

    since: float
    soft_deadline: float = 0.0
    hard_deadline: float = 0.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a page said at one moment. Times are of the system-wide monotonic clock.

    `running_since` and the deadlines are those of the delivery that was started last; `courses` has those of
    each that runs, in a child that runs several at a time.
    """

    pid: int
    started: float
    owner: str
    batch: int
    held: dict[str, Held]
    running_since: float
    soft_deadline: float
    hard_deadline: float
    heartbeat: float
    contact: float = 0.0
    stopped: bool = False
    courses: Mapping[str, Course] = field(default_factory=dict)
    #: The key of what exceeded its hard time limit, or was revoked, for which the child is killed; or empty.
    condemned: str = ""
    #: The number of the signal by which the child ended itself for that, since it was revoked; or 0.
    signum: int = 0
    #: The id of another owner that the child was, and from which it may not have taken everything over yet.
    former: str = ""

    def blameless(self) -> Snapshot:
        """Return the same with what runs as if it had ended: the process was stopped.

        Nothing of it caused the process to die.
        """
        held: dict[str, Held] = {
            key: Held.FINISHED if state is Held.RUNNING else state
            for key, state in self.held.items()
        }
        return replace(self, held=held, stopped=True)

    def blamed(self) -> Snapshot:
        """Return the same with what had ended as if it still ran, unless the process died of something else.

        It may have died of what a task had left behind: a timer, a thread, a damaged memory. It has not where
        it was stopped or condemned, nor, most likely, where another one ran, alone.
        """
        runs_alone = Held.RUNNING in self.held.values() and not self.courses
        if self.stopped or self.condemned or runs_alone:
            return self
        held: dict[str, Held] = {
            key: Held.RUNNING if state is Held.FINISHED else state
            for key, state in self.held.items()
        }
        return replace(self, held=held)

    def deadline_of(self, key: str) -> float:
        """Return the hard deadline of what runs; 0.0 where it has none."""
        if not self.courses:
            return self.hard_deadline
        return self.courses[key].hard_deadline if key in self.courses else 0.0

    def was_terminated(self, key: str) -> bool:
        """Tell whether the child ended itself for something that was revoked."""
        return bool(self.signum) and key == self.condemned

    def is_late(self, key: str, now: float) -> bool:
        """Tell whether something runs that should have ended by now."""
        return self.held.get(key) is Held.RUNNING and 0.0 < self.deadline_of(key) <= now

    def late(self, now: float) -> str:
        """Return the key of what should have ended by now, the last one of several; or nothing."""
        found = [key for key in self.keys(Held.RUNNING) if self.is_late(key, now)]
        return max(found, key=self.deadline_of, default="")

    def was_late(self, key: str) -> bool:
        """Tell whether the child was condemned for something, or for what had to end after it."""
        if not self.condemned or self.signum:
            return False
        return key == self.condemned or self.is_late(key, self.deadline_of(self.condemned))

    def keys(self, state: Held) -> list[str]:
        """Return the keys of the deliveries in a state."""
        return [key for key, found in self.held.items() if found is state]


@dataclass(frozen=True, slots=True)
class Glance:
    """What a page says in numbers: it costs little, however many deliveries a child holds."""

    batch: int
    held: int
    waiting: int
    running: int
    running_since: float


class Page:
    """One child's page; `create` it in the supervisor, `open` it in the child."""

    #: Seconds that the child has after a hard deadline to see to it by itself.
    patience = 0.0

    def __init__(self, path: Path, memory: mmap.mmap) -> None:
        self.path = path
        self._memory = memory
        self._batch = 0
        (self.capacity,) = _NUMBER.unpack_from(memory, _CAPACITY_AT)
        self._keys_at = _STATES_AT + self.capacity
        self._clocks_at = self._keys_at + self.capacity * KEY_SIZE

    @classmethod
    def create(cls, path: Path, capacity: int = CAPACITY) -> Self:
        """Make the file, readable only by its owner. Raises OSError and leaves nothing."""
        size = size_of(capacity)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(
                    descriptor, 0, size
                )  # a full disk shows here, not as SIGBUS later
            else:
                os.ftruncate(descriptor, size)
            return cls._new(path, mmap.mmap(descriptor, size), capacity)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    @classmethod
    def private(cls, capacity: int = CAPACITY) -> Self:
        """Make one without a file, for a child that shares its process with who reads it."""
        return cls._new(Path(), mmap.mmap(-1, size_of(capacity)), capacity)

    @classmethod
    def _new(cls, path: Path, memory: mmap.mmap, capacity: int) -> Self:
        _NUMBER.pack_into(memory, _CAPACITY_AT, capacity)
        return cls(path, memory)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Map an existing file. Raises OSError or ValueError when it is not a page."""
        descriptor = os.open(path, os.O_RDWR)
        try:
            memory = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        size = len(memory)
        if size < _STATES_AT or size != size_of(_NUMBER.unpack_from(memory, _CAPACITY_AT)[0]):
            memory.close()
            raise ValueError(f"{path} is no page of a child: it has {size} bytes.")
        return cls(path, memory)

    # The child's side

    def identify(self, pid: int, started: float, owner: str) -> None:
        """Say whose page this is."""
        _IDENTITY.pack_into(self._memory, 0, _FORMAT, pid, started, owner.encode())

    def succeed(self, former: str) -> None:
        """Say which owner it was, while that may hold something still; empty when it holds nothing more."""
        name = former.encode().ljust(_OWNER_SIZE, b"\0")
        self._memory[_FORMER_AT : _FORMER_AT + _OWNER_SIZE] = name

    def load(self, keys: Sequence[str]) -> None:
        """Begin a batch: these deliveries are held and wait."""
        memory, count = self._memory, len(keys)
        # With the number of deliveries at 0 a reader sees an empty batch, never half of this one.
        _BATCH.pack_into(memory, _BATCH_AT, self._batch, 0)
        self._batch += 1
        memory[_STATES_AT : _STATES_AT + count] = _ALL_WAITING[:count]
        packed = b"".join([_KEY.pack(key.encode()) for key in keys])
        memory[self._keys_at : self._keys_at + len(packed)] = packed
        _BATCH.pack_into(memory, _BATCH_AT, self._batch, count)

    def start(self, index: int, now: float, soft: float = 0.0, hard: float = 0.0) -> bool:
        """Say that a delivery starts; False when the batch is fenced and it may not."""
        memory, place = self._memory, _STATES_AT + index
        _CLOCK.pack_into(memory, _CLOCK_AT, now, soft, hard)
        memory[place] = RUNNING
        if _NUMBER.unpack_from(memory, _FENCE_AT)[0] == self._batch:
            memory[place] = WAITING
            return False
        return True

    def lift(self, index: int) -> str:
        """Say that a delivery has ended; return the key of what had to end sooner, if any."""
        struct.pack_into("<d", self._memory, _HARD_AT, 0.0)
        return self.condemned

    def finish(self, index: int) -> None:
        """Say that a delivery ran to its end; it is not settled yet."""
        self._memory[_STATES_AT + index] = FINISHED

    def drop(self, index: int) -> None:
        """Say that a delivery is held no more."""
        self._memory[_STATES_AT + index] = GONE

    def clear(self) -> None:
        """Say that nothing is held."""
        _BATCH.pack_into(self._memory, _BATCH_AT, self._batch, 0)

    def terminate(self, key: str, signum: int) -> None:
        """Say that the child ends itself by a signal, for what has this key and is revoked."""
        _NUMBER.pack_into(self._memory, _SIGNUM_AT, signum)
        self.condemn(key)

    @property
    def revocations(self) -> int:
        """The version of what is revoked, as the supervisor has heard; 0 for nothing."""
        (found,) = _NUMBER.unpack_from(self._memory, _REVOCATIONS_AT)
        return int(found)

    def beat(self, now: float) -> None:
        """Say that the child is alive."""
        _MOMENT.pack_into(self._memory, _BEAT_AT, now)

    def touch(self, now: float) -> None:
        """Say that the broker has answered the child."""
        _MOMENT.pack_into(self._memory, _CONTACT_AT, now)

    # The supervisor's side

    def fence(self, batch: int) -> None:
        """Forbid the child to start anything more of a batch."""
        _NUMBER.pack_into(self._memory, _FENCE_AT, batch)

    def tell_revocations(self, version: int) -> None:
        """Say up to which version something is revoked."""
        _NUMBER.pack_into(self._memory, _REVOCATIONS_AT, version)

    @property
    def hard_deadline(self) -> float:
        """When what runs must have ended, the first of several, about; 0.0 for no such time."""
        (found,) = struct.unpack_from("<d", self._memory, _HARD_AT)
        return float(found)

    @property
    def condemned(self) -> str:
        """The key of what exceeded its limit, or was revoked, for which the child is killed; or empty."""
        return self._memory[_CONDEMNED_AT : _CONDEMNED_AT + KEY_SIZE].rstrip(b"\0").decode()

    def condemn(self, key: str) -> None:
        """Say that the child is killed for what has this key."""
        self._memory[_CONDEMNED_AT : _CONDEMNED_AT + KEY_SIZE] = key.encode().ljust(KEY_SIZE, b"\0")

    def pardon(self) -> None:
        """Say that it is not."""
        self.condemn("")

    def read(self) -> Snapshot | None:
        """Return what the page says; None when the child has not identified itself yet."""
        form, pid, started, owner = _IDENTITY.unpack_from(self._memory, 0)
        if form.rstrip(b"\0") != _FORMAT:
            return None
        batch, states, keys, clocks = self._read_batch()
        held, courses = {}, {}
        for i, state in enumerate(states):
            if state != Held.GONE:
                key = keys[i * KEY_SIZE : (i + 1) * KEY_SIZE].rstrip(b"\0").decode()
                held[key] = Held(state)
                if clocks and state == Held.RUNNING:
                    courses[key] = Course(*_CLOCK.unpack_from(clocks, i * _CLOCK.size))
        since, soft, hard = _CLOCK.unpack_from(self._memory, _CLOCK_AT)
        beat, contact = struct.unpack_from("<dd", self._memory, _BEAT_AT)
        name = owner.rstrip(b"\0").decode()
        return Snapshot(
            *(pid, started, name, batch, held, since, soft, hard, beat, contact),
            courses=courses,
            condemned=self.condemned,
            signum=_NUMBER.unpack_from(self._memory, _SIGNUM_AT)[0],
            former=self._former,
        )

    @property
    def _former(self) -> str:
        return self._memory[_FORMER_AT : _FORMER_AT + _OWNER_SIZE].rstrip(b"\0").decode()

    def glance(self) -> Glance:
        """Return what a supervisor asks for all the time."""
        batch, count = _BATCH.unpack_from(self._memory, _BATCH_AT)
        places = self.capacity if count == EACH else count
        states = self._memory[_STATES_AT : _STATES_AT + places]
        (since,) = struct.unpack_from("<d", self._memory, _CLOCK_AT)
        return Glance(
            batch,
            places - states.count(Held.GONE),
            states.count(Held.WAITING),
            states.count(Held.RUNNING),
            since,
        )

    def _read_batch(self) -> tuple[int, bytes, bytes, bytes]:
        """Return number, states, keys and clocks of one batch, and never of two that follow each other.

        Of pages whose places are not filled in batches (slot_page.py) there are clocks.
        """
        while True:
            batch, count = _BATCH.unpack_from(self._memory, _BATCH_AT)
            many = count == EACH
            places = self.capacity if many else count
            states = self._memory[_STATES_AT : _STATES_AT + places]
            keys = self._memory[self._keys_at : self._keys_at + places * KEY_SIZE]
            clocks = self._memory[self._clocks_at :] if many else b""
            if _BATCH.unpack_from(self._memory, _BATCH_AT) == (batch, count):
                return batch, states, keys, clocks

    def close(self) -> None:
        """Unmap the page; the file stays."""
        self._memory.close()

    def remove(self) -> None:
        """Unmap the page and delete its file."""
        self.close()
        self.path.unlink(missing_ok=True)
