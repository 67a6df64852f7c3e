from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from umbel import AsyncResult, Umbel, chain, group, kin, states
from umbel.backend import children_of
from umbel.limits import FixedLimits
from umbel.records import TaskResult, decode, encode
from umbel.request import Request
from umbel.result import GroupResult, ResultSet, result_from_tuple
from umbel.testing.running import run_pending

#: More calls in a chain than a document could have within each other.
LONG = 300


@pytest.fixture
def app(app: Umbel) -> Umbel:
    @app.task(name="same")
    def same(value: Any = None) -> Any:
        return value

    @app.task(name="send")
    def send(chains: int, steps: int) -> str:
        """Send a group of chains and return its id."""
        one = app.tasks["same"]
        calls = [chain(one.si(n) for n in range(steps)) for _ in range(chains)]
        return str(group(calls).apply_async().id)

    @app.task(name="send and return")
    def send_and_return(steps: int) -> Any:
        one = app.tasks["same"]
        return chain(one.si(n) for n in range(steps)).apply_async()

    return app


def line(count: int) -> AsyncResult[Any]:
    """Return the result of the last of so many calls that follow each other."""
    result = AsyncResult[Any]("0")
    for number in range(1, count):
        result = AsyncResult(str(number), parent=result)
    return result


def stored(app: Umbel, task_id: str) -> str:
    record = app.result_store().get([task_id])[task_id]
    return record.document if isinstance(record.document, str) else record.document.decode("latin")


def depth(text: str) -> int:
    """Return how many lists and mappings of a JSON text are within each other, at most."""
    deepest = now = 0
    for letter in text:
        now += (letter in "[{") - (letter in "]}")
        deepest = max(deepest, now)
    return deepest


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_a_task_may_send_chains_of_any_length(app: Umbel, serializer: str) -> None:
    app.conf.update(result_serializer=serializer, accept_content=["json", serializer])
    result = app.tasks["send"].delay(2, LONG)
    run_pending(app)
    id = result.get(timeout=5)
    assert result.state == states.SUCCESS
    (child,) = list(result.children or ())
    assert isinstance(child, GroupResult)
    assert (child.id, len(child)) == (id, 2)
    assert child.get(timeout=5) == [LONG - 1, LONG - 1]
    assert all(len(member.as_list()) >= 90 for member in child)
    assert [str(node) for _, node in result.iterdeps()][:3] == [
        result.id,
        id,
        child.results[0].id,
    ]


def test_what_is_stored_of_it_grows_with_what_was_sent_and_not_faster(app: Umbel) -> None:
    sizes = []
    for chains in (1, 2, 3):
        result = app.tasks["send"].delay(chains, LONG)
        run_pending(app)
        sizes.append(len(stored(app, result.id)))
        assert depth(stored(app, result.id)) <= app.conf.message_max_depth
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], rel=0.01)


def test_a_failed_task_may_have_sent_chains_of_any_length(app: Umbel) -> None:
    @app.task(name="send and fail")
    def send_and_fail() -> None:
        chain(app.tasks["same"].si(n) for n in range(LONG)).apply_async()
        app.tasks["send"](1, LONG)
        raise ValueError("afterwards")

    result = send_and_fail.delay()
    run_pending(app)
    with pytest.raises(ValueError, match="afterwards"):
        result.get(timeout=5)
    assert len(result.children or ()) == 2


def test_a_task_may_return_the_result_of_a_long_chain(app: Umbel) -> None:
    result = app.tasks["send and return"].delay(LONG)
    run_pending(app)
    returned = result_from_tuple(result.get(timeout=5), app)
    assert returned.get(timeout=5) == LONG - 1
    assert len(returned.as_list()) == kin.generations(app.conf.snapshot, "json")


def test_groups_of_long_chains_can_be_saved(app: Umbel) -> None:
    made = app.GroupResult("g", [line(LONG)])
    made.save()
    found = app.GroupResult.restore("g")
    assert found == made
    assert len(found[0].as_list()) == kin.generations(app.conf.snapshot, "json") - 1


def test_documents_are_no_deeper_than_they_may_be(app: Umbel) -> None:
    app.conf.message_max_depth = 40
    document = encode(
        TaskResult(
            "i",
            states.SUCCESS,
            children=children_of(
                Request(
                    children=[
                        line(LONG),
                        GroupResult("g", [line(LONG)], parent=GroupResult("h", [line(LONG)])),
                    ]
                ),
                app.conf.snapshot,
            ),
        ),
        form=app.conf.snapshot,
    )
    call, parallel = (result_from_tuple(one) for one in decode(document).children or ())
    assert len(call.as_list()) == len(parallel[0].as_list()) + 1 == 18
    assert len(parallel.parent[0].as_list()) == 16


def test_a_group_that_is_too_far_away_is_left_out_with_its_members() -> None:
    result: Any = None
    for number in range(5):
        result = GroupResult(str(number), [AsyncResult(f"m{number}")], parent=result)
    found = result_from_tuple(kin.written(result, 3))
    assert (found.id, found.parent.id, found.parent.parent) == ("4", "3", None)
    assert found.parent.results == [AsyncResult("m3")]


def test_sets_without_an_id_are_their_members(app: Umbel) -> None:
    several = ResultSet([AsyncResult("a"), ResultSet([AsyncResult("b")]), AsyncResult("c")])
    children = children_of(Request(children=[several, AsyncResult("d")]), app.conf.snapshot)
    assert children == [((name, None), None) for name in "abcd"]


def test_how_much_documents_take() -> None:
    assert kin.generations(FixedLimits(), "json") == 248
    assert kin.generations(FixedLimits(message_max_depth=10_000), "json") == 248
    assert kin.generations(FixedLimits(message_max_depth=10), "json") == 3
    assert kin.generations(FixedLimits(message_max_depth=1), "json") == 1
    assert kin.generations(FixedLimits(), "yaml") == 100


def test_children_that_cannot_be_written_are_left_out() -> None:
    children = [((object(), None), None)]
    assert decode(encode(TaskResult("i", states.SUCCESS, 5, children=children))).result == 5
    failed = decode(encode(TaskResult("i", states.FAILURE, ValueError(5), children=children)))
    assert (repr(failed.result), failed.children) == ("ValueError(5)", None)


CELERY = """
import json, sys
from celery import Celery
from celery.result import result_from_tuple

app = Celery(set_as_current=True, broker="memory://", backend="cache+memory://")
written = app.backend.decode(sys.stdin.read())["children"]
found = [result_from_tuple(one, app) for one in written]
print(json.dumps([[type(one).__name__, len(one.results[0].as_list())] for one in found]))
"""


def test_celery_reads_what_is_written_of_them(app: Umbel) -> None:
    result = app.tasks["send"].delay(1, LONG)
    run_pending(app)
    ran = subprocess.run(
        [sys.executable, "-c", CELERY],
        input=stored(app, result.id),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(ran.stdout) == [["GroupResult", 247]]
