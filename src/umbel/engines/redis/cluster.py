"""Redis Cluster: which server has our keys.

A cluster spreads keys over its servers by slots, and a key's slot is that of its hash tag, what stands in
braces: all keys that begin with ``{shop}:`` are in one slot, so on one server, where every script is as
atomic as on a server of its own. That server is looked for with each new connection, as a Sentinel's master
is; a server that is no cluster is used as it is.
"""

from __future__ import annotations

from typing import Any

from redis import exceptions as theirs
from redis.crc import key_slot

_QUESTIONS = (("CLUSTER", "SLOTS"), ("CLUSTER", "MYID"), ("CLUSTER", "INFO"))
#: What a server says that does not know its own address, or the name of another one.
_NAMELESS = ("", "?")


def slot_of(prefix: str) -> int | None:
    """Return the slot of all keys with a prefix; None for one without a hash tag: they are in many."""
    start = prefix.find("{")
    end = prefix.find("}", start + 1)
    return key_slot(prefix.encode()) if 0 <= start < end - 1 else None


def place_of(slot: int, connection: Any, host: str) -> tuple[str, int] | None:
    """Ask the server at a host where a slot is; None where it is there, or is not part of a cluster.

    Raises an error of redis-py's; a cluster that is down, by what this server sees, is one.
    """
    connection.send_packed_command(connection.pack_commands(_QUESTIONS))
    slots, me, state = (_answer(connection) for _ in _QUESTIONS)
    if any(isinstance(answer, Exception) for answer in (slots, me, state)):
        return None
    if b"cluster_state:ok" not in state:
        raise theirs.ClusterDownError("The server sees too few of the others")
    for first, last, master, *_ in slots:
        if first <= slot <= last:
            name = _text(master[0])
            there = host if name in _NAMELESS else name
            return None if master[2] == me else (there, int(master[1]))
    raise theirs.ClusterDownError("Hash slot not served")


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except theirs.ResponseError as error:
        return error


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
