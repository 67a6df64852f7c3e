"""The contract of fetching: order, limits, and waiting."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from threading import Semaphore

import pytest

from umbel.message import Delivery
from umbel.ports import Action, Consumer, Settlement
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
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
    publication,
    until,
)

#: Rounds of a message there and one back. Each costs a second where a waiting fetch is not woken.
ROUNDS = 40


class ConsumerContract(Contract):
    """`Consumer.fetch` and `interrupt`."""

    def test_equal_messages_come_in_the_order_of_their_arrival(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1", "2")
        there.publish("3")
        here.publish("4")
        assert ids(fetch(here.consumer())) == ["1", "2", "3", "4"]

    def test_the_most_urgent_come_first(self, here: Side) -> None:
        needs(here.features.priorities > 1, "priorities")
        top, low = here.features.most_urgent, here.features.least_urgent
        for name, priority in (("low", low), ("top", top), ("low too", low), ("top too", top)):
            here.publish(name, priority=priority)
        deliveries = fetch(here.consumer())
        assert ids(deliveries) == ["top", "top too", "low", "low too"]
        assert [item.priority for item in deliveries] == [top, top, low, low]

    def test_each_of_256_priorities_is_kept_apart(self, here: Side) -> None:
        needs(here.features.priorities >= 256, "256 priorities")
        scattered = [number * 167 % 256 for number in range(256)]
        here.broker.publish([publication(str(n), priority=n) for n in scattered], PATIENCE)
        assert ids(fetch(here.consumer(), 256)) == [str(n) for n in range(255, -1, -1)]

    def test_no_more_than_the_limit_are_taken(self, here: Side) -> None:
        here.publish("1", "2", "3")
        consumer = here.consumer()
        assert ids(fetch(consumer, limit=2)) == ["1", "2"]
        assert ids(fetch(consumer, limit=2)) == ["3"]

    def test_no_more_than_a_batch_is_given_at_a_time(self, here: Side) -> None:
        batch = here.features.batch
        needs(batch <= 20_000, "a batch that is small enough to fill")
        here.publish(*(str(number) for number in range(batch + 1)))
        consumer = here.consumer()
        assert len(fetch(consumer, limit=batch + 1)) == batch
        assert len(fetch(consumer, limit=batch + 1)) == 1

    def test_queues_are_emptied_in_the_order_in_which_they_are_named(self, here: Side) -> None:
        needs(here.features.queues_in_order, "an order of queues")
        here.publish("a1", "a2", queue="a")
        here.publish("b1", "b2", queue="b", priority=here.features.most_urgent)
        consumer = here.consumer()
        assert ids(fetch(consumer, limit=3, queues=["b", "a"])) == ["b1", "b2", "a1"]
        assert ids(fetch(consumer, limit=3, queues=["b", "a"])) == ["a2"]

    def test_no_queue_waits_for_ever_where_they_have_no_order(self, here: Side) -> None:
        needs(not here.features.queues_in_order, "turns")
        consumer = here.consumer()
        here.publish("b1", queue="b")
        seen: list[str] = []
        for number in range(5):
            here.publish(f"a{number}", queue="a")
            seen += [item.queue for item in fetch(consumer, limit=1, queues=["a", "b"])]
        assert "b" in seen

    def test_only_the_named_queues_are_fetched_from(self, here: Side) -> None:
        here.publish("1", queue="a")
        assert fetch(here.consumer(), queues=["b"]) == []

    def test_a_delivery_names_its_queue(self, here: Side) -> None:
        here.publish("1", queue="a")
        here.publish("2", queue="b")
        assert [item.queue for item in fetch(here.consumer(), queues=["a", "b"])] == ["a", "b"]

    def test_a_fetch_without_wait_returns_at_once(self, here: Side) -> None:
        consumer = here.consumer()
        with at_most(PATIENCE):
            assert fetch(consumer) == []

    def test_a_fetch_that_waits_in_vain_returns_nothing_in_the_end(self, here: Side) -> None:
        with at_most(PATIENCE):
            assert fetch(here.consumer(), wait=SOON) == []

    def test_a_message_has_one_taker(self, here: Side, there: Side) -> None:
        here.publish(*(str(number) for number in range(400)))

        def drain(side: Side) -> list[str | None]:
            consumer = side.consumer()
            taken: list[str | None] = []
            while deliveries := fetch(consumer, limit=3):
                taken += ids(deliveries)
                ack(consumer, deliveries)
            return taken

        with ThreadPoolExecutor(4) as executor:
            taken = chain.from_iterable(executor.map(drain, [here, there, here, there]))
        assert sorted(taken, key=str) == sorted(str(number) for number in range(400))

    def test_what_is_leased_is_not_given_to_another(self, here: Side, there: Side) -> None:
        needs(here.features.leases, "leases")
        here.publish("1")
        assert ids(fetch(here.consumer())) == ["1"]
        assert fetch(there.consumer()) == []

    @pytest.mark.parametrize("elsewhere", [False, True], ids=["this engine", "another engine"])
    def test_a_waiting_fetch_is_woken_by_a_publish(
        self, here: Side, there: Side, elsewhere: bool
    ) -> None:
        """A ball that two threads throw to each other: each throw meets a waiting fetch."""
        publisher = there if elsewhere else here
        consumer, answers = here.consumer(), publisher.consumer()

        def answer() -> None:
            for number in range(ROUNDS):
                deliveries = fetch(consumer, wait=LONG, queues=["ball"])
                ack(consumer, deliveries)
                here.publish(str(number), queue="answer")

        with at_most(PATIENCE), in_thread(answer) as done:
            for number in range(ROUNDS):
                publisher.publish(str(number), queue="ball")
                deliveries = fetch(answers, wait=LONG, queues=["answer"])
                assert ids(deliveries) == [str(number)]
                ack(answers, deliveries)
            done.result(PATIENCE)

    def test_a_fetch_that_waits_for_several_queues_is_woken_by_each(self, here: Side) -> None:
        consumer = here.consumer()
        with at_most(PATIENCE):
            for number in range(ROUNDS):
                queue = ("a", "b", "c")[number % 3]
                with in_thread(lambda: fetch(consumer, wait=LONG, queues=["a", "b", "c"])) as found:
                    here.publish(str(number), queue=queue)
                    deliveries = found.result(PATIENCE)
                assert ids(deliveries) == [str(number)]
                ack(consumer, deliveries)

    def test_each_of_many_waiting_consumers_gets_a_message(self, here: Side, there: Side) -> None:
        consumers = [side.consumer() for side in (here, there) for _ in range(4)]
        with at_most(PATIENCE), ThreadPoolExecutor(8) as executor:
            waiting = [executor.submit(fetch, one, 1, LONG) for one in consumers]
            for number in range(8):
                here.publish(str(number))
            found = [ids(future.result(PATIENCE)) for future in waiting]
        assert sorted(found, key=str) == [[str(number)] for number in range(8)]

    def test_a_consumer_that_gave_up_waiting_does_not_take_the_wake_up_of_another(
        self, here: Side, there: Side
    ) -> None:
        gone, waiting = [here.consumer() for _ in range(5)], there.consumer()
        arrived = Semaphore(0)

        def wait() -> None:
            for _ in range(ROUNDS):
                ack(waiting, fetch(waiting, wait=LONG))
                arrived.release()

        with at_most(PATIENCE), in_thread(wait):
            for number in range(ROUNDS):
                # Meanwhile the other thread goes back to waiting.
                assert [fetch(one, wait=0.001) for one in gone] == [[]] * 5
                here.publish(str(number))
                assert arrived.acquire(timeout=PATIENCE)

    @pytest.mark.parametrize("how", ["requeue", "release", "close"])
    def test_a_waiting_fetch_is_woken_by_what_comes_back(
        self, here: Side, there: Side, how: str
    ) -> None:
        holder, waiting = here.consumer(), there.consumer()
        here.publish("1")
        [delivery] = fetch(holder)
        with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
            if how == "requeue":
                holder.settle([Settlement(delivery, Action.REQUEUE)])
            elif how == "release":
                holder.release([delivery.key])
            else:
                holder.close()
            assert ids(found.result(PATIENCE)) == ["1"]

    def test_a_waiting_fetch_is_woken_by_the_follow_up_of_another(
        self, here: Side, there: Side
    ) -> None:
        holder, waiting = here.consumer(), there.consumer()
        here.publish("1", queue="other")
        [delivery] = fetch(holder, queues=["other"])
        with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
            holder.settle([Settlement(delivery, publish=(publication("2"),))])
            assert ids(found.result(PATIENCE)) == ["2"]

    def test_a_waiting_fetch_notices_what_is_parked_meanwhile(
        self, here: Side, there: Side
    ) -> None:
        holder, waiting = here.consumer(), there.consumer()
        here.publish("1")
        [delivery] = fetch(holder)
        with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
            holder.settle([Settlement(delivery, Action.PARK, due=now() + 4 * SOON)])
            holder.close()
            assert ids(found.result(PATIENCE)) == ["1"]

    def test_scheduled_messages_reach_all_who_wait(self, here: Side, there: Side) -> None:
        needs(here.features.scheduling, "scheduled messages")
        with at_most(PATIENCE), ThreadPoolExecutor(3) as executor:
            waiting = [
                executor.submit(fetch, side.consumer(), 1, LONG) for side in (here, there, here)
            ]
            here.publish("1", "2", "3", due=now() + 4 * SOON)
            found = [ids(future.result(PATIENCE)) for future in waiting]
        assert sorted(found, key=str) == [["1"], ["2"], ["3"]]

    def test_a_scheduled_message_is_delivered_while_the_one_who_was_told_is_busy(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.scheduling, "scheduled messages")
        with at_most(PATIENCE), ThreadPoolExecutor(2) as executor:
            waiting = [executor.submit(fetch, side.consumer(), 1, LONG) for side in (here, there)]
            here.publish("later", due=now() + 4 * SOON)
            here.publish("at once")
            found = [ids(future.result(PATIENCE)) for future in waiting]
        assert sorted(found, key=str) == [["at once"], ["later"]]

    def test_an_interrupted_fetch_returns_soon_with_nothing(self, here: Side) -> None:
        consumer = here.consumer()
        with at_most(PATIENCE):
            for _ in range(ROUNDS // 4):
                with in_thread(lambda: fetch(consumer, wait=LONG)) as found:
                    _interrupt_until_done(consumer, found)
                    assert found.result(PATIENCE) == []

    def test_a_fetch_after_an_interrupt_works_as_ever(self, here: Side) -> None:
        consumer = here.consumer()
        consumer.interrupt()
        assert fetch(consumer, wait=LONG) == []  # it may return early, and here it does
        here.publish("1")
        assert ids(fetch(consumer, wait=LONG)) == ["1"]

    def test_other_threads_settle_while_one_waits(self, here: Side) -> None:
        here.publish("1", queue="other")
        consumer = here.consumer()
        deliveries = fetch(consumer, queues=["other"])
        with at_most(PATIENCE), in_thread(lambda: fetch(consumer, wait=LONG)) as found:
            assert ack(consumer, deliveries).refused == ()
            here.publish("2")
            assert ids(found.result(PATIENCE)) == ["2"]


def _interrupt_until_done(consumer: Consumer, fetching: Future[list[Delivery]]) -> None:
    """Interrupt again and again: the first time may be before the other thread waits."""

    def is_done() -> bool:
        consumer.interrupt()
        return fetching.done()

    until(is_done)
