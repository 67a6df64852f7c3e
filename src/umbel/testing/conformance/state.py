"""The contract of the state store: what a fleet must agree on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from umbel.exceptions import EncodeError
from umbel.ports import Change, FetchRequest, Put
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    QUEUE,
    SOON,
    Contract,
    Side,
    ack,
    needs,
    publication,
    until,
)


class StateStoreContract(Contract):
    """`StateStore`."""

    # Leases by name

    def test_one_owner_holds_a_lease(self, here: Side, there: Side) -> None:
        term = here.state.hold("beat", "a", LONG)
        assert term is not None
        assert there.state.hold("beat", "b", LONG) is None
        assert there.state.hold("other", "b", LONG) is not None

    def test_the_owner_prolongs_its_lease_within_the_same_term(self, here: Side) -> None:
        term = here.state.hold("beat", "a", LONG)
        assert here.state.hold("beat", "a", LONG) == term

    def test_the_term_grows_when_a_lease_ends_and_another_takes_it(
        self, here: Side, there: Side
    ) -> None:
        first = here.state.hold("beat", "a", SOON)
        second = until(lambda: there.state.hold("beat", "b", LONG))
        assert first is not None
        assert second is not None
        assert second > first
        assert here.state.hold("beat", "a", LONG) is None

    def test_a_lease_is_let_go_by_its_owner_alone(self, here: Side, there: Side) -> None:
        first = here.state.hold("beat", "a", LONG)
        assert not there.state.let_go("beat", "b")
        assert not there.state.let_go("unknown", "b")
        assert there.state.hold("beat", "b", LONG) is None
        assert here.state.let_go("beat", "a")
        assert not here.state.let_go("beat", "a")
        second = there.state.hold("beat", "b", LONG)
        assert first is not None
        assert second is not None
        assert second > first

    def test_a_prolonged_lease_outlives_its_first_end(self, here: Side, there: Side) -> None:
        here.state.hold("beat", "a", SOON)
        here.state.hold("other", "a", SOON)
        term = here.state.hold("beat", "a", LONG)
        until(lambda: there.state.hold("other", "b", LONG))
        assert term is not None
        assert there.state.hold("beat", "b", LONG) is None

    def test_of_many_one_gets_the_lease(self, here: Side, there: Side) -> None:
        def hold(number: int) -> int | None:
            return (here, there)[number % 2].state.hold("beat", f"owner {number}", LONG)

        with ThreadPoolExecutor(8) as executor:
            assert sum(term is not None for term in executor.map(hold, range(8))) == 1

    # Values

    def test_a_value_is_read_as_it_was_stored(self, here: Side, there: Side) -> None:
        here.state.put("kind", "key", "grüße")
        assert there.state.get("kind", "key") == "grüße"
        assert there.state.get("kind", "other") is None
        assert there.state.get("other", "key") is None

    def test_a_value_replaces_the_one_before(self, here: Side) -> None:
        here.state.put("kind", "key", "1", SOON)
        here.state.put("kind", "key", "2")
        here.state.put("kind", "probe", "", SOON)
        until(lambda: here.state.get("kind", "probe") is None)
        assert here.state.get("kind", "key") == "2"

    def test_a_value_is_gone_after_its_time(self, here: Side, there: Side) -> None:
        here.state.put("kind", "short", "1", SOON)
        here.state.put("kind", "long", "2", LONG)
        here.state.put("kind", "ever", "3")
        until(lambda: there.state.get("kind", "short") is None)
        assert there.state.items("kind") == {"long": "2", "ever": "3"}
        assert there.state.delete("kind", ["short"]) == 0

    def test_all_values_of_a_kind_are_listed(self, here: Side, there: Side) -> None:
        here.state.put("kind", "a", "1")
        here.state.put("kind", "b", "2")
        here.state.put("other", "c", "3")
        assert there.state.items("kind") == {"a": "1", "b": "2"}
        assert there.state.items("unknown") == {}

    def test_deleting_tells_how_many_there_were(self, here: Side, there: Side) -> None:
        for key in "abc":
            here.state.put("kind", key, key)
        assert there.state.delete("kind", ["a", "b", "unknown"]) == 2
        assert there.state.delete("kind", ["a", "b"]) == 0
        assert here.state.items("kind") == {"c": "c"}

    def test_a_new_value_is_stored_only_where_there_is_none(self, here: Side, there: Side) -> None:
        assert here.state.put_new("lock", "key", "1")
        assert not there.state.put_new("lock", "key", "2")
        assert there.state.get("lock", "key") == "1"
        here.state.delete("lock", ["key"])
        assert there.state.put_new("lock", "key", "3", SOON)
        assert until(lambda: here.state.put_new("lock", "key", "4"))
        assert there.state.get("lock", "key") == "4"

    def test_of_many_one_stores_the_new_value(self, here: Side, there: Side) -> None:
        def put(number: int) -> bool:
            return (here, there)[number % 2].state.put_new("lock", "key", str(number))

        with ThreadPoolExecutor(8) as executor:
            assert sum(executor.map(put, range(8))) == 1

    # Versions

    def test_the_version_grows_with_every_change_of_a_kind(self, here: Side, there: Side) -> None:
        seen = [here.state.version("kind")]
        here.state.put("kind", "a", "1")
        seen.append(there.state.version("kind"))
        here.state.put("kind", "a", "2")
        seen.append(there.state.version("kind"))
        here.state.put_new("kind", "b", "1")
        seen.append(there.state.version("kind"))
        here.state.delete("kind", ["a"])
        seen.append(there.state.version("kind"))
        assert seen == sorted(set(seen))

    def test_what_changes_nothing_leaves_the_version(self, here: Side) -> None:
        here.state.put("kind", "a", "1")
        before = here.state.version("kind")
        here.state.put_new("kind", "a", "2")
        here.state.delete("kind", ["unknown"])
        here.state.put("other", "a", "1")
        here.state.get("kind", "a")
        here.state.items("kind")
        assert here.state.version("kind") == before

    # Many values

    def test_many_values_are_stored_and_picked(self, here: Side, there: Side) -> None:
        here.state.put("kind", "a", "0", SOON)
        here.state.put_all("kind", {"a": "1", "b": "2", "c": "3"}, LONG)
        here.state.put_all("kind", {"short": "4"}, SOON)
        here.state.put_all("kind", {})
        until(lambda: there.state.get("kind", "short") is None)
        assert there.state.items("kind") == {"a": "1", "b": "2", "c": "3"}
        assert there.state.pick("kind", ["c", "a", "short", "unknown"]) == {"a": "1", "c": "3"}
        assert there.state.pick("kind", []) == {}
        assert there.state.pick("other", ["a"]) == {}

    def test_what_was_stored_since_a_version_is_told(self, here: Side, there: Side) -> None:
        nothing = there.state.changes("kind", 0, 10)
        assert nothing.values == {}
        here.state.put_all("kind", {"a": "1", "b": "2"}, LONG)
        here.state.put("other", "x", "1")
        first = there.state.changes("kind", nothing.version, 10)
        assert first.values == {"a": "1", "b": "2"}
        assert first.version == here.state.version("kind")
        here.state.put("kind", "b", "3")
        here.state.put_new("kind", "c", "4")
        second = there.state.changes("kind", first.version, 10)
        assert second.values is not None
        assert {"b": "3", "c": "4"}.items() <= second.values.items()
        assert there.state.changes("kind", second.version, 10).version == second.version
        assert there.state.changes("kind", 0, 10).values == {"a": "1", "b": "3", "c": "4"}

    def test_what_is_deleted_or_has_expired_is_not_told(self, here: Side, there: Side) -> None:
        here.state.put_all("kind", {"a": "1", "b": "2"})
        here.state.put_all("kind", {"short": "4"}, SOON)
        before = here.state.changes("kind", 0, 10)
        here.state.delete("kind", ["a"])
        until(lambda: there.state.get("kind", "short") is None)
        assert there.state.changes("kind", 0, 10).values == {"b": "2"}
        assert there.state.changes("kind", before.version, 10).version > before.version

    def test_a_version_that_there_never_was_stands_for_none(self, here: Side) -> None:
        here.state.put_all("kind", {"a": "1"})
        assert here.state.changes("kind", here.state.version("kind") + 1000, 10).values == {
            "a": "1"
        }
        assert here.state.changes("unknown", 1000, 10).values == {}

    def test_more_than_is_asked_for_is_not_told(self, here: Side, there: Side) -> None:
        many = {str(number): "x" for number in range(min(here.features.batch, 2500))}
        here.state.put_all("kind", many, LONG)
        version = here.state.version("kind")
        told = there.state.changes("kind", 0, len(many) - 1)
        assert (told.version, told.values) == (version, None)
        assert there.state.changes("kind", 0, len(many)).values == many

    def test_of_many_who_store_at_a_time_nothing_is_missed(self, here: Side, there: Side) -> None:
        seen: dict[str, str] = {}

        def put(number: int) -> None:
            (here, there)[number % 2].state.put_all("kind", {str(number): "x"}, LONG)

        with ThreadPoolExecutor(8) as executor:
            stored = [executor.submit(put, number) for number in range(80)]
            version, last = 0, False
            while not last:
                last = all(one.done() for one in stored)
                told = there.state.changes("kind", version, 1000)
                assert told.values is not None
                seen.update(told.values)
                version = told.version
        assert seen.keys() == {str(number) for number in range(80)}

    @pytest.mark.usefixtures("joint")
    def test_changes_are_told_of_too(self, here: Side, there: Side) -> None:
        here.state.put_all("kind", {"a": "1", "b": "2"}, LONG)
        before = here.state.version("kind")
        puts = (Put("kind", "c", "3"),)
        there.state.change([Change("kind", "a", "1", "2", puts)], PATIENCE)
        told = here.state.changes("kind", before, 10).values
        assert told is not None
        assert {"a": "2", "c": "3"}.items() <= told.items()
        there.state.change([Change("kind", "c", "3", None)], PATIENCE)
        assert here.state.changes("kind", 0, 10).values == {"a": "2", "b": "2"}

    # Changes

    @pytest.fixture
    def joint(self, here: Side) -> None:
        needs(here.features.joint_state, "changes of values and publishing in one step")

    @pytest.mark.usefixtures("joint")
    def test_a_change_is_made_only_of_what_is_as_expected(self, here: Side, there: Side) -> None:
        here.state.put("kind", "a", "1")
        here.state.put("kind", "b", "1")
        changes = [
            Change("kind", "a", "1", "2"),
            Change("kind", "b", "0", "2"),
            Change("kind", "c", None, "2"),
            Change("kind", "d", "1", "2"),
            Change("other", "a", None, "2"),
        ]
        assert there.state.change(changes, PATIENCE) == [True, False, True, False, True]
        assert here.state.items("kind") == {"a": "2", "b": "1", "c": "2"}
        assert here.state.items("other") == {"a": "2"}

    @pytest.mark.usefixtures("joint")
    def test_a_change_may_delete(self, here: Side, there: Side) -> None:
        here.state.put("kind", "a", "1")
        before = here.state.version("kind")
        assert there.state.change([Change("kind", "a", "0", None)], PATIENCE) == [False]
        assert there.state.change([Change("kind", "a", "1", None)], PATIENCE) == [True]
        assert here.state.get("kind", "a") is None
        assert here.state.version("kind") > before

    @pytest.mark.usefixtures("joint")
    def test_what_has_expired_counts_as_gone(self, here: Side) -> None:
        here.state.put("kind", "a", "1", SOON)
        until(lambda: here.state.get("kind", "a") is None)
        assert here.state.change([Change("kind", "a", None, "2")], PATIENCE) == [True]
        assert here.state.get("kind", "a") == "2"
        # What is changed has no end, whatever ended it before.
        here.state.put("kind", "a", "3", LONG)
        assert here.state.change([Change("kind", "a", "3", "4")], PATIENCE) == [True]
        assert here.state.get("kind", "a") == "4"

    @pytest.mark.usefixtures("joint")
    def test_what_goes_with_a_change_goes_only_with_it(self, here: Side, there: Side) -> None:
        puts = (Put("log", "x", "made"), Put("log", "y", "made"))
        first = Change("kind", "a", None, "1", puts, (publication("first"), publication("more")))
        second = Change("kind", "b", "0", "1", (Put("log", "x", "not"),), (publication("second"),))
        assert here.state.change([first, second], PATIENCE) == [True, False]
        assert there.state.items("log") == {"x": "made", "y": "made"}
        consumer = there.consumer()
        found = consumer.fetch(FetchRequest([QUEUE], 10), 0.0)
        assert [one.message.task_id for one in found] == ["first", "more"]

    @pytest.mark.usefixtures("joint")
    def test_a_change_that_is_repeated_publishes_once(self, here: Side, there: Side) -> None:
        change = Change("kind", "a", None, "1", (), (publication("only"),))
        consumer = here.consumer()
        ran = []
        for side in (here, there, here):
            assert side.state.change([change], PATIENCE) == [True]
            found = consumer.fetch(FetchRequest([QUEUE], 10), 0.0)
            ran += [one.message.task_id for one in found]
            ack(consumer, found)  # gone, so that nothing but the value tells of it
        assert ran == ["only"]

    @pytest.mark.usefixtures("joint")
    def test_of_many_one_makes_a_change(self, here: Side, there: Side) -> None:
        here.state.put("kind", "a", "0")

        def change(number: int) -> bool:
            one = Change("kind", "a", "0", str(number), (), (publication(f"task {number}"),))
            return (here, there)[number % 2].state.change([one], PATIENCE) == [True]

        with ThreadPoolExecutor(8) as executor:
            assert sum(executor.map(change, range(1, 9))) == 1
        found = here.consumer().fetch(FetchRequest([QUEUE], 10), 0.0)
        assert [one.message.task_id for one in found] == [f"task {here.state.get('kind', 'a')}"]

    @pytest.mark.usefixtures("joint")
    def test_what_cannot_be_written_changes_nothing(self, here: Side) -> None:
        wrong = publication("wrong", "queue \udc80")
        changes = [
            Change("kind", "a", None, "1", (), (publication("right"),)),
            Change("kind", "b", None, "1", (), (wrong,)),
        ]
        with pytest.raises(EncodeError):
            here.state.change(changes, PATIENCE)
        assert here.state.items("kind") == {}
        assert here.consumer().fetch(FetchRequest([QUEUE], 10), 0.0) == []

    # Token buckets

    def test_a_full_bucket_gives_its_burst_and_no_more(self, here: Side, there: Side) -> None:
        assert [here.state.take("b", 1, 0.001, 3) for _ in range(3)] == [0.0, 0.0, 0.0]
        wait = there.state.take("b", 1, 0.001, 3)
        assert 900 < wait <= 1000
        assert there.state.take("other", 1, 0.001, 3) == 0.0

    def test_what_is_refused_is_not_taken(self, here: Side) -> None:
        assert here.state.take("b", 2, 0.001, 3) == 0.0
        assert here.state.take("b", 2, 0.001, 3) > 0.0
        assert here.state.take("b", 1, 0.001, 3) == 0.0

    def test_a_bucket_refills_with_time_up_to_its_burst(self, here: Side) -> None:
        assert here.state.take("b", 2, 20.0, 2) == 0.0
        wait = here.state.take("b", 1, 20.0, 2)
        assert 0.0 < wait <= 0.05
        until(lambda: here.state.take("b", 1, 20.0, 2) == 0.0)

    def test_many_take_no_more_than_there_is(self, here: Side, there: Side) -> None:
        def take(number: int) -> float:
            return (here, there)[number % 2].state.take("b", 1, 0.001, 5)

        with ThreadPoolExecutor(8) as executor:
            assert sum(wait == 0.0 for wait in executor.map(take, range(16))) == 5
