"""The contract of the result store's groups: their documents, and the parts that a chord waits for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from umbel.ports import GroupPart
from umbel.testing.conformance.support import LONG, Contract, Side, drain_cleanup, now

#: So many parts has a large group.
MANY = 2000


class GroupContract(Contract):
    """Groups: which results they have, and their parts."""

    # Groups that are saved

    @pytest.mark.parametrize("document", ['{"result": "grüße"}', b"\x80\x04\x00\xff"])
    def test_a_group_is_read_as_it_was_saved(
        self, here: Side, there: Side, document: str | bytes
    ) -> None:
        here.results.save_group("g", '{"result": "before"}', now() + LONG)
        here.results.save_group("g", document, None)
        here.results.save_group("h", document, now() + LONG)
        assert there.results.saved_group("g") == there.results.saved_group("h") == document
        assert there.results.get(["g"]) == {}
        there.results.forget_group("g")
        assert here.results.saved_group("g") is None
        assert here.results.saved_group("h") == document

    def test_a_group_expires(self, here: Side, there: Side) -> None:
        here.results.save_group("old", "{}", now() - 1)
        here.results.save_group("new", "{}", now() + LONG)
        assert there.results.saved_group("old") is None
        drain_cleanup(there)
        assert there.results.saved_group("new") == "{}"

    # Their parts

    def test_a_group_is_complete_with_its_last_part(self, here: Side, there: Side) -> None:
        here.results.open_group("g", 3, now() + LONG)
        assert not _add(here, "g", 2, "c", "me")
        assert not _add(there, "g", 0, "a", "you")
        assert _texts(here, "g") == ["a", "c"]
        assert _add(here, "g", 1, "b", "me")
        assert _texts(there, "g") == ["a", "b", "c"]

    def test_parts_are_recorded_together(self, here: Side) -> None:
        here.results.open_group("g", 2, None)
        here.results.open_group("h", 1, None)
        parts = [part("g", 0, "a", "me"), part("h", 0, "b", "you"), part("g", 1, "c", "me")]
        assert here.results.add_parts([]) == []
        assert here.results.add_parts(parts) == [False, True, True]
        assert (_texts(here, "g"), _texts(here, "h")) == (["a", "c"], ["b"])

    def test_many_parts_come_in_order(self, here: Side, there: Side) -> None:
        here.results.open_group("g", MANY, now() + LONG)
        parts = [part("g", index, str(index), "me") for index in reversed(range(MANY))]
        assert here.results.add_parts(parts) == [False] * (MANY - 1) + [True]
        assert _texts(there, "g") == [str(index) for index in range(MANY)]

    def test_a_part_without_a_place_comes_last(self, here: Side) -> None:
        here.results.open_group("g", 2, None)
        assert here.results.add_parts([part("g", None, "b", "me"), part("g", 5, "a", "me")])[1]
        assert _texts(here, "g") == ["a", "b"]

    def test_a_part_that_is_recorded_again_counts_once(self, here: Side) -> None:
        here.results.open_group("g", 2, now() + LONG)
        assert not _add(here, "g", 0, "first", "me")
        assert not _add(here, "g", 0, "second", "me")
        assert _texts(here, "g") == ["first"]

    def test_calls_of_one_id_at_two_places_are_two_parts(self, here: Side) -> None:
        here.results.open_group("g", 2, now() + LONG)
        same = [part("g", 0, "a", "me", "id"), part("g", 1, "b", "me", "id")]
        assert here.results.add_parts(same) == [False, True]

    def test_the_claim_goes_to_one(self, here: Side, there: Side) -> None:
        here.results.open_group("g", 1, now() + LONG)
        assert _add(here, "g", 0, "a", "first")
        assert not _add(there, "g", 0, "a", "second")
        assert not there.results.close_group("g", "second")
        assert _add(here, "g", 0, "a", "first")
        assert _texts(here, "g") == ["a"]
        assert here.results.close_group("g", "first")

    def test_a_closed_group_stays_closed(self, here: Side, there: Side) -> None:
        here.results.open_group("g", 1, now() + LONG)
        _add(here, "g", 0, "a", "me")
        assert here.results.close_group("g", "me")
        assert not there.results.close_group("g", "me")
        there.results.open_group("g", 1, now() + LONG)
        there.results.extend_group("g", "more")
        assert not _add(there, "g", 0, "a", "me")
        assert not _add(there, "g", 1, "late", "you")
        assert there.results.parts("g") == []

    def test_a_group_that_is_restarted_counts_from_the_beginning(
        self, here: Side, there: Side
    ) -> None:
        """Whether it was closed, or is under way; another one stays as it is."""
        for group in ("closed", "open", "other"):
            here.results.open_group(group, 2, now() + LONG)
            here.results.extend_group(group, "more")
            _add(here, group, 0, "a", "me")
        here.results.add_parts([part("closed", 1, "b", "me"), part("closed", 2, "c", "me")])
        assert here.results.close_group("closed", "me")
        there.results.restart_groups(["closed", "open", "unknown"])
        there.results.restart_groups([])
        for group in ("closed", "open"):
            assert here.results.parts(group) == []
            there.results.open_group(group, 1, now() + LONG)
            assert _add(here, group, 0, "new", "you")
            assert _texts(there, group) == ["new"]
        assert _texts(there, "other") == ["a"]

    def test_an_incomplete_group_cannot_be_closed(self, here: Side) -> None:
        here.results.open_group("g", 2, now() + LONG)
        _add(here, "g", 0, "a", "me")
        assert not here.results.close_group("g", "me")
        assert _texts(here, "g") == ["a"]

    def test_a_group_is_not_complete_before_it_is_opened(self, here: Side) -> None:
        assert not _add(here, "g", 0, "a", "me")
        here.results.open_group("g", 1, now() + LONG)
        here.results.open_group("g", 7, now() + LONG)  # changes nothing
        assert _add(here, "g", 0, "a", "me")

    def test_a_group_that_was_extended_waits_for_more(self, here: Side, there: Side) -> None:
        here.results.open_group("g", 1, now() + LONG)
        for name in ("first", "second", "first"):
            there.results.extend_group("g", name)
        assert not _add(here, "g", 0, "a", "me")
        assert not _add(here, "g", 1, "b", "me")
        assert _add(here, "g", 2, "c", "me")

    def test_a_group_that_is_given_up_is_gone(self, here: Side, there: Side) -> None:
        here.results.open_group("g", 2, now() - 1)
        here.results.add_parts([part("g", 0, "a", "me", expires=now() - 1)])
        here.results.open_group("h", 2, now() + LONG)
        _add(here, "h", 0, "b", "me")
        drain_cleanup(there)
        assert here.results.parts("g") == []
        assert _texts(here, "h") == ["b"]

    def test_groups_are_kept_apart(self, here: Side) -> None:
        for group in ("g", "h"):
            here.results.open_group(group, 2, now() + LONG)
        _add(here, "g", 0, "a", "me")
        _add(here, "h", 1, "b", "me")
        assert _texts(here, "g") == ["a"]
        assert here.results.parts("unknown") == []

    def test_of_parts_that_arrive_at_the_same_time_one_completes_the_group(
        self, here: Side, there: Side
    ) -> None:
        def add(index: int) -> bool:
            return _add((here, there)[index % 2], "g", index, "x", f"claimant {index}")

        here.results.open_group("g", 16, now() + LONG)
        with ThreadPoolExecutor(8) as executor:
            assert sum(executor.map(add, range(16))) == 1
        assert _texts(here, "g") == ["x"] * 16


def part(
    group: str,
    index: int | None,
    document: str,
    claimant: str,
    name: str | None = None,
    expires: float | None = None,
) -> GroupPart:
    """Return a part, of a call whose id is its place unless it has a name."""
    return GroupPart(group, name or f"call {index}", index, document, claimant, expires)


def _add(side: Side, group: str, index: int, document: str, claimant: str) -> bool:
    [found] = side.results.add_parts([part(group, index, document, claimant, None, now() + LONG)])
    return found


def _texts(side: Side, group: str) -> list[str]:
    found = side.results.parts(group)
    return [(one if isinstance(one, str) else one.decode()).rstrip() for one in found]
