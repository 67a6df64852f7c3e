"""What umbel needs from inside redis-py, where that promises nothing: all of it is here.

The names are the same in every version that the extra in pyproject.toml allows, with hiredis and without.
"""

from __future__ import annotations

import inspect
import socket
from typing import Any

import redis


def socket_of(connection: Any) -> socket.socket | None:
    """Return a connection's socket, to wait for several at a time; None when it is closed."""
    found: socket.socket | None = connection._sock
    return found


def set_limit(connection: Any, seconds: float) -> None:
    """Set how long the server may be silent, also on what is open.

    redis-py takes the limit over when it connects, and its parsers set that on the socket after some
    reads: hiredis has it by one name, the parser in Python by another.
    """
    connection.socket_timeout = seconds
    sock = socket_of(connection)
    if sock is None:
        return
    sock.settimeout(seconds)
    parser = connection._parser
    if hasattr(parser, "_socket_timeout"):
        parser._socket_timeout = seconds
    elif hasattr(parser, "_buffer"):
        parser._buffer.socket_timeout = seconds


def silence() -> dict[str, Any]:
    """Return what keeps redis-py from telling each new connection its name: two round trips."""
    known = inspect.signature(redis.connection.AbstractConnection.__init__).parameters
    if "driver_info" in known:
        return {"driver_info": None}
    return {"lib_name": None, "lib_version": None}
