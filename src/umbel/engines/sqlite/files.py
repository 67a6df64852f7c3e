"""The file beside SQLite: where it is, whether it is safe to use, and who has locked it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from umbel.exceptions import ImproperlyConfigured

_NETWORK_FILE_SYSTEMS = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "9p", "ncpfs", "lustre",
        "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "beegfs", "gpfs",
    }
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")
#: Where SQLite locks the right to write in the -shm file (sqlite.org/walformat.html, 2.2.1).
_WRITE_LOCK_BYTE = 120


def prepare(path: Path) -> None:
    """Make the file's directory, private to its owner, and refuse places where SQLite is not safe."""
    directory = path.parent
    try:
        if not os.path.exists(directory):
            directory.mkdir(
                mode=0o700, parents=True, exist_ok=True
            )  # another process may be faster
            if directory.name == ".umbel":
                (directory / ".gitignore").write_text("*\n")
    except OSError as error:
        text = _cannot_make(directory, str(error.strerror))
        raise ImproperlyConfigured(f"The directory {text}") from error
    _refuse(path, directory)


def problem(path: Path) -> str | None:
    """Return what `prepare` would refuse or could not make; make nothing."""
    # Not Path.exists, which raises below a directory that may not be looked into.
    existing = next(parent for parent in path.parents if os.path.exists(parent))
    if not existing.is_dir():
        return _cannot_make(path, f"{existing} is a file")
    if existing != path.parent and not os.access(existing, os.W_OK | os.X_OK):
        return _cannot_make(path, "Permission denied")
    try:
        _refuse(path, existing)
    except ImproperlyConfigured as error:
        return str(error)
    return None


def _cannot_make(place: Path, reason: str) -> str:
    return (
        f"{place} cannot be made ({reason}). Set data_dir, or UMBEL_DATA_DIR, to a directory that this"
        " process may write to."
    )


def _refuse(path: Path, directory: Path) -> None:
    """Raise ImproperlyConfigured for a network file system, and for what is not ours to write.

    The directory counts too: SQLite keeps its log beside the file.
    """
    kind = file_system(directory)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise ImproperlyConfigured(
            f"{path} is on a network file system ({kind}), on which SQLite's locks do not work between"
            " machines. Use a local disk (data_dir, or UMBEL_DATA_DIR), or a server: broker_url ="
            " 'redis://…'."
        )
    for place, needed in ((path.parent, os.W_OK | os.X_OK), (path, os.R_OK | os.W_OK)):
        if os.path.exists(place) and not os.access(place, needed):
            raise ImproperlyConfigured(_not_to_write(place))


def _not_to_write(place: Path) -> str:
    if hasattr(os, "statvfs") and os.statvfs(place).f_flag & os.ST_RDONLY:
        return (
            f"{place} is on a file system that is mounted read-only. Mount it for writing, or set data_dir,"
            " or UMBEL_DATA_DIR, to a directory that this process may write to."
        )
    return (
        f"{place} belongs to {_owner(place)} and this process{_running_as()} may not write to it."
        " Run both as the same user, or set UMBEL_DATA_DIR to another directory."
    )


def file_system(directory: Path, mounts: Path = _MOUNTS) -> str | None:
    """Return the type of the file system that holds a directory, where the system tells (Linux)."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    place = os.path.realpath(directory)
    best, kind = "", None
    for line in lines:
        left, _, right = line.partition(" - ")
        mount = left.split()[4].replace("\\040", " ")
        inside = place == mount or place.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, right.split()[0]
    return kind


def who_locks(path: Path, waited: float) -> str:
    """Return a sentence on who has locked the file for writing.

    Its pid, and whether it is stopped.
    """
    text = f"{path} was locked for more than {waited:g} s"
    pid = _lock_holder(path)
    if pid is None:
        return text + " by another process."
    if _is_stopped(pid):
        return (
            f"{text} by process {pid}, which is stopped. Continue it (kill -CONT {pid}) or end it."
        )
    return f"{text} by process {pid}."


def _lock_holder(path: Path) -> int | None:
    """Return the pid that holds the write lock, from the kernel's list of locks (Linux)."""
    try:
        inode = os.stat(f"{path}-shm").st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: POSIX  ADVISORY  WRITE 4711 fe:00:123456 120 120
        parts = line.split()
        if len(parts) >= 8 and parts[3] == "WRITE" and parts[5].endswith(f":{inode}"):
            first, last = int(parts[6]), sys.maxsize if parts[7] == "EOF" else int(parts[7])
            if first <= _WRITE_LOCK_BYTE <= last:
                return int(parts[4])
    return None


def _is_stopped(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state in "Tt"


def _running_as() -> str:
    return f", running as {_user(os.geteuid())}," if hasattr(os, "geteuid") else ""


def _owner(path: Path) -> str:
    return _user(path.stat().st_uid)


def _user(uid: int) -> str:
    try:
        import pwd  # noqa: PLC0415 - not on Windows

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"user {uid}"
