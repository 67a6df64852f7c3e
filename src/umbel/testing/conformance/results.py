"""The contract of the result store: results, and hearing of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from umbel.ports import Action, ResultSubscription, Settlement
from umbel.records import ResultRecord
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    SOON,
    Contract,
    Side,
    at_most,
    drain_cleanup,
    fetch,
    in_thread,
    now,
    record,
    until,
)

ROUNDS = 40
#: So many are listened for at once.
MANY = 2000


class ResultStoreContract(Contract):
    """`ResultStore`, but for groups."""

    def test_a_result_is_read_as_it_was_stored(self, here: Side, there: Side) -> None:
        stored = record("1", "FAILURE", text="grüße")
        here.results.put([stored])
        assert there.results.get(["1"]) == {"1": stored}

    def test_a_result_that_is_no_text_is_read_as_it_was_stored(
        self, here: Side, there: Side
    ) -> None:
        document = b"\x80\x04\x00\xff" + bytes(range(256))
        stored = ResultRecord("1", "SUCCESS", document)
        here.results.put([stored, record("2", "SUCCESS")])
        assert there.results.get(["1", "2"]) == {"1": stored, "2": record("2", "SUCCESS")}

    def test_an_expiry_is_kept_with_the_result(self, here: Side) -> None:
        expires = round(now()) + LONG
        here.results.put([record("1", "SUCCESS", expires)])
        assert here.results.get(["1"])["1"].expires == expires

    def test_only_results_that_exist_are_returned(self, here: Side) -> None:
        here.results.put([record("1", "SUCCESS"), record("2", "STARTED")])
        assert set(here.results.get(["1", "2", "3"])) == {"1", "2"}
        assert set(here.results.get(["1"], timeout=PATIENCE)) == {"1"}
        assert here.results.get([]) == {}

    def test_storing_nothing_does_nothing(self, here: Side) -> None:
        here.results.put([])

    def test_a_later_state_replaces_an_earlier(self, here: Side) -> None:
        for state in ("STARTED", "RETRY", "FAILURE", "STARTED", "SUCCESS"):
            here.results.put([record("1", state)])
            assert here.results.get(["1"])["1"].state == state

    def test_success_is_replaced_only_by_success(self, here: Side, there: Side) -> None:
        here.results.put([record("1", "SUCCESS", text="first")])
        for state in ("PENDING", "STARTED", "RETRY", "FAILURE", "REVOKED"):
            there.results.put([record("1", state)])
        assert here.results.get(["1"])["1"] == record("1", "SUCCESS", text="first")
        there.results.put([record("1", "SUCCESS", text="second")])
        assert here.results.get(["1"])["1"] == record("1", "SUCCESS", text="second")

    def test_what_has_ended_is_not_on_its_way_any_more(self, here: Side, there: Side) -> None:
        for task_id, state in (("1", "FAILURE"), ("2", "REVOKED"), ("3", "SUCCESS")):
            here.results.put([record(task_id, state)])
            there.results.put([record(task_id, "PROGRESS")])
            assert here.results.get([task_id])[task_id].state == state
        for state in ("STARTED", "RETRY", "PROGRESS"):
            here.results.put([record("4", state)])
            here.results.put([record("4", "PROGRESS")])
            assert here.results.get(["4"])["4"].state == "PROGRESS"

    def test_a_success_that_expired_is_replaced_by_anything(self, here: Side) -> None:
        here.results.put([record("1", "SUCCESS", now() - 1)])
        here.results.put([record("1", "STARTED")])
        assert here.results.get(["1"]) == {"1": record("1", "STARTED")}

    def test_an_expired_result_is_not_returned(self, here: Side, there: Side) -> None:
        here.results.put([record("1", "SUCCESS", now() + SOON), record("2", "SUCCESS")])
        until(lambda: set(there.results.get(["1", "2"])) == {"2"})
        assert set(there.results.wait(["1"], 0.0)) == set()

    def test_what_is_forgotten_is_gone(self, here: Side, there: Side) -> None:
        here.results.put([record("1", "SUCCESS"), record("2", "SUCCESS")])
        there.results.forget(["1", "unknown"])
        assert set(here.results.get(["1", "2"])) == {"2"}
        here.results.put([record("1", "STARTED")])
        assert here.results.get(["1"])["1"].state == "STARTED"

    # Waiting

    def test_waiting_returns_at_once_what_is_final(self, here: Side) -> None:
        here.results.put([record("1", "SUCCESS"), record("2", "STARTED"), record("3", "FAILURE")])
        with at_most(PATIENCE):
            assert set(here.results.wait(["1", "2", "3", "4"], LONG)) == {"1", "3"}

    def test_waiting_in_vain_returns_nothing_in_the_end(self, here: Side) -> None:
        here.results.put([record("1", "STARTED")])
        with at_most(PATIENCE):
            assert here.results.wait(["1", "2"], SOON) == {}
            assert here.results.wait(["1", "2"], 0.0) == {}

    def test_a_result_wakes_who_waits_for_it(self, here: Side, there: Side) -> None:
        results, others = here.results, there.results
        with at_most(PATIENCE):
            for number in range(ROUNDS):
                ids = [f"a{number}", f"b{number}"]
                with in_thread(lambda ids=ids: results.wait(ids, LONG)) as found:  # type: ignore[misc]
                    others.put([record(f"b{number}", "SUCCESS")])
                    assert set(found.result(PATIENCE)) == {f"b{number}"}

    def test_a_state_that_is_not_final_lets_the_others_wait_on(
        self, here: Side, there: Side
    ) -> None:
        results, others = here.results, there.results
        with at_most(PATIENCE), in_thread(lambda: results.wait(["1"], LONG)) as found:
            for _ in range(10):
                others.put([record("1", "STARTED")])
            others.put([record("1", "FAILURE")])
            assert found.result(PATIENCE)["1"].state == "FAILURE"

    def test_a_result_wakes_all_who_wait_for_it(self, here: Side, there: Side) -> None:
        stores = [here.results, there.results, here.results]
        with at_most(PATIENCE), ThreadPoolExecutor(3) as executor:
            waiting = [executor.submit(store.wait, ["1"], LONG) for store in stores]
            here.results.put([record("1", "SUCCESS")])
            assert [set(future.result(PATIENCE)) for future in waiting] == [{"1"}] * 3

    def test_a_result_that_is_stored_by_settling_wakes_who_waits(
        self, here: Side, there: Side
    ) -> None:
        results = there.results
        if not here.join():
            return
        consumer = here.consumer()
        with at_most(PATIENCE):
            for number in range(ROUNDS // 4):
                task_id = str(number)
                here.publish(task_id)
                [delivery] = fetch(consumer)
                with in_thread(lambda task_id=task_id: results.wait([task_id], LONG)) as found:  # type: ignore[misc]
                    consumer.settle([Settlement(delivery, result=record(task_id, "SUCCESS"))])
                    assert set(found.result(PATIENCE)) == {task_id}

    def test_a_result_that_is_not_stored_because_of_a_success_tells_of_the_success(
        self, here: Side, there: Side
    ) -> None:
        with closing(here.results.subscribe()) as subscription:
            subscription.add(["1"], timeout=PATIENCE)
            there.results.put([record("1", "SUCCESS", text="first")])
            there.results.put([record("1", "FAILURE", text="late")])
            assert subscription.receive(LONG) == {"1": record("1", "SUCCESS", text="first")}

    # Cleaning up

    def test_cleaning_up_deletes_what_expired(self, here: Side, there: Side) -> None:
        old, new = now() - 1, now() + LONG
        here.results.put([record("old", "SUCCESS", old), record("new", "SUCCESS", new)])
        here.results.put([record("for ever", "SUCCESS")])
        drain_cleanup(there)
        assert set(here.results.get(["old", "new", "for ever"])) == {"new", "for ever"}

    def test_many_are_forgotten_at_once(self, here: Side, there: Side) -> None:
        ids = [f"{number}" for number in range(MANY)]
        here.results.put([record(id, "SUCCESS") for id in [*ids, "kept"]])
        with at_most(PATIENCE):
            here.results.forget(ids)
        assert set(there.results.get([*ids, "kept"])) == {"kept"}

    def test_cleaning_up_deletes_dead_letters_that_expired(self, here: Side) -> None:
        queues, _ = here.queues, here.results
        here.publish("old", "new", "for ever")
        consumer = here.consumer()
        old, new, ever = fetch(consumer)
        expiries = ((old, now() - 1), (new, now() + LONG), (ever, None))
        consumer.settle(
            [
                Settlement(item, Action.DEAD_LETTER, reason="r", expires=expires)
                for item, expires in expiries
            ]
        )
        drain_cleanup(here)
        assert {letter.message.task_id for letter in queues.dead_letters(10)} == {"new", "for ever"}


class ResultSubscriptionContract(Contract):
    """`ResultSubscription`."""

    @pytest.fixture
    def heard(self, here: Side) -> Iterator[ResultSubscription]:
        with closing(here.results.subscribe()) as subscription:
            yield subscription

    def test_what_is_there_is_received_like_what_comes(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        there.results.put([record("1", "SUCCESS"), record("2", "STARTED"), record("x", "SUCCESS")])
        heard.add(["1", "2", "3"])
        assert _all_of(heard, "1", "2") == {"1": ["SUCCESS"], "2": ["STARTED"]}
        there.results.put([record("2", "FAILURE"), record("3", "SUCCESS"), record("y", "SUCCESS")])
        assert _all_of(heard, "2", "3") == {"2": ["FAILURE"], "3": ["SUCCESS"]}

    def test_nothing_comes_twice(self, heard: ResultSubscription, there: Side) -> None:
        heard.add(["1", "2"])
        there.results.put([record("1", "SUCCESS"), record("2", "STARTED")])
        _all_of(heard, "1", "2")
        there.results.put([record("1", "SUCCESS", text="again")])
        assert heard.receive(SOON) == {}

    def test_every_change_is_told_the_latest_at_least(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        heard.add(["1"])
        with at_most(PATIENCE):
            for number in range(ROUNDS):
                there.results.put([record("1", "PROGRESS", text=str(number))])
                assert heard.receive(LONG) == {"1": record("1", "PROGRESS", text=str(number))}
            for number in range(ROUNDS):
                there.results.put([record("1", "PROGRESS", text=f"again {number}")])
            last = record("1", "PROGRESS", text=f"again {ROUNDS - 1}")
            until(lambda: heard.receive(LONG).get("1") == last)

    def test_what_is_received_as_final_can_be_listened_for_again(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        there.results.put([record("1", "FAILURE", text="first")])
        for _ in range(2):
            heard.add(["1"])
            assert heard.receive(LONG) == {"1": record("1", "FAILURE", text="first")}
        there.results.put([record("1", "SUCCESS", text="second")])
        assert heard.receive(SOON) == {}
        heard.add(["1"])
        assert heard.receive(LONG) == {"1": record("1", "SUCCESS", text="second")}

    def test_what_is_discarded_is_not_received(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        heard.add(["1", "2", "3"])
        heard.discard(["1", "unknown"])
        there.results.put([record("1", "SUCCESS"), record("2", "SUCCESS"), record("3", "STARTED")])
        heard.discard(["2"])
        assert _all_of(heard, "3") == {"3": ["STARTED"]}
        heard.add(["1"])
        assert set(_all_of(heard, "1")) == {"1"}

    def test_receiving_in_vain_returns_nothing_in_the_end(self, heard: ResultSubscription) -> None:
        with at_most(PATIENCE):
            assert heard.receive(0.0) == {}
            heard.add(["1"])
            assert heard.receive(SOON) == {}
            assert heard.receive(0.0) == {}

    def test_an_interrupt_ends_the_receive_of_now_or_the_next(
        self, heard: ResultSubscription
    ) -> None:
        heard.add(["1"])
        with at_most(PATIENCE):
            heard.interrupt()
            assert heard.receive(LONG) == {}
            with in_thread(lambda: heard.receive(LONG)) as found:
                heard.interrupt()
                assert found.result(PATIENCE) == {}

    def test_after_an_interrupt_nothing_is_missed(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        heard.add(["1"])
        heard.interrupt()
        there.results.put([record("1", "SUCCESS")])
        with at_most(PATIENCE):
            assert until(lambda: heard.receive(LONG)) == {"1": record("1", "SUCCESS")}

    def test_thousands_are_heard_of_by_one(self, heard: ResultSubscription, there: Side) -> None:
        ids = [f"{number}" for number in range(MANY)]
        heard.add(ids[::2])
        heard.add(ids[1::2])

        def store() -> None:
            for start in range(0, MANY, 50):
                there.results.put([record(id, "SUCCESS") for id in ids[start : start + 50]])

        with at_most(PATIENCE), in_thread(store):
            assert len(_all_of(heard, *ids)) == MANY

    def test_none_is_missed_while_others_are_added(
        self, heard: ResultSubscription, there: Side
    ) -> None:
        ids = [f"{number}" for number in range(MANY // 10)]

        def store() -> None:
            for id in ids:
                there.results.put([record(id, "SUCCESS")])

        with at_most(PATIENCE), in_thread(store):
            found: set[str] = set()
            for id in ids:
                heard.add([id])
                found |= set(heard.receive(0.0))
            while len(found) < len(ids):
                found |= set(heard.receive(LONG))

    def test_two_hear_of_the_same(self, heard: ResultSubscription, there: Side) -> None:
        with closing(there.results.subscribe()) as other:
            heard.add(["1", "2"])
            other.add(["1"])
            there.results.put([record("1", "SUCCESS"), record("2", "SUCCESS")])
            assert set(_all_of(heard, "1", "2")) == {"1", "2"}
            assert set(_all_of(other, "1")) == {"1"}

    def test_closing_one_leaves_the_others(self, heard: ResultSubscription, there: Side) -> None:
        other = there.results.subscribe()
        heard.add(["1"])
        other.add(["1"])
        other.close()
        there.results.put([record("1", "SUCCESS")])
        assert set(_all_of(heard, "1")) == {"1"}


def _all_of(subscription: ResultSubscription, *task_ids: str) -> dict[str, list[str]]:
    """Receive until something came of each task; return the states in order."""
    found: dict[str, list[str]] = {}
    while found.keys() != set(task_ids):
        news = subscription.receive(PATIENCE)
        assert news, f"nothing came of {set(task_ids) - found.keys()}"
        for task_id, item in news.items():
            found.setdefault(task_id, []).append(item.state)
    return found
