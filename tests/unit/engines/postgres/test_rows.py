"""Values as PostgreSQL has them."""

from __future__ import annotations

import tracemalloc

from umbel.engines.postgres import rows


def test_an_old_message_and_a_new_one_are_acknowledged_without_counting_what_is_between() -> None:
    tracemalloc.start()
    try:
        assert rows.acked_columns([(1, 5), (300_000, 5)]) == ["{1,300000}", "{5,5}"]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000
    assert rows.acked_columns([(7, 5), (8, 5), (9, 5)]) == ["{7,9}", "{5}"]
