"""Run the benchmarks: ``python -m benchmarks [--rounds N] [--tasks N] [--only NAME ...]``."""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
from collections.abc import Callable
from typing import Any

from benchmarks import scale, sides, single
from benchmarks.sides import Place

Measure = Callable[[Place], Any]


def in_a_place(measure: Measure, durability: str, results: bool = False) -> Any:
    """Measure in a directory of its own."""
    place = Place(durability, results)
    try:
        return measure(place)
    finally:
        place.remove()


def interleaved(
    title: str, measures: dict[str, Measure], rounds: int, durability: str, results: bool = False
) -> None:
    """Measure each in turn, `rounds` times; print medians and their ratio to the first."""
    figures: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            figures[name].append(in_a_place(measure, durability, results))
    print(f"\n{title} (durability {durability})", flush=True)
    base = statistics.median(next(iter(figures.values())))
    for name, found in figures.items():
        median = statistics.median(found)
        print(
            f"  {name:<28} {median:>10,.0f}/s  ({min(found):,.0f} to {max(found):,.0f})"
            f"  {base / median:6.2f} x",
            flush=True,
        )


def drain(rounds: int, tasks: int) -> None:
    """Drain a full queue with two processes."""
    measures: dict[str, Measure] = {
        "umbel": lambda place: sides.drain_umbel(place, tasks),
        "bare loop": lambda place: sides.drain_bare(place, tasks),
        "huey": lambda place: sides.drain_huey(place, tasks // 5),
    }
    interleaved("Drain, no results", measures, rounds, "full")
    interleaved("Drain, with results", measures, rounds, "full", results=True)


def enqueue(rounds: int, tasks: int) -> None:
    """Enqueue from one process."""
    few = min(tasks, 3000)
    interleaved(
        "Enqueue one by one",
        {
            "umbel delay()": lambda place: single.one_by_one(place, few),
            "bare one-row commits": lambda place: single.bare_commits(place, few),
        },
        rounds,
        "full",
    )
    interleaved(
        "Enqueue in bulk",
        {"umbel delay_many()": lambda place: single.bulk(place, tasks)},
        rounds,
        "full",
    )


def latency(rounds: int, tasks: int) -> None:
    """From delay() to get()."""
    found = [
        in_a_place(lambda place: single.round_trips(place, 300), "full", results=True)
        for _ in range(rounds)
    ]
    median = statistics.median(pair[0] for pair in found)
    p99 = statistics.median(pair[1] for pair in found)
    print(f"\nRound trip delay() to get(): p50 {median:.2f} ms, p99 {p99:.2f} ms", flush=True)


def resting(rounds: int, tasks: int) -> None:
    """Starting and idling."""
    starts = [in_a_place(single.start_up, "full") for _ in range(rounds)]
    print(f"\nStart to the first task: {statistics.median(starts):.2f} s", flush=True)
    cpu, memory = in_a_place(lambda place: single.idle(place, 10), "full")
    print(f"Idle tree with 2 children: {cpu:.2f} % of a core, {memory:.0f} MB PSS", flush=True)


def large(rounds: int, tasks: int) -> None:
    """A million of them."""
    few: list[float] = []
    many: list[float] = []
    for _ in range(rounds):
        few.append(in_a_place(lambda p: scale.cost_with_waiting(p, 1_000, tasks), "full"))
        many.append(in_a_place(lambda p: scale.cost_with_waiting(p, 1_000_000, tasks), "full"))
    print(
        f"\nProcessor time a task: {statistics.median(few):.0f} µs with 1,000 waiting,"
        f" {statistics.median(many):.0f} µs with 1,000,000:"
        f" {statistics.median(many) / statistics.median(few):.2f} x",
        flush=True,
    )
    early, late = in_a_place(lambda p: scale.memory_after(p, 10_000, 1_000_000), "full")
    print(
        f"Private memory of the tree: {early:.1f} MB after 10,000 tasks, {late:.1f} MB after 1,000,000"
    )


GROUPS: dict[str, Callable[[int, int], None]] = {
    "drain": drain,
    "enqueue": enqueue,
    "latency": latency,
    "resting": resting,
    "large": large,
}


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=40_000)
    parser.add_argument("--only", nargs="*", choices=list(GROUPS), default=list(GROUPS))
    given = parser.parse_args()
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()};"
        f" {given.rounds} rounds, payload (1, 2), two processes, log level WARNING, at least once"
    )
    for name in given.only:
        GROUPS[name](given.rounds, given.tasks)


if __name__ == "__main__":
    main()
