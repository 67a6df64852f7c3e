"""The contract of publishing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from umbel.exceptions import EncodeError, MessageTooLarge
from umbel.limits import MOST_HEADERS
from umbel.message import Message, Publication
from umbel.ports import Settlement
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
    needs,
    now,
    publication,
)


class BrokerContract(Contract):
    """`Broker.publish`, `shares`, `ever_consumed` and `close`."""

    def test_a_message_arrives_as_it_was_published(self, here: Side, there: Side) -> None:
        message = Message(
            {"id": "7", "task": "täsk", "retries": 3, "timelimit": [None, 1.5], "own": {"a": [1]}},
            {"correlation_id": "7", "reply_to": "", "delivery_mode": 2},
            bytes(range(256)),
            "application/x-own",
            "binary",
        )
        here.broker.publish([Publication(QUEUE, message, "the-tag", priority=0)], PATIENCE)
        [delivery] = fetch(there.consumer())
        assert delivery.message == message
        assert delivery.queue == QUEUE
        assert delivery.tag == "the-tag"
        assert (delivery.count, delivery.crashes, delivery.early) == (1, 0, False)
        assert not delivery.redelivered
        assert len(delivery.key) <= 40
        assert delivery.key.isascii()

    def test_what_becomes_of_a_mapping_after_publishing_does_not_change_the_message(
        self, here: Side
    ) -> None:
        headers = {"id": "1", "task": "t", "stamps": {"a": 1}}
        here.broker.publish([Publication(QUEUE, Message(headers, {}, b""), "tag")], PATIENCE)
        headers["stamps"]["a"] = 2  # type: ignore[index]
        [delivery] = fetch(here.consumer())
        assert delivery.message.headers["stamps"] == {"a": 1}

    def test_an_empty_body_and_a_large_one_arrive(self, here: Side) -> None:
        large = bytes(range(256)) * 8192
        for number, body in enumerate((b"", large)):
            message = Message({"id": str(number), "task": "t"}, {}, body)
            here.broker.publish([Publication(QUEUE, message, f"tag-{number}")], PATIENCE)
        assert [item.message.body for item in fetch(here.consumer())] == [b"", large]

    def test_one_call_publishes_to_several_queues(self, here: Side) -> None:
        batch = [publication("1", "a"), publication("2", "b"), publication("3", "a")]
        here.broker.publish(batch, PATIENCE)
        consumer = here.consumer()
        assert ids(fetch(consumer, queues=["a"])) == ["1", "3"]
        assert ids(fetch(consumer, queues=["b"])) == ["2"]

    def test_publishing_nothing_does_nothing(self, here: Side) -> None:
        here.broker.publish([], PATIENCE)

    def test_a_message_that_cannot_be_written_keeps_the_others_of_its_call_back(
        self, here: Side
    ) -> None:
        bad = publication("2")
        bad = replace(bad, message=replace(bad.message, headers={"id": "2", "x": object()}))
        with pytest.raises(EncodeError):
            here.broker.publish([publication("1"), bad, publication("3")], PATIENCE)
        assert fetch(here.consumer()) == []

    @pytest.mark.parametrize("where", ["headers", "properties"])
    def test_more_headers_than_are_read_are_refused(self, here: Side, where: str) -> None:
        large = {"id": "1", "x": "x" * MOST_HEADERS}
        message = (
            Message(large, {}, b"") if where == "headers" else Message({"id": "1"}, large, b"")
        )
        with pytest.raises(MessageTooLarge, match="headers or properties"):
            here.broker.publish([Publication(QUEUE, message, "tag")], PATIENCE)
        assert fetch(here.consumer()) == []

    @pytest.mark.parametrize("where", ["queue", "task id", "tag", "content type"])
    def test_a_text_that_is_not_utf8_is_refused(self, here: Side, where: str) -> None:
        bad, half = publication("bad"), "\ud800"
        message = {
            "task id": replace(bad.message, headers={"id": half}),
            "content type": replace(bad.message, content_type=half),
        }
        bad = replace(
            bad,
            queue=half if where == "queue" else QUEUE,
            message=message.get(where, bad.message),
            tag=half if where == "tag" else bad.tag,
        )
        with pytest.raises(EncodeError):
            here.broker.publish([publication("1"), bad], PATIENCE)
        assert fetch(here.consumer()) == []

    def test_a_header_may_hold_half_a_character(self, here: Side) -> None:
        message = Message({"id": "1", "argsrepr": "\ud800"}, {}, b"")
        here.broker.publish([Publication(QUEUE, message, "tag")], PATIENCE)
        [delivery] = fetch(here.consumer())
        assert delivery.message == message

    # Repetitions: they follow within `Features.remembers`, and what comes later is not promised.

    def test_who_recognizes_no_repetition_remembers_nothing(self, here: Side) -> None:
        assert here.features.dedupes or here.features.remembers == 0

    def test_a_repeated_publish_changes_nothing_while_the_message_waits(
        self, here: Side, there: Side
    ) -> None:
        needs(here.features.dedupes, "the recognition of repeated publishes")
        once = publication("1", tag="tag")
        here.broker.publish([once], PATIENCE)
        there.broker.publish([once, publication("2")], PATIENCE)
        assert ids(fetch(here.consumer())) == ["1", "2"]

    def test_a_repeated_publish_changes_nothing_while_the_message_is_leased(
        self, here: Side
    ) -> None:
        needs(here.features.dedupes, "the recognition of repeated publishes")
        once = publication("1", tag="tag")
        here.broker.publish([once], PATIENCE)
        consumer = here.consumer()
        assert ids(fetch(consumer)) == ["1"]
        here.broker.publish([once], PATIENCE)
        assert fetch(consumer) == []

    def test_a_repeated_publish_changes_nothing_when_the_message_has_just_gone(
        self, here: Side
    ) -> None:
        needs(here.features.remembers > 0, "tags that outlive their messages")
        once = publication("1", tag="tag")
        here.broker.publish([once], PATIENCE)
        consumer = here.consumer()
        consumer.settle([Settlement(delivery) for delivery in fetch(consumer)], None)
        here.broker.publish([once], PATIENCE)
        assert fetch(consumer) == []

    def test_a_tag_repeated_within_one_call_is_one_message(self, here: Side) -> None:
        needs(here.features.dedupes, "the recognition of repeated publishes")
        once = publication("1", tag="tag")
        here.broker.publish([once, once], PATIENCE)
        assert ids(fetch(here.consumer())) == ["1"]

    def test_messages_of_the_same_task_with_other_tags_are_other_messages(self, here: Side) -> None:
        here.publish("1")
        here.publish("1")
        assert ids(fetch(here.consumer())) == ["1", "1"]

    def test_a_message_that_is_due_already_is_delivered_at_once(self, here: Side) -> None:
        here.publish("1", due=now() - 10)
        assert ids(fetch(here.consumer())) == ["1"]

    def test_a_message_is_not_delivered_before_it_is_due(self, here: Side) -> None:
        needs(here.features.scheduling, "scheduled messages")
        here.publish("later", due=now() + LONG)
        here.publish("at once")
        assert ids(fetch(here.consumer())) == ["at once"]

    def test_a_scheduled_message_is_delivered_when_it_is_due(self, here: Side) -> None:
        needs(here.features.scheduling, "scheduled messages")
        due = now() + 4 * SOON
        here.publish("1", due=due)
        with at_most(PATIENCE):
            assert ids(fetch(here.consumer(), wait=LONG)) == ["1"]
        assert now() >= due - 0.002

    def test_threads_publish_at_the_same_time_and_lose_nothing(
        self, here: Side, there: Side
    ) -> None:
        def publish(name: int) -> None:
            side = (here, there)[name % 2]
            for number in range(0, 200, 5):
                side.publish(*(f"{name}-{number + more}" for more in range(5)))

        with ThreadPoolExecutor(8) as executor:
            list(executor.map(publish, range(8)))
        consumer = here.consumer()
        found: list[str | None] = []
        while deliveries := fetch(consumer, limit=500):
            found += ids(deliveries)
            ack(consumer, deliveries)
        assert len(found) == len(set(found)) == 1600
        for name in range(8):
            own = [task_id for task_id in found if task_id and task_id.startswith(f"{name}-")]
            assert own == [f"{name}-{number}" for number in range(200)]

    def test_a_closed_engine_keeps_what_was_published(self, here: Side, there: Side) -> None:
        here.publish("1")
        here.engine.close()
        assert ids(fetch(there.consumer())) == ["1"]

    def test_closing_the_broker_leaves_leases_as_they_are(self, here: Side, there: Side) -> None:
        needs(here.features.leases, "leases")
        here.publish("1")
        consumer = here.consumer()
        [delivery] = fetch(consumer)
        here.broker.close()
        assert fetch(there.consumer()) == []
        assert ack(consumer, [delivery]).refused == ()

    def test_an_engine_gives_the_same_ports_each_time(self, here: Side) -> None:
        for name in ("broker", "queues", "results", "state", "broadcast"):
            assert getattr(here.engine, name) is getattr(here.engine, name), name

    def test_an_engine_that_works_has_no_problem(self, here: Side, there: Side) -> None:
        here.publish("1")
        assert here.engine.problem() is None
        assert there.engine.problem() is None

    def test_a_broker_shares_the_result_store_of_its_own_storage(
        self, here: Side, there: Side
    ) -> None:
        results, others = here.results, there.results
        assert here.broker.shares(results) is here.features.joint_results
        assert here.broker.shares(others) is here.features.joint_results

    def test_it_is_known_whether_a_consumer_was_ever_attached(
        self, here: Side, there: Side
    ) -> None:
        here.publish("1")
        before = here.broker.ever_consumed()
        consumer = here.consumer()
        assert there.broker.ever_consumed()
        consumer.close()
        assert there.broker.ever_consumed()
        assert before is False or before is True  # True where the engine cannot know
