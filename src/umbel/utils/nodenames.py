"""What Celery has in ``celery.utils.nodenames``: the names of workers, ``name@host``."""

from __future__ import annotations

import os
import platform
import threading

from umbel.entities import worker_direct
from umbel.nodenames import DEFAULT, host_format, node_format

__all__ = [
    "anon_nodename",
    "default_nodename",
    "gethostname",
    "host_format",
    "node_format",
    "nodename",
    "nodesplit",
    "worker_direct",
]


def gethostname() -> str:
    """Return the name of this machine."""
    return platform.node()


def nodename(name: str | None, hostname: str) -> str:
    """Return the name of a node on a host."""
    return f"{name or DEFAULT}@{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return a name for this thread, which is no worker."""
    return nodename(f"{prefix}{os.getpid()}@{threading.get_native_id()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[str | None, str]:
    """Return the name and the host of a node; a name without ``@`` is the host's."""
    first, at, host = name.partition("@")
    return (first, host) if at else (None, first)


def default_nodename(hostname: str | None) -> str:
    """Return a node's whole name; what is not given is the default."""
    name, host = nodesplit(hostname or "")
    return nodename(name or DEFAULT, host or gethostname())
