"""The contract of leases: who holds what, for how long, and who takes it over."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from umbel.exceptions import LeaseLost
from umbel.ports import Action, FetchRequest, Owner, Settlement
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
    publication,
    record,
    until,
)


class LeaseContract(Contract):
    """`release`, `mark_early`, `reclaim`, `close`; `renew`, `expired` and `take_back`."""

    @pytest.fixture(autouse=True)
    def _leases(self, here: Side) -> None:
        _ = here.broker
        needs(here.features.leases, "leases")

    # Giving back

    def test_what_is_released_goes_back_to_its_place(self, here: Side) -> None:
        here.publish("1", "2", "3")
        consumer = here.consumer()
        deliveries = fetch(consumer, limit=2)
        assert consumer.release([item.key for item in reversed(deliveries)]) == 2
        assert ids(fetch(consumer)) == ["1", "2", "3"]

    def test_a_release_does_not_count_as_a_delivery(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        for _ in range(3):
            [delivery] = fetch(consumer)
            assert not delivery.redelivered
            consumer.release([delivery.key])

    def test_keys_that_are_not_held_are_passed_over(self, here: Side, there: Side) -> None:
        here.publish("1", "2", "3")
        consumer, other = here.consumer(), there.consumer()
        first, second = fetch(consumer, limit=2)
        [third] = fetch(other)
        ack(consumer, [first])
        keys = [first.key, second.key, second.key, third.key, "999999", "nonsense", ""]
        assert consumer.release(keys) == 1
        assert consumer.release([]) == 0
        assert ack(other, [third]).refused == ()

    def test_what_was_released_cannot_be_settled(self, here: Side) -> None:
        needs(here.features.fencing, "fencing")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        consumer.release([delivery.key])
        assert ack(consumer, [delivery]).refused == (delivery,)
        assert ids(fetch(consumer)) == ["1"]

    def test_a_key_names_one_handing_over(self, here: Side, there: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        [old] = fetch(consumer)
        consumer.release([old.key])
        [new] = fetch(consumer)
        assert new.key != old.key
        assert max(len(old.key), len(new.key)) <= 40
        assert there.broker.take_back(consumer.owner.id, [old.key]) == 0
        assert consumer.release([old.key]) == 0
        consumer.mark_early([old])
        assert fetch(there.consumer()) == []
        assert consumer.release([new.key]) == 1
        [again] = fetch(there.consumer())
        assert (again.count, again.early) == (1, False)

    @pytest.mark.parametrize("action", list(Action))
    def test_an_old_delivery_cannot_be_settled_when_its_owner_holds_it_anew(
        self, here: Side, action: Action
    ) -> None:
        needs(here.features.fencing, "fencing")
        here.publish("1", "2")
        consumer = here.consumer()
        old, other = fetch(consumer)
        consumer.release([old.key])
        [new] = fetch(consumer)
        late = Settlement(
            old, action, publish=(publication("3"),), due=now(), reason="late", crashed=True
        )
        assert consumer.settle([late]).refused == (old,)
        assert consumer.settle([late, Settlement(other)]).refused == (old,)
        assert fetch(consumer) == []
        assert here.queues.dead_letters(10) == []
        assert ack(consumer, [new]).refused == ()

    def test_a_key_of_the_same_fetch_does_not_stand_for_another(self, here: Side) -> None:
        here.publish("1", "2")
        consumer = here.consumer()
        old, other = fetch(consumer)
        consumer.release([old.key, other.key])
        new, _ = fetch(consumer)
        assert consumer.release([old.key, other.key, new.key]) == 1

    def test_closing_gives_everything_back(self, here: Side, there: Side) -> None:
        here.publish("1", "2")
        consumer = here.consumer()
        fetch(consumer)
        consumer.close()
        deliveries = fetch(there.consumer())
        assert ids(deliveries) == ["1", "2"]

    def test_closing_does_not_give_back_what_was_marked_early(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1", "early", "3")
        consumer = here.consumer(node="n")
        consumer.mark_early([fetch(consumer)[1]])
        consumer.close()
        consumer.close()
        with pytest.raises(LeaseLost):
            fetch(consumer)
        heir = there.consumer()
        assert ids(fetch(heir)) == ["1", "3"]
        assert there.broker.renew("n", LONG) == frozenset()
        assert until(there.broker.expired) == [consumer.owner]
        [handed] = heir.reclaim(consumer.owner.id, None, only_expired=True)
        assert (handed.message.task_id, handed.early) == ("early", True)
        assert ack(heir, [handed]).refused == ()
        assert there.broker.expired() == []
        assert here.queues.depths()[QUEUE].leased == 2

    def test_closing_forgets_the_owner(self, here: Side) -> None:
        consumer = here.consumer(node="n")
        consumer.close()
        assert here.broker.renew("n", LONG) == frozenset()

    def test_closing_twice_does_no_harm(self, here: Side) -> None:
        consumer = here.consumer()
        consumer.close()
        consumer.close()

    # Leases in time

    def test_renewing_prolongs_the_leases_of_a_node_and_of_no_other(
        self, here: Side, there: Side
    ) -> None:
        mine = [here.consumer(node="mine", ttl=SOON) for _ in range(2)]
        other = here.consumer(node="other", ttl=SOON)
        assert there.broker.renew("mine", LONG) == {one.owner.id for one in mine}
        expired = until(there.broker.expired)
        assert expired == [other.owner]

    def test_renewing_an_unknown_node_returns_nothing(self, here: Side) -> None:
        assert here.broker.renew("nobody", LONG) == frozenset()

    def test_a_lease_that_runs_is_not_listed_as_expired(self, here: Side) -> None:
        here.consumer(ttl=LONG)
        assert here.broker.expired() == []

    def test_an_expired_owner_is_listed_as_it_attached(self, here: Side, there: Side) -> None:
        owner = Owner("an-id", "a-node", "a-host", 4711)
        here.broker.consumer(owner, SOON)
        assert until(there.broker.expired) == [owner]

    def test_an_expired_owner_keeps_what_it_holds_until_it_is_reclaimed(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        consumer = here.consumer(ttl=SOON)
        [delivery] = fetch(consumer)
        until(there.broker.expired)
        assert fetch(there.consumer()) == []
        assert ack(consumer, [delivery]).refused == ()

    def test_a_renewed_owner_is_not_expired_any_more(self, here: Side) -> None:
        here.consumer(node="n", ttl=SOON)
        until(here.broker.expired)
        here.broker.renew("n", LONG)
        assert here.broker.expired() == []

    def test_attaching_the_same_owner_again_keeps_its_leases(self, here: Side) -> None:
        here.publish("1")
        first = here.consumer("same")
        [delivery] = fetch(first)
        second = here.consumer("same")
        assert ack(second, [delivery]).refused == ()

    # Taking back from a stuck child

    def test_a_supervisor_takes_back_what_has_not_started(self, here: Side, there: Side) -> None:
        here.publish("1", "2")
        child = here.consumer()
        started, waiting = fetch(child)
        assert there.broker.take_back(child.owner.id, [waiting.key, "999999"]) == 1
        [delivery] = fetch(there.consumer())
        assert delivery.message.task_id == "2"
        assert not delivery.redelivered
        assert ack(child, [started, waiting]).refused == (waiting,)

    def test_a_supervisor_does_not_take_back_what_was_marked_early(
        self, here: Side, there: Side
    ) -> None:
        here.publish("early", "2")
        child = here.consumer()
        early, other = fetch(child)
        child.mark_early([early])
        assert there.broker.take_back(child.owner.id, [early.key, other.key]) == 1
        assert ids(fetch(there.consumer())) == ["2"]
        assert ack(child, [early]).refused == ()

    def test_an_old_key_does_not_say_that_a_later_handing_over_never_started(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        dead, heir = here.consumer(), there.consumer()
        [old] = fetch(dead)
        dead.release([old.key])
        fetch(dead)
        assert ids(heir.reclaim(dead.owner.id, [old.key])) == ["1"]

    def test_taking_back_from_an_unknown_owner_takes_nothing(self, here: Side) -> None:
        assert here.broker.take_back("nobody", ["1"]) == 0

    # Reclaiming from the dead

    def test_what_is_known_not_to_have_started_goes_back_and_the_rest_is_handed_over(
        self, here: Side, there: Side
    ) -> None:
        here.publish("started", "waiting", "started too")
        dead, heir = here.consumer(), there.consumer()
        first, waiting, third = fetch(dead)
        handed = heir.reclaim(dead.owner.id, [waiting.key])
        assert ids(handed) == ["started", "started too"]
        assert [item.key for item in handed] == [first.key, third.key]
        [delivery] = fetch(heir)
        assert delivery.message.task_id == "waiting"
        assert not delivery.redelivered

    def test_what_was_handed_over_is_settled_by_the_heir(self, here: Side, there: Side) -> None:
        here.publish("again", "done", queue="other")
        dead, heir = here.consumer(), there.consumer()
        fetch(dead, queues=["other"])
        again, done = heir.reclaim(dead.owner.id, [])
        assert {again.queue, done.queue} == {"other"}
        requeued = Settlement(again, Action.REQUEUE, crashed=True)
        assert heir.settle([requeued, Settlement(done)]).refused == ()
        [delivery] = fetch(heir, queues=["other"])
        assert (delivery.message.task_id, delivery.crashes) == ("again", 1)
        assert delivery.redelivered

    def test_what_was_handed_over_is_reclaimed_from_the_heir(self, here: Side) -> None:
        here.publish("1")
        dead, heir, last = here.consumer(), here.consumer(), here.consumer()
        fetch(dead)
        heir.reclaim(dead.owner.id, [])
        assert ids(last.reclaim(heir.owner.id, [])) == ["1"]

    def test_when_nothing_is_known_only_what_was_marked_early_is_handed_over(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1", "early", "3")
        dead, heir = here.consumer(), there.consumer()
        deliveries = fetch(dead)
        dead.mark_early([deliveries[1]])
        [handed] = heir.reclaim(dead.owner.id, None)
        assert (handed.message.task_id, handed.early) == ("early", True)
        assert ids(fetch(heir)) == ["1", "3"]

    def test_a_delivery_that_is_handed_over_says_whether_it_was_marked_early(
        self, here: Side
    ) -> None:
        here.publish("late", "early")
        dead, heir = here.consumer(), here.consumer()
        dead.mark_early(fetch(dead)[1:])
        handed = heir.reclaim(dead.owner.id, [])
        assert [(item.message.task_id, item.early) for item in handed] == [
            ("late", False),
            ("early", True),
        ]

    def test_what_was_marked_early_is_settled_like_any_other(self, here: Side) -> None:
        here.publish("1")
        consumer = here.consumer()
        deliveries = fetch(consumer)
        consumer.mark_early(deliveries)
        assert ack(consumer, deliveries).refused == ()

    def test_a_waiting_fetch_is_woken_by_what_a_dead_owner_held(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        dead, heir, waiting = here.consumer(), here.consumer(), there.consumer()
        fetch(dead)
        with at_most(PATIENCE), in_thread(lambda: fetch(waiting, wait=LONG)) as found:
            assert heir.reclaim(dead.owner.id, None) == []
            assert ids(found.result(PATIENCE)) == ["1"]

    def test_an_owner_that_holds_nothing_is_reclaimed_too(self, here: Side) -> None:
        dead, heir = here.consumer(), here.consumer()
        assert heir.reclaim(dead.owner.id, None) == []
        with pytest.raises(LeaseLost):
            fetch(dead)

    def test_an_unknown_owner_has_nothing_to_reclaim(self, here: Side) -> None:
        assert here.consumer().reclaim("nobody", None) == []

    def test_a_renewed_owner_keeps_everything_from_who_wants_only_the_expired(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        consumer = here.consumer(node="n", ttl=SOON)
        [delivery] = fetch(consumer)
        until(there.broker.expired)
        here.broker.renew("n", LONG)
        assert there.consumer().reclaim(consumer.owner.id, None, only_expired=True) == []
        assert fetch(there.consumer()) == []
        assert ack(consumer, [delivery]).refused == ()

    def test_an_expired_owner_loses_everything(self, here: Side, there: Side) -> None:
        here.publish("1")
        consumer = here.consumer(ttl=SOON)
        fetch(consumer)
        until(there.broker.expired)
        heir = there.consumer()
        assert ids(heir.reclaim(consumer.owner.id, [], only_expired=True)) == ["1"]
        assert there.broker.expired() == []

    def test_of_many_who_reclaim_one_succeeds(self, here: Side, there: Side) -> None:
        here.publish("1", "2")
        dead = here.consumer()
        fetch(dead)
        heirs = [side.consumer() for side in (here, there) for _ in range(3)]
        with ThreadPoolExecutor(6) as executor:
            found = list(executor.map(lambda heir: ids(heir.reclaim(dead.owner.id, [])), heirs))
        assert sorted(found) == [[], [], [], [], [], ["1", "2"]]

    # Fencing

    @pytest.mark.parametrize("call", ["fetch", "settle", "settle and fetch", "settle nothing"])
    def test_who_was_taken_for_dead_is_told_so_and_changes_nothing(
        self, here: Side, there: Side, call: str
    ) -> None:
        needs(here.features.fencing, "fencing")
        joint = here.join()
        here.publish("1")
        frozen, heir = here.consumer(), there.consumer()
        [delivery] = fetch(frozen)
        [handed] = heir.reclaim(frozen.owner.id, [])
        late = Settlement(
            delivery,
            result=record("1", "SUCCESS") if joint else None,
            publish=(publication("2"),),
        )
        calls: dict[str, Callable[[], object]] = {
            "fetch": lambda: fetch(frozen),
            "settle": lambda: frozen.settle([late]),
            "settle and fetch": lambda: frozen.settle([late], FetchRequest([QUEUE], 1)),
            "settle nothing": lambda: frozen.settle([]),
        }
        with pytest.raises(LeaseLost):
            calls[call]()
        assert fetch(heir) == []
        if joint:
            assert here.results.get(["1"]) == {}
        assert ack(heir, [handed]).refused == ()

    def test_who_was_taken_for_dead_can_neither_give_back_nor_mark_nor_reclaim(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        frozen, heir, other = here.consumer(), there.consumer(), here.consumer()
        [delivery] = fetch(frozen)
        heir.reclaim(frozen.owner.id, [])
        with pytest.raises(LeaseLost):
            frozen.release([delivery.key])
        with pytest.raises(LeaseLost):
            frozen.release(())
        with pytest.raises(LeaseLost):
            frozen.mark_early([delivery])
        with pytest.raises(LeaseLost):
            frozen.reclaim(other.owner.id, None)
        assert here.broker.take_back(frozen.owner.id, [delivery.key]) == 0

    def test_who_was_taken_for_dead_leaves_without_a_fuss(self, here: Side, there: Side) -> None:
        here.publish("1")
        frozen, heir = here.consumer(), there.consumer()
        fetch(frozen)
        [handed] = heir.reclaim(frozen.owner.id, [])
        frozen.interrupt()
        frozen.close()
        assert fetch(heir) == []
        assert ack(heir, [handed]).refused == ()

    def test_who_was_taken_for_dead_is_not_renewed(self, here: Side, there: Side) -> None:
        frozen, heir = here.consumer(node="a"), there.consumer(node="b")
        heir.reclaim(frozen.owner.id, None)
        assert here.broker.renew("a", LONG) == frozenset()

    def test_a_closed_consumer_has_no_leases(self, here: Side) -> None:
        consumer = here.consumer()
        consumer.close()
        with pytest.raises(LeaseLost):
            fetch(consumer)
