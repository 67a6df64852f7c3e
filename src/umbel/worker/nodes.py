"""The nodes of this host: each holds a lock file; whoever gets a dead node's lock takes over what it held.

One directory for each node, under one for each broker and user, in memory where the system has such
a place. It holds the lock file, which names the node's own owner of leases, and the pages of the
node's children. The kernel frees the lock when the process dies, however it dies.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from umbel.clock import SYSTEM
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.page import Page, Snapshot
from umbel.worker.processes import is_alive
from umbel.worker.slot_page import SlotPage

try:
    import fcntl
except ImportError:  # Windows has no flock; there, leases end by themselves
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("umbel.worker")

#: Seconds after which a node that is still starting is dead.
STARTING = 60.0


def runtime_directory(broker_url: str) -> Path:
    """Return the directory of this user's nodes on a broker."""
    user = os.getuid() if hasattr(os, "getuid") else os.getlogin()
    candidates = [os.environ.get("XDG_RUNTIME_DIR"), "/dev/shm", tempfile.gettempdir()]  # noqa: S108
    base = next(Path(path) for path in candidates if path and os.access(path, os.W_OK))
    digest = hashlib.sha256(broker_url.encode()).hexdigest()[:16]
    private = base / f"umbel-{user}"
    private.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and private.stat().st_uid != os.getuid():
        raise ImproperlyConfigured(f"{private} belongs to somebody else; nothing is put there.")
    return private / digest


@dataclass(frozen=True, slots=True)
class DeadNode:
    """A node whose lock was free.

    `pages` are those of its children, `owner` is its supervisor's.
    """

    directory: Path
    node: str
    owner: str
    pages: tuple[tuple[Path, Snapshot], ...]
    lock: IO[str]

    def children_alive(self) -> bool:
        """Tell whether one of its children still runs.

        It hands back by itself, or its leases end.
        """
        return any(is_alive(page.pid, page.started) for _, page in self.pages)

    def forget(self) -> None:
        """Delete its directory and let go of its lock."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.lock.close()

    def leave(self) -> None:
        """Let go of its lock, for another try later."""
        self.lock.close()


class NodeDirectory:
    """This node's place on its host."""

    def __init__(self, base: Path, node: str, name: str = "") -> None:
        """`name` is what people call the node."""
        self._base = base
        self._name = name
        self.path = base / node
        self._lock: IO[str] | None = None
        self._owner = ""

    def enter(self, owner: str) -> None:
        """Make the directory and take the lock. `owner` is the supervisor's owner of leases.

        It is empty as long as there is none; entering again changes it.
        """
        self._owner = owner
        if self._lock is not None:
            self._write(self._lock, owner)
            return
        # Made under another name first: nobody may find the directory without its lock being held.
        # Without locks there is nothing to find, and Windows renames no directory in use.
        place = self._base / f".{self.path.name}" if sys.platform != "win32" else self.path
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _locked(place / "lock", "w")
        assert self._lock is not None  # noqa: S101 - the file is new
        self._write(self._lock, owner)
        if place != self.path:
            place.rename(self.path)

    def _enter_again(self) -> None:
        """Make the place anew when somebody deleted it, as systems do when a user logs out."""
        logger.warning("The directory %s was deleted; making it again.", self.path)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.enter(self._owner)

    def _write(self, lock: IO[str], owner: str) -> None:
        lock.seek(0)
        lock.truncate()
        who = {"owner": owner, "pid": os.getpid(), "host": platform.node(), "name": self._name}
        json.dump(who, lock)
        lock.flush()

    def new_page(self, owner: str, slots: int = 0) -> Page:
        """Make the page of a child; `slots` is how many tasks it runs at a time, if it is made for that."""
        path = self.path / f"{owner}.page"
        if not slots:
            return Page.create(path)
        return SlotPage.create(path, SlotPage.capacity_for(slots))

    def dead_nodes(self) -> Iterator[DeadNode]:
        """Give every node of this host whose lock is free; the caller holds the lock then."""
        if fcntl is None:
            return
        if self._lock is not None and not self.path.exists():
            self._enter_again()
        for directory in sorted(self._base.iterdir()):
            if directory == self.path or _is_starting(directory):
                continue
            lock = _locked(directory / "lock", "r+")
            if lock is None:
                continue
            if directory.name.startswith("."):  # it died while it started, and held nothing yet
                shutil.rmtree(directory, ignore_errors=True)
                lock.close()
            else:
                yield _read_dead_node(directory, lock)

    def namesakes(self) -> list[int]:
        """Return the pids of other nodes of this host, user and broker that live and have the same name."""
        found = []
        for directory in sorted(self._base.iterdir()):
            if directory == self.path:
                continue
            try:
                who = json.loads((directory / "lock").read_text())
                pid, name = int(who["pid"]), who["name"]
            except (OSError, ValueError, TypeError, LookupError):  # it is just coming, or going
                continue
            if name == self._name and _is_held(directory / "lock"):
                found.append(pid)
        return found

    def leave(self) -> None:
        """Delete the directory and let go of the lock."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        with contextlib.suppress(OSError):  # other nodes are still there
            self._base.rmdir()


def _is_starting(directory: Path) -> bool:
    """Tell whether a node may be making this directory right now; its lock must not be touched then."""
    try:
        return (
            directory.name.startswith(".") and SYSTEM.time() - directory.stat().st_mtime < STARTING
        )
    except FileNotFoundError:  # it got its name just now
        return True


def _locked(path: Path, mode: str) -> IO[str] | None:
    """Open a file and lock it; None when it is gone or locked by another process."""
    try:
        file = path.open(mode)
    except OSError:
        return None
    if fcntl is None:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    # Whoever had it before may have deleted it between our opening and our locking.
    if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
        file.close()
        return None
    return file


def _is_held(path: Path) -> bool:
    """Tell whether a living process has this lock."""
    lock = _locked(path, "r+")
    if lock is not None:
        lock.close()
    return lock is None and path.exists()


def _read_dead_node(directory: Path, lock: IO[str]) -> DeadNode:
    try:
        owner = str(json.load(lock)["owner"])
    except (ValueError, TypeError, LookupError):  # it died while it wrote this
        owner = ""
    pages = []
    for path in directory.glob("*.page"):
        try:
            page = Page.open(path)
            with contextlib.closing(page):
                snapshot = page.read()
        except (OSError, ValueError):  # no page, or one that is torn: leases end by themselves
            continue
        if snapshot is not None:
            pages.append((path, snapshot))
    return DeadNode(directory, directory.name, owner, tuple(pages), lock)
