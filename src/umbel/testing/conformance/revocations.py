"""The contract of revocations: whoever takes a message knows of what was revoked before."""

from __future__ import annotations

import pytest

from umbel.ports import REVOKED, STAMPED, FetchRequest, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    QUEUE,
    SOON,
    Contract,
    Side,
    ack,
    fetch,
    in_thread,
    needs,
    now,
    publication,
    record,
)

#: Rounds of a message that comes to who waits.
ROUNDS = 20


class RevocationsContract(Contract):
    """`Consumer.revocations`."""

    @pytest.fixture(autouse=True)
    def telling(self, here: Side) -> None:
        needs(here.features.tells_revocations, "a word of revocations with what is fetched")

    def test_where_nothing_was_revoked_it_is_0(self, here: Side) -> None:
        here.publish("1", "2")
        here.state.put("other", "x", "1")
        consumer = here.consumer()
        first = fetch(consumer, limit=1)
        assert (len(first), consumer.revocations) == (1, 0)
        settled = consumer.settle([], FetchRequest([QUEUE], 1))
        assert (len(settled.fetched), consumer.revocations) == (1, 0)

    def test_it_is_the_version_that_there_is(self, here: Side, there: Side) -> None:
        consumer = here.consumer()
        for number in range(5):
            there.state.put_all(REVOKED, {str(number): "{}"}, LONG)
            version = there.state.version(REVOKED)
            here.publish(f"fetched {number}")
            assert len(fetch(consumer)) == 1
            assert consumer.revocations == version
            there.state.delete(REVOKED, [str(number)])
            here.publish(f"settled {number}")
            assert len(consumer.settle([], FetchRequest([QUEUE], 5)).fetched) == 1
            assert consumer.revocations == there.state.version(REVOKED) > version

    def test_a_broker_that_tells_it_with_what_has_expired_tells_the_same(
        self, here: Side, there: Side
    ) -> None:
        for number in range(3):
            there.state.put_all(REVOKED, {str(number): "{}"}, LONG)
            here.broker.expired()
            assert here.broker.revocations in (None, there.state.version(REVOKED))

    def test_what_was_stored_before_it_changed_is_there(self, here: Side, there: Side) -> None:
        """As stamps are, behind which a change of the kind tells of them."""
        consumer, since, marks = here.consumer(), 0, 0
        for number in range(5):
            there.state.put_all(STAMPED, {f"stamp {number}": "{}"}, LONG)
            there.state.put(REVOKED, "mark", str(number), LONG)
            here.publish(str(number))
            assert len(fetch(consumer)) == 1
            assert consumer.revocations == there.state.version(REVOKED)
            ids = here.state.changes(REVOKED, marks, 10)
            stamps = here.state.changes(STAMPED, since, 10)
            assert ids.values == {"mark": str(number)}
            assert f"stamp {number}" in (stamps.values or {})
            marks, since = ids.version, stamps.version

    def test_who_settles_and_fetches_knows_too(self, here: Side, there: Side) -> None:
        """As in a chain: what follows is published, and fetched, by the same call."""
        here.join()
        consumer = here.consumer()
        here.publish("0")
        [held] = fetch(consumer)
        for number in range(1, 6):
            there.state.put_all(REVOKED, {str(number): "{}"}, LONG)
            follow = (publication(str(number)),)
            result = record(str(number), "SUCCESS") if here.features.joint_results else None
            item = Settlement(held, result=result, publish=follow)
            [held] = consumer.settle([item], FetchRequest([QUEUE], 5)).fetched
            assert consumer.revocations == there.state.version(REVOKED)

    @pytest.mark.parametrize("waits", [False, True])
    def test_who_was_waiting_knows_it_when_something_comes(
        self, here: Side, there: Side, waits: bool
    ) -> None:
        consumer = here.consumer()
        request = FetchRequest([QUEUE], 5, waits)
        consumer.settle([], request)
        for number in range(ROUNDS):
            with in_thread(lambda: consumer.fetch(request, PATIENCE)) as fetching:
                if number % 2:
                    there.state.put_all(REVOKED, {str(number): "{}"}, LONG)
                else:
                    there.state.delete(REVOKED, [str(number - 1)])
                version = there.state.version(REVOKED)
                there.publish(str(number))
                deliveries = fetching.result(PATIENCE)
            assert len(deliveries) == 1
            assert consumer.revocations == version
            if waits:
                assert consumer.settle([Settlement(deliveries[0])], request).fetched == ()
            else:
                ack(consumer, deliveries)

    def test_who_waits_for_what_is_due_knows_it(self, here: Side, there: Side) -> None:
        needs(here.features.scheduling, "scheduled messages")
        consumer = here.consumer()
        here.broker.publish([publication("later", due=now() + 10 * SOON)], PATIENCE)
        request = FetchRequest([QUEUE], 5)
        with in_thread(lambda: consumer.fetch(request, PATIENCE)) as fetching:
            there.state.put_all(REVOKED, {"later": "{}"}, LONG)
            assert len(fetching.result(PATIENCE)) == 1
        assert consumer.revocations == there.state.version(REVOKED)
