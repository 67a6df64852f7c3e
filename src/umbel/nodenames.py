"""Names of nodes, and Celery's abbreviations in them and in the names of log files."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping

from umbel.exceptions import ImproperlyConfigured

#: The name of a node that is given none.
DEFAULT = "celery"


def node_format(text: str, hostname: str, index: int = 0) -> str:
    """Return a text with its abbreviations written out, for the node `hostname` (``mails@host``).

    ``%n`` is its name, ``%h`` its host, ``%d`` the host's domain and ``%p`` all of it. ``%i`` is the
    number of a child process, 0 for the main one, and ``%I`` the same with a hyphen before it, or nothing
    for the main one. Raises ImproperlyConfigured for an abbreviation that there is not.
    """
    name, _, host = hostname.rpartition("@")
    values = {"n": name or DEFAULT, "p": hostname, **_of_host(host)}
    return _written_out(text, values | {"i": str(index), "I": f"-{index}" if index else ""})


def host_format(text: str) -> str:
    """Return a node's name with its abbreviations written out.

    ``%h`` is the host, ``%n`` its first part and ``%d`` the rest, its domain. Raises ImproperlyConfigured
    for an abbreviation that there is not.
    """
    host = platform.node()
    return _written_out(text, {"n": host.partition(".")[0], **_of_host(host)})


def _of_host(host: str) -> dict[str, str]:
    return {"h": host, "d": host.partition(".")[2]}


def _written_out(text: str, values: Mapping[str, str]) -> str:
    known = {**values, "%": "%"}

    def value(match: re.Match[str]) -> str:
        found = known.get(match[1])
        if found is None:
            listed = ", ".join(f"%{code}" for code in known)
            raise ImproperlyConfigured(
                f"{text!r} has {match[0]!r}, which stands for nothing; there are {listed}."
            )
        return found

    return re.sub(r"%(.?)", value, text, flags=re.DOTALL)
