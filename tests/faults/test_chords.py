"""A child dies, or its store refuses, while chords come to their ends: each body or errback is sent once.

The oracle is what ran: of each chord there is one message, of its body or of its errback, whoever died.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet, wait_until
from tests.faults.oracles import Figures
from tests.faults.scenes import at, at_each, points_of
from umbel import Umbel, canvas
from umbel.clock import unique_id
from umbel.message import Publication
from umbel.options import CallOptions
from umbel.publish import tagged

pytestmark = pytest.mark.faults

CHORDS = points_of("chords")
ELSEWHERE = points_of("child", "settle")
#: Where a child may die, or be refused, whose messages are on RabbitMQ.
REFUSED = at("chords.", "settler.", "rabbitmq.settle.")
ON_RABBITMQ = [*at("child."), *REFUSED]
#: Where it has published what follows a chord, which is not closed: whoever gets its last call does so again.
TWICE = ("settler.after_publish", "chords.before_close")


@contextmanager
def sending_twice(app: Umbel) -> Iterator[None]:
    """Have each message that is sent be there twice, as two messages: that is no workflow sent again."""
    publish = app.publish

    def twice(publications: Sequence[Publication], options: CallOptions | None = None) -> None:
        publish(publications, options)
        publish([tagged(one, unique_id()) for one in publications], options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "publish", twice)
        yield


class Sent:
    """The chords that were sent, and how each must end."""

    def __init__(self, form: Form) -> None:
        self.ends: dict[str, str] = {}
        self.results: dict[str, Any] = {}
        #: Chords of a scene, calls of each header, and the share of which each message is sent twice.
        self._many, self.size, self._twice = form.pick((12, 8, 0.3), (20, 50, 1.0))
        #: Seconds that a scene may take.
        self.patience = form.pick(30.0, 300.0)

    def send(self, fleet: Fleet, dice: random.Random) -> None:
        """Send chords: some fail, some follow another one, and of some each message is sent twice."""
        for _ in range(self._many):
            workflow, name, fails = self._chord(fleet, dice)
            with sending_twice(fleet.app) if dice.random() < self._twice else nullcontext():
                result = workflow.apply_async()
            self.ends[name] = "errback" if fails else "body"
            self.results[name] = result

    def _chord(self, fleet: Fleet, dice: random.Random) -> tuple[Any, str, bool]:
        name, tasks = unique_id(), fleet.app.tasks
        fails = dice.random() < 0.2
        worst = dice.randrange(self.size) if fails else -1
        header = [tasks["part"].s(number, number == worst) for number in range(self.size)]
        body = tasks["whole"].s(name)
        body.link_error(tasks["broken"].s(name))
        if dice.random() < 0.5:
            return canvas.chord(header, body, app=fleet.app), name, fails
        first = canvas.chord([tasks["part"].s(1), tasks["part"].s(2)], tasks["whole"].s("first"))
        again = [tasks["part"].si(number, number == worst) for number in range(self.size)]
        return first | canvas.chord(again, body, app=fleet.app), name, fails


def _ends(fleet: Fleet) -> dict[str, list[str]]:
    """Return of each chord what ran at its end: body or errback, first or again."""
    found: dict[str, list[str]] = defaultdict(list)
    path = fleet.directory / "chords"
    for line in path.read_text().splitlines() if path.exists() else ():
        chord, _, what = line.partition(" ")
        found[chord].append(what)
    return found


def _is_right(ran: list[str], end: str, messages: int) -> bool:
    """Tell whether what ran at a chord's end comes of so many messages, which may be delivered again."""
    return {one.split()[0] for one in ran} == {end} and ran.count(f"{end} first") <= messages


def judge(fleet: Fleet, sent: Sent, messages: int = 1) -> None:
    """Wait until all chords have ended, and compare how with how they must.

    At the end of each there are at most so many messages, of its body or of its errback.
    """
    fleet.wait_until_quiet(sent.patience)
    found = _ends(fleet)
    wrong = {
        chord: found[chord]
        for chord, end in sent.ends.items()
        if not _is_right(found[chord], end, messages)
    }
    assert not wrong
    values = {chord for chord, end in sent.ends.items() if end == "body"}
    for chord in values:
        assert sent.results[chord].get(timeout=5) == sum(range(sent.size))
    for chord in sent.ends.keys() - values:
        wait_until(sent.results[chord].failed, 5.0, "a failure to be stored")
    twice = sum(found[chord].count(f"{end} first") > 1 for chord, end in sent.ends.items())
    fleet.keep_figures(Figures(trials=1, tasks=len(sent.ends), faults=1, duplicates=twice))


def let_it_die(fleet: Fleet, form: Form, point: str, how: str = "kill") -> Sent:
    """Send chords until a child has come to harm at a fail point; return what was sent."""
    dice, sent = form.dice, Sent(form)
    plan = f"{point}={how}@{dice.randint(1, 8)}"
    fleet.start("one", environment=fleet.fail_point(plan))
    fleet.until_struck([point], lambda: sent.send(fleet, dice), sent.patience)
    return sent


def judge_on_rabbitmq(fleet: Fleet, sent: Sent, messages: int = 1) -> None:
    """The same where the server tells nobody what its consumers hold: all end, then the worker does.

    The failure of a body is stored before its errback is sent.
    """
    ends = sent.ends.keys()
    wait_until(lambda: ends <= _ends(fleet).keys(), sent.patience, "all chords to end")
    fleet.stop()
    judge(fleet, sent, messages)


@pytest.mark.forms("short", "full")
@at_each("point", ELSEWHERE)
def test_child_dies_beside_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    with make_fleet() as fleet:
        judge(fleet, let_it_die(fleet, form, point))


@at_each("point", CHORDS)
def test_child_dies_over_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    with make_fleet() as fleet:
        judge(fleet, let_it_die(fleet, form, point))


@pytest.mark.forms("short", "full")
@at_each("point", CHORDS)
def test_child_is_refused_over_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    """It settles again what its store did not answer; nothing of it is sent twice."""
    with make_fleet() as fleet:
        judge(fleet, let_it_die(fleet, form, point, "raise"))


@pytest.mark.forms("short", "full")
@at_each("point", CHORDS)
def test_child_dies_over_a_chord_with_two_stores(
    make_fleet: MakeFleet, place: Path, form: Form, point: str
) -> None:
    """Results in another file than messages."""
    with make_fleet(result_backend=f"sqlite:///{place}/results.db") as fleet:
        judge(fleet, let_it_die(fleet, form, point))


@pytest.mark.engine
@pytest.mark.forms("short", "full")
@pytest.mark.parametrize("point", ON_RABBITMQ)
def test_child_dies_over_a_chord_on_rabbitmq(
    make_rabbit_fleet: MakeFleet, form: Form, point: str
) -> None:
    """Messages are on RabbitMQ, and results elsewhere."""
    with make_rabbit_fleet() as fleet:
        sent = let_it_die(fleet, form, point)
        judge_on_rabbitmq(fleet, sent, messages=2 if point in TWICE else 1)


@pytest.mark.engine
@pytest.mark.forms("short", "full")
@pytest.mark.parametrize("point", REFUSED)
def test_child_is_refused_over_a_chord_on_rabbitmq(
    make_rabbit_fleet: MakeFleet, form: Form, point: str
) -> None:
    """A child that lives knows what it has published."""
    with make_rabbit_fleet() as fleet:
        judge_on_rabbitmq(fleet, let_it_die(fleet, form, point, "raise"))
