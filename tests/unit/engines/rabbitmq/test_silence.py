"""A silent server: what is held from it stays held until it goes on, or answers another connection."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random

import pytest

from tests.faults.proxy import Proxy
from tests.rabbitmq_servers import PrivateServer, private_server
from tests.unit.engines.rabbitmq.support import attach as attach_impatient
from tests.unit.engines.rabbitmq.support import publish, waited_for
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.engines.rabbitmq.link import LAST_WORD
from umbel.exceptions import OperationalError
from umbel.ports import Action, FetchRequest, Settled, Settlement
from umbel.testing.conformance.support import PATIENCE, QUEUE, ack, at_most, ids, in_thread, until

pytestmark = [pytest.mark.engine, pytest.mark.slow]
#: Waits for no answer for longer than a second, and calls three of silence too long.
OPTIONS = {"heartbeat": 1, "socket_timeout": 1.0, "socket_connect_timeout": 1.0}
ONE = FetchRequest([QUEUE], 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    with private_server(tmp_path_factory.mktemp("rabbitmq")) as made:
        yield made


@pytest.fixture
def engine(server: PrivateServer) -> Iterator[RabbitEngine]:
    with closing(RabbitEngine(server.url, OPTIONS)) as made:
        made.queues.purge(QUEUE)
        yield made


def attach(engine: RabbitEngine) -> RabbitConsumer:
    """Return a new consumer that waits as that of a worker does."""
    consumer = attach_impatient(engine)
    consumer.patient = True
    return consumer


@contextmanager
def frozen(server: PrivateServer) -> Iterator[None]:
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def told(caplog: pytest.LogCaptureFixture, text: str) -> int:
    """Tell how often this was said, as warnings."""
    return sum(text in one.message for one in caplog.records if one.levelno == logging.WARNING)


def test_what_is_held_from_a_frozen_server_stays_held(
    server: PrivateServer, engine: RabbitEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Who settles meanwhile waits for it, and so does who waits for messages."""
    publish(engine, "1")
    busy, idle = attach(engine), attach(engine)
    settlement = Settlement(waited_for(busy), Action.ACK)
    # Meanwhile nobody reads what the server says to the other one: that it lived before is no sign of life.
    assert idle.fetch(ONE, 2.0) == []
    is_frozen = threading.Event()

    def settle() -> Settled:
        is_frozen.wait(PATIENCE)
        return busy.settle([settlement], ONE)

    with in_thread(lambda: idle.fetch(ONE, 60.0)) as given, in_thread(settle) as settled:
        with frozen(server):
            is_frozen.set()
            until(lambda: told(caplog, "is silent. What is held from it stays so") == 2)
        assert settled.result(PATIENCE) == Settled()
        publish(engine, "2")
        assert ids(given.result(PATIENCE)) == ["2"]
    assert ack(idle, given.result()).refused == ()
    assert told(caplog, "is heard again, after ") == 2
    assert told(caplog, "is silent") == 2
    assert busy.fetch(ONE, 1.0) == []
    busy.close()
    idle.close()


def test_who_stops_waits_no_longer_than_others(
    server: PrivateServer, engine: RabbitEngine, caplog: pytest.LogCaptureFixture
) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    settlement = Settlement(waited_for(consumer), Action.ACK)
    with frozen(server), in_thread(lambda: consumer.settle([settlement], ONE)) as settled:
        try:
            until(lambda: told(caplog, "is silent") == 1)
        finally:
            consumer.patient = False
            consumer.interrupt()
        with (
            at_most(4.0),
            pytest.raises(OperationalError, match=r"did not answer within|has been silent"),
        ):
            settled.result(PATIENCE)
        with at_most(2.0), pytest.raises(OperationalError, match="does not answer"):
            consumer.fetch(ONE, PATIENCE)
        consumer.close()


def test_a_connection_is_given_up_for_one_that_is_answered(
    server: PrivateServer, engine: RabbitEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """What is between it and the server has forgotten it, and passes on nothing."""
    with Proxy(server.port, Random(1)) as proxy:
        both = f"amqp://guest:guest@127.0.0.1:{proxy.port}//;{server.url}"
        with closing(RabbitEngine(both, OPTIONS)) as beyond:
            publish(engine, "1")
            consumer = attach(beyond)
            settlement = Settlement(waited_for(consumer), Action.ACK)
            proxy.silence()
            error = pytest.raises(OperationalError, match="did not answer within")
            # On a busy machine the second server does not answer within its half of the time, the first time.
            with at_most(2 * (1.0 + 1.0) + LAST_WORD + 1.0), error:
                consumer.settle([settlement], ONE)
            assert told(caplog, "is silent") == 1
            publish(engine, "2")
            found = until(lambda: consumer.fetch(ONE, 1.0))
            assert ids(found) == ["2"]  # the first was settled, and comes back to nobody else
            ack(consumer, found)
            consumer.close()
            proxy.heal()
