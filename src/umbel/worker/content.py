"""What a worker makes sure of before it reads anything: that it knows what it is to read, and may."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from umbel import compression, serialization
from umbel.exceptions import SecurityError, SerializerNotInstalled
from umbel.settings import Settings

try:
    import grp
except ImportError:  # pragma: no cover - Windows
    grp = None  # type: ignore[assignment]

logger = logging.getLogger("umbel.worker")

PICKLE = "application/x-python-serialize"


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as; a group without a name is None."""

    ids: Sequence[int] = ()
    groups: Sequence[str | None] = ()

    @property
    def privileged(self) -> bool:
        """Tell whether it is root, or in a group that may become root, or in one that nobody knows."""
        return 0 in self.ids or any(name in ("sudo", "wheel", None) for name in self.groups)


def this_user() -> User:
    """Return whom this process runs as; nobody in particular on a system without such ids."""
    if grp is None:  # pragma: no cover - Windows
        return User()
    groups = (_group(os.getgid()), _group(os.getegid()))
    return User((os.getuid(), os.geteuid()), groups)


def _group(number: int) -> str | None:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return None


def check_content(settings: Settings, user: User, environ: Mapping[str, str]) -> None:
    """Check the settings that say what is read and written.

    Raises ImproperlyConfigured for a serializer or a compression that is not known, or not installed and
    needed for writing, and SecurityError where root would read pickle, unless C_FORCE_ROOT is set (as in
    Celery). Warns, once, of pickle and of what is accepted and cannot be read.
    """
    for name in (settings.task_serializer, settings.result_serializer):
        serialization.serializer(name).dumps(None)
    for method in (settings.task_compression, settings.result_compression):
        if method:
            compression.compress(b"", method)
    if PICKLE in serialization.content_types(settings.accept_content):
        _check_pickle(user, environ)
    for name in settings.accept_content:
        if "/" not in name:
            _warn_if_missing(name)


def _check_pickle(user: User, environ: Mapping[str, str]) -> None:
    if user.privileged and not environ.get("C_FORCE_ROOT"):
        raise SecurityError(
            "accept_content lists pickle, and this worker would run as root or in a group that may become"
            " root: whoever can write to the broker could then run any code as root. Run the worker as"
            " another user, take pickle out of accept_content, or, if nobody else can write to the broker,"
            " set the environment variable C_FORCE_ROOT=1."
        )
    logger.warning(
        "accept_content lists pickle: whoever can write to the broker can run any code in this worker."
    )


def _warn_if_missing(name: str) -> None:
    try:
        serialization.serializer(name).dumps(None)
    except SerializerNotInstalled as error:
        logger.warning("Messages of the serializer %s become dead letters here. %s", name, error)
