"""The contract of broadcasts."""

from __future__ import annotations

from itertools import islice

from umbel.ports import Subscription
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    SOON,
    Contract,
    Side,
    at_most,
    in_thread,
    until,
)

ROUNDS = 40


class BroadcastContract(Contract):
    """`Broadcast` and `Subscription`."""

    def test_all_present_subscriptions_of_a_topic_get_the_payload(
        self, here: Side, there: Side
    ) -> None:
        subscriptions = [side.broadcast.listen(["control"]) for side in (here, there, there)]
        here.broadcast.send("control", [b"\x00ping\xff"])
        for subscription in subscriptions:
            assert _received(subscription, 1) == [("control", b"\x00ping\xff")]
            subscription.close()

    def test_payloads_come_in_the_order_of_sending(self, here: Side, there: Side) -> None:
        subscription = there.broadcast.listen(["a", "b"])
        sent = []
        for number in range(20):
            topic = "ab"[number % 2]
            payloads = [f"{number}.{more}".encode() for more in range(3)]
            here.broadcast.send(topic, payloads)
            sent += [(topic, payload) for payload in payloads]
        assert _received(subscription, 60) == sent
        subscription.close()

    def test_only_the_topics_that_were_asked_for_arrive(self, here: Side) -> None:
        subscription = here.broadcast.listen(["a"])
        here.broadcast.send("ab", [b"1"])
        here.broadcast.send("b", [b"2"])
        here.broadcast.send("a", [b"3"])
        assert _received(subscription, 1) == [("a", b"3")]
        subscription.close()

    def test_a_star_at_the_end_stands_for_all_that_begin_so(self, here: Side, there: Side) -> None:
        some = there.broadcast.listen(["event.*", "control"])
        everything = there.broadcast.listen(["*"])
        for topic in ("event.task", "control", "event", "event.", "control.x"):
            here.broadcast.send(topic, [b""])
        assert [topic for topic, _ in _received(some, 3)] == ["event.task", "control", "event."]
        assert len(_received(everything, 5)) == 5
        some.close()
        everything.close()

    def test_what_was_sent_before_does_not_arrive(self, here: Side, there: Side) -> None:
        here.broadcast.send("a", [b"before"])
        subscription = there.broadcast.listen(["a"])
        here.broadcast.send("a", [b"after"])
        assert _received(subscription, 1) == [("a", b"after")]
        subscription.close()

    def test_what_is_sent_before_the_first_receive_arrives(self, here: Side) -> None:
        subscription = here.broadcast.listen(["a"])
        here.broadcast.send("a", [b"1"])
        assert _received(subscription, 1) == [("a", b"1")]
        subscription.close()

    def test_a_receive_that_waits_in_vain_returns_nothing_in_the_end(self, here: Side) -> None:
        subscription = here.broadcast.listen(["a"])
        with at_most(PATIENCE):
            assert subscription.receive(0.0) == []
            assert subscription.receive(SOON) == []
        subscription.close()

    def test_each_payload_is_received_once(self, here: Side) -> None:
        subscription = here.broadcast.listen(["a"])
        here.broadcast.send("a", [b"1"])
        assert _received(subscription, 1) == [("a", b"1")]
        assert subscription.receive(0.0) == []
        subscription.close()

    def test_a_payload_wakes_who_waits(self, here: Side, there: Side) -> None:
        subscription = there.broadcast.listen(["a"])
        with at_most(PATIENCE):
            for number in range(ROUNDS):
                with in_thread(lambda: subscription.receive(LONG)) as found:
                    here.broadcast.send("a", [str(number).encode()])
                    assert found.result(PATIENCE) == [("a", str(number).encode())]
        subscription.close()

    def test_what_is_wanted_is_found_behind_much_that_is_not(self, here: Side) -> None:
        subscription = here.broadcast.listen(["wanted"])
        here.broadcast.send("other", [b"x"] * 2500)
        here.broadcast.send("wanted", [b"1"])
        assert _received(subscription, 1) == [("wanted", b"1")]
        subscription.close()

    def test_a_subscription_can_be_iterated(self, here: Side) -> None:
        subscription = here.broadcast.listen(["a"])
        here.broadcast.send("a", [b"1", b"2"])
        assert list(islice(subscription, 2)) == [("a", b"1"), ("a", b"2")]
        subscription.close()

    def test_closing_one_subscription_leaves_the_others(self, here: Side) -> None:
        gone, stays = here.broadcast.listen(["a"]), here.broadcast.listen(["a"])
        gone.close()
        here.broadcast.send("a", [b"1"])
        assert _received(stays, 1) == [("a", b"1")]
        stays.close()

    def test_a_listener_that_never_reads_does_not_hold_up_the_sender(self, here: Side) -> None:
        lazy = here.broadcast.listen(["a"])
        busy = here.broadcast.listen(["b"])
        with at_most(PATIENCE):
            for _ in range(10):
                here.broadcast.send("a", [b"x" * 100] * 1000)
            here.broadcast.send("b", [b"1"])
            assert _received(busy, 1) == [("b", b"1")]
        lazy.close()
        busy.close()


def _received(subscription: Subscription, count: int) -> list[tuple[str, bytes]]:
    """Receive until so many payloads have come."""
    found: list[tuple[str, bytes]] = []

    def is_there() -> bool:
        found.extend(subscription.receive(SOON))
        return len(found) >= count

    until(is_there)
    return found
