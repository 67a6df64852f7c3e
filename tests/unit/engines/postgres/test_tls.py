"""Connections by TLS: what libpq is told in the URL holds for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import certificate_for_this_machine
from tests.postgres_servers import PrivateServer, private_server
from umbel.engines.postgres import PostgresEngine
from umbel.exceptions import OperationalError
from umbel.testing.conformance.support import Side, ack, fetch, ids

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateServer, Path]]:
    """A server that speaks TLS, and the certificate of its authority."""
    place = tmp_path_factory.mktemp("tls")
    certificate = certificate_for_this_machine(place)
    files = (f"ssl_cert_file={certificate}", f"ssl_key_file={certificate.with_suffix('.key')}")
    with private_server(place, "-c", "fsync=off") as server:
        server.stop()
        server.own(certificate.with_suffix(".key"))
        for one in ("ssl=on", *files):
            server.options += ["-c", one]
        server.start()
        yield server, certificate


def test_all_that_a_worker_needs_goes_by_tls(secure: tuple[PrivateServer, Path]) -> None:
    server, certificate = secure
    url = f"{server.url}?sslmode=verify-full&sslrootcert={certificate}"
    with closing(PostgresEngine(url, {})) as engine:
        side = Side(engine)
        consumer = side.consumer()
        side.publish("1")
        deliveries = fetch(consumer)
        assert ids(deliveries) == ["1"]
        ack(consumer, deliveries)
        found = server.ask(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
            " WHERE application_name = 'umbel'"
        )
        assert found == [(True,)]
        side.leave()


@pytest.mark.parametrize(
    ("host", "authority"),
    [("127.0.0.1", False), ("localhost", True)],
    ids=["unknown authority", "another name"],
)
def test_a_server_that_cannot_be_trusted_is_refused(
    secure: tuple[PrivateServer, Path], host: str, authority: bool
) -> None:
    server, certificate = secure
    known = certificate if authority else certificate.with_suffix(".none")
    url = server.url.replace("127.0.0.1", host) + f"?sslmode=verify-full&sslrootcert={known}"
    with (
        closing(PostgresEngine(url, {"timeout": 3})) as engine,
        pytest.raises(OperationalError, match="cannot be trusted"),
    ):
        engine.state.version("any")
