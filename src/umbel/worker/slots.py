"""A child that runs many tasks at a time: its desk fetches and settles, and an executor runs.

The desk is the loop of `Child`: fetch, submit, settle. It asks for what there are slots for, and for more
while tasks are short. While it waits for messages, the courier settles what is finished, as soon as it is; so
no result waits for a message, nor for a task that runs long in another slot. Where that one computes, each
change of threads takes as long as it may keep the interpreter, and there is only this one on the way.

Who dies while many run takes all of them with it, and nobody knows which was to blame. Therefore a delivery
that would be a dead letter after one more death runs alone here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from umbel.app import Umbel
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import FetchRequest
from umbel.redirected import flush_redirected
from umbel.worker import report
from umbel.worker.child import Child
from umbel.worker.clogs import Clogs
from umbel.worker.decide import Verdict, decide, started
from umbel.worker.execute import Runner
from umbel.worker.executors.base import Executor
from umbel.worker.helper import LONG
from umbel.worker.marking import are_to_be_marked
from umbel.worker.outcome import (
    Job,
    Lost,
    OverTime,
    Prepared,
    Revoked,
    Run,
    Waiting,
    is_early,
    is_given_back,
    marked,
)
from umbel.worker.prefetch import OVERSLEPT, SlotPrefetch
from umbel.worker.settler import Settler, give_up
from umbel.worker.slot_limits import SlotLimits, Timed
from umbel.worker.slot_page import SlotPage
from umbel.worker.slot_terminating import SlotTermination
from umbel.worker.succession import Succession
from umbel.worker.suspects import Suspects, is_suspect

#: Seconds between two calls of the broker while only few slots are free: outcomes are settled, and messages
#: fetched, together.
PACE = 0.005
#: A part of the slots that is not few.
MANY = 8
#: Seconds after which deliveries are given back that wait only for their turn: their event loop is held up.
STUCK = 0.25
#: Seconds between two looks of a desk that waits for tasks to end. It is woken when one does.
LOOK = 1.0


class SlotChild(Child):
    """Runs many tasks at a time until it is told to stop."""

    def __init__(
        self,
        app: Umbel,
        queues: Sequence[str],
        hostname: str,
        pid: int,
        page: SlotPage,
        make_settler: Callable[[], Settler],
        executor: Executor,
    ) -> None:
        super().__init__(app, queues, hostname, pid, page, make_settler)
        self._places = page
        self._executor = executor
        self._runner = Runner(app, hostname, executor.drive)
        self._runner.forgets = app.broker.features.leases
        self._succession = Succession(page, make_settler)
        settings = app.conf.snapshot
        self._ahead = SlotPrefetch(executor.slots, settings.worker_prefetch_multiplier)
        self._batch = app.broker.features.batch
        #: What is held and was submitted, until it is settled or given back.
        self._held: dict[str, Waiting] = {}
        self._limits = SlotLimits(self._clock, page, self._give_up_early)
        self._running: dict[int, Waiting] = {}
        give_up = self._give_up_early
        ending = SlotTermination(executor, self._running, self._limits, give_up)
        self.termination = self._terminations = ending
        #: The places of coroutines that were cancelled to be given back, and have not ended yet.
        self._cancelled: set[int] = set()
        #: What must run alone, and has not started; and whether such a one runs.
        self._suspects = Suspects(self._clock)
        self._alone = False
        self._wake = threading.Event()
        self._clogs = Clogs(executor, self._wake.set)
        #: Whether the desk waits only until it may call the broker again, or for messages.
        self._paces = self._fetching = False
        self._error: BaseException | None = None
        #: For what all threads count: rates, and tasks until this child is replaced.
        self._counting = threading.Lock()

    # The desk

    def run(self) -> None:
        """Run the executor and the desk until stopped; then let running tasks end and leave."""
        self._executor.host(self, super().run)

    def step(self) -> None:
        """Settle what has ended, fetch what there are slots for, and submit it; or wait for either."""
        self._wake.clear()
        if self._error is not None:
            raise self._error
        self._next_suspect()
        room, left = self._room(), self._pace.settled_at + PACE - self._clock.monotonic()
        if room > 0 and (left <= 0 or room * MANY >= self._ahead.limit):
            self._refill(min(room, self._batch))
        elif self.finished and left <= 0:
            self._persist(lambda: self._settle(None))
        elif left > 0 and (room > 0 or self.finished):
            self._paces = True
            self._wake.wait(left)
            self._paces = False
        else:
            self._wake.wait(LOOK)

    def _refill(self, room: int) -> None:
        """Settle what has ended, fetch, and submit what comes."""
        self._prefetch.limit = room
        request = self._request()
        if self._active():  # and may end before there is anything to wait for
            request = replace(request, waits=False)
        deliveries = self._persist(lambda: self._settle(request))
        if not deliveries and not self.stopping.is_set():
            # Said before looking: what ends now either is seen here or sees that the desk waits.
            self._fetching = True
            if not self.finished:
                deliveries = self._persist(lambda: self._fetch(request))
            self._fetching = False
        if deliveries:
            self._work(deliveries)

    def _active(self) -> int:
        """Return how many deliveries were submitted and have not ended."""
        return len(self._held) - len(self.finished)

    def _room(self) -> int:
        """Return how many more deliveries there is room for; none while something else has to end first."""
        if self._suspects or self._alone or self._clogs.are_there():
            return 0
        active = self._active()
        most = self._lifetime.affords(self._ahead.limit)
        return min(most - active, self._places.room)

    def _settle(self, request: FetchRequest | None) -> Sequence[Delivery]:
        with self.lock:
            fail_point("child.before_settle")
            self._resolve_doubt()
            return self.settle_finished(request)

    def _resolve_doubt(self) -> None:
        """Become another owner, under the lock, while tasks run: what we do not know of goes back then.

        Where the connection is the claim, it has gone back with the connection.
        """
        if not self._in_doubt:
            return
        was_under_way = self._succession.is_under_way
        self.settle_all()  # and what was under way is done
        if not was_under_way and self._settler is not None and self._app.broker.features.leases:
            self._succeed()
        self._in_doubt = False

    def settle_all(self) -> None:
        """Settle all that is finished, under the lock, by the owner who has it."""
        if self._succession.is_under_way:
            self._succeed()
        super().settle_all()

    def _succeed(self) -> None:
        """Have another owner take over what runs; what has not started goes back."""
        self.returning.extend([*self._executor.withdraw(), *self._suspects.take_all()])
        back = [item.prepared.delivery.key for item in self.returning.copy()]
        self._succession.succeed(self.settler, back, self._held.keys() - set(back))
        for _ in back:
            self._give_up(self.returning.popleft())
        self._in_doubt = False

    def _let_go(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._forget(verdict.run.prepared)
        if verdicts:
            self._ahead.observe(len(verdicts), sum(one.run.seconds for one in verdicts))
            # The helper may have settled while the desk looked for room, and found none yet.
            self._wake.set()

    def _forget(self, prepared: Prepared) -> None:
        item = self._held.pop(prepared.delivery.key, None)
        if item is not None:
            self._places.drop(item.index)

    def _drop_all(self, lost: LeaseLost) -> None:
        """Start over with nothing but what runs, whose outcomes will not count."""
        with self.lock:
            self.returning.extend([*self._executor.withdraw(), *self._suspects.take_all()])
            super()._drop_all(lost)

    def _clear(self) -> None:
        while self.finished:
            self._forget(self.finished.popleft().run.prepared)
        while self.returning:
            self._give_up(self.returning.popleft())

    # A batch

    def _work(self, deliveries: Sequence[Delivery]) -> None:
        """Submit a batch, but for what has to run alone."""
        most = self._app.conf.snapshot.worker_max_deliveries
        items: list[Waiting] = []
        for delivery in deliveries:
            item = Waiting(self._places.take(), self._prepare(delivery))
            (self._suspects.add if is_suspect(item.prepared, most) else items.append)(item)
        if items:
            self._submit(items)

    def _next_suspect(self) -> None:
        """Let what must run alone do so, once nothing else runs, or has ended and could be blamed with it."""
        if self._active():
            self._put_off_suspects()
            return
        if self.finished and (self._suspects or self._alone):
            self._persist(lambda: self._settle(None))
        suspect = self._suspects.next()
        self._alone = suspect is not None
        if suspect is not None:
            self._submit([Waiting(suspect.index, self._runner.in_time(suspect.prepared))])

    def _put_off_suspects(self) -> None:
        """Put off what has waited here for others to end: it comes back, to whoever is free then."""
        settings = self._app.conf.snapshot
        for item, later in [] if self._alone else self._suspects.impatient():
            self._held[item.prepared.delivery.key] = item
            self.finished.append(decide(Run(item.prepared, later), settings, self._clock))

    def _submit(self, items: list[Waiting]) -> None:
        # Said first: what dies while the broker marks them has started none of them.
        self._places.put(
            [item.index for item in items], [item.prepared.delivery.key for item in items]
        )
        prepared = [item.prepared for item in items]
        learned = self._learn([one.delivery for one in prepared])
        if not learned or (are_to_be_marked(prepared) and not self._mark(prepared)):
            if self.stopping.is_set():
                self.returning.extend(items)
            else:
                for item in items:
                    self._places.drop(item.index)
            return
        items = [
            Waiting(item.index, marked(item.prepared)) if is_early(item.prepared) else item
            for item in items
        ]
        self._held.update((item.prepared.delivery.key, item) for item in items)
        self.started_at = self._clock.monotonic()  # from here on they wait
        self._executor.submit(items)
        self.on_batch()

    # Where tasks run

    def work(self, item: Waiting) -> None:
        """Run a delivery, in any thread."""
        try:
            begun = self._begin(item)
            if begun is None:
                return
            item, timed = begun
            self._tell(item)
            run = self._runner.run(item.prepared, None if timed is None else timed.guard)
            self._end(item, run, timed)
        except BaseException as error:  # noqa: BLE001 - a bug: the desk raises it, and the process ends
            self._fail(error)

    async def work_async(self, item: Waiting) -> None:
        """Run a delivery of an async task, on the event loop."""
        try:
            begun = self._begin(item)
            if begun is None:
                return
            item, timed = begun
            if timed is not None:
                timed.guard.runs_on_loop()
            prepared = item.prepared
            if prepared.policy is not None and prepared.policy.track_started:
                await asyncio.to_thread(self._tell, item)
            guard = None if timed is None else timed.guard
            if isinstance(prepared.work, Job):
                running, follow_ups = self._runner.begin_async(prepared, prepared.work, guard)
                run = self._runner.end_async(prepared, await running, follow_ups)
            else:
                run = self._runner.run(prepared)
            self._end(item, run, timed)
        except BaseException as error:  # noqa: BLE001 - as above
            if not self._terminations.has_ended(item):  # it may have been cancelled before it began
                self._fail(error)

    def _begin(self, item: Waiting) -> tuple[Waiting, Timed | None] | None:
        """Say that a delivery starts; return what to run, under which limits.

        None when it may not start, and is to be given back.
        """
        fail_point("child.before_start")
        self._running[item.index] = item
        now, timed = self._clock.monotonic(), None
        if not self.stopping.is_set() and now - self.started_at <= OVERSLEPT:
            report.received(item.prepared)
            timed = self._limits.start(item, now)
            deadlines = (0.0, 0.0) if timed is None else timed.deadlines
            if self._places.start(item.index, now, *deadlines):
                self._clogs.go_on(item)
                return self._admitted(item), timed
        if timed is not None and not self._limits.end(timed):
            timed.is_out = True
            return None
        if self._terminations.has_ended(item):
            return None
        self.returning.append(item)
        self._wake.set()
        return None

    def _admitted(self, item: Waiting) -> Waiting:
        """Return it, or what takes its place: it is revoked, or put off, since its task is over its rate."""
        if self.revocations.heeds:
            item = Waiting(item.index, self.revocations.admit(item.prepared))
        policy = item.prepared.policy
        if policy is None or not policy.rate:
            return item
        with self._counting:
            return Waiting(item.index, self._rates.admit(item.prepared))

    def _tell(self, item: Waiting) -> None:
        settings = self._app.conf.snapshot
        record = started(item.prepared, self._hostname, self._pid, settings, self._clock)
        self.settler.tell(record, item.prepared)

    def _end(self, item: Waiting, run: Run, timed: Timed | None) -> None:
        flush_redirected()
        fail_point("child.after_run")
        if timed is not None and not self._limits.end(timed):
            timed.is_out = True
            return
        if self._cancelled and is_given_back(run):
            self._cancelled.discard(item.index)  # and is given back with what still runs
            return
        verdict = decide(run, self._app.conf.snapshot, self._clock)
        if self._terminations.has_ended(item):
            return
        self._note_end(item, verdict)
        report.finished(verdict.run)

    def _note_end(self, item: Waiting, verdict: Verdict) -> None:
        """Let the desk settle what has ended."""
        if self._lifetime.limited and isinstance(item.prepared.work, Job):
            with self._counting:
                self._lifetime.count()
        self._places.finish(item.index)
        self._running.pop(item.index, None)
        self.finished.append(verdict)
        self._clogs.go_on(item)
        # Each waking of the desk costs a change of threads: few that end are settled when it looks next.
        few = self._paces and len(self.finished) * MANY < self._ahead.limit
        if self._fetching:
            self.on_leftovers()
        elif not few and not self._wake.is_set():
            self._wake.set()

    def _give_up_early(self, item: Waiting, outcome: OverTime | Revoked) -> None:
        """Record what ends a task that still runs, and may never end."""
        seconds = outcome.limit if isinstance(outcome, OverTime) else 0.0
        run = Run(item.prepared, outcome, seconds)
        verdict = decide(run, self._app.conf.snapshot, self._clock)
        self._note_end(item, verdict)
        report.lost(verdict)

    def freed(self) -> None:
        """Look for room once a slot is free, where all were taken when the desk looked."""
        self._clogs.freed()

    def _fail(self, error: BaseException) -> None:
        self._error = error
        self.interrupt()

    # What the helper does, and what comes at the end

    def interrupt(self) -> None:
        """End the wait for messages, or for tasks."""
        self._wake.set()
        super().interrupt()

    def is_running(self) -> bool:
        """Tell whether a task runs."""
        return bool(self._running)

    def is_busy(self) -> bool:
        """Tell whether there is anything to look after."""
        return bool(self._held) or self._limits.watches or self._terminations.watches

    def look(self, now: float) -> None:
        """See to time limits. A child in which something cannot be stopped is to be replaced."""
        self._limits.look(now)
        self._terminations.end_revoked(self.revocations, now)
        late, ended = self._limits.stubborn(now), self._terminations.is_stubborn(now)
        if (late or ended) and self.on_retire is not None and not self._lifetime.over():
            what = "exceeded its time limit" if late else "was terminated"
            self._lifetime.end(f"a task that {what} cannot be stopped")
            self.interrupt()

    def is_held_up(self, now: float) -> bool:
        """Tell whether a task that cannot be stopped keeps others from going on; it is to leave then."""
        stubborn = self._limits.stubborn(now) if self.on_retire is not None else ()
        return any(timed.guard.holds_up_its_loop() for timed in stubborn)

    def is_clogged(self, now: float) -> bool:
        """Tell whether deliveries wait behind tasks that run long, or have to be given back."""
        if self.returning or self._waits_behind_suspect(now):
            return True
        # An event loop that is only busy is given more time.
        most = LONG if self._executor.full() else STUCK
        return self._executor.waiting > 0 and now - self.started_at >= most

    def _waits_behind_suspect(self, now: float) -> bool:
        """Tell whether what must run alone waits for another such that runs long."""
        return self._alone and self._suspects.wait_behind_another(now)

    def is_late(self, now: float) -> bool:
        """Tell whether what is finished should have been settled by the desk, which waits for something."""
        return bool(self.finished) and (self._fetching or now - self._pace.settled_at >= PACE)

    def release_waiting(self) -> int:
        """Give back under the lock what has not started; return how many."""
        full, back = self._executor.full(), self._executor.withdraw()
        self._clogs.came_back(back, full)
        self.returning.extend(back)
        if self.stopping.is_set() or self._waits_behind_suspect(self._clock.monotonic()):
            self.returning.extend(self._suspects.take_all())
        if not self.returning:
            return 0
        released = self.consumer.release([one.prepared.delivery.key for one in self.returning])
        while self.returning:
            self._give_up(self.returning.popleft())
        self._wake.set()  # there is room now
        return released

    def _give_up(self, item: Waiting) -> None:
        """Let go of what is somebody else's, or nobody's, from now on."""
        self._held.pop(item.prepared.delivery.key, None)
        self._places.drop(item.index)

    def cancel(self) -> None:
        """Cancel the coroutines that run, which `abandon` gives back."""
        for item in list(self._running.values()):
            job = item.prepared.work
            if isinstance(job, Job) and job.task.is_async:
                job.request.__dict__["given_back"] = True
                self._cancelled.add(item.index)
        self._executor.cancel()

    def is_cancelling(self) -> bool:
        """Tell whether some of them have not ended yet."""
        return bool(self._cancelled & self._running.keys())

    def abandon(self, reason: str, *, stopped: bool = False) -> None:
        """Settle what is finished and give up what runs, under the lock, just before the process exits."""
        if self._succession.is_under_way:
            self._succeed()
        self._settle_by_helper()
        self.release_waiting()
        running = [item.prepared for item in self._running.copy().values()]
        give_up(self._app, self.settler, running, Lost(reason, running=False, stopped=stopped))

    def _leave(self) -> None:
        """Give back what has not started, let running tasks end, and leave."""
        self.returning.extend(self._suspects.take_all())
        while self._active() and self._error is None:
            self._wake.clear()
            try:
                with self.lock:
                    self._resolve_doubt()
                    self.settle_all()
                    self.release_waiting()
            except (OperationalError, LeaseLost):
                pass  # tried again, and told of at the end
            if self._active():
                self._wake.wait(LONG)
        if self._error is not None:
            raise self._error
        super()._leave()
