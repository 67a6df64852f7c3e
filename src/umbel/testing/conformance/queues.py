"""The contract of looking into queues and mending them."""

from __future__ import annotations

import pytest

from umbel.ports import Action, QueueDepth, Settlement
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
    ids,
    in_thread,
    needs,
    now,
    until,
)


class QueueAdminContract(Contract):
    """`QueueAdmin`."""

    @pytest.fixture(autouse=True)
    def _queues(self, here: Side) -> None:
        _ = here.broker, here.queues

    def _bury(self, here: Side, *task_ids: str) -> None:
        """Make dead letters, one after the other."""
        for task_id in task_ids:
            here.publish(task_id)
            consumer = here.consumer()
            [delivery] = fetch(consumer)
            reason = f"reason of {task_id}"
            consumer.settle([Settlement(delivery, Action.DEAD_LETTER, reason=reason, crashed=True)])
            consumer.close()

    # Depths

    def test_an_unused_storage_has_no_queues(self, here: Side) -> None:
        assert here.queues.depths() == {}

    def test_depths_tell_where_messages_are(self, here: Side, there: Side) -> None:
        needs(here.features.accounts, "a full account of its queues")
        self._bury(here, "dead")
        before = now()
        here.publish("ready 1", "ready 2", "leased")
        here.publish("leased", queue="other")
        fetch(here.consumer(), queues=["other"])
        consumer = here.consumer()
        parked, *_ = fetch(consumer, limit=1)
        consumer.settle([Settlement(parked, Action.PARK, due=now() + LONG)])
        depths = there.queues.depths()
        assert set(depths) == {QUEUE, "other"}
        depth = depths[QUEUE]
        assert (depth.ready, depth.scheduled, depth.leased, depth.dead) == (2, 1, 0, 1)
        assert depth.oldest is not None
        assert before - 1 < depth.oldest < now() + 1
        assert depths["other"] == QueueDepth(leased=1)

    def test_depths_tell_what_is_ready_and_dead(self, here: Side) -> None:
        self._bury(here, "dead")
        here.publish("ready 1", "ready 2")
        depth = here.queues.depths()[QUEUE]
        assert (depth.ready, depth.dead) == (2, 1)

    def test_a_queue_is_listed_from_its_first_use(self, here: Side, there: Side) -> None:
        needs(here.features.accounts, "a full account of its queues")
        fetch(here.consumer(), queues=["fetched from"])
        here.publish("1", queue="published to")
        deliveries = fetch(consumer := here.consumer(), queues=["published to"])
        ack(consumer, deliveries)
        assert there.queues.depths() == {
            "fetched from": QueueDepth(),
            "published to": QueueDepth(),
        }

    # Looking

    def test_peek_shows_waiting_messages_in_the_order_of_delivery(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.peek, "peeking")
        features = here.features
        here.publish("1", "2", priority=features.least_urgent)
        here.publish("urgent", priority=features.most_urgent)
        found = there.queues.peek(QUEUE, 10)
        assert {(item.queue, item.where) for item in found} == {(QUEUE, "ready")}
        assert ids(found) == ids(fetch(here.consumer()))
        assert there.queues.peek(QUEUE, 10) == []

    def test_peek_shows_a_part(self, here: Side) -> None:
        needs(here.features.peek, "peeking")
        here.publish("1", "2", "3", "4")
        assert ids(here.queues.peek(QUEUE, 2)) == ["1", "2"]
        assert ids(here.queues.peek(QUEUE, 2, 1)) == ["2", "3"]
        assert ids(here.queues.peek(QUEUE, 2, 3)) == ["4"]
        assert here.queues.peek(QUEUE, 2, 4) == []

    def test_peek_takes_nothing(self, here: Side) -> None:
        needs(here.features.peek, "peeking")
        here.publish("1")
        here.queues.peek(QUEUE, 10)
        [delivery] = fetch(here.consumer())
        assert not delivery.redelivered

    def test_an_unknown_queue_has_nothing_to_peek_at(self, here: Side) -> None:
        needs(here.features.peek, "peeking")
        assert here.queues.peek("unknown", 10) == []

    def test_find_returns_every_message_of_a_task_wherever_it_is(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.find, "finding")
        needs(here.features.scheduling, "scheduled messages")
        due = round(now() + LONG, 3)
        self._bury(here, "x")
        here.publish("x", queue="leased")
        consumer = here.consumer()
        fetch(consumer, queues=["leased"])
        here.publish("x", queue="ready")
        here.publish("x", queue="scheduled", due=due)
        here.publish("y", queue="ready")
        found = there.queues.find("x")
        assert sorted((item.where, item.queue) for item in found) == [
            ("dead", QUEUE),
            ("leased", "leased"),
            ("ready", "ready"),
            ("scheduled", "scheduled"),
        ]
        assert set(ids(found)) == {"x"}
        by_place = {item.where: item for item in found}
        assert by_place["leased"].consumer == consumer.owner.id
        assert by_place["ready"].consumer is None
        assert by_place["ready"].due is None
        assert by_place["scheduled"].due == pytest.approx(due, abs=0.002)

    def test_an_unknown_task_is_not_found(self, here: Side) -> None:
        needs(here.features.find, "finding")
        assert here.queues.find("unknown") == []

    def test_what_was_acknowledged_is_not_found(self, here: Side) -> None:
        needs(here.features.find, "finding")
        here.publish("x")
        consumer = here.consumer()
        ack(consumer, fetch(consumer))
        assert here.queues.find("x") == []

    # Holding

    def test_holdings_tell_who_holds_how_much_and_for_how_long(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.leases, "leases")
        here.publish("1", "2", "3")
        assert there.queues.holdings() == []
        idle, dead, busy = here.consumer(), here.consumer(ttl=SOON), here.consumer(ttl=2 * LONG)
        fetch(busy, limit=2)
        fetch(dead)
        until(here.broker.expired)
        found = there.queues.holdings()
        assert [(one.owner, one.held) for one in found] == [
            (dead.owner, 1),
            (idle.owner, 0),
            (busy.owner, 2),
        ]
        left = [one.left for one in found]
        assert left[0] == 0
        assert 0 < left[1] <= LONG < left[2] <= 2 * LONG

    # Purging

    def test_purging_deletes_what_waits_and_leaves_what_is_leased(
        self, here: Side, there: Side
    ) -> None:
        here.publish("leased", "ready", "ready too")
        here.publish("other", queue="other")
        consumer = here.consumer()
        leased = fetch(consumer, limit=1)
        assert there.queues.purge(QUEUE) == 2
        assert there.queues.purge(QUEUE) == 0
        assert fetch(consumer) == []
        assert consumer.release([leased[0].key]) == 1
        assert ids(fetch(consumer)) == ["leased"]
        assert ids(fetch(consumer, queues=["other"])) == ["other"]

    def test_purging_deletes_scheduled_messages(self, here: Side) -> None:
        needs(here.features.accounts, "a full account of its queues")
        needs(here.features.scheduling, "scheduled messages")
        here.publish("1", due=now() + LONG)
        assert here.queues.purge(QUEUE) == 1
        assert here.queues.depths()[QUEUE] == QueueDepth()

    def test_a_purged_queue_works_as_before(self, here: Side) -> None:
        here.publish("1")
        here.queues.purge(QUEUE)
        here.publish("2")
        assert ids(fetch(here.consumer())) == ["2"]

    def test_purging_leaves_dead_letters(self, here: Side) -> None:
        self._bury(here, "1")
        assert here.queues.purge(QUEUE) == 0
        assert len(here.queues.dead_letters(10)) == 1

    def test_an_unknown_queue_has_nothing_to_purge(self, here: Side) -> None:
        assert here.queues.purge("unknown") == 0

    # Dead letters

    def test_dead_letters_are_listed_latest_first(self, here: Side, there: Side) -> None:
        self._bury(here, "1", "2", "3")
        letters = there.queues.dead_letters(10)
        assert [letter.message.task_id for letter in letters] == ["3", "2", "1"]
        assert letters[0].reason == "reason of 3"
        assert [one.message.task_id for one in there.queues.dead_letters(1, 1)] == ["2"]

    def test_a_retried_dead_letter_is_a_message_again_with_no_crash_counted(
        self, here: Side, there: Side
    ) -> None:
        self._bury(here, "1", "2")
        key = here.queues.dead_letters(1)[0].key
        assert there.queues.retry_dead([key, "999999", "nonsense"]) == 1
        [delivery] = fetch(here.consumer())
        assert (delivery.message.task_id, delivery.queue, delivery.crashes) == ("2", QUEUE, 0)
        assert [one.message.task_id for one in here.queues.dead_letters(10)] == ["1"]
        assert there.queues.retry_dead([key]) == 0

    def test_a_waiting_fetch_is_woken_by_a_retried_dead_letter(
        self, here: Side, there: Side
    ) -> None:
        self._bury(here, "1")
        [letter] = here.queues.dead_letters(10)
        waiting = there.consumer()
        with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
            here.queues.retry_dead([letter.key])
            assert ids(found.result(PATIENCE)) == ["1"]

    def test_a_dropped_dead_letter_is_gone(self, here: Side, there: Side) -> None:
        self._bury(here, "1", "2")
        keys = [letter.key for letter in here.queues.dead_letters(10)]
        assert there.queues.drop_dead([keys[0], "nonsense"]) == 1
        assert there.queues.drop_dead(keys) == 1
        assert here.queues.dead_letters(10) == []
        assert fetch(here.consumer()) == []
