from __future__ import annotations

import json

import pytest

from umbel.engines.sqlite import rows
from umbel.message import Message, Publication


def test_times_survive_the_file() -> None:
    assert rows.seconds(rows.milliseconds(1_700_000_000.125)) == 1_700_000_000.125
    assert rows.seconds(rows.milliseconds(None)) is None


def test_what_is_no_key_of_a_delivery_is_passed_over() -> None:
    keys = ["1.2", "1", "x", "", ".", "1.", ".2", "-3.4", "²", "1.٣", "1.2.3", "42.43"]
    assert rows.handles(keys) == [(1, 2), (42, 43)]


def test_a_key_fits_into_a_page_for_a_thousand_years() -> None:
    handle = (40_000_000_000_000_000, 40_000_000_000_000_000)
    row = (*handle, 0, 1, 0, " ", "{}", "{}", "", "", b"")
    assert len(rows.delivery(row, "q").key) <= 40


def test_what_is_no_key_is_passed_over() -> None:
    assert json.loads(rows.numbers(["1", "x", "", "-3", "²", "٣", "42"])) == [1, 42]


@pytest.mark.parametrize(
    ("due", "state"), [(None, 0), (999.0, 0), (1000.0, 0), (1000.5, 1), (2000.0, 1)]
)
def test_only_what_is_due_later_is_scheduled(due: float | None, state: int) -> None:
    message = Message({"id": "1"}, {}, b"")
    row = rows.publication_row(Publication("q", message, "tag", 7, due), 1_000_000)
    assert row[:3] == (-7, state, rows.milliseconds(due) if state else None)


def test_a_row_becomes_the_delivery_it_was() -> None:
    message = Message({"id": "1", "x": [None, 1.5]}, {"p": "ü"}, b"\x00", "a/b", "binary")
    row = rows.publication_row(Publication("q", message, "tag", 7), 0)
    found = rows.delivery((5, 9, -7, 2, 1, *row[3:9]), "q", early=True)
    assert found.message == message
    assert (found.key, found.handle, found.tag, found.queue) == ("5.9", (5, 9), "tag", "q")
    assert (found.priority, found.count, found.crashes, found.early) == (7, 2, 1, True)
