from __future__ import annotations

import pytest

from tests.each import for_each
from umbel import states
from umbel.progress import Progress


@for_each(
    ("told", "fraction", "text"),
    [
        (Progress(3, 12), 0.25, "25 % (3 of 12)"),
        (Progress(1, 3, "reading"), 1 / 3, "33 % (1 of 3): reading"),
        (Progress(0.5, 2.5), 0.2, "20 % (0.5 of 2.5)"),
        (Progress(7), None, "7"),
        (Progress(7, None, "files"), None, "7: files"),
        (Progress(5, 4), 1.0, "100 % (5 of 4)"),
        (Progress(-1, 4), 0.0, "0 % (-1 of 4)"),
        (Progress(0, 0), 1.0, "100 % (0 of 0)"),
    ],
)
def test_how_far_it_is(told: Progress, fraction: float | None, text: str) -> None:
    assert told.fraction == fraction
    assert str(told) == text
    assert Progress.of(told.as_meta()) == told


def test_the_mapping_is_that_of_celery_progress() -> None:
    assert Progress(1, 3, "reading").as_meta() == {
        "pending": False,
        "current": 1,
        "total": 3,
        "percent": 33.33,
        "description": "reading",
    }


@for_each(
    ("told", "read"),
    [
        ({"current": 1, "total": 4}, Progress(1, 4)),
        ({"current": 1}, Progress(1)),
        ({"current": 1, "total": "many", "description": 3}, Progress(1)),
        ({"done": 1}, None),
        ({"current": True, "total": 4}, None),
        ({"current": float("nan"), "total": 4}, None),
        ("half", None),
        (None, None),
    ],
)
def test_what_others_have_stored_is_read(told: object, read: Progress | None) -> None:
    assert Progress.of(told) == read


@for_each(
    ("told", "error"),
    [
        (("1", 2, ""), "done must be a number, not '1'"),
        ((True, 2, ""), "done must be a number, not True"),
        ((1, "2", ""), "total must be a number, not '2'"),
        ((float("inf"), 2, ""), "done must be finite, not inf"),
        ((1, 2, b"x"), "message must be a text, not b'x'"),
    ],
)
def test_what_is_not_progress_is_refused(told: tuple[object, ...], error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        Progress.checked(*told)


def test_a_state_stays_or_does_not() -> None:
    stays = {
        (stored, new)
        for stored in (*states.ALL_STATES, states.PROGRESS)
        for new in (*states.ALL_STATES, states.PROGRESS)
        if states.stays(stored, new)
    }
    others = {state for state in (*states.ALL_STATES, states.PROGRESS) if state != states.SUCCESS}
    assert stays == {
        *((states.SUCCESS, other) for other in others),
        *((final, states.PROGRESS) for final in states.READY_STATES),
    }
