"""What comes back marked: copies of which one stays, and what says more just before it starts."""

from __future__ import annotations

import pytest

from tests.rabbitmq_servers import connected
from tests.unit.engines.rabbitmq.support import attach, dies, publish
from umbel.engines.rabbitmq import RabbitEngine
from umbel.engines.rabbitmq.channel import Channel
from umbel.engines.rabbitmq.consumer import RabbitConsumer
from umbel.engines.rabbitmq.topology import depth
from umbel.exceptions import OperationalError
from umbel.message import Delivery
from umbel.ports import WentBack
from umbel.testing.conformance.support import PATIENCE, QUEUE, ack, fetch, ids, publication, until

pytestmark = pytest.mark.engine


def waiting(engine: RabbitEngine) -> int:
    """Return how many messages are ready in the queue."""
    with connected() as link:
        return depth(link, engine.broker._core.topology.name(QUEUE)) or 0


def dies_between(consumer: RabbitConsumer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it take something that came back, and die when the copy is there, before the acknowledgement."""

    def struck(name: str) -> None:
        if name == "rabbitmq.claim.after":
            raise OperationalError("struck")

    with monkeypatch.context() as patch:
        patch.setattr("umbel.engines.rabbitmq.claims.fail_point", struck)

        def strikes() -> bool:
            try:
                fetch(consumer)
            except OperationalError:
                return True
            return False

        until(strikes)
    dies(consumer)


def all_of(consumer: RabbitConsumer) -> list[Delivery]:
    """Take and acknowledge until nothing comes any more."""
    found: list[Delivery] = []
    while some := fetch(consumer, wait=0.5):
        found += some
        ack(consumer, some)
    return found


@pytest.mark.parametrize("adopts", [False, True])
def test_of_two_copies_that_are_left_one_stays_and_has_the_count(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch, adopts: bool
) -> None:
    publish(engine, "1")
    first = attach(engine)
    fetch(first)
    dies(first)
    for _ in range(2):  # nor do they multiply
        dies_between(attach(engine), monkeypatch)
        until(lambda: waiting(engine) == 2)
    last = attach(engine, adopts)
    [found] = until(lambda: fetch(last))
    assert (found.message.task_id, found.redelivered, found.crashes) == ("1", True, 3)
    assert ack(last, [found]).refused == ()
    assert fetch(last, wait=0.5) == []
    last.close()
    assert waiting(engine) == 0


def test_what_is_left_of_what_has_ended_here_is_acknowledged(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    first = attach(engine)
    fetch(first)
    dies(first)
    dies_between(attach(engine), monkeypatch)
    until(lambda: waiting(engine) == 2)
    last, other = attach(engine), attach(engine)
    [held] = until(lambda: fetch(last, 1))  # one at a time: neither sees both
    [also] = fetch(other, 1)
    ack(last, [held])
    other.release([also.key])
    assert fetch(last, wait=1.0) == []
    for one in (last, other):
        one.close()
    assert waiting(engine) == 0


def test_where_one_of_two_has_not_begun_the_one_that_says_it_had_goes(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(engine, "1")
    first = attach(engine)
    [delivery] = fetch(first)
    monkeypatch.setattr(first, "_send", lambda data: None)  # it dies before the acknowledgement
    first._move([first._held.by_key[delivery.key]], [{"early": True}])
    dies(first)
    until(lambda: waiting(engine) == 2)
    last = attach(engine)
    [found] = until(lambda: fetch(last))
    assert not found.early
    ack(last, [found])
    assert fetch(last, wait=0.5) == []
    last.close()


def test_messages_of_one_tag_that_differ_are_no_copies(engine: RabbitEngine) -> None:
    one, other = publication("1"), publication("2")
    engine.broker.publish(
        [one, type(other)(other.queue, other.message, one.tag, other.priority)], PATIENCE
    )
    first = attach(engine)
    assert len(fetch(first)) == 2
    dies(first)
    last = attach(engine)
    until(lambda: waiting(engine) == 2)
    assert set(ids(all_of(last))) == {"1", "2"}
    last.close()


def test_who_runs_many_gets_all_together_and_only_what_starts_counts(engine: RabbitEngine) -> None:
    publish(engine, "1", "2", "3")
    first = attach(engine)
    fetch(first)
    dies(first)
    second = attach(engine, adopts=True)
    until(lambda: waiting(engine) == 3)
    deliveries = fetch(second)
    assert ids(deliveries) == ["1", "2", "3"]
    second.expect_start(deliveries[:2])
    second.expect_start(deliveries[:2])  # as often as it is said
    dies(second)
    last = attach(engine, adopts=True)
    until(lambda: waiting(engine) == 3)
    found = {one.message.task_id: one.crashes for one in fetch(last)}
    assert found == {"1": 2, "2": 2, "3": 0}
    last.close()


@pytest.mark.parametrize("how", ["mark_early", "expect_start"])
def test_what_went_back_with_a_connection_may_not_start_and_has_no_copy(
    engine: RabbitEngine, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    publish(engine, "1")
    first = attach(engine)
    fetch(first)
    dies(first)
    second = attach(engine, adopts=True)
    deliveries = until(lambda: fetch(second))
    getattr(second, how)(deliveries)  # its queue is there now
    assert second.release([one.key for one in deliveries]) == 1
    deliveries = until(lambda: fetch(second))
    dies(second)
    with pytest.raises(WentBack):
        getattr(second, how)(deliveries)
    last = attach(engine)
    assert len(all_of(last)) == 1
    last.close()


def test_a_copy_is_not_published_by_who_has_lost_its_connection(engine: RabbitEngine) -> None:
    publish(engine, "1")
    consumer = attach(engine)
    [delivery] = fetch(consumer)
    [held] = consumer._held.by_key.values()
    consumer._move([held], [{}])
    dies(consumer)
    with pytest.raises(OperationalError):
        consumer._move([held], [{}])
    until(lambda: waiting(engine) == 1)
    assert isinstance(consumer._channel, Channel)
    last = attach(engine)
    assert ids(all_of(last)) == [delivery.message.task_id]
    last.close()
