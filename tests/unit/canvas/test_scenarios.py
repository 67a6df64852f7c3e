"""What workflows are used for, whole: sent, run as a worker runs them, and asked for their results.

The families of scenarios are those that Celery's integration tests go through (t/integration/test_canvas.py);
how workflows nest at random is in test_trees.py, how chords end in tests/unit/worker/test_chords.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from umbel import Task, Umbel, canvas, chain, chord, group, signals
from umbel.canvas.algebra import kind_of
from umbel.exceptions import ChordError
from umbel.result import allow_join_result, result_from_tuple
from umbel.testing import run_pending

Made = Task[..., Any]


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture(autouse=True)
def tasks(app: Umbel, told: list[Any]) -> None:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="same")
    def same(value: Any = None) -> Any:
        return value

    @app.task(name="total")
    def total(numbers: Any) -> int:
        return sum(numbers)

    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    @app.task(name="tell")
    def tell(value: Any, name: str = "") -> Any:
        told.append((name, value))
        return value

    @app.task(name="ids", bind=True)
    def ids(self: Made, *args: Any) -> tuple[Any, ...]:
        found = self.request
        told.append((found.id, found.root_id, found.parent_id))
        return found.id, found.root_id, found.parent_id

    @app.task(name="instead", bind=True)
    def instead(self: Made, value: int, kind: str) -> Any:
        add = app.tasks["add"]
        made: dict[str, Callable[[], Any]] = {
            "task": lambda: add.s(value, 1),
            "chain": lambda: add.s(value, 1) | add.s(10),
            "group": lambda: group(add.s(value, 1), add.s(value, 2)),
            "chord": lambda: chord([add.s(value, 1), add.s(value, 2)], app.tasks["total"].s()),
            "again": lambda: self.s(value, "chain"),
        }
        return self.replace(made[kind]())


def s(app: Umbel, name: str, *args: Any, **options: Any) -> Any:
    return app.tasks[name].s(*args).set(**options)


def run(app: Umbel, workflow: Any) -> Any:
    result = workflow.delay()
    run_pending(app)
    return result.get(timeout=0)


# Replacing

REPLACED = {"task": 2, "chain": 12, "group": [2, 3], "chord": 5, "again": 12}


@pytest.mark.parametrize("kind", REPLACED)
def test_a_call_is_replaced_wherever_it_stands(app: Umbel, told: list[Any], kind: str) -> None:
    """Alone, first, last, in a header, as a body; what follows it follows once, with the last value."""
    value = REPLACED[kind]
    assert run(app, s(app, "instead", 1, kind)) == value
    assert run(app, s(app, "instead", 1, kind) | s(app, "same")) == value
    assert run(app, s(app, "same", 1) | s(app, "instead", kind)) == value
    assert run(app, group(s(app, "instead", 1, kind), s(app, "same", 7))) == [value, 7]
    header = [s(app, "instead", 1, kind), s(app, "same", 7)]
    assert run(app, chord(header, s(app, "same"))) == [value, 7]
    body = s(app, "same", 1) | group(s(app, "same"), s(app, "same"))
    assert run(app, body | s(app, "total") | s(app, "instead", kind)) is not None
    linked = s(app, "instead", 1, kind)
    linked.link(s(app, "tell", "after"))
    assert run(app, linked) == value
    assert told == [("after", value)]


LATE: dict[str, tuple[Callable[[Umbel], Any], Any]] = {
    "chunks": (lambda app: app.tasks["add"].chunks([(1, 2), (3, 4)], 1), [[3], [7]]),
    "body is a group": (
        lambda app: chord([s(app, "same", 1)], group(s(app, "total"), s(app, "same"))),
        [1, [1]],
    ),
    "body ends in a group": (
        lambda app: chord([s(app, "same", 1)], s(app, "total") | group([s(app, "add", 1)] * 2)),
        [2, 2],
    ),
    "chain ends in such": (
        lambda app: s(app, "same", 1) | chord([s(app, "same")], group([s(app, "total")] * 2)),
        [1, 1],
    ),
    "frozen task": (lambda app: frozen(s(app, "same", 5)), 5),
    "frozen chain": (lambda app: frozen(s(app, "same", 5) | s(app, "add", 1)), 6),
    "frozen group": (lambda app: frozen(group(s(app, "same", 5), s(app, "same", 6))), [5, 6]),
    "frozen chord": (lambda app: frozen(chord([s(app, "same", 5)], s(app, "total"))), 5),
    "frozen chord of a chain": (
        lambda app: frozen(chord([s(app, "same", 5)], s(app, "total") | s(app, "add", 1))),
        6,
    ),
    "with an id": (lambda app: s(app, "same", 5, task_id="its own"), 5),
}


def frozen(workflow: Any) -> Any:
    workflow.freeze()
    return workflow


@pytest.mark.parametrize("kind", LATE)
def test_what_replaces_a_call_has_its_id_and_one_result(
    app: Umbel, told: list[Any], kind: str
) -> None:
    """Whatever it ends in, and whether its ids were fixed before, and it was sent before."""
    make, value = LATE[kind]
    other = make(app)

    @app.task(name="by", bind=True)
    def by(self: Made) -> Any:
        return self.replace(other)

    assert run(app, s(app, "by")) == value
    assert run(app, s(app, "by") | s(app, "same")) == value
    assert run(app, chord([s(app, "by"), s(app, "same", 7)], s(app, "same"))) == [value, 7]
    assert run(app, other) == value
    assert run(app, s(app, "by")) == value
    app.conf.task_always_eager = True
    assert s(app, "by").delay().get() == value


def test_an_empty_chain_cannot_be_added_to_a_header(app: Umbel) -> None:
    @app.task(name="more", bind=True)
    def more(self: Made) -> Any:
        self.add_to_chord(canvas._chain())

    with pytest.raises(ValueError, match="An empty chain cannot be added to a chord"):
        run(app, chord([s(app, "more")], s(app, "same")))


def test_chunks_that_are_added_to_a_header_are_a_group(app: Umbel) -> None:
    @app.task(name="more", bind=True)
    def more(self: Made) -> str:
        self.add_to_chord(app.tasks["add"].chunks([(1, 2), (3, 4)], 1))
        return "here"

    values = run(app, chord([s(app, "more")], s(app, "same")))
    assert sorted(values, key=str) == [[3], [7], "here"]


@pytest.mark.parametrize(
    "make",
    [
        lambda app, last: s(app, "same", 1) | last,
        lambda app, last: chord([s(app, "same", 1)], last),
        lambda app, last: chord([s(app, "same", 1)], s(app, "same") | last),
        lambda app, last: s(app, "same", 1) | group(last),
    ],
    ids=["chain", "body", "chain as a body", "group"],
)
@pytest.mark.parametrize("of_task", [True, False])
def test_nobody_waits_for_what_is_not_stored_at_the_end_of_a_workflow(
    app: Umbel, make: Callable[..., Any], of_task: bool
) -> None:
    @app.task(name="silent", ignore_result=of_task)
    def silent(value: Any) -> Any:
        return value

    last = silent.s() if of_task else silent.s().set(ignore_result=True)
    result = make(app, last).delay()
    assert result.get(timeout=0, follow_parents=False) in (None, [None])
    run_pending(app)
    assert not result._leaves()[0].exists()
    assert last.freeze().get(timeout=0) is None


def test_nobody_waits_for_a_body_when_its_chord_stores_nothing(app: Umbel) -> None:
    made = chord([s(app, "same", 1)], s(app, "total"))
    result = made.apply_async(ignore_result=True)
    assert result.get(timeout=0) is None
    run_pending(app)
    assert not result.exists()


@pytest.mark.parametrize("kind", REPLACED)
def test_a_call_that_runs_where_it_is_made_is_replaced_wherever_it_stands(
    app: Umbel, told: list[Any], kind: str
) -> None:
    app.conf.task_always_eager = True
    value, instead = REPLACED[kind], s(app, "instead", 1, kind)
    assert instead.delay().get() == value
    assert (instead | s(app, "same")).delay().get() == value
    assert group(instead, s(app, "same", 7)).delay().get() == [value, 7]
    assert chord([instead, s(app, "same", 7)], s(app, "same")).delay().get() == [value, 7]


def test_errbacks_follow_what_replaced_a_call_once(app: Umbel, told: list[Any]) -> None:
    @app.task(name="worse", bind=True)
    def worse(self: Made) -> Any:
        return self.replace(s(app, "same", 1) | s(app, "fail"))

    result = s(app, "worse").on_error(s(app, "tell", "failed")).delay()
    run_pending(app)
    assert result.failed()
    assert [name for name, _ in told] == ["failed"]


def test_what_replaces_a_call_may_be_replaced_itself(app: Umbel, told: list[Any]) -> None:
    @app.task(name="outer", bind=True)
    def outer(self: Made) -> Any:
        told.append("in a")
        return self.replace(s(app, "inner") | s(app, "note", "out a"))

    @app.task(name="inner", bind=True)
    def inner(self: Made) -> Any:
        told.append("in b")
        return self.replace(s(app, "note", "c") | s(app, "note", "out b"))

    @app.task(name="note")
    def note(*words: str) -> str:
        told.append(words[-1])
        return words[-1]

    assert run(app, s(app, "outer") | s(app, "same")) == "out a"
    assert told == ["in a", "in b", "c", "out b", "out a"]


def test_calls_are_replaced_by_groups_in_nested_chords(app: Umbel) -> None:
    """With the groups' values in their order, each at its call's place."""

    @app.task(name="to_all", bind=True)
    def to_all(self: Made, numbers: list[int], number: int) -> Any:
        return self.replace(group(s(app, "add", one, number) for one in numbers))

    def inner(number: int) -> Any:
        header = [s(app, "add", 1, 2), s(app, "instead", number, "task")]
        return chord(header, s(app, "to_all", 5)) | s(app, "total")

    assert run(app, chord([inner(6), inner(13)], s(app, "to_all", 9))) == [29, 36]
    members = [s(app, "to_all", [2, 1], 1), s(app, "to_all", [4, 3], 1)] * 10
    assert run(app, group(members)) == [[3, 2], [5, 4]] * 10


def test_a_chord_may_be_added_to_a_header(app: Umbel) -> None:
    @app.task(name="grow", bind=True)
    def grow(self: Made, number: int) -> int:
        to_add = chord([s(app, "add", one, number) for one in (1, 2, 3)], s(app, "total"))
        self.add_to_chord(to_add)
        return 0

    assert sorted(run(app, group([s(app, "grow", 4)]) | s(app, "same"))) == [0, 18]


def test_what_replaces_a_call_may_be_stamped_where_it_does(app: Umbel, told: list[Any]) -> None:
    class Stamping(Task[..., Any]):
        def on_replace(self, sig: Any) -> Any:
            return super().on_replace(sig.stamp(by=self.name))

    @app.task(name="gone", bind=True, base=Stamping)
    def gone(self: Made) -> Any:
        return self.replace(s(app, "stamps"))

    @app.task(name="stamps", bind=True)
    def stamps(self: Made) -> Any:
        return self.request.stamps

    assert run(app, s(app, "gone").stamp(tenant="a")) == {"by": "gone"}


# Failures

BODIES: dict[str, Callable[[Umbel], Any]] = {
    "task": lambda app: s(app, "same"),
    "chain": lambda app: s(app, "same") | s(app, "same"),
    "group": lambda app: group(s(app, "same"), s(app, "same")),
    "chord": lambda app: chord([s(app, "same"), s(app, "same")], s(app, "same")),
    "chain of groups": lambda app: chain(
        group(s(app, "same"), s(app, "same")), group(s(app, "same"), s(app, "same"))
    ),
    "chain that ends in a chord": lambda app: s(app, "same") | BODIES["chord"](app),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_failure_in_a_header_reaches_any_body(app: Umbel, body: str) -> None:
    header = group(s(app, "same", 1), s(app, "fail"))
    inner = chain(s(app, "fail"), header, s(app, "same"))
    for failing in (header, group(s(app, "same", 1), inner)):
        result = chain(failing, BODIES[body](app)).delay()
        run_pending(app)
        result.parent = None  # whose failure would be raised
        with pytest.raises(ChordError, match="ValueError"):
            result.get(timeout=0)
        assert run_pending(app) == []


@pytest.mark.parametrize("on_header", [False, True])
def test_errbacks_of_chords_that_chains_became(
    app: Umbel, told: list[Any], on_header: bool
) -> None:
    """The same for all: that of the body, and where the settings say so those of the header's calls."""
    app.conf.task_allow_error_cb_on_chord_header = on_header
    failing = group(s(app, "fail"), s(app, "fail"))
    chain(s(app, "same", 1), failing, s(app, "same")).on_error(s(app, "tell", "chain")).delay()
    members = (s(app, "fail") for _ in range(2))
    lazy = chain(s(app, "same", 1), group(members), s(app, "same"))
    lazy.on_error(s(app, "tell", "lazy")).delay()
    upgraded = chain(failing, s(app, "same"))
    upgraded.link_error(s(app, "tell", "upgraded"))
    upgraded.delay()
    inner = chord([s(app, "same", 1), s(app, "fail")], s(app, "same"))
    outer = chord([s(app, "same", 3), inner], s(app, "same"))
    outer.link_error(s(app, "tell", "nested"))
    outer.delay()
    run_pending(app)
    more = 2 if on_header else 0
    assert dict(Counter(name for name, _ in told)) == {
        **{"chain": 1 + more, "lazy": 1 + more, "upgraded": 1 + more},
        "nested": 3 if on_header else 2,
    }


def test_a_failure_reaches_all_chords_around_it_and_their_errbacks(
    app: Umbel, told: list[Any]
) -> None:
    """Each is told the id of its own body, once; also where only the outermost has an errback."""

    def three(name: str) -> Any:
        found = s(app, "fail")
        for place in ("inner", "middle", "outer"):
            body = s(app, "same").set(task_id=f"{name} {place}")
            found = chord([app.tasks["same"].si(1), found], body)
        return found

    linked, outermost = three("linked"), three("outermost")
    linked.link_error(s(app, "tell", "linked"))
    outermost.body.link_error(s(app, "tell", "outermost"))
    results = [linked.delay(), (s(app, "same", 1) | outermost | s(app, "same")).delay()]
    run_pending(app)
    assert sorted(told) == [
        *(("linked", f"linked {place}") for place in ("inner", "middle", "outer")),
        ("outermost", "outermost outer"),
    ]
    assert [one.state for one in results] == ["FAILURE"] * 2


def test_each_call_of_a_body_that_fails_has_the_errback_of_the_chord(
    app: Umbel, told: list[Any]
) -> None:
    bad = [s(app, "fail").set(task_id=f"{number}") for number in range(20)]
    whole = chord([s(app, "same", 1)], group(*(s(app, "same") for _ in range(5)), *bad))
    whole.link_error(s(app, "tell", "failed"))
    whole.delay()
    run_pending(app)
    assert sorted(told) == sorted(("failed", f"{number}") for number in range(20))


def test_a_whole_workflow_may_be_sent_for_later(app: Umbel, told: list[Any]) -> None:
    whole = chain(group(s(app, "add", 1, 2), s(app, "add", 3, 4)), s(app, "total"))
    due = datetime.fromtimestamp(app.clock.time() + 100, UTC)
    result = whole.on_error(s(app, "tell", "failed")).apply_async(eta=due)
    run_pending(app)
    assert not result.ready()
    run_pending(app, ahead=200)
    assert (result.get(timeout=0), told) == (10, [])


# Links


def test_each_call_of_a_group_has_callbacks_and_errbacks(app: Umbel, told: list[Any]) -> None:
    good, bad = s(app, "same", 1), s(app, "fail")
    for one in (good, bad):
        one.link(s(app, "tell", "went well"))
        one.link_error(s(app, "tell", "failed"))
    result = group(good, bad, good.clone(), bad.clone()).delay()
    run_pending(app)
    assert Counter(name for name, _ in told) == {"went well": 2, "failed": 2}
    assert [one.state for one in result] == ["SUCCESS", "FAILURE"] * 2


def test_an_inner_chain_keeps_its_links(app: Umbel, told: list[Any]) -> None:
    inner = chain(s(app, "same", 1), s(app, "add", 1))
    inner.link(s(app, "tell", "inner"))
    outer = chain(inner, s(app, "add", 10))
    outer.link(s(app, "tell", "outer"))
    assert run(app, outer) == 12
    assert sorted(told) == [("inner", 2), ("outer", 12)]


def test_the_errback_of_a_chain_hears_of_whichever_call_fails(app: Umbel, told: list[Any]) -> None:
    for place in range(3):
        steps = [s(app, "same", 1), s(app, "same"), s(app, "same")]
        steps[place] = s(app, "fail").set(task_id=f"failed {place}")
        chain(steps).on_error(s(app, "tell", str(place))).delay()
    run_pending(app)
    assert sorted(told) == [(str(place), f"failed {place}") for place in range(3)]


def test_an_errback_may_come_later(app: Umbel, told: list[Any]) -> None:
    late = s(app, "tell", "late", countdown=100)
    chain(s(app, "same", 1), s(app, "fail"), s(app, "same")).on_error(late).delay()
    run_pending(app)
    assert told == []
    run_pending(app, ahead=200)
    assert [name for name, _ in told] == ["late"]


def test_what_is_linked_after_stamping_is_stamped_the_next_time(app: Umbel) -> None:
    """Links may be dictionaries, and need be no lists."""
    stamped = s(app, "same", 1).stamp(tenant="a")
    stamped.link(s(app, "same"))
    stamped.options["link_error"] = dict(s(app, "tell", "failed"))
    stamped.stamp(tenant="b")
    links = (*stamped.options["link"], stamped.options["link_error"])
    assert [one["options"]["tenant"] for one in links] == ["b", "b"]
    assert [one["options"]["stamped_headers"] for one in links] == [["tenant"]] * 2
    assert stamped.options["tenant"] == "b"
    assert run(app, stamped) == 1


def test_stamps_are_headers_and_no_properties(app: Umbel) -> None:
    seen: list[Any] = []

    def publishing(headers: Any, properties: Any, **facts: Any) -> None:
        seen.append((headers["stamped_headers"], headers["stamps"], properties))

    def received(request: Any, **facts: Any) -> None:
        seen.append((request.stamped_headers, request.stamps, {}))

    signals.before_task_publish.connect(publishing)
    signals.task_received.connect(received)
    try:
        run(app, s(app, "same", 1).stamp(tenant="a", sizes=[4, 2]))
    finally:
        signals.before_task_publish.disconnect(publishing)
        signals.task_received.disconnect(received)
    assert [(sorted(names), stamps) for names, stamps, _ in seen] == [
        (["sizes", "tenant"], {"tenant": "a", "sizes": [4, 2]})
    ] * 2
    assert not {"stamped_headers", "tenant", "sizes"} & seen[0][2].keys()


def test_a_callback_may_be_a_workflow(app: Umbel, told: list[Any]) -> None:
    first = s(app, "same", 1)
    sizes = group(s(app, "add", 1), s(app, "add", 2)) | s(app, "total")
    first.link(s(app, "add", 10) | sizes | s(app, "tell", "all"))
    assert run(app, first) == 1
    assert told == [("all", 25)]


@pytest.mark.parametrize("eager", [False, True])
def test_a_callback_of_a_chord_follows_a_body_that_is_a_group_once(
    app: Umbel, told: list[Any], eager: bool
) -> None:
    """As that of a group: it follows the first call, without its result, whose own callback stays."""
    app.conf.task_always_eager = eager
    first = s(app, "same")
    first.link(s(app, "tell", "own"))
    header, body = [s(app, "same", 1), s(app, "same", 2)], group(first, s(app, "same"))
    callback = app.tasks["tell"].s("whole", name="chord")
    result = chord(header, body).apply_async(link=callback)
    run_pending(app)
    assert result.get() == [[1, 2], [1, 2]]
    assert sorted(told, key=str) == [("chord", "whole"), ("own", [1, 2])]
    nested = chord(header, group(chord([app.tasks["same"].si(3)], s(app, "total"))))
    nested.apply_async(link=callback)
    run_pending(app)
    assert told[2:] == [("chord", "whole")]


# Ids


@pytest.mark.parametrize(
    "around",
    [lambda app, one: one, lambda app, one: s(app, "same") | one | s(app, "same"), group],
    ids=["alone", "in a chain", "in a group"],
)
def test_a_frozen_chord_runs_as_often_as_it_is_sent(
    app: Umbel, told: list[Any], around: Callable[..., Any]
) -> None:
    """Its ids stay, and so what was counted the last time must not count."""
    body = app.tasks["tell"].si("sent", name="body")
    one = app.tasks["same"].si(1)
    made = chord([chord([one, one.clone()], s(app, "total")), one.clone()], body)
    whole = group([made]) if around is group else around(app, made)
    whole.freeze()
    for times in (1, 2, 3):
        whole.apply_async((7,) if kind_of(whole) == "chain" else ())
        run_pending(app)
        assert told == [("body", "sent")] * times


def test_all_calls_of_a_workflow_know_its_first_and_the_one_before(
    app: Umbel, told: list[Any]
) -> None:
    result = chain(s(app, "ids"), s(app, "ids"), group(s(app, "ids"), s(app, "ids"))).delay()
    run_pending(app)
    (first, root, none), (second, *_), *members = told
    assert (first, none) == (root, None)
    assert {one[1] for one in told} == {first}
    assert told[1][2] == first
    assert {one[2] for one in members} == {second}
    assert [one.id for one in result.results] == [one[0] for one in members]


def test_the_calls_of_a_chord_have_one_root(app: Umbel, told: list[Any]) -> None:
    whole = s(app, "ids") | group(s(app, "ids"), s(app, "ids")) | s(app, "ids")
    whole.delay()
    run_pending(app)
    first, *members, body = told
    assert {one[1] for one in told} == {first[0]}
    assert {one[2] for one in members} == {first[0]}
    assert body[2] == members[-1][0]


# Results


def test_results_of_a_workflow_travel_as_data(app: Umbel) -> None:
    whole = s(app, "same", 1) | group(s(app, "add", 1), s(app, "add", 2)) | s(app, "total")
    result = (whole | group(s(app, "add", 1), s(app, "add", 2))).delay()
    again = result_from_tuple(result.as_tuple(), app)
    run_pending(app)
    assert again.get() == result.get() == [6, 7]
    assert again == result
    assert (again.parent.get(), again.parent.parent.get()) == (5, [2, 3])
    assert again.parent.parent.parent.get() == 1


def test_a_group_waits_for_all_that_its_members_are(app: Umbel) -> None:
    inner = group(s(app, "same", 1), s(app, "same", 2) | group(s(app, "add", 1), s(app, "add", 2)))
    result = group(inner, chord([s(app, "same", 1)], s(app, "total"))).delay()
    assert not result.ready()
    run_pending(app)
    assert (result.ready(), result.get()) == (True, [1, [3, 4], 1])
    assert result.completed_count() == len(result.results)


def test_forgetting_a_group_leaves_nothing(app: Umbel) -> None:
    result = group(s(app, "same", 1), s(app, "same", 2)).delay()
    run_pending(app)
    result.save()
    result.forget()
    assert app.GroupResult.restore(result.id) is None
    assert [app.AsyncResult(one.id).exists() for one in result] == [False, False]


# Within tasks, and with options


def test_workflows_that_run_within_a_task(app: Umbel) -> None:
    @app.task(name="inner")
    def inner() -> Any:
        sizes = group(s(app, "add", 1, 1), s(app, "add", 2, 2)) | s(app, "total")
        with allow_join_result():  # what runs here waits for nobody
            return sizes.apply().get()

    assert run(app, s(app, "inner")) == 6


def test_a_priority_is_inherited_where_it_is_wanted(app: Umbel) -> None:
    app.conf.task_inherit_parent_priority = True
    seen: list[Any] = []

    @app.task(name="how", bind=True)
    def how(self: Made, *args: Any) -> None:
        seen.append((self.request.delivery_info or {})["priority"])

    whole = s(app, "how") | group(s(app, "how"), s(app, "how")) | s(app, "how")
    whole.apply_async(priority=5)
    run_pending(app)
    assert seen[:3] == [5, 5, 5]


def test_empty_workflows(app: Umbel) -> None:
    assert run(app, chord([], s(app, "total"))) == 0
    assert run(app, s(app, "same", 1) | group(app=app)) == 1
    assert group(app=app).delay().get() == []
    single = group([s(app, "same", 3)])
    assert run(app, single | s(app, "total")) == 3
    assert run(app, chain(chain(chain(s(app, "same", 4))))) == 4


def test_a_chain_of_chords_goes_on_after_each(app: Umbel) -> None:
    def level() -> Any:
        return group(s(app, "add", n) for n in range(3)) | s(app, "total")

    assert run(app, s(app, "same", 1) | level() | level() | level()) == 66
    assert run(app, s(app, "same", 1) | level() | group(s(app, "add", 1), level())) == [7, 21]


def test_many_calls_are_one_group(app: Umbel) -> None:
    many = group(s(app, "add", n, n) for n in range(500)) | s(app, "total")
    result = many.delay()
    run_pending(app, limit=600)
    assert result.get() == 249_500
