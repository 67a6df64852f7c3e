"""Running what a test has sent: by a worker in threads, or here and now."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from umbel import current, states
from umbel.app import Umbel
from umbel.clock import SYSTEM, Clock, unique_id
from umbel.engines.memory import MemoryEngine
from umbel.outcomes import ending
from umbel.ports import Broker, FetchRequest, Owner
from umbel.worker.completing import Chords
from umbel.worker.decide import decide
from umbel.worker.embedded import EmbeddedWorker
from umbel.worker.execute import Runner
from umbel.worker.outcome import (
    Condemned,
    Copied,
    Interrupted,
    Lost,
    NotDue,
    Outcome,
    OverTime,
    Postponed,
    Revoked,
    Run,
    Unknown,
    Unprocessable,
)
from umbel.worker.page import Page
from umbel.worker.revocations import Revocations
from umbel.worker.settler import Settler


@contextmanager
def worker(
    app: Umbel,
    *,
    queues: Sequence[str] = (),
    concurrency: int = 1,
    timeout: float = 10.0,
) -> Iterator[EmbeddedWorker]:
    """Run the app's tasks in threads of this process, until the end of the block.

    It consumes from `queues`, else from those that the app declares. `timeout` are the seconds that it has to
    start, and to end: a task that still runs then is a RuntimeError.
    """
    app.finalize()
    running = EmbeddedWorker(app, queues=queues, concurrency=concurrency)
    running.start(timeout)
    try:
        yield running
    finally:
        running.stop(timeout)


@dataclass(frozen=True, slots=True)
class Ran:
    """A call and what became of it. `result` is what the task returned or raised.

    `state` is None for a task that the app does not know; such a call is offered to other workers.
    """

    id: str | None
    name: str | None
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    retries: int
    state: str | None
    result: Any


def run_pending(
    app: Umbel, *, queues: Sequence[str] = (), ahead: float = 0.0, limit: int = 1000
) -> list[Ran]:
    """Run all calls that wait, here and now, and those that they send; return what became of each.

    They are taken from `queues`, else from those that the app declares, and run one by one as a worker runs
    them: results are stored, retries are sent. `ahead` runs also what is due within so many seconds, as if
    they had passed; only ``memory://`` can do that, whose time is this process's own. Raises RuntimeError
    after `limit` calls, since there may be no end.
    """
    app.finalize()
    before = app.clock
    broker = _broker(app, ahead)
    with current.restored(), closing(Runner(app, platform.node())) as runner:
        app.set_current()
        app.clock = _Later(before, ahead) if ahead else before
        try:
            request = FetchRequest(tuple(queues) or tuple(app.amqp.queues.consume_from), 1)
            return _drain(app, runner, broker, request, limit)
        finally:
            app.clock = before


def _drain(
    app: Umbel, runner: Runner, broker: Broker, request: FetchRequest, limit: int
) -> list[Ran]:
    ran: list[Ran] = []
    owner = Owner(unique_id(), unique_id(), platform.node(), os.getpid())
    with closing(broker.consumer(owner, app.conf.snapshot.worker_lease_ttl)) as consumer:
        settler = Settler(broker, consumer, app.results, Chords(app, app.results))
        revocations = Revocations(app, Page.private())
        while fetched := consumer.fetch(request, 0.0):
            revocations.learn(consumer.revocations, fetched)
            run = runner.run(revocations.admit(runner.prepare(fetched[0])))
            verdict = decide(run, app.conf.snapshot, app.clock)
            settler.settle([verdict])
            if not isinstance(run.outcome, NotDue):
                ran.append(_report(verdict.run))
            if len(ran) > limit:
                raise RuntimeError(
                    f"{len(ran)} calls were run, and more wait; the last one is {ran[-1].name}. Do they send"
                    " each other for ever? Else give a higher limit."
                )
    return ran


def _report(run: Run) -> Ran:
    call, message = run.prepared.call, run.prepared.delivery.message
    state, result = _ending(run.outcome)
    if call is None:
        return Ran(message.task_id, None, (), {}, 0, state, result)
    return Ran(call.id, call.task, call.args, call.kwargs, call.retries, state, result)


def _ending(outcome: Outcome) -> tuple[str | None, Any]:
    match outcome:
        case Revoked():
            return states.REVOKED, None
        case Unprocessable(error, _):
            return states.FAILURE, error
        case Unknown(error, _):
            return None, error
        case NotDue() | Lost() | Condemned() | Interrupted() | OverTime() | Postponed() | Copied():
            return None, None  # none of them is reported
    return ending(outcome)


def _broker(app: Umbel, ahead: float) -> Broker:
    """Return the app's broker, at a time that is `ahead` of now."""
    if not ahead:
        return app.broker
    if app.broker.features.shared:
        raise ValueError(
            f"ahead={ahead:g} needs a broker in this process: the time of {app.show_url(app.broker_url)} is"
            " everyone's. Set broker_url to memory://."
        )
    return MemoryEngine(app.broker_url, {}, _Later(SYSTEM, ahead)).broker


class _Later:
    """A clock that is some seconds ahead of another."""

    def __init__(self, clock: Clock, ahead: float) -> None:
        self._clock = clock
        self._ahead = ahead

    def time(self) -> float:
        return self._clock.time() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
