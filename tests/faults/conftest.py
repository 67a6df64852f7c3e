"""Fault tests: real processes are killed, stopped and cut off, and a ledger tells what ran.

An experiment that asks for `make_fleet` runs on every engine, but in the quick form on a server only where it
is marked with ``quick_on_servers``, and one on RabbitMQ with ``quick_on_rabbitmq``: then with classic queues.
One that is marked with ``forms`` is made in these forms only.

``--faults=quick`` (the default) runs the short form of each experiment once, ``short`` repeats it
50 times, ``full`` runs the long form once. ``--faults-repeats`` overrides the number.

How soon a fleet recovers is measured, so that not much else should run beside it: ``make test`` runs these
tests apart from the others, two at a time, and those that are marked with ``alone`` one at a time, as
``make faults`` does with all.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import pytest

from tests.faults.fleet import Fleet, Told, wait_until
from tests.faults.oracles import Figures, judge, percentile
from tests.faults.postgres_fleet import PostgresFleet
from tests.faults.rabbit_fleet import RabbitFleet
from tests.faults.redis_fleet import RedisFleet
from tests.faults.scenes import ENGINES, RABBITMQ, SERVERS, on
from tests.places import MEMORY, own_runtime_directory
from tests.postgres_servers import PrivateServer as PostgresServer
from tests.postgres_servers import private_server as private_postgres
from tests.rabbitmq_servers import own_vhost
from tests.redis_servers import private_server

T = TypeVar("T")
F = TypeVar("F", bound=Fleet)
REPEATS = {"quick": 1, "short": 50, "full": 1}
#: What an experiment measured, among the properties of its report: that is how it comes from the process
#: that ran it to the one that sums up.
MEASURED = "measured"
measured: dict[str, Figures] = defaultdict(Figures)


@dataclass(frozen=True)
class Form:
    """How an experiment is run this time."""

    name: str
    repeat: int

    @property
    def dice(self) -> random.Random:
        """Chance that is another one in each repeat, and the same when a repeat is repeated."""
        return random.Random(self.repeat)

    def pick(self, short: T, full: T) -> T:
        """Return one of two values, as the form is."""
        return full if self.name == "full" else short


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--faults", choices=sorted(REPEATS), default="quick", help="Which form to run.")
    group.addoption("--faults-repeats", type=int, help="How often to run each experiment.")
    group.addoption("--faults-figures", type=Path, help="A file to which figures are appended.")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "form" in metafunc.fixturenames:
        # With a default each, because these options are unknown when the whole suite is run.
        name = metafunc.config.getoption("--faults", "quick")
        repeats = metafunc.config.getoption("--faults-repeats", None) or REPEATS[name]
        forms = [Form(name, repeat) for repeat in range(1, repeats + 1)]
        metafunc.parametrize("form", forms, ids=lambda form: f"{form.name}{form.repeat}")
    if "engine" in metafunc.fixturenames and "engine" not in _arguments(metafunc):
        metafunc.parametrize("engine", [on(name) for name in ENGINES])
    if "store" in metafunc.fixturenames and "store" not in _arguments(metafunc):
        metafunc.parametrize("store", [on(name) for name in ENGINES])


def _arguments(metafunc: pytest.Metafunc) -> set[str]:
    """Return what the test's own marks give values to."""
    marks = metafunc.definition.iter_markers("parametrize")
    return {
        name
        for mark in marks
        for name in ([mark.args[0]] if isinstance(mark.args[0], str) else mark.args[0])
    }


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    form = config.getoption("--faults", "quick")
    left_out: list[pytest.Item] = []
    made: list[pytest.Item] = []
    for item in items:
        (left_out if _is_left_out(item, form) else made).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = made


def _is_left_out(item: pytest.Item, form: str) -> bool:
    """Tell whether a form does without an experiment, or the quick one without making it on a server.

    There a fail point of the worker itself is struck on a file only.
    """
    forms = item.get_closest_marker("forms")
    if forms is not None and form not in forms.args:
        return True
    if form != "quick":
        return False
    given = getattr(getattr(item, "callspec", None), "params", {})
    engine = given.get("engine")
    if engine in RABBITMQ:
        return engine != RABBITMQ[0] or not item.get_closest_marker("quick_on_rabbitmq")
    if "make_fleet" not in getattr(item, "fixturenames", ()) or engine not in SERVERS:
        return False
    place = given.get("point", given.get("operation", f"{engine}."))
    return not (place.startswith(f"{engine}.") and item.get_closest_marker("quick_on_servers"))


class MakeFleet(Protocol):
    """See the fixture `make_fleet`."""

    def __call__(self, **settings: Any) -> Fleet: ...


@pytest.fixture
def make_fleet(place: Path, engine: str, request: pytest.FixtureRequest) -> Iterator[MakeFleet]:
    """Make the fleet of an experiment, with more settings: on a file, or on a server of its own.

    On RabbitMQ it has a virtual host, and results in a file.
    """
    if engine == "sqlite":
        yield lambda **settings: _kept(Fleet(place, **settings), request)
        return
    if engine == "postgres":
        server = request.getfixturevalue("postgres")
        with server.space() as url:
            yield lambda **settings: _kept(PostgresFleet(place, server, url, **settings), request)
        return
    if engine in RABBITMQ:
        queues = "quorum" if engine == "quorum" else "classic"
        with own_vhost() as url:
            yield lambda **settings: _kept(RabbitFleet(place, url, queues, **settings), request)
        return
    with private_server(place) as server:
        yield lambda **settings: _kept(RedisFleet(place, server, **settings), request)


@pytest.fixture
def make_rabbit_fleet(
    place: Path, store: str, request: pytest.FixtureRequest
) -> Iterator[MakeFleet]:
    """Make a fleet with messages in a virtual host of RabbitMQ and results in a file or on a server."""
    with ExitStack() as stack:
        url = stack.enter_context(own_vhost())
        results = f"sqlite:///{place}/results.db"
        if store == "postgres":
            results = stack.enter_context(request.getfixturevalue("postgres").space())
        elif store == "redis":
            (place / "results").mkdir()
            results = stack.enter_context(private_server(place / "results")).url
        at = {"result_backend": results}
        yield lambda **settings: _kept(RabbitFleet(place, url, **at | settings), request)


def _kept(fleet: F, request: pytest.FixtureRequest) -> F:
    """Let the figures that a fleet is given go with the test's report."""
    kept = request.node.user_properties
    fleet.keep_figures = lambda figures: kept.append((MEASURED, asdict(figures)))
    return fleet


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for experiments that do not harm it; each has a schema of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="umbel-faults-", dir=MEMORY) as name,
        private_postgres(Path(name)) as server,
    ):
        yield server


@pytest.fixture(autouse=True)
def _apart_from_other_fleets() -> Iterator[None]:
    with own_runtime_directory():
        yield


@pytest.fixture
def place(tmp_path: Path, form: Form) -> Iterator[Path]:
    """A directory for an experiment.

    In memory, unless in the full form: what is tested is the death of processes, and a disk that is
    busy with other things for a second would look like a slow recovery.
    """
    if form.name == "full" or MEMORY is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="umbel-faults-", dir=MEMORY) as name:
        yield Path(name)
        if (Path(name) / "failed").exists():
            shutil.copytree(name, tmp_path, dirs_exist_ok=True)


class Settle(Protocol):
    """See the fixture `settle`."""

    def __call__(self, fleet: Fleet, *delays: float) -> Figures: ...


@pytest.fixture
def settle(request: pytest.FixtureRequest) -> Settle:
    """Bring an experiment to its end: wait, stop all nodes, ask all oracles, keep the figures.

    `delays` are recoveries that the experiment measured itself.
    """

    def settle(fleet: Fleet, *delays: float) -> Figures:
        fleet.wait_until_quiet()
        wait_until(lambda: not fleet.residue(), 5.0, Told("nothing to be left behind (O6)", fleet))
        fleet.stop()
        figures = judge(fleet.evidence())
        figures.recoveries += delays
        residue = fleet.residue()
        assert not residue, "O6: left behind: " + "; ".join(residue)
        request.node.user_properties.append((MEASURED, asdict(figures)))
        return figures

    return settle


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties if report.when == "call" else ():
        if name == MEASURED:
            test = report.nodeid.rpartition("::test_")[2].partition("[")[0]
            known = (*SERVERS, *reversed(RABBITMQ))
            engine = next((name for name in known if name in report.nodeid.partition("[")[2]), "")
            measured[f"{engine}: {test}" if engine else test].add(
                Figures(**cast("dict[str, Any]", value))
            )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if not measured:
        return
    names = " ".join(f"{name:>5}" for name in ("lost", "dead", "extra"))
    head = f"{'trials':>6} {'tasks':>7} {'faults':>6} {names}   recovery: median p99 max"
    terminalreporter.write_sep("-", "what the fault tests measured")
    terminalreporter.write_line(f"{'':50} {head}")
    for name, one in measured.items():
        times = " ".join(
            f"{value:7.3f}"
            for value in (
                percentile(one.recoveries, 0.5),
                percentile(one.recoveries, 0.99),
                max(one.recoveries, default=0.0),
            )
        )
        terminalreporter.write_line(
            f"{name:50} {one.trials:6} {one.tasks:7} {one.faults:6} {one.lost:5} {one.dead:5}"
            f" {one.duplicates:5}   {times}"
        )
    path = config.getoption("--faults-figures", None)
    if path is not None:
        with path.open("a") as file:
            for name, one in measured.items():
                file.write(json.dumps({"name": name, **asdict(one)}) + "\n")
