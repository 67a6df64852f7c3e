"""The contract of settling: what becomes of a delivery, and of all that is said in the same step."""

from __future__ import annotations

from dataclasses import replace

import pytest

from umbel.exceptions import EncodeError
from umbel.message import Message
from umbel.ports import Action, FetchRequest, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    QUEUE,
    SOON,
    Contract,
    Side,
    ack,
    at_most,
    fetch,
    fetch_all,
    ids,
    needs,
    now,
    publication,
    record,
)


class SettleContract(Contract):
    """`Consumer.settle`."""

    def test_an_acknowledged_message_is_gone(self, here: Side, there: Side) -> None:
        here.publish("1", "2")
        consumer = here.consumer()
        first, _ = fetch(consumer)
        assert ack(consumer, [first]).refused == ()
        consumer.close()
        assert ids(fetch(there.consumer())) == ["2"]

    def test_settling_nothing_does_nothing(self, here: Side) -> None:
        settled = here.consumer().settle([])
        assert (settled.refused, settled.fetched) == ((), ())

    def test_a_requeued_message_goes_back_to_its_place(self, here: Side) -> None:
        here.publish("1", "2", "3")
        consumer = here.consumer()
        first, second = fetch(consumer, limit=2)
        consumer.settle([Settlement(second, Action.REQUEUE), Settlement(first, Action.REQUEUE)])
        found = ids(fetch_all(consumer))
        assert (found if here.features.counts else sorted(found, key=str)) == ["1", "2", "3"]

    def test_deliveries_are_counted(self, here: Side) -> None:
        needs(here.features.counts, "counted deliveries")
        here.publish("1")
        consumer = here.consumer()
        for count in (1, 2, 3):
            [delivery] = fetch(consumer)
            assert (delivery.count, delivery.redelivered) == (count, count > 1)
            consumer.settle([Settlement(delivery, Action.REQUEUE)])

    def test_a_crash_is_counted_only_when_it_is_said(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        for crashed, crashes in ((True, 1), (False, 1), (True, 2)):
            [delivery] = fetch(consumer)
            consumer.settle([Settlement(delivery, Action.REQUEUE, crashed=crashed)])
            [delivery] = fetch(consumer)
            assert delivery.crashes == crashes
            consumer.release([delivery.key])

    def test_a_parked_message_comes_back_when_it_is_due(self, here: Side, there: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        due = now() + 4 * SOON
        consumer.settle([Settlement(delivery, Action.PARK, due=due)])
        with at_most(PATIENCE):
            [again] = fetch(there.consumer(), wait=LONG)
        assert now() >= due - 0.002
        assert (again.message, again.tag, again.queue) == (delivery.message, delivery.tag, QUEUE)

    def test_a_parked_message_keeps_its_crashes(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.settle([Settlement(delivery, Action.REQUEUE, crashed=True)])
        [delivery] = fetch(consumer)
        consumer.settle([Settlement(delivery, Action.PARK, due=now() + SOON)])
        with at_most(PATIENCE):
            [again] = fetch(consumer, wait=LONG)
        assert (again.message.task_id, again.crashes) == ("1", 1)

    def test_a_parked_message_is_not_delivered_before_it_is_due(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.settle([Settlement(delivery, Action.PARK, due=now() + LONG)])
        assert fetch(consumer) == []

    def test_a_dead_letter_is_kept_with_its_reason(self, here: Side, there: Side) -> None:
        queues = there.queues
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.settle(
            [Settlement(delivery, Action.DEAD_LETTER, reason="no such task", crashed=True)]
        )
        assert fetch(consumer) == []
        [letter] = queues.dead_letters(10)
        assert (letter.message, letter.queue) == (delivery.message, QUEUE)
        assert (letter.reason, letter.crashes) == ("no such task", 1)
        assert abs(letter.died_at - now()) < PATIENCE

    def test_a_broker_that_keeps_messages_needs_none_to_settle(
        self, here: Side, there: Side
    ) -> None:
        """A worker keeps of thousands in flight what their tasks need, and no more."""
        needs(here.features.leases, "leases")
        here.publish("1", "2", "3")
        consumer, known = here.consumer(), {}
        forgotten = []
        for delivery in fetch(consumer, limit=3):
            known[delivery.message.task_id] = delivery.message
            forgotten.append(replace(delivery, message=Message({}, {}, b"")))
        done, again, dead = forgotten
        consumer.settle(
            [
                Settlement(done),
                Settlement(again, Action.REQUEUE),
                Settlement(dead, Action.DEAD_LETTER, reason="forgotten"),
            ]
        )
        [found] = fetch(there.consumer())
        [letter] = there.queues.dead_letters(10)
        assert (found.message, letter.message) == (known["2"], known["3"])

    def test_follow_ups_are_published_with_the_acknowledgement(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        follow_ups = (publication("2"), publication("3", "other"))
        consumer.settle([Settlement(delivery, publish=follow_ups)])
        other = there.consumer()
        assert ids(fetch(other)) == ["2"]
        assert ids(fetch(other, queues=["other"])) == ["3"]

    def test_follow_ups_are_published_with_a_dead_letter(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        dead = Settlement(delivery, Action.DEAD_LETTER, reason="r", publish=(publication("2"),))
        consumer.settle([dead])
        assert ids(fetch(consumer)) == ["2"]
        assert len(here.queues.dead_letters(10)) == 1

    def test_a_follow_up_can_be_scheduled(self, here: Side) -> None:
        needs(here.features.scheduling, "scheduled messages")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.settle([Settlement(delivery, publish=(publication("2", due=now() + LONG),))])
        assert fetch(consumer) == []
        assert here.queues.depths()[QUEUE].scheduled == (1 if here.features.accounts else 0)

    def test_repeated_follow_ups_are_one_message(self, here: Side) -> None:
        needs(here.features.dedupes, "the recognition of repeated publishes")
        once = publication("next", tag="fixed")
        here.publish("1", "2")
        consumer = here.consumer()
        consumer.settle([Settlement(delivery, publish=(once,)) for delivery in fetch(consumer)])
        assert ids(fetch(consumer)) == ["next"]

    def test_a_follow_up_that_cannot_be_written_keeps_everything_back(self, here: Side) -> None:
        needs(here.features.atomic_settle, "atomic settling")
        here.publish("1", "2")
        consumer = here.consumer()
        first, second = fetch(consumer)
        bad = publication("bad")
        bad = replace(bad, message=replace(bad.message, headers={"id": "bad", "x": object()}))
        with pytest.raises(EncodeError):
            consumer.settle([Settlement(first), Settlement(second, publish=(bad,))])
        consumer.close()
        assert ids(fetch(here.consumer())) == ["1", "2"]

    @pytest.mark.parametrize("where", ["queue", "task id"])
    def test_a_follow_up_that_is_not_utf8_keeps_everything_back(
        self, here: Side, where: str
    ) -> None:
        needs(here.features.atomic_settle, "atomic settling")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        bad = publication("\ud800") if where == "task id" else publication("2", "\ud800")
        with pytest.raises(EncodeError):
            consumer.settle([Settlement(delivery, publish=(bad,))])
        assert ack(consumer, [delivery]).refused == ()

    def test_a_reason_that_is_not_utf8_is_escaped(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        dead = [Settlement(item, Action.DEAD_LETTER, reason="ü\ud800") for item in fetch(consumer)]
        assert consumer.settle(dead).refused == ()
        assert [letter.reason for letter in here.queues.dead_letters(10)] == ["ü\\ud800"]

    def test_a_result_is_stored_with_the_acknowledgement(self, here: Side, there: Side) -> None:
        results = there.results
        needs(here.join(), "results in the same step")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.settle([Settlement(delivery, result=record("1", "SUCCESS", text="yes"))])
        assert results.get(["1"]) == {"1": record("1", "SUCCESS", text="yes")}

    def test_one_call_settles_each_delivery_in_its_own_way(self, here: Side) -> None:
        here.publish("ack", "requeue", "park", "dead")
        consumer = here.consumer()
        done, again, parked, dead = fetch(consumer)
        settled = consumer.settle(
            [
                Settlement(dead, Action.DEAD_LETTER, reason="because"),
                Settlement(parked, Action.PARK, due=now() + LONG),
                Settlement(again, Action.REQUEUE),
                Settlement(done),
            ]
        )
        assert settled.refused == ()
        depth = here.queues.depths()[QUEUE]
        assert (depth.ready, depth.leased, depth.dead) == (1, 0, 1)
        assert depth.scheduled == (1 if here.features.accounts else 0)
        assert ids(fetch(consumer)) == ["requeue"]

    def test_settling_fetches_the_next_in_the_same_call(self, here: Side) -> None:
        here.publish("1", "2", "3")
        consumer = here.consumer()
        deliveries = fetch(consumer, limit=1)
        settled = consumer.settle(
            [Settlement(item) for item in deliveries], FetchRequest([QUEUE], 1)
        )
        assert ids(settled.fetched) == ["2"]
        assert ids(fetch(consumer)) == ["3"]

    def test_settling_does_not_wait_for_the_next(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        with at_most(PATIENCE):
            assert consumer.settle([Settlement(delivery)], FetchRequest([QUEUE], 1)).fetched == ()

    def test_the_call_may_fetch_what_it_publishes_and_puts_back(self, here: Side) -> None:
        here.publish("1", "2")
        consumer = here.consumer()
        first, second = fetch(consumer)
        settled = consumer.settle(
            [Settlement(first, Action.REQUEUE), Settlement(second, publish=(publication("3"),))],
            FetchRequest([QUEUE], 10),
        )
        found = [*settled.fetched, *fetch_all(consumer)]
        assert ids(found) == (["1", "3"] if here.features.counts else ["3", "1"])

    def test_a_delivery_is_settled_once(self, here: Side) -> None:
        needs(here.features.fencing, "fencing")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        settled = consumer.settle([Settlement(delivery), Settlement(delivery, Action.REQUEUE)])
        assert settled.refused == (delivery,)
        assert ack(consumer, [delivery]).refused == (delivery,)
        assert fetch(consumer) == []

    def test_a_refused_settlement_changes_nothing_and_the_others_go_through(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.fencing, "fencing")
        joint = here.join()
        here.publish("lost", "kept")
        consumer = here.consumer()
        lost, kept = fetch(consumer)
        assert there.broker.take_back(consumer.owner.id, [lost.key]) == 1
        settled = consumer.settle(
            [
                Settlement(
                    item,
                    result=record(name, "SUCCESS") if joint else None,
                    publish=(publication(f"after {name}"),),
                )
                for item, name in ((lost, "lost"), (kept, "kept"))
            ]
        )
        assert settled.refused == (lost,)
        if joint:
            assert set(here.results.get(["lost", "kept"])) == {"kept"}
        assert ids(fetch(consumer)) == ["lost", "after kept"]

    @pytest.mark.parametrize(
        "action", [Action.ACK, Action.REQUEUE, Action.PARK, Action.DEAD_LETTER]
    )
    def test_nobody_settles_what_another_holds(
        self, here: Side, there: Side, action: Action
    ) -> None:
        needs(here.features.fencing, "fencing")
        here.publish("1")
        holder, thief = here.consumer(), there.consumer()
        [delivery] = fetch(holder)
        theft = Settlement(delivery, action, due=now(), reason="theft", crashed=True)
        assert thief.settle([theft]).refused == (delivery,)
        assert here.queues.dead_letters(10) == []
        assert ack(holder, [delivery]).refused == ()
