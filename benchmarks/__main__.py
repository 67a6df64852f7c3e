"""Run the benchmarks: ``python -m benchmarks [--rounds N] [--engine sqlite redis] [--only NAME ...]``."""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from benchmarks import measures
from benchmarks.place import Place, RedisServer
from benchmarks.sides import REDIS, SQLITE, UMBEL, BareLoop, Side, executable

Measure = Callable[[Place], Any]

LIBRARIES = (
    *("celery", "kombu", "redis", "hiredis", "dramatiq", "huey", "rq", "taskiq", "taskiq-redis"),
    *("streaq", "coredis", "orjson"),
)


class Bench:
    """An engine to measure on, how often, and with which sides."""

    def __init__(self, engine: str, rounds: int, sides: Sequence[str], scale: float) -> None:
        self.engine = engine
        self.rounds = rounds
        self.server = RedisServer() if engine == "redis" else None
        everyone = REDIS if engine == "redis" else SQLITE
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
        sides = {side.name: measure(side) for side in bench.all}
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
    if bench.server is None:
        single["one-row commits"] = lambda place: measures.bare_commits(place, few)
    else:
        single["LPUSH"] = lambda place: measures.bare_pushes(place, few)
        bulk["LPUSH in pipelines"] = lambda place: measures.bare_pushes(place, many, 64)
    bench.rates("enqueue one by one", single)
    bench.rates("enqueue in bulk, or with all that a library has for it", bulk)


def latency(bench: Bench) -> None:
    """From sending a call to its result."""

    def round_trips(side: Side) -> Measure:
        return lambda place: measures.round_trips(side, place, bench.some(300))

    sides = {side.name: round_trips(side) for side in bench.sides if side.app != "huey_sqlite"}
    if bench.server is not None:
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
        many = side.app in ("dramatiq_app", "arq_app", "taskiq_app", "streaq_app")
        tasks = 2_000 if many else 200
        with bench.place() as place:
            found = measures.loss(side, place, tasks)
        took = "not all" if found.recovery is None else f"all in {found.recovery:.1f} s"
        print(
            f"  {side.name:<24} {found.undone:>4} of {tasks:,} not done, {found.twice} done twice; {took}",
            flush=True,
        )


GROUPS: dict[str, Callable[[Bench], None]] = {
    "drain": drain,
    "enqueue": enqueue,
    "latency": latency,
    "resting": resting,
    "large": large,
    "killed": killed,
}


def _versions() -> str:
    found = []
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of tasks")
    parser.add_argument(
        "--engine", nargs="*", choices=("sqlite", "redis"), default=["sqlite", "redis"]
    )
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    names = list(dict.fromkeys(side.name for side in (*SQLITE, *REDIS)))
    parser.add_argument("--sides", nargs="*", choices=names, default=[])
    given = parser.parse_args()
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()};"
        f" {given.rounds} rounds, payload (1, 2), two processes, log level WARNING\n{_versions()}"
    )
    for engine in given.engine:
        bench = Bench(engine, given.rounds, given.sides, given.scale)
        if bench.server is not None:
            print(f"\nRedis {bench.server.version}, no persistence, on the same machine")
        try:
            for name in given.only:
                GROUPS[name](bench)
        finally:
            if bench.server is not None:
                bench.server.close()


if __name__ == "__main__":
    main()
