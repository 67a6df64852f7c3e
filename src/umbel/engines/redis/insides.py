"""What umbel needs from inside redis-py, where that promises nothing: all of it is here.

The names are the same in every version that the extra in pyproject.toml allows, with hiredis and without.
"""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from sys import getsizeof
from typing import Any

import redis

#: Characters of a text that is sent as a piece of its own.
LONG = 16_384

_pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import pack_command as _pack
except ImportError:  # it comes with the extra, but the engine works without
    _pack = None
    _kind: Any = redis.Connection
    _packer = _kind()  # it need not be open to write commands


def reader_of(connection: Any) -> Any:
    """Return the reader of hiredis by which an open connection reads; None where it does without."""
    found = getattr(connection._parser, "_reader", None)
    return found if hasattr(found, "gets") and hasattr(found, "feed") else None


def packed(*command: Any) -> bytes:
    """Return a command as it is sent. redis-py's own way to hiredis takes three times as long."""
    return b"".join(_packer.pack_command(*command)) if _pack is None else _pack(command)


def in_pieces(*command: Any) -> list[bytes]:
    """Return a command as it is sent, in pieces: texts that are long, as of long chains, are not copied.

    New memory of their size costs more than all else that is done with them. redis-py's own packer takes what
    is first for the name of a command, so without hiredis it has all of it at once.
    """
    # No text is longer than what all of them take together, which is soon known.
    if _pack is None or sum(map(getsizeof, command)) < LONG:
        return [packed(*command)]
    if not [one for one in command if type(one) is str and len(one) >= LONG]:
        return [packed(*command)]
    pieces, short = [b"*%d\r\n" % len(command)], list[Any]()
    for one in command:
        if type(one) is str and len(one) >= LONG:
            data = one.encode()
            pieces += (as_values(*short), b"$%d\r\n" % len(data), data, b"\r\n")
            short = []
        else:
            short.append(one)
    return [*pieces, as_values(*short)] if short else pieces


def as_values(*values: Any) -> bytes:
    """Return values as they are sent within a command."""
    if not values:
        return b""
    if _pack is None:  # redis-py takes what is first apart at its blanks
        return packed("-", *values).split(b"\r\n", 3)[3]
    return _pack(values).partition(b"\r\n")[2]


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


def tls_options() -> frozenset[str]:
    """Return what a connection that is encrypted may be given for that."""
    known = inspect.signature(redis.SSLConnection.__init__).parameters
    return frozenset(name for name in known if name.startswith("ssl_"))
