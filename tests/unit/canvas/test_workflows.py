"""Chains, groups and chords as values; what they are in Celery is in tests/compat/test_workflows.py."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from tests.conftest import ManualClock, calls
from umbel import Task, Umbel, canvas, chain, chord, chunks, group, signature, xmap, xstarmap
from umbel.canvas import Signature, StampingVisitor
from umbel.canvas.lazy import Lazy
from umbel.exceptions import ImproperlyConfigured
from umbel.message import decode
from umbel.result import EagerResult, GroupResult
from umbel.testing import run_pending

Made = Task[..., Any]


@pytest.fixture
def add(app: Umbel) -> Made:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


@pytest.fixture
def total(app: Umbel) -> Made:
    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    return total


# Values


def test_kinds_have_the_names_of_celerys() -> None:
    assert [
        Signature.TYPES[name] for name in ("chain", "group", "chord", "xmap", "xstarmap", "chunks")
    ] == [canvas._chain, group, chord, xmap, xstarmap, chunks]


def test_joining_changes_nothing_that_it_is_given(add: Made, total: Made) -> None:
    first, second, last = add.s(1, 1), group(add.s(1), add.s(2)), total.s()
    texts = [json.dumps(one) for one in (first, second, last)]
    whole = first | second | last | add.s(3)
    whole.freeze()
    assert [json.dumps(one) for one in (first, second, last)] == texts


def test_a_workflow_can_be_pickled(add: Made, total: Made) -> None:
    whole = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()
    again = pickle.loads(pickle.dumps(whole))  # noqa: S301 - written just now
    assert again == whole
    assert isinstance(again, canvas._chain)
    assert isinstance(again.tasks[1], chord)


def test_a_subclass_of_a_chain_stays_one(add: Made) -> None:
    class Own(chain):
        pass

    made = Own(add.s(1, 1), add.s(2))
    assert isinstance(made, Own)
    assert made.apply().get() == 4


def test_a_generator_is_read_no_further_than_it_must_be(add: Made) -> None:
    read: list[int] = []

    def members() -> Iterator[Signature[Any]]:
        for number in range(5):
            read.append(number)
            yield add.s(number, number)

    made = group(members())
    assert isinstance(made.tasks, Lazy)
    assert read == []
    assert made
    assert read == [0]
    assert made.tasks[1].args == (1, 1)
    assert len(made) == 5
    assert made.apply().get() == [0, 2, 4, 6, 8]
    assert json.loads(json.dumps(made.tasks, default=lambda lazy: lazy.__json__()))[4]["args"] == [
        4,
        4,
    ]


def test_a_workflow_of_generators_can_be_written_as_json(
    app: Umbel, add: Made, total: Made
) -> None:
    def members() -> Iterator[Signature[Any]]:
        return (add.s(number, number) for number in range(3))

    for made in (
        group(members()),
        chord(members(), total.s()),
        chain(group(members()), total.s(), add.s(1)),
        group(add.s(1, 1), group(members()) | total.s()),
    ):
        plain, shown = json.loads(json.dumps(made)), json.loads(json.dumps(made, indent=1))
        assert plain == shown
        again = signature(plain, app=app).apply()
        assert again.get() == made.apply().get()


def test_arguments_are_shown_as_they_are_where_a_task_has_no_module(add: Made) -> None:
    assert repr(group(add.s(1.5, 2), add.s(2.5))) == "group((add(1.5, 2), add(2.5)))"
    assert repr(add.s(1.5, 2) | add.s(2.5)) == "add(1.5, 2) | add(2.5)"


def test_a_generator_is_not_read_to_be_shown(add: Made, total: Made) -> None:
    made = group(add.s(number, number) for number in count())
    assert repr(made) == "group([add(0, 0), ...])"
    assert made.tasks[1].args == (1, 1)
    assert repr(made) == "group([add(0, 0), add(1, 1), ...])"
    assert repr(Lazy(iter(()))) == "[...]"
    assert repr(chord((add.s(1, number) for number in count()), total.s())) == "%total([...])"


def test_lazy_items_are_changed_when_they_are_read() -> None:
    items = Lazy([0] for _ in range(3))
    assert items[0] == [0]
    items.each(lambda item: item.append(1))
    assert items == [[0, 1]] * 3
    assert items != [1]
    assert repr(items) == "[[0, 1], [0, 1], [0, 1]]"
    assert (items[-1], items[1:]) == ([0, 1], [[0, 1]] * 2)
    assert pickle.loads(pickle.dumps(items)) == list(items)  # noqa: S301 - written just now


def test_options_of_an_inner_chain_stay_with_its_tasks(add: Made) -> None:
    inner = chain(add.s(1), add.s(2)).on_error(add.s(9)).set(queue="q")
    inner.link(add.s(8))
    whole = add.s(0, 0) | inner
    first, second = whole.tasks[1:]
    assert (first.options["queue"], "queue" in second.options) == ("q", False)
    assert [len(one.options["link_error"]) for one in (first, second)] == [1, 1]
    assert ("link" in first.options, len(second.options["link"])) == (False, 1)


def test_a_skewed_group_begins_one_after_the_other(add: Made) -> None:
    made = group(add.s(1, n) for n in range(4)).skew(start=1, stop=3)
    assert [one.options["countdown"] for one in made.tasks] == [1, 2, 3, 3]
    made.skew(start=2, stop=3.5)
    assert [one.options["countdown"] for one in made.tasks] == [2, 3, 3, 3]  # as in Celery


def test_a_whole_workflow_is_made_immutable(add: Made, total: Made) -> None:
    made = chord([add.s(1, 1), add.s(2, 2)], total.s())
    made.set_immutable(True)
    assert [one.immutable for one in made.tasks] == [True, True]
    assert not made.body.immutable


# Ids


def test_a_frozen_chain_has_results_that_lead_to_each_other(
    app: Umbel, add: Made, total: Made
) -> None:
    whole = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s() | add.s(1)
    last = whole.freeze("last")
    body: Any = last.parent
    header: Any = body.parent
    assert last.id == "last"
    assert isinstance(body.parent, GroupResult)
    assert len(whole.tasks) == 3
    ids = [one.options["task_id"] for one in whole.tasks]
    assert (ids[0], ids[-1]) == (header.parent.id, "last")
    assert whole.freeze("other") == last
    sent = whole.apply_async()
    assert (sent, sent.parent, sent.parent.parent) == (last, body, body.parent)


def test_what_is_sent_twice_with_its_ids_is_the_same_calls(app: Umbel, add: Made) -> None:
    whole = group(add.s(1, 1), add.s(2, 2))
    result = whole.freeze()
    assert whole.apply_async().results == whole.apply_async().results == result.results
    ids = [call.id for call in calls(app)]
    assert ids == [one.id for one in result] * 2


# Sending


def test_a_group_is_sent_with_its_arguments_and_options(app: Umbel, add: Made) -> None:
    made = group([add.s(1), add.s(2)], queue="q")
    result = made.apply_async((10,), priority=3)
    found = calls(app, "q")
    assert [call.args for call in found] == [[10, 1], [10, 2]]
    assert {call.group_id for call in found} == {result.id}
    assert [call.group_index for call in found] == [0, 1]
    assert calls(app) == []


def test_a_group_takes_no_links_when_it_is_sent(add: Made) -> None:
    for name in ("link", "link_error"):
        options: Any = {name: add.s(1)}
        with pytest.raises(TypeError, match="Cannot add link to group"):
            group(add.s(1, 1)).apply_async(**options)


def test_a_chain_is_sent_as_its_first_call(app: Umbel, add: Made) -> None:
    result = (add.s(1, 1) | add.s(2) | add.s(3)).apply_async(queue="q", link=add.s(9))
    (call,) = calls(app, "q")
    assert (call.args, call.id) == ([1, 1], result.parent.parent.id)
    last, second = call.chain
    assert [second["args"], last["args"]] == [[2], [3]]
    assert last["options"]["task_id"] == result.id
    assert [link["args"] for link in last["options"]["link"]] == [[9]]


def test_the_header_of_a_chord_carries_its_body(app: Umbel, add: Made, total: Made) -> None:
    result = chord([add.s(1, 1), add.s(2, 2)], total.s()).apply_async(task_id="whole")
    first, second = calls(app)
    assert first.chord == second.chord
    assert (first.chord["task"], first.chord["options"]["task_id"]) == ("total", "whole")
    assert result.id == "whole"
    assert first.group_id == result.parent.id
    assert app.results is not None
    assert app.results.parts(result.parent.id) == []


def test_who_has_just_sent_a_workflow_need_not_look_for_its_result(
    app: Umbel, add: Made, total: Made
) -> None:
    header = [add.s(1, 1), add.s(2, 2)]
    for whole in (add.s(1, 1) | add.s(2), chord(header, total.s()), group(header) | total.s()):
        assert whole.apply_async().just_sent


def test_a_delay_of_a_chord_is_its_headers(app: Umbel, add: Made, total: Made) -> None:
    result = chord([add.s(1, 1)], total.s()).apply_async(countdown=100)
    (waiting,) = app.queues.find(result.parent[0].id)
    assert waiting.where == "scheduled"
    call = decode(waiting.message, ["application/json"])
    assert call.eta is not None
    assert "countdown" not in call.chord["options"]


def test_an_empty_chain_is_nothing(app: Umbel) -> None:
    assert chain().apply_async() is None
    assert chain()() is None
    assert chain().apply() is None
    assert calls(app) == []


def test_a_chord_without_a_body_says_so(add: Made) -> None:
    with pytest.raises(TypeError, match=r"The chord of \[add\(1, 1\)\] has no body"):
        chord([add.s(1, 1)]).apply_async()


def test_a_chord_takes_what_celery_looks_for_its_results_by(
    app: Umbel, add: Made, total: Made
) -> None:
    header = [add.s(1, 1), add.s(2, 2)]
    results = [
        chord(header, interval=1)(total.s(), interval=1, max_retries=3, eager=False),
        chord(header, total.s(), max_retries=3).apply_async(interval=1),
        (add.s(0) | chord([add.s(1)], total.s(), interval=1)).delay(1),
    ]
    run_pending(app)
    assert [one.get(timeout=0) for one in results] == [6, 6, 2]


def test_a_chord_without_a_result_store_says_so() -> None:
    app = Umbel("proj", broker="memory://nothing", set_as_current=False)
    task = app.task(name="t")(lambda *args: None)
    with pytest.raises(ImproperlyConfigured, match="A chord needs a result store"):
        chord([task.s()], task.s(), app=app).apply_async()
    assert calls(app) == []


def test_wrong_options_of_a_part_are_an_error_where_it_is_sent(app: Umbel, add: Made) -> None:
    for whole in (
        group(add.s(1, 1), add.s(2, 2).set(countdwn=1)),
        add.s(1, 1) | add.s(2).set(countdwn=1),
    ):
        with pytest.raises(TypeError, match="of add has no option 'countdwn'"):
            whole.apply_async()
    assert calls(app) == []


def test_a_tasks_own_apply_async_sends_its_calls(app: Umbel, total: Made) -> None:
    seen: list[Any] = []

    class Own(Task[..., Any]):
        def apply_async(
            self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any
        ) -> Any:
            seen.append((args, options["group_index"]))
            return super().apply_async(args, kwargs, *more, **options)

    task = app.task(name="own", base=Own)(lambda x: x)
    result = group(task.s(1), task.s(2)).apply_async()
    assert seen == [((1,), 0), ((2,), 1)]
    assert [call.id for call in calls(app)] == [one.id for one in result]


# Run by the caller


def test_always_eager_runs_whole_workflows(app: Umbel, add: Made, total: Made) -> None:
    app.conf.task_always_eager = True
    whole = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s() | add.s(1)
    result: Any = whole.delay()
    assert isinstance(result, EagerResult)
    parent: Any = result.parent
    assert (result.get(), parent.get()) == (8, 7)
    assert group(add.s(1, 1), add.s(2, 2)).delay().get() == [2, 4]
    assert chord([], total.s())().get() == 0
    assert add.chunks([(1, 1), (2, 2), (3, 3)], 2)().get() == [[2, 4], [6]]
    assert add.starmap([(1, 1)]).delay().get() == [2]
    assert total.map([[1, 2], [3]]).apply().get() == [3, 3]


def test_links_of_a_workflow_that_its_caller_runs(app: Umbel, add: Made, total: Made) -> None:
    app.conf.task_always_eager = True
    seen: list[Any] = []
    note = app.task(name="note")(seen.append)
    (add.s(1, 1) | add.s(2)).apply(link=note.s())
    chord([add.s(1, 1)], total.s()).apply(link=note.s())
    assert seen == [4, 2]


# Errbacks


def test_an_errback_of_a_chord_is_its_bodys(app: Umbel, add: Made, total: Made) -> None:
    made = chord([add.s(1, 1), chord([add.s(2, 2)], total.s())], total.s())
    made.link_error(add.s(5))
    assert [len(one.options.get("link_error", ())) for one in (made.body, made.tasks[0])] == [1, 0]
    assert len(made.tasks[1].body.options["link_error"]) == 1
    app.conf.task_allow_error_cb_on_chord_header = True
    made.link_error(add.s(6))
    assert [one.args for one in made.tasks[0].options["link_error"]] == [(6,)]


def test_an_errback_of_a_group_is_each_calls(add: Made) -> None:
    made = group(add.s(1, 1), add.s(2, 2))
    made.link_error(add.s(5))
    assert [len(one.options["link_error"]) for one in made.tasks] == [1, 1]
    made.link(add.s(6))
    assert made.tasks[0].options["link"][0].immutable


@pytest.mark.parametrize("kind", [group, chain])
def test_what_is_no_signature_is_refused_where_it_is_written(
    app: Umbel, add: Made, total: Made, kind: Callable[..., Any]
) -> None:
    with pytest.raises(
        TypeError, match=r"5 is no signature\. .*add\.s\(2, 2\).* add\(2, 2\) calls"
    ):
        kind(add(2, 3), add.s(1))
    with pytest.raises(
        TypeError, match=r"@task: add.* is no signature but a task: give add\.s\(…\)"
    ):
        kind([add.s(1, 1), add])
    with pytest.raises(
        TypeError, match=r"AsyncResult.* is no signature but the result of a call that"
    ):
        kind([add.delay(1, 1), add.s(1)])
    with pytest.raises(TypeError, match=r"5 is no signature\."):
        kind(add(2, 3))
    with pytest.raises(TypeError, match=r"5 is no signature\."):
        kind(number for number in (5, 6)).apply_async()


def test_a_chord_refuses_what_is_no_signature(app: Umbel, add: Made, total: Made) -> None:
    with pytest.raises(TypeError, match=r"is no signature but a task: give total\.s\(…\)"):
        chord([add.s(1, 1)], total)
    with pytest.raises(TypeError, match="'total' is no signature"):
        chord([add.s(1, 1)])("total")
    with pytest.raises(TypeError, match=r"5 is no signature\."):
        chord([add(2, 3)], total.s())
    with pytest.raises(
        TypeError, match=r"is no signature but the result of a call that has been sent"
    ):
        chord([add.delay(1, 1)], total.s())
    with pytest.raises(TypeError, match=r"5 is no signature\."):
        chord(add(2, 3), total.s())


CHUNKED: dict[str, tuple[Callable[..., Any], Any]] = {
    "alone": (lambda add, total: add, [[2, 4], [6]]),
    "in a group": (lambda add, total: group(total.s([1]), add), [1, [2, 4], [6]]),
    "first in a chain": (lambda add, total: add | total.map([[1], [2]]), [1, 2]),
    "last in a chain": (lambda add, total: total.s([1]) | add, [[2, 4], [6]]),
    "before a call": (lambda add, total: total.s([1]) | add | total.s([]), [2, 4, 6]),
    "in a header": (lambda add, total: chord([add, total.map([[1]])], total.s([])), [2, 4, 6, 1]),
    "as a body": (lambda add, total: chord([total.s([1])], add), [[2, 4], [6]]),
}


@pytest.mark.parametrize("way", ["sent", "eager"])
@pytest.mark.parametrize("place", CHUNKED)
def test_chunks_are_a_group_wherever_they_stand(
    app: Umbel, add: Made, place: str, way: str
) -> None:
    @app.task(name="total")
    def total(lists: list[Any], end: Any = None) -> Any:
        return sum(lists) if end is None else [one for some in lists for one in some]

    make, expected = CHUNKED[place]
    whole = make(add.chunks([(1, 1), (2, 2), (3, 3)], 2), total)
    if way == "eager":
        assert whole.apply().get() == expected
    else:
        result = whole.apply_async()
        run_pending(app)
        assert result.get(timeout=0) == expected


@pytest.mark.parametrize("size", [0, -1, "2", None])
def test_chunks_have_a_size(add: Made, size: Any) -> None:
    with pytest.raises(ValueError, match=f"chunks of {size!r} calls: give how many"):
        add.chunks([(1, 1)], size)


@pytest.mark.parametrize(
    ("join", "says"),
    [
        (lambda add: add.s(1) | add, r"is no signature but a task: give add.s\(…\)"),
        (lambda add: (add.s(1) | add.s(1)) | add.delay(1, 1), "the result of a call that has been"),
        (lambda add: chord([add.s(1, 1)]).link(add.s(1)), "has no body: give it one"),
        (lambda add: chord([add.s(1, 1)]) | add.s(1), "has no body: give it one"),
        (lambda add: chain(chord([add.s(1, 1)]), add.s(1)), "has no body: give it one"),
        (lambda add: chain(add.s(1), chord([add.s(1)])) | add.s(1), "has no body: give it one"),
        (lambda add: signature({}), r"\{\} is no signature"),
        (lambda add: group({}), r"\{\} is no signature"),
        (lambda add: group([{"args": ()}]), r"\{'args': \(\)\} is no signature"),
        (lambda add: add.map(None), "None has no items: give a list"),
        (lambda add: add.chunks(5, 2), "5 has no items: give a list"),
        (lambda add: chord([add.s(1, 1)]).link_error(add.s(1)), "has no body: give it one"),
        (lambda add: chord([add.s(1, 1)], chain()).delay(), "has no body: give it one"),
        (lambda add: (add.s(1, 1) | chord([add.s(1)], chain())).delay(), "has no body: give it"),
        (lambda add: chord([add.s(1, 1)], chain()).apply(), "has no body: give it one"),
    ],
)
def test_what_cannot_follow_says_why(add: Made, join: Callable[[Made], Any], says: str) -> None:
    with pytest.raises(TypeError, match=says):
        join(add)


@pytest.mark.parametrize(("form", "expected"), [(group, [0, 0, 2, 3, 4]), (chord, [0, 0, 1, 2, 4])])
def test_what_a_slow_generator_gives_is_sent_meanwhile(
    app: Umbel, add: Made, total: Made, clock: ManualClock, form: Any, expected: Any
) -> None:
    """Workers begin before it has ended. A chord keeps one call back, which may be its last."""
    app.clock, waiting = clock, []

    def numbers() -> Iterator[Any]:
        for number in range(4):
            clock.sleep(1)
            waiting.append(len(calls(app)))
            yield add.s(number, number)

    whole = chord(numbers(), total.s()) if form is chord else group(numbers())
    whole.apply_async()
    assert [*waiting, len(calls(app))] == expected


def test_chunks_keep_their_options(app: Umbel, add: Made) -> None:
    add.chunks([(1, 1), (2, 2), (3, 3)], 2).set(queue="slow").apply_async()
    assert [call.task for call in calls(app, "slow")] == ["celery.starmap"] * 2


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (lambda add, total: add.starmap([(1, 1)]), 1),
        (lambda add, total: add.chunks([(1, 1), (2, 2)], 1), 2),
        (lambda add, total: group(add.starmap([(1, 1)]), total.s([])), 1),
        (lambda add, total: group(add.chunks([(1, 1), (2, 2)], 1), total.s([])), 2),
        (lambda add, total: add.starmap([(1, 1)]) | total.s(), 1),
        (lambda add, total: chord([add.starmap([(1, 1)]), total.s([])], total.s()), 1),
        (lambda add, total: chord([], add.starmap([(1, 1)])), 1),
        (lambda add, total: chord([], total.s()) | add.starmap([(1, 1)]), 1),
    ],
)
def test_a_map_goes_where_its_task_goes(
    app: Umbel, add: Made, total: Made, make: Callable[..., Any], count: int
) -> None:
    app.conf.task_routes = {"add": {"queue": "sums"}}
    make(add, total).apply_async()
    run_pending(app, queues=["celery"])
    assert [call.task for call in calls(app, "sums")] == ["celery.starmap"] * count


def test_a_chord_that_its_caller_runs_needs_a_body(app: Umbel, add: Made) -> None:
    with pytest.raises(TypeError, match="has no body: give it one"):
        chord([add.s(1, 1)]).apply()


# Stamps


class Visitor(StampingVisitor):
    """Notes what it is shown."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append(sig.task)
        return {"on": "signature"}

    def on_chain_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append("chain")
        return {"in_chain": True}

    def on_group_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append("group")
        return {"in_group": True}

    def on_chord_body(self, sig: Any, **headers: Any) -> dict[str, Any]:
        self.seen.append("body")
        return {"in_body": True}


def test_all_parts_of_a_workflow_are_stamped(app: Umbel, add: Made, total: Made) -> None:
    whole = add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()
    visitor = Visitor()
    whole.stamp(visitor, tenant="a")
    assert visitor.seen == ["chain", "add", "group", "add", "add", "body", "total"]
    first, both = whole.tasks
    assert set(first.options["stamped_headers"]) == {"tenant", "in_chain", "on"}
    assert {"in_group", "in_chain", "tenant"} <= both.kwargs["header"].tasks[0].options.keys()
    assert {"in_body", "tenant"} <= both.body.options.keys()
    whole.apply_async()
    (call,) = calls(app)
    assert call.stamps == {"tenant": "a", "in_chain": True, "on": "signature"}


class Told(StampingVisitor):
    """Has something to say to its own methods beside the stamps."""

    def on_chain_start(self, sig: Any, **headers: Any) -> dict[str, Any]:
        return {"in_chain": True, "secret": 5, "stamped_headers": ["in_chain"]}

    def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
        assert headers["secret"] == 5
        return {"on": sig.task, "priority": 3, "other": 1, "stamped_headers": ["on"]}


def test_what_is_no_stamp_reaches_visitors_and_no_message(app: Umbel, add: Made) -> None:
    (add.s(1, 1) | add.s(1)).stamp(Told()).apply_async()
    (call,) = calls(app)
    assert call.stamps == {"in_chain": True, "on": "add"}
    assert not {"secret", "other"} & call.headers.keys()
    (step,) = call.chain
    Signature.from_dict(step, app=app).apply_async((2,))
    assert calls(app)[-1].stamps == {"in_chain": True, "on": "add"}
    assert add.s(1, 1).stamp(Told(), secret=5).apply().get() == 2


def test_a_body_is_stamped_without_a_visitor_too(add: Made, total: Made) -> None:
    whole = group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(1)
    assert whole.stamp(tenant="a") is whole
    assert [one.options["tenant"] for one in (*whole.tasks, *whole.body.tasks)] == ["a"] * 4


def test_a_generators_signatures_are_stamped_when_they_are_read(app: Umbel, add: Made) -> None:
    made = group(add.s(n, n) for n in range(2))
    made.stamp(tenant="a")
    made.apply_async()
    assert [call.stamps for call in calls(app)] == [{"tenant": "a"}] * 2
