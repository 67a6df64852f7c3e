"""What is worth saying about a server when a worker starts."""

from __future__ import annotations

import re

from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.ports import Spare

#: The oldest Redis that has all commands that umbel uses.
OLDEST = (6, 2)
#: Seconds that looking may take: a worker starts without.
LIMIT = 1.0


def server_warnings(server: Server) -> list[str]:
    """Return a sentence for each property of a server that endangers what is stored there.

    A server that cannot be reached, or does not allow the question, has none.
    """
    try:
        memory, about, copies = server.calls(
            [("INFO", "memory"), ("INFO", "server"), ("INFO", "replication")], timeout=LIMIT
        )
    except OperationalError:
        return []
    found = []
    policy = _field(memory, "maxmemory_policy")
    if policy not in ("", "noeviction"):
        found.append(
            f"Redis at {server.address.place} deletes keys when its memory is full (maxmemory-policy is"
            f" {policy}): tasks and results may vanish. Set maxmemory-policy to noeviction there."
        )
    version = _field(about, "redis_version")
    if version and tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST:
        found.append(
            f"Redis at {server.address.place} is version {version}, and umbel needs 6.2 or later, or Valkey."
        )
    wanted, there = server.address.wait_replicas, int(_field(copies, "connected_slaves") or 0)
    if there < wanted:
        found.append(
            f"Redis at {server.address.place} has {there} of the {wanted} replicas that wait_replicas asks"
            " for: calls wait for them, and fail."
        )
    return found


def spare_connections(server: Server) -> Spare | None:
    """Return how many connections more the server takes; None where it does not say."""
    try:
        [clients] = server.calls([("INFO", "clients")], timeout=LIMIT)
    except OperationalError:
        return None
    most, used = _field(clients, "maxclients"), _field(clients, "connected_clients")
    if not (most.isdecimal() and used.isdecimal()):
        return None
    # The one that asks goes on to be used.
    left = int(most) - int(used) + 1
    return Spare(f"Redis at {server.address.place}", left, f"maxclients is {most}")


def _field(info: bytes, name: str) -> str:
    """Return a field of what INFO answers."""
    found = re.search(rf"^{name}:(.*?)\s*$", info.decode("utf-8", "replace"), re.MULTILINE)
    return found[1] if found is not None else ""
