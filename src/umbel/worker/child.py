"""A child: one loop that fetches, runs and settles, on the main thread and without hand-offs.

While a task runs longer than a few milliseconds, the helper (helper.py) settles what is finished
and gives back what waits behind it, so that nothing waits for a long task. Both use the consumer
under one lock.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from umbel import signals
from umbel.app import Umbel
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery
from umbel.ports import Consumer, FetchRequest
from umbel.redirected import flush_redirected
from umbel.worker import report
from umbel.worker.chords import needs_its_thread
from umbel.worker.copies import Copies
from umbel.worker.decide import Verdict, decide, started
from umbel.worker.execute import Runner
from umbel.worker.lifetime import Lifetime
from umbel.worker.limits import Limits
from umbel.worker.marking import are_to_be_marked, mark
from umbel.worker.outage import Outage
from umbel.worker.outcome import Job, Lost, Prepared, Revoked, Waiting, is_early, marked
from umbel.worker.own_limits import OwnLimits
from umbel.worker.page import Page
from umbel.worker.prefetch import Pace, Prefetch
from umbel.worker.rates import Rates
from umbel.worker.revocations import Revocations
from umbel.worker.settler import Settler, give_up
from umbel.worker.terminating import Ends, Termination
from umbel.worker.timelimits import NO_LIMITS, time_limits

logger = logging.getLogger("umbel.worker")

#: Seconds of one wait for messages; a longer one would save nothing.
IDLE_WAIT = 60.0


class Child:
    """Runs tasks until it is told to stop.

    `make_settler` attaches a consumer; it is called when one is first needed, and when it is lost. It also
    leaves when the lifetime that `limits` give it is over.
    """

    #: The hard and the soft time limit of what runs.
    limits: tuple[float, float]
    #: What ran last and has ended, and what this process is about to end for (terminating.py).
    passed: Waiting | None
    condemned: Waiting | None

    def __init__(
        self,
        app: Umbel,
        queues: Sequence[str],
        hostname: str,
        pid: int,
        page: Page,
        make_settler: Callable[[], Settler],
        limits: Limits | None = None,
    ) -> None:
        self._app = app
        self._clock = app.clock
        self._queues = deque(queues)
        self._hostname = hostname
        self._pid = pid
        self._page = page
        self._make_settler = make_settler
        self._settler: Settler | None = None
        self._runner = Runner(app, hostname)
        self._copies = Copies(app)
        self._features = app.broker.features
        bound = app.conf.snapshot.worker_prefetch_multiplier or self._features.batch
        self._prefetch = Prefetch(min(bound, self._features.batch))
        self._outage = Outage(app.clock)
        #: The broker did not answer: it may have leased messages to us that we do not know of.
        self._in_doubt = False
        # Shared with the helper: under `lock` whoever talks to the broker; the deques by atomic steps.
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.waiting: deque[Waiting] = deque()
        self.returning: deque[Waiting] = deque()
        self.finished: deque[Verdict] = deque()
        #: How much of what is finished its helper has just left to this thread.
        self.holds = 0
        self.current: Waiting | None = None
        self.started_at = 0.0
        self.limits, self.passed, self.condemned = NO_LIMITS, None, None
        self.own_limits = OwnLimits(self._clock, page, self._runner)
        self.revocations = Revocations(app, page)
        #: How what runs is ended when it is revoked: by ending this process, if that is what a child is.
        self.termination: Ends = Termination(app, page)
        self._pace = Pace()
        self.on_batch: Callable[[], None] = lambda: None
        #: Told how many deliveries a batch has, before it is read.
        self.expect: Callable[[int], None] = lambda _: None
        #: Called when something has ended that nobody settles soon.
        self.on_leftovers: Callable[[], None] = lambda: None
        self.heed(limits or Limits(Lifetime(), Rates(app.clock)))
        #: Called before it leaves because its lifetime is over; None where nobody would replace it.
        self.on_retire: Callable[[], None] | None = None

    def heed(self, limits: Limits) -> None:
        """Live as long as these say, and keep to their rates."""
        self._lifetime, self._rates = limits.lifetime, limits.rates

    @property
    def consumer(self) -> Consumer:
        """The consumer that holds this child's leases."""
        return self.settler.consumer

    @property
    def settler(self) -> Settler:
        """What settles for this child."""
        if (found := self._settler) is None:
            found = self._settler = self._make_settler()
        return found

    def interrupt(self) -> None:
        """End the wait for messages."""
        if (settler := self._settler) is not None:
            settler.consumer.patient &= not self.stopping.is_set()
            settler.consumer.interrupt()

    def attach(self) -> None:
        """Attach to the broker: ask until it answers, or until told to stop."""
        self._persist(self._attach)

    # The loop

    def run(self) -> None:
        """Fetch, run and settle until stopped; then hand back what has not started and leave.

        What raises from here is a bug, of ours or of a receiver. The leases are then left for the
        supervisor to take over, which counts the crash, so that it cannot go on for ever.
        """
        why = ""
        while not self.stopping.is_set() and not (why := self._lifetime.over()):
            self.step()
        if why:
            logger.info("Pid %d leaves, and another takes its place: %s.", self._pid, why)
            self.retire()
            # Until the broker takes it: nothing that has run shall run again because of this.
            self._persist(lambda: self._settle(None))
        self._leave()

    def retire(self) -> None:
        """Say that it leaves, and is to be replaced."""
        if self.on_retire is not None:
            self.on_retire()

    def step(self) -> None:
        """Settle the last batch, fetch the next and run it."""
        deliveries = self._persist(partial(self._settle_and_fetch, self._request()))
        if deliveries:
            self._work(deliveries)

    def _settle_and_fetch(self, request: FetchRequest) -> Sequence[Delivery]:
        was_in_doubt = self._in_doubt
        deliveries = self._settle(request)
        if self.revocations.discarded:
            self.revocations.let_go(settled=not self.finished)
        # After a doubt nobody waits yet: that the broker answers again is to be told, and a word to stop
        # may have gone to the consumer that was replaced.
        if deliveries or was_in_doubt or self.stopping.is_set():
            return deliveries
        return self.consumer.fetch(request, IDLE_WAIT)

    def _request(self) -> FetchRequest:
        """Ask for what the prefetch affords, beginning with another queue each time.

        Unless the engine itself takes turns, and by another rule perhaps.
        """
        if self._features.queues_in_order:
            self._queues.rotate(-1)
        limit = self._lifetime.affords(self._prefetch.limit)
        return FetchRequest(tuple(self._queues), limit, waits=True)

    def _settle(self, request: FetchRequest | None) -> Sequence[Delivery]:
        with self.lock:
            fail_point("child.before_settle")
            if self._in_doubt and request is not None:
                self._resolve_doubt()
            return self.settle_finished(request)

    def _fetch(self, request: FetchRequest) -> Sequence[Delivery]:
        if self._in_doubt:
            with self.lock:
                self._resolve_doubt()
            # Not waiting yet, as in `_settle_and_fetch`.
            return ()
        return self.consumer.fetch(request, IDLE_WAIT)

    def _resolve_doubt(self) -> None:
        """Start over as another owner, between two batches: what we do not know of goes back then."""
        if self._in_doubt:
            self.settle_all()
            if self._settler is not None:
                self.consumer.close()
            self._attach()

    def settle_finished(
        self, request: FetchRequest | None = None, by_helper: bool = False
    ) -> Sequence[Delivery]:
        """Settle what is finished, under the lock, or a batch of it; on failure it stays finished.

        So does what needs code of tasks, which its helper does not run.
        """
        count = min(len(self.finished), self._features.batch)
        verdicts = [self.finished.popleft() for _ in range(count)]
        if not verdicts and request is None:
            return ()
        begun = self._clock.monotonic()
        held: list[Verdict] | None = [] if by_helper else None
        try:
            fetched = self.settler.settle(verdicts, request, held)
        except (OperationalError, LeaseLost):
            self.finished.extendleft(reversed(verdicts))
            raise
        except Exception:
            if by_helper:
                self.finished.extendleft(reversed(verdicts))
                self.holds = len(verdicts)
                return ()
            logger.exception("An outcome cannot be settled; settling one by one.")
            self._settle_one_by_one(verdicts)
            return ()
        now = self._clock.monotonic()
        self._pace.settled(begun, now)
        self._page.touch(now)
        self.holds = len(held) if held else 0
        if held:
            self.finished.extend(held)
            verdicts = [one for one in verdicts if not any(one is other for other in held)]
        self._let_go(verdicts)
        return fetched

    def _let_go(self, verdicts: Sequence[Verdict]) -> None:
        """Take note that these are settled."""

    def settle_all(self) -> None:
        """Settle all that is finished, under the lock."""
        while self.finished:
            self.settle_finished()

    def _settle_by_helper(self) -> None:
        """Settle what its helper may, under the lock; what it leaves is delivered again elsewhere."""
        for _ in range(0, len(self.finished), self._features.batch):
            self.settle_finished(by_helper=True)

    def _settle_one_by_one(self, verdicts: Sequence[Verdict]) -> None:
        """Settle each outcome for itself; one that cannot be becomes a dead letter with the reason."""
        left = deque(verdicts)
        settings = self._app.conf.snapshot
        try:
            for _ in self.settler.settle_one_by_one(verdicts, settings, self._clock):
                self._let_go([left.popleft()])
        finally:
            self.finished.extendleft(reversed(left))

    def _persist(self, act: Callable[[], Sequence[Delivery]]) -> Sequence[Delivery]:
        """Talk to the broker until it answers; say once that it does not, and once that it does again."""
        while True:
            try:
                answer = act()
            except LeaseLost as lost:
                self._drop_all(lost)
                return self._persist(self._attach)
            except OperationalError as error:
                self._in_doubt = True
                # Not a test's sleep: the wait of a worker without a broker, cut short by a stop.
                if self.stopping.wait(self._outage.begins(error)):
                    return ()
            else:
                self._page.touch(self._clock.monotonic())
                self._outage.ends()
                return answer

    def _attach(self) -> Sequence[Delivery]:
        self._settler, self._in_doubt = self._make_settler(), False
        if self.stopping.is_set():  # the word to stop has gone to the consumer before
            self.interrupt()
        return ()

    def _drop_all(self, lost: LeaseLost) -> None:
        """Start over with nothing: all that was held is somebody else's now."""
        dropped = len(self.finished) + len(self.waiting) + len(self.returning)
        self._clear()
        logger.error("%s %d tasks held here will run elsewhere.", lost, dropped)

    def _clear(self) -> None:
        self.finished.clear()
        self.waiting.clear()
        self.returning.clear()
        self._page.clear()

    # A batch

    def _work(self, deliveries: Sequence[Delivery]) -> None:
        """Run a batch in order; the helper may take from its end."""
        self.expect(len(deliveries))
        prepared = [self._prepare(delivery) for delivery in deliveries]
        # Said first: what dies while the broker marks them has started none of them.
        self._page.load([delivery.key for delivery in deliveries])
        to_mark = are_to_be_marked(prepared)
        if not self._learn(deliveries) or (to_mark and not self._mark(prepared)):
            if self.stopping.is_set():
                # They may be marked, of which nobody would know that they never started: given back
                # like what was released without an answer.
                self.returning.extend(Waiting(*one) for one in enumerate(prepared))
            else:
                self._page.clear()
            return
        if to_mark:
            prepared = [marked(item) if is_early(item) else item for item in prepared]
        self.waiting.extend(map(Waiting, range(len(prepared)), prepared))
        self.on_batch()
        self._pace.begin(self._clock.monotonic())
        count = 0
        while (item := self._next()) is not None:
            if self.stopping.is_set() or not self._start(item):
                self.waiting.appendleft(item)
                break
            verdict = self._run(item)
            count += 1
            self._settle_in_time(verdict)
        self.current = None
        if self.waiting or self.returning:  # else there is nothing that a broker could answer
            self._persist(self.hand_back)  # also what the helper could not
        if not self.returning:
            self._page.clear()
        if count:
            self._prefetch.observe(count, self._pace.worked(self._clock.monotonic()))

    def _learn(self, deliveries: Sequence[Delivery]) -> bool:
        """Know what is revoked before any of them starts; False when it is time to stop."""
        if self.revocations.discarded:
            self.revocations.let_go(settled=not self.finished)
        told = self.consumer.revocations
        if self.revocations.knows(told):
            return True
        return bool(self._persist(lambda: self.revocations.learn(told, deliveries)))

    def _prepare(self, delivery: Delivery) -> Prepared:
        return self._copies.admit(self._runner.prepare(delivery))

    def _next(self) -> Waiting | None:
        try:
            return self.waiting.popleft() if self.waiting else None
        except IndexError:  # its helper was faster
            return None

    def _mark(self, prepared: Sequence[Prepared]) -> bool:
        """Mark what the broker has to know of before any of it starts; see marking.py.

        False when they went back, the leases are lost, or it is time to stop.
        """
        consumer = self.consumer

        def act() -> Sequence[Delivery]:
            with self.lock:
                return [one.delivery for one in prepared] if mark(consumer, prepared) else ()

        return bool(self._persist(act))

    def _start(self, item: Waiting) -> bool:
        fail_point("child.before_start")
        if not self._pace.starts(now := self._clock.monotonic()):
            return False
        report.received(item.prepared)
        self.current, self.started_at = item, now
        self.limits = hard, soft = time_limits(item.prepared)
        if not hard and not soft:  # most have none
            return self._page.start(item.index, now)
        return self.own_limits.start(item, self.limits, now)

    def _run(self, item: Waiting) -> Verdict:
        admitted, policy = item.prepared, item.prepared.policy
        if self.revocations.heeds:
            admitted = self.revocations.admit(admitted)
            if isinstance(admitted.work, Revoked):
                self.passed = item  # there is nothing to end
        if policy is not None:
            if policy.rate:
                admitted = self._rates.admit(admitted)
            if policy.track_started:
                settings = self._app.conf.snapshot
                record = started(admitted, self._hostname, self._pid, settings, self._clock)
                self.settler.tell(record, admitted)
        if self.limits == NO_LIMITS:
            run = self._runner.run(admitted)
        else:
            run = self.own_limits.run(item.index, admitted)
        self.passed = item
        if self.condemned is item:
            self.termination.await_end(self)
        flush_redirected()
        fail_point("child.after_run")
        verdict = decide(run, self._app.conf.snapshot, self._clock)
        self.finished.append(verdict)
        self._page.finish(item.index)
        self.current = None
        if self._lifetime.limited and isinstance(admitted.work, Job):
            self._lifetime.count()
        report.finished(verdict.run)
        return verdict

    def look(self, now: float) -> None:
        """Tell a task of its soft time limit. Called by the helper, every few milliseconds."""
        self.own_limits.look(now, self.limits[1], self.current)

    def has_news(self, now: float) -> bool:
        """Tell whether more may be revoked than was looked at: what runs is to be ended, perhaps."""
        return self.revocations.is_behind(now) or self.termination.is_owed(self.revocations)

    def heed_news(self) -> None:
        """Read what is revoked, and end what runs if that is to be; called by the courier.

        Raises OperationalError and LeaseLost as settling does, which goes before; then it is tried again.
        """
        if self.revocations.is_behind(self._clock.monotonic()):
            self.revocations.follow()
        self.termination.look(self)

    def _settle_in_time(self, last: Verdict) -> None:
        """Settle within a batch what must not wait longer: less runs again if the process dies.

        Nor must what the helper could not settle while the next task runs, and what processes died of before,
        so that nothing is blamed with it. What nothing waits behind is settled next anyway, with the fetch.
        """
        if not self.waiting or not self.finished:
            return
        begun = self._clock.monotonic()
        in_thread = last.members and needs_its_thread(last.members, self.waiting)
        if last.run.prepared.delivery.crashes or in_thread or self._pace.is_due(begun):
            self._persist(lambda: self._settle(None))
            self._pace.waited(self._clock.monotonic() - begun)

    def hand_back(self) -> Sequence[Delivery]:
        """Give back what has not started, as if it had never been fetched."""
        with self.lock:
            self.release_waiting()
        return ()

    def release_waiting(self) -> int:
        """Give back under the lock; return how many.

        On failure they are to be given back again, and are not run here: the broker may have them.
        """
        while self.waiting:
            self.returning.append(self.waiting.pop())
        if not self.returning:
            return 0
        released = self.consumer.release([one.prepared.delivery.key for one in self.returning])
        while self.returning:
            self._page.drop(self.returning.pop().index)
        return released

    def is_running(self) -> bool:
        """Tell whether a task runs."""
        return self.current is not None

    def is_busy(self) -> bool:
        """Tell whether a task runs, or is about to."""
        return bool(self.waiting) or self.current is not None

    # The end

    def abandon(self, reason: str, *, stopped: bool = False) -> None:
        """Settle what is finished and give up what runs, under the lock, just before the process exits."""
        self._settle_by_helper()
        self.release_waiting()
        item = self.current
        if item is not None:
            lost = Lost(reason, running=False, stopped=stopped)
            give_up(self._app, self.settler, [item.prepared], lost)

    def _leave(self) -> None:
        try:
            with self.lock:
                self.settle_all()
                self.release_waiting()
                if self._settler is not None:
                    self.consumer.close()
        except (OperationalError, LeaseLost) as error:
            logger.warning(
                "Leaving without the broker's answer; leases end by themselves. %s", error
            )
        signals.worker_process_shutdown.send(self._hostname, pid=self._pid, exitcode=0)
        self._runner.close()
        self._rates.close()
