"""Chords with backends of Celery's kind: those that count by themselves, and those that cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.backends.kept import PLACES, Counting
from tests.unit.worker.support import consumer_of
from umbel import Task, Umbel, chain, chord, group
from umbel.backends.store import BackendEngine
from umbel.exceptions import ChordError, OperationalError
from umbel.ports import FetchRequest, GroupOpening
from umbel.records import PLAIN, encode_group
from umbel.request import Request
from umbel.testing import run_pending
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.settler import Settler

KEPT = "tests.unit.backends.kept"
Made = Task[..., Any]
Heard = list[tuple[str, Any]]


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    yield
    PLACES.clear()


@pytest.fixture
def heard() -> Heard:
    return []


@pytest.fixture
def make(memory: str, heard: Heard) -> Callable[..., Umbel]:
    """Return a function that makes an app whose tasks note what they hear."""

    def make(backend: str = "Counting", **settings: Any) -> Umbel:
        app = Umbel("proj", broker=memory, backend=f"{KEPT}:{backend}", **settings)

        @app.task(name="add")
        def add(x: int, y: int) -> int:
            return x + y

        @app.task(name="total")
        def total(numbers: list[Any]) -> list[Any]:
            heard.append(("total", numbers))
            return numbers

        @app.task(name="fail")
        def fail(*_: Any) -> None:
            raise ValueError("no")

        @app.task(name="told")
        def told(task_id: str) -> None:
            heard.append(("told", task_id))

        @app.task(name="called")
        def called(request: Any, error: Exception, traceback: str) -> None:
            heard.append(("called", repr(error)))

        @app.task(name="more", bind=True)
        def more(self: Made) -> None:
            self.add_to_chord(self.app.tasks["add"].s(1, 1))

        return app

    return make


def left(app: Umbel) -> list[bytes]:
    """Return the keys of counters and headers that the backend has still."""
    return [key for place in PLACES.values() for key in place if b"task-meta" not in key]


@pytest.mark.parametrize("backend", ["Counting", "Mapped"])
def test_a_body_gets_the_values_of_its_header(
    make: Callable[..., Umbel], heard: Heard, backend: str
) -> None:
    app = make(backend)
    add, total = app.tasks["add"], app.tasks["total"]
    header = [add.s(1, 1), chain(add.s(2, 2), add.s(3)), group(add.s(n, n) for n in range(2))]
    result = chord(header, total.s()).delay()
    ran = [one.name for one in (*run_pending(app), *run_pending(app, ahead=5))]
    assert heard == [("total", [2, 7, 0, 2])]
    assert result.get(timeout=5) == [2, 7, 0, 2]
    assert left(app) == []
    assert ("celery.chord_unlock" in ran) == (backend == "Mapped")


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_header_that_is_large_or_comes_slowly_is_there_before_its_calls_end(
    make: Callable[..., Umbel],
    heard: Heard,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    seconds: int,
) -> None:
    """Who ends a call looks for the header that `apply_chord` was told of."""
    monkeypatch.setattr("umbel.dispatching.BULK", 2)
    app = make()
    app.clock, add = clock, app.tasks["add"]

    def header() -> Iterator[Any]:
        for number in range(5):
            clock.sleep(seconds)
            run_pending(app)
            yield add.s(number, 1) if number % 2 else chain(add.s(number, 0), add.s(1))

    chord(header(), app.tasks["total"].s()).delay()
    run_pending(app)
    run_pending(app, ahead=5)
    assert heard == [("total", [1, 2, 3, 4, 5])]


@pytest.mark.parametrize("backend", ["Counting", "Mapped"])
def test_a_body_fails_with_its_header(
    make: Callable[..., Umbel], heard: Heard, backend: str
) -> None:
    app = make(backend)
    add, total = app.tasks["add"], app.tasks["total"]
    # What fails first in its chain is the end of all of it.
    header = [add.s(1, 1), chain(app.tasks["fail"].s(), add.s(3))]
    result = chord(header, total.s().on_error(app.tasks["told"].s())).delay()
    run_pending(app)
    run_pending(app, ahead=5)
    assert heard == [("told", result.id)]
    with pytest.raises(ChordError, match="ValueError"):
        app.AsyncResult(result.id).get(timeout=5)
    assert left(app) == []


def test_errbacks_that_take_the_error_are_called(make: Callable[..., Umbel], heard: Heard) -> None:
    app = make()
    body = app.tasks["total"].s().on_error(app.tasks["called"].s())
    chord([app.tasks["fail"].s(), app.tasks["add"].s(1, 1)], body).delay()
    run_pending(app)
    assert [name for name, _ in heard] == ["called"]
    assert "ValueError" in heard[0][1]


def test_a_body_that_cannot_be_sent_fails(make: Callable[..., Umbel]) -> None:
    app = make()

    class Unsendable(Task):  # type: ignore[type-arg]
        def apply_async(self, *args: Any, **kwargs: Any) -> Any:
            raise ValueError("not today")

    body = app.task(name="unsendable", base=Unsendable)(lambda numbers: None)
    result = chord([app.tasks["add"].s(1, 1)], body.s()).delay()
    run_pending(app)
    with pytest.raises(ChordError, match="not today"):
        result.get(timeout=5)


def test_what_begins_within_a_task_is_counted(make: Callable[..., Umbel], heard: Heard) -> None:
    app = make()
    add, total = app.tasks["add"], app.tasks["total"]
    app.task(name="whole", bind=True)(
        lambda self: self.replace(chord([add.s(1, 1), add.s(2, 2)], total.s()))
    ).delay()
    (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()).delay()
    run_pending(app)
    assert sorted(heard) == [("total", [2, 4]), ("total", [3, 4])]


def test_a_header_that_has_begun_stays_as_it_is(make: Callable[..., Umbel]) -> None:
    app = make()
    result = chord([app.tasks["more"].s()], app.tasks["total"].s()).delay()
    run_pending(app)
    with pytest.raises(NotImplementedError, match="Counting cannot add to a chord"):
        result.get(timeout=5)


@pytest.fixture
def begun(make: Callable[..., Umbel]) -> Iterator[tuple[Umbel, Settler, Verdict]]:
    """Begin a chord; give it with a settler, and with what became of the first call of its header."""
    app = make()
    add, total = app.tasks["add"], app.tasks["total"]
    chord([add.s(1, 1), add.s(2, 2)], total.s()).delay()
    runner = Runner(app, "w1@host")
    with closing(consumer_of(app)) as consumer, closing(runner):
        settler = Settler(app.broker, consumer, app.results, Chords(app, app.results))
        delivery = consumer.fetch(FetchRequest(("celery",), 1), 0.0)[0]
        yield (
            app,
            settler,
            decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock),
        )


def test_a_call_that_runs_again_is_counted_once(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard
) -> None:
    app, settler, verdict = begun
    settler._in_safe_order([verdict], [])  # and there its worker dies
    settler.consumer.release([verdict.settlement.delivery.key])
    run_pending(app)
    assert heard == [("total", [2, 4])]


class Killed(BaseException):
    """Where a worker dies."""


def kill(*_: Any) -> None:
    raise Killed


def die(settler: Settler, verdict: Verdict, where: object, name: str) -> None:
    """Let a worker die at a method while it settles; what it held goes back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(where, name, kill)
        with pytest.raises(Killed):
            settler.settle([verdict])
    settler.consumer.release([verdict.settlement.delivery.key])


def again(app: Umbel) -> list[str | None]:
    """Run what waits, and what will; return the names of what ran."""
    return [one.name for ahead in (0, 60, 120) for one in run_pending(app, ahead=ahead)]


def test_a_call_whose_worker_died_before_it_was_counted_does_not_leave_its_chord_waiting(
    begun: tuple[Umbel, Settler, Verdict],
    make: Callable[..., Umbel],
    heard: Heard,
) -> None:
    app, settler, verdict = begun
    die(settler, verdict, settler._chords, "pass_on")
    assert again(make()).count("celery.chord_unlock") == 2
    assert heard == [("total", [2, 4])]
    assert left(app) == []


def test_a_call_whose_worker_died_after_it_was_counted_sends_no_second_body(
    begun: tuple[Umbel, Settler, Verdict],
    make: Callable[..., Umbel],
    heard: Heard,
) -> None:
    app, settler, verdict = begun
    die(settler, verdict, settler.consumer, "settle")
    assert again(make()).count("celery.chord_unlock") == 1
    assert heard == [("total", [2, 4])]
    assert left(app) == []


def test_a_failed_header_whose_call_was_not_counted_fails_its_body(
    begun: tuple[Umbel, Settler, Verdict],
    make: Callable[..., Umbel],
    heard: Heard,
) -> None:
    app, settler, _ = begun
    failed = run_failing(app, settler)
    die(settler, failed, settler._chords, "pass_on")
    again(make())
    with pytest.raises(ChordError, match="no"):
        app.AsyncResult(failed.members[0].body["options"]["task_id"]).get(timeout=5)
    assert heard == []


def run_failing(app: Umbel, settler: Settler) -> Verdict:
    """Begin a chord of one call, which fails; return what became of that."""
    run_pending(app)
    chord([app.tasks["fail"].s()], app.tasks["total"].s()).delay()
    with closing(Runner(app, "w1@host")) as runner:
        (delivery,) = settler.consumer.fetch(FetchRequest(("celery",), 1), 0.0)
        return decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)


class Tables:
    """A transaction over what is kept."""

    def __init__(self) -> None:
        self.before: dict[Any, Any] = {}

    def __enter__(self) -> None:
        self.before = dict(PLACES[None])

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            PLACES[None].clear()
            PLACES[None].update(self.before)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let backends store results and count them in one step."""
    monkeypatch.setattr("umbel.backends.store.one_step", lambda backend: Tables())


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("point", ["set", "incr", "delete"])
def test_where_a_database_does_both_in_one_step_nothing_is_in_doubt(
    begun: tuple[Umbel, Settler, Verdict],
    make: Callable[..., Umbel],
    heard: Heard,
    point: str,
) -> None:
    app, settler, verdict = begun
    if point == "delete":
        die(settler, verdict, settler.consumer, "settle")
    else:
        die(settler, verdict, Counting, point)
    counted = any(b"chord-unlock" in key for key in left(app))
    assert counted == (point == "delete") == (app.AsyncResult(task_of(verdict)).ready())
    run_pending(make())
    assert heard == [("total", [2, 4])]
    assert left(app) == []


def task_of(verdict: Verdict) -> str:
    """Return the id of the call that a verdict is on."""
    return verdict.members[0].part.part


@pytest.mark.usefixtures("tables")
def test_a_step_that_was_not_answered_counts_once(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, settler, verdict = begun

    class Unanswered(Tables):
        def __exit__(self, *_: object) -> None:
            raise ConnectionError

    with monkeypatch.context() as broken:
        broken.setattr("umbel.backends.store.one_step", lambda backend: Unanswered())
        with pytest.raises(OperationalError):
            settler.settle([verdict])
    settler.settle([verdict])
    run_pending(app)
    assert heard == [("total", [2, 4])]


@pytest.mark.usefixtures("tables")
def test_a_backend_that_cannot_count_in_one_step_lets_the_body_fail(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, settler, verdict = begun
    monkeypatch.setattr(Counting, "incr", lambda *_: dict[str, int]()["counter"])
    settler.settle([verdict])
    assert app.AsyncResult(task_of(verdict)).get(timeout=5) == 2
    with pytest.raises(ChordError, match="counter"):
        app.AsyncResult(verdict.members[0].body["options"]["task_id"]).get(timeout=5)


def test_what_was_stored_before_another_could_not_be_is_counted_when_both_are(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, settler, verdict = begun
    with closing(Runner(app, "w1@host")) as runner:
        delivery = settler.consumer.fetch(FetchRequest(("celery",), 1), 0.0)[0]
        other = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    set_ = Counting.set

    def refuse(self: Any, key: bytes, value: Any) -> None:
        if other.run.prepared.call is not None and other.run.prepared.call.id.encode() in key:
            raise ConnectionError
        set_(self, key, value)

    with monkeypatch.context() as broken:
        broken.setattr(Counting, "set", refuse)
        with pytest.raises(OperationalError):
            settler.settle([verdict, other])
    settler.settle([verdict, other])
    run_pending(app)
    assert heard == [("total", [2, 4])]


def test_what_the_backend_could_not_count_is_counted_later(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, settler, verdict = begun
    with monkeypatch.context() as broken:
        broken.setattr(Counting, "incr", lambda *_: 1 / 0)
        broken.setattr(Counting, "exception_safe_to_retry", lambda *_: True)
        for _ in range(2):
            with pytest.raises(OperationalError):
                settler.settle([verdict])
    settler.settle([verdict])
    run_pending(app)
    assert heard == [("total", [2, 4])]


def test_a_backend_that_fails_by_itself_lets_the_body_fail(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, settler, verdict = begun
    monkeypatch.setattr(Counting, "incr", lambda *_: dict[str, int]()["counter"])
    settler.settle([verdict])
    with pytest.raises(ChordError, match="counter"):
        app.AsyncResult(verdict.members[0].body["options"]["task_id"]).get(timeout=5)
    assert heard == []


def test_a_chord_that_has_begun_may_begin_again(make: Callable[..., Umbel]) -> None:
    """As it does when whoever began it was killed, or heard no answer of its database."""

    class IntegrityError(Exception):
        pass

    class Once(Counting):
        def apply_chord(self, *args: Any, **kwargs: Any) -> None:
            if left(app):
                raise IntegrityError
            super().apply_chord(*args, **kwargs)

    app = make()
    store = BackendEngine(Once, app, "url", None).results
    document = encode_group((("g", None), [(("1", None), None)]), PLAIN)
    opening = GroupOpening("g", 1, None, document, app.tasks["total"].s())
    store.open_groups([opening])
    store.open_groups([opening])
    assert left(app) == [b"celery-taskset-meta-g"]


def test_a_chord_of_whose_header_nothing_is_known_fails(
    begun: tuple[Umbel, Settler, Verdict], heard: Heard
) -> None:
    app, settler, verdict = begun
    del PLACES[None][left(app)[0]]
    body = verdict.members[0].body
    run_pending(app)
    settler.settle([verdict])
    assert heard == []
    with pytest.raises(ChordError, match="is not there any more"):
        app.AsyncResult(body["options"]["task_id"]).get(timeout=5)


def test_results_that_are_marked_are_counted(make: Callable[..., Umbel], heard: Heard) -> None:
    """By packages that store results themselves."""
    app = make()
    backend = Counting(app)
    body = app.tasks["total"].s()
    body.freeze()
    backend.apply_chord(("g", [app.AsyncResult("1"), app.AsyncResult("2")]), body)
    backend.mark_as_done("1", 1, Request(id="1", group="g", chord=body))
    backend.mark_as_done("2", 2, Request(id="2", group="g", chord=body))
    run_pending(app)
    assert heard == [("total", [1, 2])]
    body = app.tasks["total"].s()
    body.freeze()
    backend.apply_chord(("h", [app.AsyncResult("3")]), body)
    backend.mark_as_failure("3", ValueError("no"), request=Request(id="3", group="h", chord=body))
    assert backend.get_state(str(body.id)) == "FAILURE"
