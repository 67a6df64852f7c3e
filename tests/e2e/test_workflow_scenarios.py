"""What workflows are used for, with real workers, and each engine as the broker.

The families of scenarios are those that Celery's integration tests of workflows go through
(t/integration/test_canvas.py, and test_group_chains.py), as far as tests/unit/canvas/test_scenarios.py, which
runs them in memory, has not shown them to be the same on every engine. All tests of an engine share a worker.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import postgres_servers
from tests.e2e.support import Worker
from tests.rabbitmq_servers import own_vhost
from tests.redis_servers import private_server
from umbel import chain, chord, group, signature
from umbel.clock import unique_id
from umbel.exceptions import ChordError, TaskRevokedError
from umbel.testing.conformance.support import PATIENCE, until

TASKS = """
from pathlib import Path

from umbel import Umbel

here = Path(__file__).parent
app = Umbel("tasks", broker="{url}", backend="{results}", state_url="{results}")


@app.task
def add(x, y):
    return x + y


@app.task
def same(value=None):
    return value


@app.task
def total(numbers):
    return sum(sum(one) if isinstance(one, list) else one for one in numbers)


@app.task
def fail(*args):
    raise ValueError("no")


@app.task
def tell(*words):
    with (here / "told").open("a") as file:
        file.write(str(words[-1]) + "\\n")
    return words[-1]


@app.task
def hear(request, error, traceback, name="error"):
    tell(name + " " + type(error).__name__)


@app.task(bind=True, max_retries=1)
def second_time(self, value):
    if not self.request.retries:
        raise self.retry(countdown=0.05)
    return value


@app.task(bind=True)
def stamps(self, *args):
    return self.request.stamps
"""


class Place:
    """A project on one engine, its tasks as a client has them, and its worker."""

    def __init__(self, path: Path, url: str, results: str) -> None:
        self.told_to = path / "told"
        self.tells_revocations = url == results
        (path / "run").mkdir()
        (path / "tasks.py").write_text(TASKS.format(url=url, results=results))
        spec = importlib.util.spec_from_file_location("tasks", path / "tasks.py")
        assert spec is not None
        assert spec.loader is not None
        self.tasks: ModuleType = importlib.util.module_from_spec(spec)
        sys.modules["tasks"] = self.tasks
        spec.loader.exec_module(self.tasks)
        self.worker = Worker(path, ("-l", "INFO", "-c", "2"))

    def s(self, name: str, *args: Any) -> Any:
        return getattr(self.tasks, name).s(*args)

    def si(self, name: str, *args: Any) -> Any:
        return getattr(self.tasks, name).si(*args)

    @property
    def told(self) -> list[str]:
        return self.told_to.read_text().splitlines() if self.told_to.exists() else []

    def tells(self, *words: str) -> None:
        """Wait until all has been told that is to be, and as much that follows as a marker needs."""
        until(lambda: not Counter(words) - Counter(self.told))
        self.si("same").delay().get(timeout=PATIENCE)
        assert Counter(self.told) == Counter(words)

    def close(self) -> None:
        self.worker.close()
        self.tasks.app.close()
        del sys.modules["tasks"]


ENGINES = [
    "sqlite",
    pytest.param("redis", marks=pytest.mark.engine),
    pytest.param("postgres", marks=[pytest.mark.engine, pytest.mark.slow]),
    pytest.param("rabbitmq", marks=[pytest.mark.engine, pytest.mark.slow]),
]


@pytest.fixture(scope="module", params=ENGINES)
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    path = tmp_path_factory.mktemp("workflows")
    results = f"sqlite:///{path / 'umbel.db'}"
    with ExitStack() as stack:
        match request.param:
            case "redis":
                url = results = stack.enter_context(private_server(path)).url
            case "postgres":
                url = results = stack.enter_context(postgres_servers.shared_space())[0]
            case "rabbitmq":
                url = stack.enter_context(own_vhost())
            case _:
                url = results
        place = Place(path, url, results)
        stack.callback(place.close)
        until(lambda: place.worker.says(" ready."))
        yield place


@pytest.fixture
def place(shared: Place) -> Place:
    shared.told_to.unlink(missing_ok=True)
    return shared


# Sent again, and sent as data


@pytest.mark.parametrize("where", ["alone", "in a chain", "in a group"])
def test_a_frozen_chord_runs_as_often_as_it_is_sent(place: Place, where: str) -> None:
    inner = chord([place.si("add", 1, 2), place.si("add", 3, 4)], place.si("tell", "body"))
    made: dict[str, Callable[[], Any]] = {
        "alone": lambda: inner,
        "in a chain": lambda: chain(place.si("same", 1), inner, place.si("same", 2)),
        "in a group": lambda: group([inner, place.si("same", 2)]),
    }
    whole = made[where]()
    whole.freeze()
    for times in (1, 2, 3):
        whole.apply_async().get(timeout=PATIENCE)
        place.tells(*["body"] * times)


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("as_body", [False, True])
def test_results_of_groups_reach_the_next_group_also_after_json(
    place: Place, frozen: bool, as_body: bool
) -> None:
    """Three groups of three, each of whose calls gets all results of the group before."""
    rows = [group(place.si("total", [1, 1, 1]) for _ in range(3))]
    rows += [group(place.s("total") for _ in range(3)) for _ in range(2)]
    whole: Any = chain(*rows, place.s("total"), place.s("tell"))
    if as_body:
        whole = chord([place.si("same", 0), place.si("same", 1)], whole)
    if frozen:
        whole.freeze()
    again = signature(json.loads(json.dumps(whole)), app=place.tasks.app)
    assert again.apply_async().get(timeout=PATIENCE) == 81
    place.tells("81")


def test_every_call_is_in_the_result_once(place: Place) -> None:
    found: list[str] = []

    def walk(written: Any) -> None:
        if written is not None:
            (one, parent), members = written
            found.append(one)
            for member in members or ():
                walk(member)
            walk(parent)

    sums = place.s("total")
    whole = chain(
        place.si("same", 1), group(place.s("add", 1), place.s("add", 2)), group(sums, sums), sums
    )
    result = whole.apply_async(task_id=unique_id())
    walk(result.as_tuple())
    assert len(found) == len(set(found)) == 8
    assert result.get(timeout=PATIENCE) == 10


def test_what_is_empty_is_passed_over(place: Place) -> None:
    two = [place.si("add", 1, 1), place.si("add", 2, 2)]
    assert chain(group(two), group(), group()).apply_async().get(timeout=PATIENCE) == [2, 4]
    members = group(chain(), two[0], chain(), two[1]).apply_async()
    assert (len(members.results), members.get(timeout=PATIENCE)) == (2, [2, 4])
    assert chord([chain(), *two], place.s("total")).apply_async().get(timeout=PATIENCE) == 6
    assert chord([chain()], place.s("total")).apply_async().get(timeout=PATIENCE) == 0


def test_maps_stand_where_calls_do(place: Place) -> None:
    pairs = place.tasks.add.starmap([(1, 1), (2, 2)])
    pairs.link(place.si("tell", "linked"))
    frozen = pairs.freeze()
    result = pairs.apply_async()
    assert (result.id, result.get(timeout=PATIENCE)) == (frozen.id, [2, 4])
    place.tells("linked")
    plain = place.tasks.add.starmap([(1, 1), (2, 2)])
    assert group(plain, place.si("add", 3, 3)).delay().get(timeout=PATIENCE) == [[2, 4], 6]
    assert chain(place.si("same", 1), plain).delay().get(timeout=PATIENCE) == [2, 4]


def test_a_call_of_a_header_may_be_tried_again(place: Place) -> None:
    header = [place.si("second_time", 1), place.si("same", 2), place.si("second_time", 3)]
    assert chord(header, place.s("same")).delay().get(timeout=PATIENCE) == [1, 2, 3]


# Callbacks and errbacks that are options


def test_callbacks_given_with_a_chord_follow_its_body(place: Place) -> None:
    header = [place.si("same", 1), place.si("same", 2)]
    own = place.s("total")
    own.link(place.si("tell", "own"))
    result = chord(header, own).apply_async(link=place.s("tell"))
    assert result.get(timeout=PATIENCE) == 3
    place.tells("own", "3")
    later = chain(
        place.si("same", 1), chord([place.s("add", 1), place.s("add", 2)], place.s("total"))
    )
    assert later.apply_async(link=place.s("tell")).get(timeout=PATIENCE) == 5
    place.tells("own", "3", "5")
    body = group(place.s("total"), place.s("total"))
    assert chord(header, body).apply_async(link=place.si("tell", "group")).get(timeout=PATIENCE)
    place.tells("own", "3", "5", "group")


def _group_body(place: Place) -> Any:
    first = place.s("total")
    first.link_error(place.si("tell", "own"))
    return group(first, place.s("total"))


BODIES: dict[str, tuple[Callable[[Place], Any], list[str]]] = {
    "a call": (lambda place: place.s("total"), ["chord"]),
    "a group": (_group_body, ["own", "chord", "chord"]),
    "a chord": (
        lambda place: chord([place.s("total"), place.s("total")], place.s("total")),
        ["chord"],
    ),
    "a chord in a group": (
        lambda place: group(chord([place.si("same", 2)], place.s("total")), place.s("total")),
        ["chord", "chord"],
    ),
    "one that has one errback and no list": (
        lambda place: group(place.s("total").set(link_error=place.si("tell", "own"))),
        ["own", "chord"],
    ),
}


@pytest.mark.parametrize("how", ["option", "method"])
@pytest.mark.parametrize("body", BODIES)
def test_errbacks_of_a_chord_whose_header_fails(place: Place, body: str, how: str) -> None:
    """Each call of a body that is a group has its own, and that of the chord."""
    make, expected = BODIES[body]
    whole = chord([place.si("same", 1), place.si("fail")], make(place))
    errback = place.si("tell", "chord")
    if how == "option":
        result = whole.apply_async(link_error=errback)
    else:
        whole.link_error(errback)
        result = whole.apply_async()
    with pytest.raises((ValueError, ChordError)):
        result.get(timeout=PATIENCE)
    place.tells(*expected)


def test_errbacks_of_a_body_that_fails(place: Place) -> None:
    """Its own, that of its group, and that of the chord; in their two kinds."""
    failing = place.s("fail")
    failing.link_error(place.si("tell", "own"))
    one = chord([place.si("same", 1)], group(failing, place.s("same")))
    with pytest.raises(ValueError, match="no"):
        one.apply_async(link_error=place.tasks.hear.s(name="chord")).get(timeout=PATIENCE)
    place.tells("own", "chord ValueError")


# What fails, and who hears of it


@pytest.mark.parametrize(
    "inner",
    [
        lambda place, header: chain(
            chord(header, place.s("total")),
            chord([place.s("add", 1), place.s("add", 2)], place.s("total")),
        ),
        lambda place, header: chain(
            chord(header, group(place.s("same"), place.s("same"))),
            chord([place.s("same"), place.s("same")], place.s("total")),
        ),
        lambda place, header: chain(place.si("fail"), group(*header), place.s("same")),
    ],
    ids=["chord by chord", "after a group", "fails first"],
)
def test_when_a_group_tells_of_a_failure_its_member_has_failed(
    place: Place, inner: Callable[..., Any]
) -> None:
    """However much of the member never ran."""
    header = [place.si("same", 1), place.si("fail")]
    result = group(inner(place, header), place.si("same", 1)).apply_async()
    with pytest.raises((ValueError, ChordError)):
        result.get(timeout=PATIENCE)
    assert result.results[0].state == "FAILURE"
    assert result.failed()


def test_a_failure_deep_in_a_header_reaches_the_chord(place: Place) -> None:
    member = chain(
        place.si("fail"), group(place.si("same", 2), place.si("same", 3)), place.s("same")
    )
    whole = chain(group(place.si("same", 1), member), place.s("same")).on_error(
        place.si("tell", "failed")
    )
    with pytest.raises((ValueError, ChordError)):
        whole.apply_async().get(timeout=PATIENCE)
    until(lambda: "failed" in place.told)


WITH_REVOKED: dict[str, Callable[[Place, Any], Any]] = {
    "group": lambda place, one: group(place.si("same", 1), one),
    "header": lambda place, one: chord([place.si("same", 1), one], place.s("same")),
    "body": lambda place, one: chord([place.si("same", 1), place.si("same", 2)], one),
    "chain": lambda place, one: chain(place.si("same", 1), one),
    "header in a chain": lambda place, one: chain(
        place.si("same", 1), group(place.si("same", 2), one), place.s("same")
    ),
    "end of a chain": lambda place, one: chain(
        place.si("same", 1), group(place.si("same", 2), place.si("same", 3)), one
    ),
}


@pytest.mark.parametrize("where", WITH_REVOKED)
def test_a_workflow_ends_where_a_call_of_it_has_a_revoked_stamp(place: Place, where: str) -> None:
    if not place.tells_revocations:
        pytest.skip("workers hear of it a moment later, where the broker does not tell them")
    tenant = unique_id()
    one = place.si("tell", "ran")
    one.stamp(tenant=tenant)
    place.tasks.app.control.revoke_by_stamped_headers({"tenant": [tenant]})
    result = WITH_REVOKED[where](place, one).apply_async()
    with pytest.raises((TaskRevokedError, ChordError)):
        result.get(timeout=PATIENCE)
    assert place.told == []


# As they come


def test_results_of_several_are_told_as_they_come(place: Place) -> None:
    ready = place.si("same", 1).delay()
    ready.get(timeout=PATIENCE)
    waits = place.si("same", 2).apply_async(countdown=3600)
    seen: list[Any] = []
    both = place.tasks.app.ResultSet([ready, waits])
    with pytest.raises(TimeoutError):
        both.join(timeout=0.2, callback=lambda task_id, value: seen.append((task_id, value)))
    assert seen == [(ready.id, 1)]
    waits.revoke()


def test_stamps_reach_all_of_a_workflow(place: Place) -> None:
    whole = chain(group(place.s("stamps"), place.s("stamps")), place.s("same"))
    whole.stamp(tenant="a")
    assert whole.apply_async().get(timeout=PATIENCE) == [{"tenant": "a"}] * 2
