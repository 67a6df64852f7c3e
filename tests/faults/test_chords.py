"""A child dies, or its store refuses, while chords come to their ends: each body or errback is sent once.

The oracle is what ran: of each chord there is one message, of its body or of its errback, whoever died.
"""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Form, MakeFleet
from tests.faults.fleet import Fleet, wait_until
from tests.faults.rabbit_fleet import RabbitFleet
from tests.faults.scenes import at, at_each, points_of
from tests.rabbitmq_servers import own_vhost
from umbel import canvas
from umbel.clock import unique_id

pytestmark = pytest.mark.faults

CHORDS = points_of("chords")
ELSEWHERE = points_of("child", "settle")
#: Chords of a scene, and calls of each header.
MANY, SIZE = 12, 8


class Sent:
    """The chords that were sent, and how each must end."""

    def __init__(self) -> None:
        self.ends: dict[str, str] = {}
        self.results: dict[str, Any] = {}

    def send(self, fleet: Fleet, dice: random.Random) -> None:
        """Send chords: some fail, some follow another one, and of some each message is sent twice."""
        for _ in range(MANY):
            workflow, name, fails = self._chord(fleet, dice)
            workflow.freeze()
            result = workflow.apply_async()
            if dice.random() < 0.3:
                workflow.apply_async()
            self.ends[name] = "errback" if fails else "body"
            self.results[name] = result

    def _chord(self, fleet: Fleet, dice: random.Random) -> tuple[Any, str, bool]:
        name, tasks = unique_id(), fleet.app.tasks
        fails = dice.random() < 0.2
        worst = dice.randrange(SIZE) if fails else -1
        header = [tasks["part"].s(number, number == worst) for number in range(SIZE)]
        body = tasks["whole"].s(name)
        body.link_error(tasks["broken"].s(name))
        if dice.random() < 0.5:
            return canvas.chord(header, body, app=fleet.app), name, fails
        first = canvas.chord([tasks["part"].s(1), tasks["part"].s(2)], tasks["whole"].s("first"))
        again = [tasks["part"].si(number, number == worst) for number in range(SIZE)]
        return first | canvas.chord(again, body, app=fleet.app), name, fails


def _ends(fleet: Fleet) -> dict[str, list[str]]:
    """Return of each chord what ran at its end: body or errback, first or again."""
    found: dict[str, list[str]] = defaultdict(list)
    path = fleet.directory / "chords"
    for line in path.read_text().splitlines() if path.exists() else ():
        chord, _, what = line.partition(" ")
        found[chord].append(what)
    return found


def _is_right(ran: list[str], end: str) -> bool:
    """Tell whether what ran at the end of a chord comes of one message, which may be delivered again."""
    return {one.split()[0] for one in ran} == {end} and ran.count(f"{end} first") <= 1


def judge(fleet: Fleet, sent: Sent) -> None:
    """Wait until all chords have ended, and compare how with how they must."""
    fleet.wait_until_quiet()
    found = _ends(fleet)
    wrong = {
        chord: found[chord] for chord, end in sent.ends.items() if not _is_right(found[chord], end)
    }
    assert not wrong
    values = {chord for chord, end in sent.ends.items() if end == "body"}
    for chord in values:
        assert sent.results[chord].get(timeout=5) == sum(range(SIZE))
    for chord in sent.ends.keys() - values:
        wait_until(sent.results[chord].failed, 5.0, "a failure to be stored")


@pytest.mark.forms("short", "full")
@at_each("point", ELSEWHERE)
def test_child_dies_beside_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    _let_it_die(make_fleet, form, point)


@at_each("point", CHORDS)
def test_child_dies_over_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    _let_it_die(make_fleet, form, point)


def _let_it_die(make_fleet: MakeFleet, form: Form, point: str) -> None:
    dice, sent = form.dice, Sent()
    with make_fleet() as fleet:
        nth = dice.randint(1, 8)
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{nth}"))
        fleet.until_struck([point], lambda: sent.send(fleet, dice))
        judge(fleet, sent)


@pytest.mark.forms("short", "full")
@at_each("point", CHORDS)
def test_child_is_refused_over_a_chord(make_fleet: MakeFleet, form: Form, point: str) -> None:
    """It settles again what its store did not answer; nothing of it is sent twice."""
    dice, sent = form.dice, Sent()
    with make_fleet() as fleet:
        nth = dice.randint(1, 8)
        fleet.start("one", environment=fleet.fail_point(f"{point}=raise@{nth}"))
        fleet.until_struck([point], lambda: sent.send(fleet, dice))
        judge(fleet, sent)


@pytest.mark.forms("short", "full")
@at_each("point", CHORDS)
def test_child_dies_over_a_chord_with_two_stores(
    make_fleet: MakeFleet, place: Any, form: Form, point: str
) -> None:
    """Results in another file than messages."""
    dice, sent = form.dice, Sent()
    with make_fleet(result_backend=f"sqlite:///{place}/results.db") as fleet:
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{dice.randint(1, 8)}"))
        fleet.until_struck([point], lambda: sent.send(fleet, dice))
        judge(fleet, sent)


@pytest.mark.engine
@pytest.mark.forms("short", "full")
@pytest.mark.parametrize("point", at("chords."))
def test_child_dies_over_a_chord_on_rabbitmq(place: Path, form: Form, point: str) -> None:
    """Messages are on RabbitMQ, and results in a file."""
    dice, sent = form.dice, Sent()
    with own_vhost() as url, RabbitFleet(place, url) as fleet:
        fleet.start("one", environment=fleet.fail_point(f"{point}=kill@{dice.randint(1, 8)}"))
        fleet.until_struck([point], lambda: sent.send(fleet, dice))
        # The server tells nobody what its consumers hold.
        results = sent.results.values()
        wait_until(lambda: all(one.ready() for one in results), 30.0, "all chords to end")
        judge(fleet, sent)
        fleet.empty()
