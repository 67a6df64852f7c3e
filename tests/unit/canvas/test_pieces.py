"""Workflows by reference: what travels, what the result store keeps, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import pytest

from tests.conftest import ManualClock
from umbel import Task, Umbel, chain, chord, current, group, states
from umbel.canvas import pieces
from umbel.canvas.pieces import Piece, cut, is_stand_in
from umbel.clock import SYSTEM
from umbel.outbox import Outbox
from umbel.pieces import kept as document_of
from umbel.pieces import load
from umbel.serialization import JSON
from umbel.tails import RawTail
from umbel.testing import run_pending

Made = Task[..., Any]


def step(number: int, size: int = 10) -> dict[str, Any]:
    return {
        "task": "add",
        "args": [number],
        "kwargs": {"size": size},
        "options": {"task_id": f"id-{number}"},
        "subtask_type": None,
        "immutable": False,
    }


def test_stand_ins_are_found_in_the_text_of_what_was_not_read() -> None:
    def named(piece: Any, expires: Any) -> dict[str, Any]:
        return {"task": pieces.REST, "kwargs": {"piece": piece, "expires": expires}}

    steps = [named("a", 5), step(1), named(7, 5), named("no end", None), named("b", 1.5), step(2)]
    text = JSON.dumps(steps)[1:-1]
    assert list(pieces.ahead(RawTail(text))) == [("a", 5.0), ("b", 1.5)]
    assert list(pieces.ahead(steps, None)) == [("b", 1.5), ("no end", None), ("a", 5)]


def test_stand_ins_are_found_within_workflows() -> None:
    inner = pieces.stand_in("inner", step(1), {}, 5.0)
    chord = {
        "task": "celery.chord",
        "subtask_type": "chord",
        "kwargs": {"header": [], "body": inner},
    }
    outer = {"task": "t", "options": {"chord": pieces.stand_in("body", step(2), {}, 6.0)}}
    assert dict(pieces.ahead([chord, outer])) == {"inner": 5.0, "body": 6.0}


def cut_of(*sizes: int) -> tuple[list[Any], list[Piece]]:
    """Cut steps of these sizes, named by their numbers."""
    ids = map("piece-{}".format, count())
    steps = [step(number, size) for number, size in enumerate(sizes)]
    return cut(steps, ids.__next__, lambda one: one["kwargs"]["size"], lambda first: {"queue": "q"})


def in_order(travelling: list[Any], found: list[Piece]) -> Iterator[list[int]]:
    """Yield the numbers of the steps that travel, and of those in each piece that is led to."""
    held = {piece.id: piece for piece in found}
    steps: Any = travelling
    while True:
        yield [one["args"][0] for one in steps if not is_stand_in(one)]
        if not (steps and is_stand_in(steps[-1])):
            return
        steps = held.pop(steps[-1]["kwargs"]["piece"]).steps


class TestCut:
    @pytest.mark.parametrize(
        ("sizes", "expected"),
        [
            ((), [[]]),
            ((10, 10), [[0, 1]]),
            ((pieces.PIECE,) * 3, [[0], [1], [2]]),
            ((4000, 4000, 4000, 10, 9000, 10), [[0, 1], [2, 3], [4], [5]]),
            ((9000, 10, 10), [[], [0], [1, 2]]),
        ],
    )
    def test_all_steps_are_led_to_in_their_order(
        self, sizes: tuple[int, ...], expected: list[list[int]]
    ) -> None:
        assert list(in_order(*cut_of(*sizes))) == expected

    def test_a_stand_in_has_the_place_of_the_last_step_and_the_way_of_the_next(self) -> None:
        travelling, _ = cut_of(pieces.PIECE, pieces.PIECE, 1)
        assert travelling[-1]["options"] == {"task_id": "id-2", "queue": "q"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[Umbel]:
    """An app whose workflows go by reference, in small pieces."""
    monkeypatch.setattr(pieces, "PIECE", 1000)
    monkeypatch.setattr(pieces, "BODY", 500)
    with Umbel("pieces", broker="memory://pieces", backend="memory://pieces") as app:
        app.conf.workflow_by_reference = True

        @app.task(name="add")
        def add(x: int, y: int = 1) -> int:
            if x == 50:
                raise ValueError("fifty")
            return x + y

        @app.task(name="total")
        def total(numbers: list[int]) -> int:
            return sum(numbers)

        yield app


@pytest.fixture
def kept(app: Umbel, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of all documents of groups that are stored."""
    ids: list[str] = []
    store = app.result_store()
    save = store.save_group

    def note(group: str, *rest: Any) -> None:
        ids.append(group)
        save(group, *rest)

    monkeypatch.setattr(store, "save_group", note)
    return ids


def sizes_sent(app: Umbel, workflow: Any) -> tuple[list[int], int]:
    """Return the sizes of the messages of a workflow that is not sent, and that of what is stored for it."""
    outbox = Outbox("tag", "id", "test")
    token = current.outbox.set(outbox)
    try:
        workflow.apply_async()
    finally:
        current.outbox.reset(token)
    documents = [len(one.document or "") for one in outbox.openings]
    return [len(one.message.body) for one in outbox.publications], sum(documents)


def test_a_chain_goes_on_through_all_its_pieces_and_leaves_none(
    app: Umbel, kept: list[str]
) -> None:
    add: Made = app.tasks["add"]
    result = chain(add.s(100), *(add.s() for _ in range(40))).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 141
    assert result.parent is not None
    assert result.parent.get(timeout=0) == 140
    assert len(kept) > 5
    assert [one for one in kept if app.result_store().saved_group(one)] == []


def test_all_pieces_are_stored_together_and_before_anything_is_sent(
    app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    add: Made = app.tasks["add"]
    done: list[tuple[str, int]] = []
    store, broker = app.result_store(), app.broker
    keep, publish = store.open_groups, broker.publish

    def note(what: str, act: Callable[..., None]) -> Callable[..., None]:
        def noted(values: Sequence[Any], *more: Any) -> None:
            done.append((what, len(values)))
            act(values, *more)

        return noted

    monkeypatch.setattr(store, "open_groups", note("kept", keep))
    monkeypatch.setattr(broker, "publish", note("sent", publish))
    chain(add.s(100), *(add.s() for _ in range(40))).apply_async()
    (what, pieces_kept), sent = done
    assert (what, sent) == ("kept", ("sent", 1))
    assert pieces_kept > 5


@pytest.mark.parametrize("steps", [2, 10, 40])
def test_what_takes_a_calls_place_is_followed_by_the_rest_of_the_calls_chain(
    app: Umbel, kept: list[str], steps: int
) -> None:
    add: Made = app.tasks["add"]

    @app.task(name="instead", bind=True)
    def instead(self: Made, value: int) -> Any:
        return self.replace(chain(add.s(value), *(add.s() for _ in range(steps - 1))))

    result = chain(instead.s(100), add.s(10), *(add.s() for _ in range(20))).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 100 + steps + 10 + 20
    assert [one for one in kept if app.result_store().saved_group(one)] == []


def test_chords_in_a_chain_and_groups_at_its_end(app: Umbel, kept: list[str]) -> None:
    add, total = app.tasks["add"], app.tasks["total"]
    first = chord([add.s(1), chain(add.s(2), *(add.s() for _ in range(20)))], total.s())
    whole = chain(
        first, add.s(), group(add.s(1), add.s(2)), total.s(), *(add.s() for _ in range(20))
    )
    result = whole.apply_async()
    run_pending(app)
    # 2 and 23 are 25, so 26; 27 and 28 are 55, and twenty more.
    assert result.get(timeout=0) == 75
    ends = chain(add.s(1), *(add.s() for _ in range(20)), group(add.s(1), add.s(2))).apply_async()
    run_pending(app)
    assert ends.get(timeout=0) == [23, 24]
    assert [one for one in kept if app.result_store().saved_group(one)] == []


def test_what_never_runs_fails_in_all_pieces(app: Umbel, kept: list[str]) -> None:
    """Also the chord that waits for the end of the chain; then nothing is kept any more."""
    add, total = app.tasks["add"], app.tasks["total"]
    long = chain(add.s(41), *(add.s() for _ in range(40)))
    result = chord([add.s(1), long], total.s()).apply_async()
    run_pending(app)
    assert result.state == states.FAILURE
    member = result.parent.results[1]
    seen = []
    while member is not None:
        seen.append(member.state)
        member = member.parent
    assert seen == [states.FAILURE] * 32 + [states.SUCCESS] * 9
    assert [one for one in kept if app.result_store().saved_group(one)] == []


def test_a_piece_that_is_gone_is_a_failure_that_says_so(app: Umbel, kept: list[str]) -> None:
    add = app.tasks["add"]
    result = chain(add.s(100), *(add.s() for _ in range(40))).apply_async()
    for one in kept:
        app.result_store().forget_group(one)
    run_pending(app)
    with pytest.raises(LookupError, match="not in the result store any more"):
        result.get(timeout=0)


def test_all_that_is_sent_and_stored_grows_with_the_workflow(app: Umbel) -> None:
    add, total = app.tasks["add"], app.tasks["total"]

    def chords(number: int) -> Any:
        return chain(*(group(add.si(1) for _ in range(20)) | total.s() for _ in range(number)))

    few, many = sizes_sent(app, chords(3)), sizes_sent(app, chords(12))
    assert max(many[0]) <= max(few[0]) + 50
    assert many[1] < few[1] * 7  # of 11 chords behind the first, after 2
    (one,), stored = sizes_sent(app, chain(*(add.si(1) for _ in range(400))))
    assert one < 2000
    assert stored < 400 * 400


def test_a_stand_in_goes_where_the_next_step_goes(app: Umbel) -> None:
    app.conf.task_routes = {"add": "elsewhere"}
    add = app.tasks["add"]
    result = chain(add.s(100), *(add.s() for _ in range(40))).apply_async()
    run_pending(app, queues=["elsewhere"])
    assert result.get(timeout=0) == 141


def test_the_time_of_what_is_left_is_prolonged(app: Umbel, kept: list[str]) -> None:
    """Whoever reads a piece in the second half of its time keeps those behind it for longer."""
    store = app.result_store()
    parts = [Piece(f"p{n}", [step(n)], f"p{n + 1}" if n < 2 else None) for n in range(3)]
    store.open_groups([document_of(app, one) for one in parts])
    assert load(app, store, "p0") == parts[0]
    assert kept == ["p0", "p1", "p2"]
    app.conf.result_chord_expires = 3 * 7 * 86_400  # of this a third is left
    load(app, store, "p0")
    assert kept[3:] == ["p2", "p1"]


DAY = 86_400.0


@pytest.fixture
def slow(app: Umbel, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Made:
    """A task that takes two days and more, for the app and for its result store."""
    clock.now = SYSTEM.time()
    app.clock = clock
    monkeypatch.setattr(app.result_store(), "_clock", clock)

    def work(x: int = 0, days: float = 2.0) -> int:
        clock.now += days * DAY
        return x + 1

    made: Made = app.task(name="slow")(work)
    return made


@pytest.mark.parametrize("serializer", ["json", "msgpack"])
def test_steps_may_take_longer_together_than_pieces_are_kept(
    app: Umbel, slow: Made, kept: list[str], serializer: str
) -> None:
    app.conf.update(task_serializer=serializer, accept_content=["json", "msgpack"])
    result = chain(slow.s(0), *(slow.s() for _ in range(29))).apply_async()
    ran = run_pending(app)
    assert result.get(timeout=0) == 30
    assert [one.name for one in ran].count("umbel.rest") == len(set(kept)) >= 5


def test_calls_of_a_header_may_take_longer_together_than_its_body_is_kept(
    app: Umbel, slow: Made, kept: list[str]
) -> None:
    body = chain(app.tasks["total"].s(), *(app.tasks["add"].s() for _ in range(20)))
    result = chord([slow.s(n) for n in range(10)], body).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 55 + 20
    assert 4 <= max(kept.count(id) for id in kept) <= 8


def test_a_piece_is_renewed_in_the_second_half_of_its_time_only_and_once(
    app: Umbel, slow: Made, kept: list[str]
) -> None:
    result = chain(slow.s(0, 0.1), *(slow.s(days=0.1) for _ in range(9))).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 10
    assert len(kept) == len(set(kept))
    kept.clear()
    calls = [slow.s(0, 4), *(slow.s(n, 0) for n in range(9))]
    body = chain(app.tasks["total"].s(), *(app.tasks["add"].s() for _ in range(20)))
    result = chord(calls, body).apply_async()
    first = len(kept)
    run_pending(app)
    assert kept[first] in kept[:first]
    assert [kept.count(id) for id in kept[:first]] == [2] * first


def test_pieces_that_never_expire_are_not_renewed(app: Umbel, slow: Made, kept: list[str]) -> None:
    app.conf.result_expires = 0
    result = chain(slow.s(0, 50), *(slow.s(days=50) for _ in range(29))).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 30
    assert len(kept) == len(set(kept))


def test_what_looks_like_a_stand_in_renews_nothing(app: Umbel, slow: Made, kept: list[str]) -> None:
    text = '{"task": "umbel.rest", "kwargs": {"piece": "no such piece", "expires": 1.5}}'
    steps = [slow.si(0, 8), app.tasks["add"].si(1), app.tasks["add"].si(1).set(argsrepr=text)]
    result = chain(*steps).apply_async()
    run_pending(app)
    assert result.get(timeout=0) == 2
    assert kept == []
