"""What is measured of workflows: from building one to its result, beside Celery."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from benchmarks.place import Place
from benchmarks.processes import cpu_seconds, trees
from benchmarks.sides import ONLY_TASKS, Side
from benchmarks.work import naps
from benchmarks.workflow_calls import CHAINS

CELERY = Side(
    "Celery prefork",
    "celery_workflows",
    [
        (
            *("celery", "-A", "benchmarks.apps.celery_workflows", "worker", "-l", "WARNING"),
            *(*ONLY_TASKS, "-P", "prefork", "-c", "2"),
        )
    ],
    10_000,
)
UMBEL = Side(
    "umbel",
    "umbel_workflows",
    [("umbel", "-A", "benchmarks.apps.umbel_workflows", "worker", "-l", "WARNING", "-c", "2")],
    10_000,
)
__all__ = ["CHAINS", "CELERY", "UMBEL", "Took", "run"]

#: What warms both processes up, so that none of them starts within what is measured.
WARM = 200


@dataclass(frozen=True)
class Took:
    """Seconds that a workflow took, and of them those of the processors for all of the workers.

    `lesser_share` is which part of its calls the less busy of the two processes ran.
    """

    seconds: float
    cpu: float
    lesser_share: float


def run(side: Side, place: Place, action: str, tasks: int, by_reference: bool = False) -> Took:
    """Let workers that are warm run workflows; `action` is one of the apps' own."""
    place.environment["BENCH_BY_REFERENCE"] = "1" if by_reference else "0"
    with side.working(place) as workers:
        side.client(place, "chord_of", WARM)
        before = len(naps(place.ledger))
        pids = trees(worker.pid for worker in workers)
        used = cpu_seconds(pids)
        seconds = float(side.client(place, action, tasks))
        used = cpu_seconds(pids) - used
        ran = Counter(naps(place.ledger)[before:])
    share = min(ran.values()) / ran.total() if len(ran) > 1 else 0.0
    return Took(seconds, used, share)
