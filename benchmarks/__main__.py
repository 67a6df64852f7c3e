"""Run the benchmarks: ``python -m benchmarks [--rounds N] [--engine NAME ...] [--only NAME ...]``."""

from __future__ import annotations

import argparse
import compileall
import platform
import signal
import sqlite3
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from benchmarks import many as many_at_a_time
from benchmarks import measures, workflows
from benchmarks.place import Place, PostgresServer, RedisServer
from benchmarks.rabbit_server import RabbitServer
from benchmarks.sides import (
    CELERY_THREADS,
    POSTGRES,
    POSTGRES_APPS,
    RABBITMQ,
    REDIS,
    SQLITE,
    UMBEL,
    UMBEL_ASYNCIO,
    UMBEL_THREADS,
    BareLoop,
    Side,
    executable,
)

Measure = Callable[[Place], Any]

LIBRARIES = (
    *("celery", "kombu", "redis", "hiredis", "dramatiq", "huey", "rq", "taskiq", "taskiq-redis"),
    *("streaq", "coredis", "orjson", "psycopg", "procrastinate", "pgqueuer", "asyncpg"),
    *("amqp", "pika"),
)
#: Apps whose calls have no results to wait for.
_NO_RESULTS = ("huey_sqlite", "procrastinate_app", "pgqueuer_app")
#: Sides whose results cannot be replies on RabbitMQ.
_NO_REPLIES = ("dramatiq",)


#: The engines that are measured, with their sides and what is said of their servers.
ENGINES: Mapping[str, Sequence[Side | BareLoop]] = {
    "sqlite": SQLITE,
    "redis": REDIS,
    "postgres": POSTGRES,
    "rabbitmq": RABBITMQ,
}
SERVERS = {
    "redis": "Redis {}, no persistence",
    "postgres": "PostgreSQL {}, as installed",
    "rabbitmq": "RabbitMQ {}, as installed",
}


def _server(engine: str) -> RedisServer | PostgresServer | RabbitServer | None:
    if engine == "postgres":
        return PostgresServer(POSTGRES_APPS)
    if engine == "rabbitmq":
        return RabbitServer()
    return RedisServer() if engine == "redis" else None


class Bench:
    """An engine to measure on, how often, and with which sides."""

    def __init__(self, engine: str, rounds: int, sides: Sequence[str], scale: float) -> None:
        self.engine = engine
        self.rounds = rounds
        self.server = _server(engine)
        everyone = ENGINES[engine]
        self.all = [one for one in everyone if executable(one) and (not sides or one.name in sides)]
        self.sides = [one for one in self.all if isinstance(one, Side)]
        self.bare = next((one for one in self.all if isinstance(one, BareLoop)), None)
        self._scale = scale

    def some(self, tasks: int) -> int:
        """Return a number of tasks, by the scale of this run."""
        return max(int(tasks * self._scale), 100)

    @contextmanager
    def place(self, results: bool = False) -> Iterator[Place]:
        """Give an empty engine and a directory of its own."""
        if self.server is not None:
            self.server.empty()
        place = Place(url=self.server.url if self.server is not None else None, results=results)
        try:
            yield place
        finally:
            place.remove()

    def interleaved(
        self, measures_of: Mapping[str, Measure], results: bool = False
    ) -> dict[str, list[Any]]:
        """Measure each in turn, round by round."""
        figures: dict[str, list[Any]] = {name: [] for name in measures_of}
        for _ in range(self.rounds):
            for name, measure in measures_of.items():
                with self.place(results) as place:
                    figures[name].append(measure(place))
        return figures

    def rates(self, title: str, measures_of: Mapping[str, Measure], results: bool = False) -> None:
        """Measure rates; print medians and how often each goes into the first."""
        self.title(title)
        figures = self.interleaved(measures_of, results)
        base = statistics.median(next(iter(figures.values())))
        for name, found in figures.items():
            median = statistics.median(found)
            spread = f"({min(found):,.0f} to {max(found):,.0f})"
            print(
                f"  {name:<24} {median:>10,.0f}/s  {spread:<24} {base / median:7.2f} x", flush=True
            )

    def title(self, text: str) -> None:
        """Print what is measured now."""
        print(f"\n{self.engine}: {text}", flush=True)


def drain(bench: Bench) -> None:
    """Drain a full queue with two processes."""

    def measure(side: Side | BareLoop) -> Measure:
        return lambda place: side.drain(place, bench.some(side.tasks))

    for results in (False, True):
        apart = _NO_REPLIES if results and bench.engine == "rabbitmq" else ()
        sides = {side.name: measure(side) for side in bench.all if side.name not in apart}
        bench.rates(f"drain, {'with' if results else 'no'} results", sides, results)


def enqueue(bench: Bench) -> None:
    """Enqueue from one process."""
    few, many = bench.some(2_000), bench.some(40_000)

    def one_by_one(side: Side) -> Measure:
        return lambda place: measures.sends(side, place, few)

    def in_bulk(side: Side) -> Measure:
        return lambda place: measures.fills(side, place, many if side is UMBEL else few)

    sides = [side for side in bench.sides if side.app != "huey_sqlite"]
    single = {side.name: one_by_one(side) for side in sides}
    bulk = {side.name: in_bulk(side) for side in sides}
    if bench.engine == "postgres":
        bulk["COPY, 1000 rows"] = lambda place: measures.bare_copies(place, many)
    elif bench.engine == "rabbitmq":
        single["pika, confirmed"] = lambda place: measures.bare_publishes(place, few)
    elif bench.server is None:
        single["one-row commits"] = lambda place: measures.bare_commits(place, few)
    else:
        single["LPUSH"] = lambda place: measures.bare_pushes(place, few)
        bulk["LPUSH in pipelines"] = lambda place: measures.bare_pushes(place, many, 64)
    together = nullcontext()
    with bench.server.apart() if isinstance(bench.server, RedisServer) else together:
        bench.rates("enqueue one by one", single)
        bench.rates("enqueue in bulk, or with all that a library has for it", bulk)


def latency(bench: Bench) -> None:
    """From sending a call to its result."""

    def round_trips(side: Side) -> Measure:
        return lambda place: measures.round_trips(side, place, bench.some(300))

    without = (*_NO_RESULTS, "dramatiq_app" if bench.engine == "rabbitmq" else "")
    sides = {side.name: round_trips(side) for side in bench.sides if side.app not in without}
    if bench.engine == "redis":
        sides["PING"] = lambda place: measures.bare_pings(place, 1000)
    bench.title("from a call to its result")
    for name, pairs in bench.interleaved(sides, results=True).items():
        median, p99 = (statistics.median(figures) for figures in zip(*pairs, strict=True))
        print(f"  {name:<24} p50 {median:7.2f} ms, p99 {p99:7.2f} ms", flush=True)


def resting(bench: Bench) -> None:
    """Starting and idling."""
    bench.title("start to the first task; idle for 10 s")

    def start_up(side: Side) -> Measure:
        return lambda place: measures.start_up(side, place)

    sides = [side for side in bench.sides if side.app != "huey_sqlite"]
    starts = bench.interleaved({side.name: start_up(side) for side in sides})
    for side in sides:
        with bench.place() as place:
            cpu, memory = measures.idle(side, place, 10)
        started = statistics.median(starts[side.name])
        print(
            f"  {side.name:<24} {started:5.2f} s; {cpu:5.2f} % of a core, {memory:4.0f} MB (PSS)",
            flush=True,
        )


def large(bench: Bench) -> None:
    """A million of them."""
    tasks, million = bench.some(40_000), bench.some(1_000_000)

    def waiting(others: int) -> Measure:
        return lambda place: measures.cost_with_waiting(place, others, tasks)

    def scheduled(others: int) -> Measure:
        return lambda place: measures.cost_with_scheduled(place, others, tasks)

    bench.title(f"{million:,} tasks")
    for what, cost in {"waiting": waiting, "scheduled": scheduled}.items():
        figures = bench.interleaved({"few": cost(1_000), "many": cost(million)})
        few, many = (statistics.median(figures[name]) for name in ("few", "many"))
        print(
            f"  processor time a task: {few:.0f} µs with 1,000 {what}, {many:.0f} µs with {million:,}:"
            f" {many / few:.2f} x",
            flush=True,
        )
    with bench.place() as place:
        early, late = measures.memory_after(place, 10_000, million)
    print(
        f"  private memory of the tree: {early:.1f} MB after 10,000 tasks,"
        f" {late:.1f} MB after {million:,}",
        flush=True,
    )


def killed(bench: Bench) -> None:
    """What kill -9 of all workers loses."""
    bench.title(
        "200 naps of 50 ms; all workers killed when 30 % are done; a minute after a new start"
    )
    for side in bench.sides:
        if side.app == "huey_sqlite":
            continue
        # With many tasks at a time 200 would be over before anybody is killed.
        many = side.app in ("dramatiq_app", "arq_app", "taskiq_app", "streaq_app", "pgqueuer_app")
        tasks = 2_000 if many else 200
        with bench.place() as place:
            found = measures.loss(side, place, tasks)
        took = "not all" if found.recovery is None else f"all in {found.recovery:.1f} s"
        print(
            f"  {side.name:<24} {found.undone:>4} of {tasks:,} not done, {found.twice} done twice; {took}",
            flush=True,
        )


def executors(bench: Bench) -> None:
    """Executors that run many tasks at a time, beside Celery's threads."""
    peer = CELERY_THREADS.name
    sides = [one for one in bench.all if one in (UMBEL_THREADS, UMBEL_ASYNCIO, CELERY_THREADS)]

    def drains(side: Side) -> Measure:
        return lambda place: side.drain(place, bench.some(side.tasks))

    for results in (False, True):
        bench.title(f"drain, {'with' if results else 'no'} results")
        figures = bench.interleaved({side.name: drains(side) for side in sides}, results)
        medians = {name: statistics.median(found) for name, found in figures.items()}
        for name, median in medians.items():
            times = f"{median / medians[peer]:6.1f} times {peer}" if peer in medians else ""
            print(f"  {name:<24} {median:>10,.0f}/s  {times}", flush=True)
    tasks, many = bench.some(5_000), bench.some(50_000)
    measured: dict[str, Measure] = {
        f"{tasks:,} async tasks of 100 ms, 2 x 250 slots": lambda place: many_at_a_time.burst(
            place, tasks
        ),
        f"{many:,} coroutines in flight": lambda place: many_at_a_time.in_flight(place, many),
    }
    bench.title("many at a time")
    for (name, found), unit in zip(
        bench.interleaved(measured).items(), ("s", "MB (PSS)"), strict=True
    ):
        spread = f"({min(found):,.2f} to {max(found):,.2f})"
        print(f"  {name:<48} {statistics.median(found):8,.2f} {unit} {spread}", flush=True)
    bench.title(
        "from the end of a task to its result, beside a task of the same child that computes"
    )
    latencies = {name: beside(name, bench.some(400)) for name in many_at_a_time.BESIDE}
    for name, pairs in bench.interleaved(latencies).items():
        median, p99 = (statistics.median(figures) for figures in zip(*pairs, strict=True))
        print(f"  {name:<24} p50 {median:7.2f} ms, p99 {p99:7.2f} ms", flush=True)


def beside(executor: str, calls: int) -> Measure:
    """Return what measures how soon results are there beside a task that computes."""
    return lambda place: many_at_a_time.beside(executor, place, calls)


def of_workflows(bench: Bench) -> None:
    """Chords and chains beside Celery's, from building them to their results."""
    if bench.engine != "redis":
        return
    header, steps = bench.some(10_000), bench.some(1_000)
    chains = f"{workflows.CHAINS} chains of {steps:,}"
    for title, action, tasks, references in (
        (f"a chord of {header:,}", "chord_of", header, (False,)),
        (chains, "chains_of", steps, (False, True)),
    ):
        sides: dict[str, Measure] = {
            workflows.UMBEL.name + (" by reference" if reference else ""): workflow(
                workflows.UMBEL, action, tasks, reference
            )
            for reference in references
        }
        sides[workflows.CELERY.name] = workflow(workflows.CELERY, action, tasks)
        bench.title(title)
        figures = bench.interleaved(sides, results=True)
        base = statistics.median(one.seconds for one in figures[workflows.CELERY.name])
        for name, found in figures.items():
            seconds = [one.seconds for one in found]
            median, share = statistics.median(seconds), min(one.lesser_share for one in found)
            cpu = statistics.median(one.cpu for one in found)
            print(
                f"  {name:<24} {median:8.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"
                f"  {base / median:6.1f} x; workers used {cpu:.2f} s of the processors;"
                f" the lesser process ran {share:.0%} of it at least",
                flush=True,
            )


def workflow(side: Side, action: str, tasks: int, by_reference: bool = False) -> Measure:
    """Return what measures a workflow."""
    return lambda place: workflows.run(side, place, action, tasks, by_reference)


GROUPS: dict[str, Callable[[Bench], None]] = {
    "drain": drain,
    "enqueue": enqueue,
    "latency": latency,
    "resting": resting,
    "large": large,
    "killed": killed,
    "executors": executors,
    "workflows": of_workflows,
}


def _versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _compile_umbel() -> None:
    """Compile it as pip has compiled all others, also where Python is told to keep no compiled modules."""
    spec = find_spec("umbel")
    for place in (spec and spec.submodule_search_locations) or ():
        compileall.compile_dir(place, quiet=1)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of tasks")
    parser.add_argument(
        "--engine",
        nargs="*",
        choices=list(ENGINES),
        default=list(ENGINES),
    )
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    names = list(dict.fromkeys(side.name for side in (*SQLITE, *REDIS, *POSTGRES, *RABBITMQ)))
    parser.add_argument("--sides", nargs="*", choices=names, default=[])
    given = parser.parse_args()
    _compile_umbel()
    # Whoever ends this ends what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()};"
        f" {given.rounds} rounds, payload (1, 2), two processes, log level WARNING\n{_versions()}"
    )
    for engine in given.engine:
        bench = Bench(engine, given.rounds, given.sides, given.scale)
        if bench.server is not None:
            what = SERVERS[engine].format(bench.server.version)
            print(f"\n{what}, on the same machine")
        try:
            for name in given.only:
                GROUPS[name](bench)
        finally:
            if bench.server is not None:
                bench.server.close()


if __name__ == "__main__":
    main()
