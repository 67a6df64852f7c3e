"""Figures of what ran: made of the results that are stored."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Umbel, chain, chord, group, states
from umbel.drawing import as_text, figure_of_result
from umbel.progress import Progress
from umbel.testing import run_pending


@pytest.fixture
def app(memory: str) -> Umbel:
    app = Umbel("proj", broker=memory, backend=memory, result_extended=True)

    @app.task(name="add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="outer")
    def outer() -> None:
        add.delay(1)

    return app


def s(app: Umbel, name: str, *args: Any) -> Any:
    return app.tasks[name].s(*args)


def drawn(app: Umbel, result: Any) -> list[str]:
    """Return a figure without the widths that depend on ids."""
    return [" ".join(line.split()) for line in as_text(figure_of_result(result)).splitlines()]


def test_a_chain_of_a_chord_is_found_from_its_last_id(app: Umbel) -> None:
    whole = s(app, "add", 1) | group(s(app, "add", 1), s(app, "add", 2)) | s(app, "total")
    result = (whole | s(app, "add", 5)).delay()
    before = drawn(app, result)
    assert [line.split()[-1] for line in before] == [
        "chain",
        *("PENDING", "2", "PENDING", "PENDING", "PENDING", "←"),
    ]
    run_pending(app)
    expected = [
        "chain",
        "├─ 1 add(1) ✔ SUCCESS 1",
        "├─ 2 group of 2",
        "│ ├─ add(1, 1) ✔ SUCCESS 2",
        "│ └─ add(1, 2) ✔ SUCCESS 3",
        "├─ 3 total([2, 3]) ✔ SUCCESS 5",
        "└─ 4 add(5, 5) ✔ SUCCESS 10 ←",
    ]
    assert drawn(app, result) == expected
    assert drawn(app, app.AsyncResult(result.id)) == expected
    member = result.parent.parent.results[0]
    assert drawn(app, app.AsyncResult(member.id)) == [
        "chain",
        "├─ 1 add(1) ✔ SUCCESS 1",
        "└─ 2 group of 2",
        "├─ add(1, 1) ✔ SUCCESS 2 ←",
        "└─ add(1, 2) ✔ SUCCESS 3",
    ]


def test_of_a_chord_that_a_client_sent_what_is_known_is_drawn(app: Umbel) -> None:
    result = chord([s(app, "add", 1), s(app, "add", 2) | s(app, "add", 3)], s(app, "total"))()
    run_pending(app)
    assert drawn(app, app.AsyncResult(result.id)) == [
        "chain",
        "├─ 1 group, 1 known",
        "│ └─ chain",
        "│ ├─ 1 add(2) ✔ SUCCESS 2",
        "│ └─ 2 add(2, 3) ✔ SUCCESS 5",
        "└─ 2 total([1, 5]) ✔ SUCCESS 6 ←",
    ]


def test_an_open_chord_knows_those_that_have_ended(app: Umbel) -> None:
    @app.task(name="leave", bind=True)
    def leave(self: Any) -> None:
        raise self.retry(countdown=1000)

    parts = [s(app, "add", 1), s(app, "add", 2), s(app, "leave")]
    result = chord(parts, s(app, "total"))()
    run_pending(app)
    assert drawn(app, app.AsyncResult(result.parent[0].id)) == [
        "group, 2 known",
        "├─ add(1) ✔ SUCCESS 1 ←",
        "└─ add(2) ✔ SUCCESS 2",
    ]
    result.parent.save()
    assert len(drawn(app, app.AsyncResult(result.parent[0].id))) == 4


def test_a_chain_of_thousands_is_drawn_in_part(app: Umbel) -> None:
    result = None
    for number in range(5000):
        result = app.AsyncResult(f"call-{number}", parent=result)
    lines = drawn(app, result)
    assert len(lines) < 100
    assert any("more calls" in line for line in lines)


def test_calls_that_a_task_made_follow_it(app: Umbel) -> None:
    result = app.tasks["outer"].delay()
    run_pending(app)
    assert drawn(app, app.AsyncResult(result.id)) == [
        "chain",
        "├─ 1 outer() ✔ SUCCESS ←",
        "└─ 2 add(1) ✔ SUCCESS 1",
    ]


def test_states_say_more(app: Umbel) -> None:
    store, ids = app.backend.store_result, ["a", "b", "c", "d"]
    store("a", Progress(1, 4, "reading").as_meta(), states.PROGRESS)
    store("b", ValueError("x" * 99), states.FAILURE)
    store("c", {"pid": 1, "hostname": "celery@host"}, states.STARTED)
    result = app.GroupResult("g", [app.AsyncResult(one) for one in ids])
    assert drawn(app, result) == [
        "group of 4",
        "├─ a ▶ PROGRESS ━━──────── 25 % (1 of 4): reading",
        f"├─ b ✘ FAILURE ValueError('{'x' * 27}…",
        "├─ c ▶ STARTED celery@host",
        "└─ d · PENDING",
    ]


def test_large_ones_are_summed_up(app: Umbel) -> None:
    result = group(s(app, "add", n) for n in range(100)).delay()
    run_pending(app)
    lines = drawn(app, result)
    assert (len(lines), lines[0]) == (13, "group of 100")
    assert lines[11] == "├─ … 89 more calls: 89 SUCCESS"
    long = chain(*(s(app, "add", n) for n in range(200))).delay()
    run_pending(app)
    assert "├─ 11 … 189 more calls: 189 SUCCESS" in drawn(app, long)
    assert drawn(app, app.AsyncResult(long.id))[1] == "├─ 1 … calls before this one"


def test_nothing_is_known(app: Umbel) -> None:
    assert drawn(app, app.AsyncResult("never")) == ["never · PENDING ←"]
