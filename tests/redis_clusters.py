"""Clusters of Redis servers for tests: private ones, on free ports of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from tests.redis_servers import PrivateServer, free_port, private_server
from umbel.testing.conformance.support import until

#: Milliseconds of silence after which a server counts as dead.
NODE_TIMEOUT = 1000
#: How far from its port a server listens to the others of its cluster, and the highest port there is.
BUS, HIGHEST = 10_000, 65_535


class PrivateCluster:
    """Three masters, which share the slots evenly, and replicas of the first.

    With a `certificate` they speak TLS, with each other, too, and have ports of their own for it.
    """

    def __init__(
        self,
        masters: Sequence[PrivateServer],
        replicas: Sequence[PrivateServer],
        certificate: Path | None = None,
    ) -> None:
        self._certificate = certificate
        self.masters = masters
        self.replicas = replicas
        self._servers = (*masters, *replicas)
        self._moved: set[int] = set()
        self._form()

    @property
    def url(self) -> str:
        """The URL with all masters, to ask one after the other."""
        if self._certificate is None:
            return ";".join(server.url for server in self.masters)
        return ";".join(
            f"rediss://127.0.0.1:{self._port(server)}/0?ssl_ca_certs={self._certificate}"
            for server in self.masters
        )

    def master_of(self, prefix: str) -> PrivateServer:
        """Return the master that has the keys with a prefix, unless they were moved."""
        return self.masters[key_slot(prefix.encode()) * 3 // REDIS_CLUSTER_HASH_SLOTS]

    def prefix_at(self, master: PrivateServer, name: str = "test") -> str:
        """Return a prefix whose keys are at a master."""
        prefixes = (f"{{{name}-{number}}}:" for number in range(1000))
        return next(
            prefix
            for prefix in prefixes
            if self.master_of(prefix) is master and key_slot(prefix.encode()) not in self._moved
        )

    def move(self, slot: int, source: PrivateServer, target: PrivateServer) -> None:
        """Move a slot, which `begin_move` began to move, with all its keys."""
        while keys := command(source, "CLUSTER", "GETKEYSINSLOT", slot, 100):
            command(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for server in (target, source, *self._servers):
            command(server, "CLUSTER", "SETSLOT", slot, "NODE", identity(target))

    def begin_move(self, slot: int, source: PrivateServer, target: PrivateServer) -> None:
        """Let a slot be on its way from one master to another."""
        self._moved.add(slot)
        command(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", identity(source))
        command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", identity(target))

    def _form(self) -> None:
        # Rounded up, so that `master_of` finds the number of a master by dividing.
        bounds = [-(-REDIS_CLUSTER_HASH_SLOTS * part // 3) for part in range(4)]
        for number, server in enumerate(self._servers):
            command(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            command(server, "CLUSTER", "MEET", "127.0.0.1", self._port(self.masters[0]))
        for server, first, end in zip(self.masters, bounds, bounds[1:], strict=False):
            command(server, "CLUSTER", "ADDSLOTSRANGE", first, end - 1)
        until(lambda: all(self._is_complete(server) for server in self._servers))
        for replica in self.replicas:
            command(replica, "CLUSTER", "REPLICATE", identity(self.masters[0]))
            until(partial(self._is_known, replica))

    def _port(self, server: PrivateServer) -> int:
        """Return the port by which others know a server."""
        if self._certificate is None:
            return server.port
        _, port = command(server, "CONFIG", "GET", "tls-port")
        return int(port)

    def _is_known(self, replica: PrivateServer) -> bool:
        """Tell whether a replica has its master's data, and all know of it, who may have to vote."""
        if replica.admin.info("replication").get("master_link_status") != "up":
            return False
        return all(_knows(server, replica) for server in self._servers)

    def _is_complete(self, server: PrivateServer) -> bool:
        state = command(server, "CLUSTER", "INFO").decode()
        return {
            "cluster_state:ok",
            f"cluster_slots_ok:{REDIS_CLUSTER_HASH_SLOTS}",
            f"cluster_known_nodes:{len(self._servers)}",
        } <= set(state.splitlines())


def command(server: PrivateServer, *words: str | int | bytes) -> Any:
    """Send a command and return its answer as it comes, not as redis-py would have it."""
    pool = server.admin.connection_pool
    connection: Any = pool.connection_class(**pool.connection_kwargs)
    try:
        connection.send_command(*words)
        return connection.read_response()
    finally:
        connection.disconnect()


def identity(server: PrivateServer) -> str:
    """Return what a cluster calls a server."""
    name: bytes = command(server, "CLUSTER", "MYID")
    return name.decode()


def _knows(server: PrivateServer, replica: PrivateServer) -> bool:
    """Tell whether a server knows another one as a replica."""
    nodes = command(server, "CLUSTER", "NODES").decode().splitlines()
    return any(line.startswith(identity(replica)) and "slave" in line for line in nodes)


def role(server: PrivateServer) -> str:
    """Return whether a server is a master or a slave; nothing while it does not answer."""
    try:
        return str(server.admin.info("replication")["role"])
    except redis.RedisError:
        return ""


@contextmanager
def private_cluster(
    directory: Path, replicas: int = 0, certificate: Path | None = None
) -> Iterator[PrivateCluster]:
    """Start a cluster for tests, with so many replicas of its first master."""
    with ExitStack() as stack:
        servers = []
        for number in range(3 + replicas):
            place = directory / f"server-{number}"
            place.mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT))
            more = ("--repl-diskless-sync-delay", "0", *_by_tls(certificate))
            servers.append(stack.enter_context(private_server(place, *options, *more)))
        yield PrivateCluster(servers[:3], servers[3:], certificate)


def _by_tls(certificate: Path | None) -> tuple[str, ...]:
    """Return the options of a server that speaks TLS with everybody, at a port of its own, if it is to."""
    if certificate is None:
        return ()
    while (port := free_port()) > HIGHEST - BUS:
        pass
    files = ("--tls-cert-file", str(certificate), "--tls-key-file")
    return (
        *("--tls-port", str(port), "--tls-cluster", "yes", "--tls-auth-clients", "no"),
        *(*files, str(certificate.with_suffix(".key")), "--tls-ca-cert-file", str(certificate)),
    )
