"""How a worker's process, or beat's, stands in the system: in the background, as whom, with which mask.

What the command line says is done before the app is imported, so that none of its code runs with the
rights of before. What settings say cannot be known before that.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import node_format
from umbel.settings import Settings
from umbel.worker.processes import is_alive

try:
    import grp
    import pwd
except ImportError:  # Windows
    grp = pwd = None  # type: ignore[assignment]

#: The pid of who has gone to the background: whoever starts the program again in it stays there.
DETACHED = "UMBEL_DETACHED"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is wanted; None leaves it as it is. `umask` is an octal number, the others may be names."""

    detach: bool = False
    uid: str | None = None
    gid: str | None = None
    umask: str | None = None
    pidfile: str | None = None


def run_as(standing: Standing, hostname: str, logfile: str | None, run: Callable[[], int]) -> int:
    """Run a worker as it is wanted; return its exit code, 0 in the process that stays in the foreground.

    Raises ImproperlyConfigured where the system does not allow it.
    """
    if standing.umask is not None:
        os.umask(_mask(standing.umask))
    become(standing.uid, standing.gid)
    pidfile = None
    if standing.pidfile is not None:
        pidfile = Path(node_format(standing.pidfile, hostname)).absolute()
        check_pidfile(pidfile)  # who waits in the foreground shall hear of it
    if standing.detach and os.environ.get(DETACHED) != str(os.getpid()):
        log = None if logfile is None else Path(node_format(logfile, hostname))
        if not _to_background(log):
            return 0
    with contextlib.nullcontext() if pidfile is None else written(pidfile):
        return run()


def stand_as(settings: Settings, of: str = "worker", given: Standing | None = None) -> None:
    """Do what the settings of a ``worker`` or ``beat`` say of user, group and mask, but for what is `given`.

    Raises ImproperlyConfigured where the system does not allow it.
    """
    mask, user, group = (getattr(settings, f"{of}_{name}") for name in ("umask", "uid", "gid"))
    if mask is not None and (given is None or given.umask is None):
        os.umask(_mask(mask))
    if given is None or (given.uid is None and given.gid is None):
        become(None if user is None else str(user), None if group is None else str(group))


def pidfile_of(
    settings: Settings, hostname: str, of: str = "worker"
) -> contextlib.AbstractContextManager[None]:
    """Have this process's pid in the file that settings name, if any, during a block."""
    path = getattr(settings, f"{of}_pidfile")
    if not path:
        return contextlib.nullcontext()
    return written(Path(node_format(path, hostname)).absolute())


def _mask(given: object) -> int:
    """Return a mask that was given as a number or as octal digits."""
    try:
        mask = given if isinstance(given, int) else int(str(given), 8)
    except ValueError:
        mask = -1
    if not 0 <= mask <= 0o777:
        raise ImproperlyConfigured(
            f"--umask, or beat_umask or worker_umask, is {given!r}, which is no octal number such as 022."
        )
    return mask


def become(uid: str | None, gid: str | None) -> None:
    """Take on a user, with all its groups, and a group, which is the user's own if none is named.

    Raises ImproperlyConfigured for those that there are not, or that this process may not become.
    """
    if uid is None and gid is None:
        return
    user = None if uid is None else _user(uid)
    group = _group(gid) if gid is not None else user.pw_gid if user is not None else os.getgid()
    number = os.geteuid() if user is None else user.pw_uid
    if (os.getuid(), os.getgid()) == (os.geteuid(), os.getegid()) == (number, group):
        return
    try:
        if user is not None:
            os.initgroups(user.pw_name, group)
        os.setgid(group)
        os.setuid(number)
    except PermissionError as error:
        raise ImproperlyConfigured(
            f"--uid {uid}, --gid {gid}, or settings like worker_uid: only root may become somebody else."
            " Start it as root, or as that user."
        ) from error


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise ImproperlyConfigured(
            f"--uid {name} (or a setting like worker_uid): there is no such user."
        ) from None


def _group(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise ImproperlyConfigured(
            f"--gid {name} (or a setting like worker_gid): there is no such group."
        ) from None


def _to_background(log: Path | None) -> bool:
    """Go on in a process without a terminal; False in the one that stays. What is said goes to `log`."""
    if not hasattr(os, "fork"):
        raise ImproperlyConfigured("This system cannot fork, so there is no --detach.")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        out = os.open(log or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        raise ImproperlyConfigured(f"{log} cannot be written: {error.strerror}.") from error
    first = os.fork()
    if first:
        os.close(out)
        os.waitpid(first, 0)
        return False
    os.setsid()
    if os.fork():  # who leads a session might be given a terminal again
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, source in ((0, nothing), (1, out), (2, out)):
        os.dup2(source, number)
    os.environ[DETACHED] = str(os.getpid())
    return True


def check_pidfile(path: Path) -> None:
    """Raise ImproperlyConfigured if the file has the pid of another process that lives."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ImproperlyConfigured(f"--pidfile {path} cannot be read: {error.strerror}.") from error
    if not text.strip().isdigit():
        raise ImproperlyConfigured(
            f"--pidfile {path} exists and holds no pid, so it is left as it is. Delete it, or name another."
        )
    pid = int(text)
    if pid != os.getpid() and is_alive(pid, 0.0):
        raise ImproperlyConfigured(f"--pidfile {path}: the process {pid} runs already.")


@contextlib.contextmanager
def written(path: Path) -> Iterator[None]:
    """Have this process's pid in a file during this block. Raises as `check_pidfile` does."""
    check_pidfile(path)
    pid = os.getpid()
    try:
        fresh = path.with_name(f".{path.name}.{pid}")
        fresh.write_text(f"{pid}\n")
        fresh.replace(path)
    except OSError as error:
        raise ImproperlyConfigured(
            f"--pidfile {path} cannot be written: {error.strerror}."
        ) from error
    try:
        yield
    finally:
        if os.getpid() == pid:
            with contextlib.suppress(OSError):
                path.unlink()
