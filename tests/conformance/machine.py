"""Any sequence of broker operations, compared with a model that fits on one screen."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from umbel.exceptions import LeaseLost
from umbel.message import Delivery, Publication
from umbel.ports import Action, Consumer, FetchRequest, Settlement
from umbel.testing.conformance.support import LONG, Side, fetch, ids, now, publication

QUEUES = ("a", "b")
NAMES = st.integers(0, 2)


@dataclass(frozen=True)
class Modelled:
    """A message as the model sees it. `owner` is the number of the consumer that has leased it."""

    name: str
    queue: str
    priority: int
    order: int
    place: str = "ready"
    owner: int | None = None
    count: int = 0
    crashes: int = 0


class BrokerMachine(RuleBasedStateMachine):
    """Nothing is lost, nothing has two owners, order holds, and the counts are right.

    `new_side` opens the storage of this run; it is set by a subclass for each engine.
    """

    #: Whether what is taken over comes in the order of its places.
    ordered = True

    def new_side(self) -> Side:
        raise NotImplementedError

    def same(self, found: list[str | None], items: list[Modelled]) -> bool:
        """Tell whether these are the ids of what the model has, in its order if that is kept."""
        names = [item.name for item in items]
        return found == names if self.ordered else sorted(map(str, found)) == sorted(names)

    def in_order(self, found: list[str | None], items: list[Modelled]) -> bool:
        """Tell whether these are the ids of what the model has, in its order; equal places have none."""
        named = [self.model[str(name)] for name in found]
        return [self.rank(item) for item in named] == [self.rank(item) for item in items]

    def order_of_return(self, items: list[tuple[Modelled, Delivery]]) -> dict[str, int]:
        """Return the places of what comes back to its queue by one call, by name: those it had."""
        return {item.name: item.order for item, _ in items}

    def queue_of_repetition(self, item: Modelled) -> str:
        """Return where a message is repeated: its tag is known in all queues."""
        return "a"

    def urgency(self, priority: int) -> int:
        """Return a number that is the same for priorities that the engine does not tell apart."""
        return priority

    def delivered(self, priority: int) -> int:
        """Return the priority that a delivery has of a message that was published with this one."""
        return priority

    def in_turn(self, queues: list[str]) -> list[Modelled]:
        """Return what waits in queues, in the order in which a fetch takes it."""
        return [item for queue in queues for item in self.ready(queue)]

    @initialize()
    def begin(self) -> None:
        self.sides = [self.new_side(), self.new_side()]
        self.model: dict[str, Modelled] = {}
        self.arrivals = itertools.count()
        self.consumers: dict[int, tuple[int, Consumer]] = {}
        self.deliveries: dict[tuple[int, str], Delivery] = {}
        self.published: dict[str, float] = {}
        self.past: list[tuple[int, Delivery]] = []
        self.fenced: list[Consumer] = []
        self.numbers = itertools.count()
        for slot in range(3):
            self.attach(slot)

    def attach(self, slot: int) -> None:
        consumer = self.sides[slot % 2].consumer()
        self.consumers[slot] = (next(self.numbers), consumer)

    # The model

    def ready(self, queue: str) -> list[Modelled]:
        found = [m for m in self.model.values() if (m.queue, m.place) == (queue, "ready")]
        return sorted(found, key=self.rank)

    def rank(self, item: Modelled) -> tuple[int, int]:
        return -self.urgency(item.priority), item.order

    def held(self, owner: int) -> list[Modelled]:
        return sorted((item for item in self.model.values() if item.owner == owner), key=self.rank)

    def become(self, item: Modelled, place: str, **changes: Any) -> None:
        self.model[item.name] = replace(item, place=place, owner=None, **changes)

    def come_back(self, items: list[Modelled]) -> None:
        """Let items be ready again that come back by one call, with the counts that they have now."""
        held = [(item, self.deliveries[item.owner or 0, item.name]) for item in items]
        orders = self.order_of_return(held)
        for item in items:
            self.become(item, "ready", order=orders[item.name])

    def expect_fetched(
        self, owner: int, queues: list[str], limit: int, got: tuple[Delivery, ...]
    ) -> None:
        wanted = self.in_turn(queues)[:limit]
        assert self.in_order(ids(got), wanted)
        wanted = [self.model[str(delivery.message.task_id)] for delivery in got]
        assert all(item.place == "ready" for item in wanted)
        for item, delivery in zip(wanted, got, strict=True):
            assert (delivery.count, delivery.crashes) == (item.count + 1, item.crashes)
            told = self.delivered(item.priority)
            assert (delivery.queue, delivery.priority) == (item.queue, told)
            changed = replace(item, place="leased", owner=owner, count=item.count + 1)
            self.model[item.name] = changed
            if (owner, item.name) in self.deliveries:
                self.past.append((owner, self.deliveries[owner, item.name]))
            self.deliveries[owner, item.name] = delivery

    # What happens

    @rule(
        queue=st.sampled_from(QUEUES),
        priorities=st.lists(st.integers(0, 255), max_size=4),
        side=st.integers(0, 1),
    )
    def publish(self, queue: str, priorities: list[int], side: int) -> None:
        batch = []
        for priority in priorities:
            order = next(self.arrivals)
            name = f"m{order}"
            self.model[name] = Modelled(name, queue, priority, order)
            batch.append(publication(name, queue, priority, tag=name))
            self.published[name] = now()
        self.sides[side].broker.publish(batch, LONG)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def publish_again(self, data: st.DataObject) -> None:
        """A tag that is still held is a repetition, for as long as the engine remembers it."""
        held = sorted(item.name for item in self.model.values() if item.place != "dead")
        if held:
            name = data.draw(st.sampled_from(held))
            queue = self.queue_of_repetition(self.model[name])
            remembers = self.sides[0].features.remembers or LONG
            if now() - self.published[name] < remembers / 2:
                self.sides[0].broker.publish([publication(name, queue, 255, tag=name)], LONG)
                # A machine that is too busy may make another message of it.
                assume(now() - self.published[name] < remembers)

    @rule(slot=NAMES, queues=st.permutations(QUEUES), limit=st.integers(1, 5))
    def fetch(self, slot: int, queues: list[str], limit: int) -> None:
        owner, consumer = self.consumers[slot]
        got = consumer.fetch(FetchRequest(queues, limit), 0.0)
        self.expect_fetched(owner, queues, limit, tuple(got))

    @rule(slot=NAMES, data=st.data(), then_fetch=st.booleans(), crashed=st.booleans())
    def settle(self, slot: int, data: st.DataObject, then_fetch: bool, crashed: bool) -> None:
        owner, consumer = self.consumers[slot]
        settlements = []
        back = []
        for item in self.held(owner):
            action = data.draw(st.sampled_from([None, *Action]), label=item.name)
            if action is None:
                continue
            follow_ups: tuple[Publication, ...] = ()
            order = next(self.arrivals)
            if data.draw(st.booleans(), label="with a follow-up"):
                name = f"m{order}"
                self.model[name] = Modelled(name, item.queue, item.priority, order)
                follow_ups = (publication(name, item.queue, item.priority, tag=name),)
                self.published[name] = now()
            settlements.append(
                Settlement(
                    self.deliveries[owner, item.name],
                    action,
                    publish=follow_ups,
                    due=now() + 3600,
                    reason="because",
                    crashed=crashed,
                )
            )
            crashes = item.crashes + crashed
            if action is Action.ACK:
                del self.model[item.name]
            elif action is Action.REQUEUE:
                back.append(replace(item, crashes=crashes))
            else:
                place = "scheduled" if action is Action.PARK else "dead"
                self.become(item, place, crashes=crashes)
        self.come_back(back)
        queues = ["b", "a"]
        request = FetchRequest(queues, 2) if then_fetch else None
        settled = consumer.settle(settlements, request)
        assert settled.refused == ()
        self.expect_fetched(owner, queues, 2 if then_fetch else 0, settled.fetched)

    @rule(slot=NAMES, data=st.data())
    def settle_what_is_not_held(self, slot: int, data: st.DataObject) -> None:
        """Late settlements, and those of others, are refused and change nothing.

        So are those of an earlier handing-over of what is held anew.
        """
        owner, consumer = self.consumers[slot]
        lost = [
            delivery
            for (taker, name), delivery in self.deliveries.items()
            if name not in self.model or self.model[name].owner != owner
        ]
        lost += [delivery for taker, delivery in self.past if taker == owner]
        if lost:
            delivery = data.draw(st.sampled_from(lost))
            action = data.draw(st.sampled_from(list(Action)))
            theft = Settlement(
                delivery,
                action,
                publish=(publication("stolen", "a"),),
                due=now(),
                reason="theft",
                crashed=True,
            )
            assert consumer.settle([theft]).refused == (delivery,)

    @rule(slot=NAMES, data=st.data(), by_supervisor=st.booleans())
    def release(self, slot: int, data: st.DataObject, by_supervisor: bool) -> None:
        owner, consumer = self.consumers[slot]
        chosen = [item for item in self.held(owner) if data.draw(st.booleans(), label=item.name)]
        keys = [self.deliveries[owner, item.name].key for item in chosen]
        keys += [delivery.key for taker, delivery in self.past if taker == owner]
        if by_supervisor:
            count = self.sides[0].broker.take_back(consumer.owner.id, keys)
        else:
            count = consumer.release(keys)
        assert count == len(chosen)
        self.come_back([replace(item, count=item.count - 1) for item in chosen])

    @rule(dead=NAMES, heir=NAMES, data=st.data(), known=st.booleans())
    def reclaim(self, dead: int, heir: int, data: st.DataObject, known: bool) -> None:
        if dead == heir:
            return
        owner, consumer = self.consumers[dead]
        new_owner, new_consumer = self.consumers[heir]
        held = self.held(owner)
        waiting = [item for item in held if data.draw(st.booleans(), label=item.name)]
        keys = [self.deliveries[owner, item.name].key for item in waiting]
        handed = new_consumer.reclaim(consumer.owner.id, keys if known else None)
        back = [
            replace(one, count=one.count - known) for one in held if not known or one in waiting
        ]
        self.come_back(back)
        for item in held:
            if known and item not in waiting:
                self.model[item.name] = replace(item, owner=new_owner)
        assert self.same(ids(handed), [item for item in held if known and item not in waiting])
        for delivery in handed:
            self.deliveries[new_owner, str(delivery.message.task_id)] = delivery
        self.fenced.append(consumer)
        self.attach(dead)

    @rule(slot=NAMES)
    def close(self, slot: int) -> None:
        owner, consumer = self.consumers[slot]
        consumer.close()
        self.come_back([replace(item, count=item.count - 1) for item in self.held(owner)])
        self.attach(slot)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        waiting = [
            item
            for item in self.model.values()
            if item.queue == queue and item.place in ("ready", "scheduled")
        ]
        assert self.sides[1].queues.purge(queue) == len(waiting)
        for item in waiting:
            del self.model[item.name]

    @rule()
    def retry_dead(self) -> None:
        """All dead letters arrive anew, in the order of their deaths."""
        queues = self.sides[0].queues
        letters = queues.dead_letters(1000)[::-1]
        names = [str(letter.message.task_id) for letter in letters]
        assert sorted(names) == sorted(m.name for m in self.model.values() if m.place == "dead")
        assert [letter.crashes for letter in letters] == [self.model[n].crashes for n in names]
        assert queues.retry_dead([letter.key for letter in letters]) == len(letters)
        for name in names:
            order = next(self.arrivals)
            self.become(self.model[name], "ready", count=0, crashes=0, order=order)

    @precondition(lambda self: self.fenced)
    @rule()
    def act_when_taken_for_dead(self) -> None:
        try:
            fetch(self.fenced[-1], queues=QUEUES)
        except LeaseLost:
            return
        raise AssertionError("a consumer that was reclaimed could fetch")

    # What must hold

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        if not hasattr(self, "model"):
            return
        depths = self.sides[1].queues.depths()
        for queue in QUEUES:
            for place in ("ready", "scheduled", "leased", "dead"):
                count = sum((m.queue, m.place) == (queue, place) for m in self.model.values())
                found = getattr(depths[queue], place) if queue in depths else 0
                assert found == count, (queue, place, depths.get(queue))
            peeked = self.sides[0].queues.peek(queue, 1000)
            assert self.in_order(ids(peeked), self.ready(queue))

    def teardown(self) -> None:
        for _, consumer in getattr(self, "consumers", {}).values():
            consumer.close()
        for consumer in getattr(self, "fenced", []):
            consumer.close()
        for side in getattr(self, "sides", []):
            side.engine.close()
