"""Encrypted connections: what is checked, and that much passes both ways at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.certificates import certificate_for_this_machine, certificate_of
from tests.each import for_each
from tests.rabbitmq_servers import private_server
from tests.redis_servers import free_port
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.link import Link
from umbel.exceptions import OperationalError
from umbel.ports import FetchRequest, Owner
from umbel.testing.conformance.support import PATIENCE, QUEUE, ack, publication, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a server that speaks TLS, and its certificate."""
    directory = tmp_path_factory.mktemp("rabbitmq")
    certificate, port = certificate_for_this_machine(directory), free_port()
    with private_server(
        directory,
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {certificate}",
        f"ssl_options.certfile = {certificate}",
        f"ssl_options.keyfile = {certificate.with_suffix('.key')}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = false",
        "ssl_cert_login_from = common_name",
        "auth_mechanisms.1 = PLAIN",
        "auth_mechanisms.2 = EXTERNAL",
        plugins="rabbitmq_auth_mechanism_ssl",
    ) as server:
        server.control("add_user", "test", "never said")
        server.control("set_permissions", "test", ".*", ".*", ".*")
        yield port, certificate


def published(url: str) -> None:
    with closing(RabbitEngine(url, {})) as engine:
        engine.broker.publish([publication("1")], PATIENCE)


def test_certificate_and_name_are_checked(encrypted: tuple[int, Path]) -> None:
    port, certificate = encrypted
    url = f"amqps://127.0.0.1:{port}//"
    published(f"{url}?ssl_ca_certs={certificate}")
    with pytest.raises(OperationalError, match="Name the file of its authority as ssl_ca_certs"):
        published(url)
    elsewhere = f"amqps://localhost:{port}//?ssl_ca_certs={certificate}"
    with pytest.raises(OperationalError, match="is for another name"):
        published(elsewhere)
    published(f"{elsewhere}&ssl_check_hostname=false")
    published(f"{elsewhere}&ssl_server_hostname=127.0.0.1")
    published(f"{url}?ssl_cert_reqs=none")


def test_a_clients_certificate_says_who_it_is_unless_somebody_is_named(
    encrypted: tuple[int, Path],
) -> None:
    port, certificate = encrypted
    own = certificate_of("test", certificate)
    shown = f"ssl_certfile={own}&ssl_keyfile={own.with_suffix('.key')}"
    place = f"127.0.0.1:{port}//?ssl_ca_certs={certificate}"
    published(f"amqps://{place}&{shown}")
    with pytest.raises(OperationalError, match="does not accept the user 'test' or the password"):
        published(f"amqps://test:wrong@{place}&{shown}")


@for_each(
    ("how", "offered"),
    [
        (("EXTERNAL", ""), ["EXTERNAL"]),
        (("PLAIN", "\0u\0p"), ["EXTERNAL", "PLAIN"]),
        (None, ["AMQPLAIN"]),
    ],
)
def test_who_is_named_logs_in_by_what_the_server_offers(
    how: tuple[str, str] | None, offered: list[str]
) -> None:
    link = Link.__new__(Link)
    link.address = address_of("amqps://u:p@h?ssl_certfile=mine", {})
    if how is not None:
        assert link._login(offered) == how
    else:
        with pytest.raises(OperationalError, match="lets clients log in by AMQPLAIN"):
            link._login(offered)


@for_each(
    ("option", "text"),
    [("ca_certs", "No such file"), ("certfile", "No such file"), ("ciphers", "No cipher")],
)
def test_what_cannot_be_used_is_named_before_a_worker_starts(
    encrypted: tuple[int, Path], tmp_path: Path, option: str, text: str
) -> None:
    value = str(tmp_path / "nowhere")
    with closing(RabbitEngine("amqps://h", {"ssl": {option: value}})) as engine:
        problem = engine.problem()
        assert text in str(problem)
        assert f"{option} is {value!r}" in str(problem)
        with pytest.raises(OperationalError, match=r"TLS to .* cannot be set up"):
            published(f"amqps://127.0.0.1:{encrypted[0]}?ssl_{option}={value}")


def test_threads_settle_and_beat_while_one_reads(encrypted: tuple[int, Path]) -> None:
    port, certificate = encrypted
    options = {"heartbeat": 1}
    with closing(
        RabbitEngine(f"amqps://127.0.0.1:{port}//?ssl_ca_certs={certificate}", options)
    ) as engine:
        engine.queues.purge(QUEUE)
        consumer = engine.broker.consumer(Owner("owner", "node", "host", 1), 10)
        found: list[str | None] = []

        def publish() -> None:
            for first in range(0, 1000, 50):
                engine.broker.publish(
                    [publication(str(n)) for n in range(first, first + 50)],
                    PATIENCE,
                )

        thread = threading.Thread(target=publish)
        thread.start()

        def all_there() -> bool:
            deliveries = consumer.fetch(FetchRequest([QUEUE], 20), 1.5)
            found.extend(one.message.task_id for one in deliveries)
            ack(consumer, deliveries)
            return len(found) >= 1000

        until(all_there, 60.0)
        thread.join()
        assert sorted(map(str, found), key=int) == [str(number) for number in range(1000)]
        consumer.close()
