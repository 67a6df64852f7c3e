"""Ways to a server: TLS, a socket, sentinels; and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.certificates import certificate_for_this_machine
from tests.redis_servers import PrivateServer, free_port, private_server
from umbel.engines import open_engine
from umbel.engines.redis import RedisEngine
from umbel.engines.redis.server import Server
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import at_most, until

pytestmark = pytest.mark.engine

StartServer = Callable[..., PrivateServer]


def ping(url: str, **options: Any) -> bytes:
    with closing(Server(url, options)) as server:
        answer: bytes = server.call("PING")
        return answer


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certificate_for_this_machine(tmp_path)


@pytest.fixture
def tls_port(start_server: StartServer, certificate: Path) -> int:
    """A server that speaks TLS on a port of its own."""
    server = start_server()
    settings = {
        "tls-cert-file": str(certificate),
        "tls-key-file": str(certificate.with_suffix(".key")),
        "tls-auth-clients": "no",
    }
    for name, value in settings.items():
        server.admin.config_set(name, value)

    def listens() -> int:
        port = free_port()
        try:
            server.admin.config_set("tls-port", port)
        except redis.ResponseError:  # somebody else has taken the port
            return 0
        return port

    return until(listens)


def test_a_certificate_is_checked_against_the_authority(tls_port: int, certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    assert ping(f"{url}?ssl_ca_certs={certificate}") == b"PONG"
    assert ping(url, ssl={"ssl_ca_certs": str(certificate)}) == b"PONG"
    with pytest.raises(OperationalError, match="cannot be trusted"):
        ping(url)


def test_a_name_is_checked_against_the_certificate(tls_port: int, certificate: Path) -> None:
    url = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate}"
    with pytest.raises(OperationalError, match="cannot be trusted"):
        ping(url)
    assert ping(f"{url}&ssl_check_hostname=false") == b"PONG"


def test_nothing_is_checked_where_that_is_wanted(tls_port: int) -> None:
    assert ping(f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=CERT_NONE") == b"PONG"


# Sockets, sentinels, and several


def test_a_socket_is_connected_to(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    start_server("--unixsocket", str(path))
    assert ping(f"redis+socket://{path}?virtual_host=1") == b"PONG"
    path.unlink()
    with pytest.raises(OperationalError, match="cannot be reached"):
        ping(f"unix://{path}")


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_the_next_of_several_servers_is_used(private: PrivateServer, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:1/0;{scheme}://127.0.0.1:{private.port}/0"
    with closing(open_engine(url)) as engine:
        assert isinstance(engine, RedisEngine)
        assert engine.state.put_new("kind", "key", "1")


def test_the_next_of_several_servers_is_used_while_the_first_is_frozen(
    private: PrivateServer, start_server: StartServer
) -> None:
    other = start_server()
    private.freeze()
    with closing(Server(f"{private.url};{other.url}", {"socket_timeout": 1.0})) as server:
        with at_most(1.0):
            assert server.call("PING") == b"PONG"
        private.thaw()
        assert server.call("CONFIG", "GET", "port")[1] == str(other.port).encode()


def test_the_master_is_found_by_sentinels_also_after_a_failover(
    start_server: StartServer, tmp_path: Path
) -> None:
    first = start_server("--repl-diskless-sync-delay", "0")
    second = start_server("--replicaof", "127.0.0.1", str(first.port))
    until(lambda: second.admin.info("replication")["master_link_status"] == "up")
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor main 127.0.0.1 {first.port} 1\n")
    with private_server(tmp_path, "--sentinel", config=config) as sentinel:
        url = f"sentinel://127.0.0.1:1;sentinel://127.0.0.1:{sentinel.port}/2"
        with closing(Server(url, {"master_name": "main"})) as server:
            assert server.call("INCR", "a") == 1
            assert server.call("GET", "a") == b"1"

            # What has not reached the replica yet would be lost, as it is with any failover of Redis.
            until(lambda: _offset(first) == _offset(second))
            until(lambda: _begins_failover(sentinel))
            until(lambda: _role(second) == "master" and _role(first) == "slave")
            assert until(lambda: _increased(server)) == 2
            with pytest.raises(OperationalError, match="unknown"):
                ping(url, master_name="unknown")


def _offset(server: PrivateServer) -> int:
    return int(server.admin.info("replication")["master_repl_offset"])


def _begins_failover(sentinel: PrivateServer) -> bool:
    try:
        sentinel.admin.sentinel_failover("main")
    except redis.ResponseError as error:
        if "NOGOODSLAVE" in str(error):  # it has not heard enough of the replica yet
            return False
        raise
    return True


def _role(server: PrivateServer) -> str:
    try:
        return str(server.admin.info("replication")["role"])
    except redis.RedisError:  # whoever changes its role is asked to connect again
        return ""


def _increased(server: Server) -> int | None:
    try:
        return int(server.call("INCR", "a"))
    except OperationalError:
        return None


# What is said


def test_an_eviction_policy_that_loses_tasks_is_warned_of(private: PrivateServer) -> None:
    with closing(RedisEngine(private.url, {})) as engine:
        assert engine.warnings() == []
        private.admin.config_set("maxmemory-policy", "allkeys-lru")
        (warning,) = engine.warnings()
        assert "allkeys-lru" in warning
        assert "noeviction" in warning
        with closing(RedisEngine(private.url.replace("/0", "/1"), {})) as same_server:
            assert same_server.warnings() == [warning]  # so that it is said once
        private.stop()
        assert engine.warnings() == []
