"""The keeper: the thread of a supervisor that watches children and renews leases. It runs no code of users.

`step` does all that is due at a moment; the thread's loop around it only waits: for the fork
server, for a child's end, for a word from the main thread, or for a moment.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from umbel import signals
from umbel.app import Umbel
from umbel.clock import Clock, unique_id
from umbel.ports import Broker, ResultStore
from umbel.worker.attempts import Attempts, Duty
from umbel.worker.autoscale import Autoscaler
from umbel.worker.bootstrap import Orders
from umbel.worker.children import ChildProcess, Nursery
from umbel.worker.ending import ENDED, LAST_TRIES, Ending
from umbel.worker.forkserver import READY, RETIRES
from umbel.worker.health import Seen, seen_by
from umbel.worker.news import News
from umbel.worker.nodes import NodeDirectory
from umbel.worker.oom import Kills
from umbel.worker.page import Held, Page
from umbel.worker.places import GIVE_UP, GaveUp, Slot, added, dismiss
from umbel.worker.recovery import Recovery
from umbel.worker.sockets import ready_to_read
from umbel.worker.timekeeper import Timekeeper
from umbel.worker.timers import Jumps, Timer

logger = logging.getLogger("umbel.worker")

#: Seconds between two steps while something goes on, and while all children wait. What begins in such a wait
#: is stuck for this and `STUCK` at most before it is noticed: one second is promised.
TICK, CALM_TICK = 0.25, 0.5
#: Seconds between two looks at the other nodes of this host.
LOOK_AROUND = 1.0
#: Seconds between two clean-ups of expired results and dead letters.
CLEAN_UP = 60.0
#: A clean-up that deletes as much as this probably left some.
MUCH = 1000
#: Seconds after which deliveries that wait behind a running task are taken from a child that does
#: not do so itself.
STUCK = 0.25
#: Seconds between setting a fence and reading the page: time for a write to become visible.
FENCE_SETTLES = 0.005
#: A child that lived shorter than this is started again after a growing pause, unless a task was
#: what it died of: tasks are counted, and those that go on killing are put away.
SHORT_LIFE = 1.0


class Keeper:
    """Watches over one node."""

    def __init__(
        self,
        app: Umbel,
        orders: Orders,
        broker: Broker,
        results: ResultStore | None,
        recovery: Recovery,
        directory: NodeDirectory,
        nursery: Nursery | None,
    ) -> None:
        self._clock: Clock = app.clock
        self._orders = orders
        self._broker = broker
        self._results = results
        self._recovery = recovery
        self._directory = directory
        self._nursery = nursery
        slots = orders.children if nursery is not None else 0
        self._slots = [Slot(number) for number in range(1, slots + 1)]
        self.is_ready = False
        self.news = News()
        #: Called by the thread when it ends, for whatever reason.
        self.on_end: Callable[[], None] = lambda: None
        #: Called whenever leases are renewed: for what else a living node has to say again.
        self.on_renewal: Callable[[], None] = lambda: None
        self.on_look: Callable[[], None] = lambda: None  # called about once a second
        #: Decides on the number of children, and says how many messages wait for them.
        self.scaling: tuple[Autoscaler, Callable[[], int]] | None = None
        self._scaling, self._look_around = Timer(LOOK_AROUND), Timer(LOOK_AROUND)
        self._ttl = app.conf.snapshot.worker_lease_ttl
        self._renewal, self._expiry = Timer(self._ttl / 3), Timer(min(self._ttl / 3, 1.0))
        self._clean_up = Timer(CLEAN_UP, self._clock.monotonic() + CLEAN_UP)
        self._timers = (self._renewal, self._expiry, self._look_around, self._clean_up)
        #: What the last step saw, for probes, and when the broker last answered.
        self.seen: Seen | None = None
        self._contact: float | None = None
        self._jumps, self._oom = Jumps(self._clock), Kills()
        #: Whether any child held something when it was last looked at.
        self._works = True
        #: Who is not buried yet, and who retires and has given up its slot.
        self._dead, self._leaving = list[ChildProcess](), list[ChildProcess]()
        self._ending = Ending()
        self._attempts = Attempts(recovery.start_over, self._clock)
        self._word_out, self._word_in = socket.socketpair()
        self._word_out.setblocking(False)
        self._timekeeper = Timekeeper(self._clock, self.pages)
        self._thread = threading.Thread(target=self._run, name="umbel-keeper", daemon=True)
        self.error: BaseException | None = None

    # The main thread's side

    def start(self) -> None:
        """Start the thread, and the one that kills who exceeds a time limit."""
        if self._slots:
            self._timekeeper.start()
        self._thread.start()

    def stop(self, within: float | None = None) -> None:
        """Let children end after their current tasks; end them after so many seconds, unless that is None."""
        self._ending.ask(within, self._clock.monotonic())
        self._tell_to_stop()  # the thread may be waiting for a broker that is silent
        with contextlib.suppress(OSError):
            self._word_in.send(b"!")
        self.news.ring()

    @property
    def stopping(self) -> bool:
        """Whether the node has been told to stop."""
        return self._ending.asked

    @property
    def is_cut_off(self) -> bool:
        """Whether the last step waited for a silent broker."""
        return self._attempts.in_vain

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the thread's end; True when it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Close the sockets, once the thread has ended."""
        self.news.close()
        for end in (self._word_out, self._word_in):
            end.close()

    def _run(self) -> None:
        try:
            if not self._ending.asked:
                self.step(self._clock.monotonic())  # children are started at once
            while not (self._ending.asked and self._is_empty()):
                happened, now = self._wait(), self._clock.monotonic()
                if happened or not self._is_idle(now):
                    self.step(now)
            if self._dead:
                logger.warning(
                    "Leaving before what dead children (%d) held was taken over; leases end by themselves.",
                    len(self._dead),
                )
        except BaseException as error:  # noqa: BLE001 - the thread's last frame: the main thread shows it
            self.error = error
        finally:
            self._timekeeper.end()
            self.news.end()
            self.on_end()

    def pages(self) -> list[Page]:
        """Return the pages of all children that may run something; called by any thread."""
        return [child.page for child in self._children()]

    def _children(self) -> list[ChildProcess]:
        """Return all children that are not known to be dead."""
        found = [child for slot in self._slots if (child := slot.child) is not None]
        return found + self._leaving

    def _is_empty(self) -> bool:
        """Tell whether nothing is left to wait for.

        The dead that could not be buried are left when the node stops at once, or has tried for a while: who
        tells a worker to stop will not wait until its broker is back.
        """
        if self._children():
            return False
        now = self._clock.monotonic()
        return not self._dead or self._ending.at_once or self._ending.alone_for(now) >= LAST_TRIES

    def _wait(self) -> bool:
        """Wait for the next step; tell whether it is for something that happened."""
        sockets = [self._word_out]
        if self._nursery is not None and self._nursery.connection is not None:
            sockets.append(self._nursery.connection)
        children = [child for child in self._children() if not child.hung_up]
        sockets += [child.control for child in children]
        pause = self._ending.pause(self._pause(), self._clock.monotonic())
        readable = ready_to_read(sockets, pause)
        if self._word_out in readable:
            with contextlib.suppress(BlockingIOError):
                self._word_out.recv(64)
        if self._nursery is not None and self._nursery.connection in readable:
            self._nursery.listen(self._ending.asked)
        for child in children:
            if child.control in readable:
                self._hear(child)
        return bool(readable)

    def _pause(self) -> float:
        """Return for how many seconds to wait where nothing happens."""
        return min(CALM_TICK, max(self._ttl / 6, TICK)) if self._is_calm() else TICK

    def _is_calm(self) -> bool:
        """Tell whether nothing was going on when it was last looked at."""
        works = self._works or self._attempts.are_owed or self._ending.asked
        if works or self._dead or self._leaving:
            return False
        return all(slot.child is not None and not slot.child.hung_up for slot in self._slots)

    def _is_idle(self, now: float) -> bool:
        """Tell whether a step would find nothing to do: no duty is due, and no child holds anything."""
        if not self._is_calm() or any(timer.due <= now for timer in self._timers):
            return False
        return not any(child.page.glance().held for child in self._children())

    def _hear(self, child: ChildProcess) -> None:
        """Take in what a child says: that it is ready, that it retires, or the end of its pipe."""
        try:
            word = child.control.recv(64)
        except BlockingIOError:
            return
        except ConnectionError:
            word = b""
        child.hung_up = not word
        child.retires = child.retires or RETIRES in word
        if READY in word:
            child.ready = True
            level = logging.WARNING if child.replaces and not child.expected else logging.INFO
            what = " takes its place" if child.replaces else ""
            logger.log(level, "Child %d: pid %d%s.", child.number, child.pid, what)

    # One step

    def step(self, now: float) -> None:
        """Do everything that is due."""
        self._attempts.begin()
        self._notice_jumps(now)
        self._try(self._recovery.settle_undecided)
        self._part()
        self._mourn(now)
        self._tend(now)
        if self._ending.asked:
            self._end()
        else:
            if self.scaling is not None and self._scaling.is_due(now):
                self._try(self._scale, *self.scaling)
            self._fill(now)
        self._say_ready()
        duties = self._renew, self._reclaim_expired, self._reclaim_nodes, self._tidy
        for timer, duty in zip(self._timers, duties, strict=True):
            if timer.is_due(now):
                self._try(duty)
        self._note(self._clock.monotonic())

    def _note(self, now: float) -> None:
        """Write down for probes how the node is."""
        pages = [slot.child.page.read() for slot in self._slots if slot.child and slot.child.ready]
        state = self.is_ready, self._ending.asked, len(self._slots), seen_by(pages)
        self.seen = Seen(now, self._contact, *state, self._broker.features.leases)

    def _try(self, duty: Duty, *arguments: Any) -> bool:
        """Do something that needs the broker; tell whether that worked.

        A node that stops does not wait for a silent broker with each duty of a step: only the leases of what
        still runs are worth that.
        """
        owed = duty == self._renew and any(child.runs() for child in self._children())
        if self._ending.asked and self._attempts.in_vain and not owed:
            return False
        done = self._attempts.make(duty, *arguments)
        # Who waits for a silent broker with each of many duties does not hang.
        if self.seen is not None:
            self.seen = replace(self.seen, step=self._clock.monotonic())
        return done

    def _part(self) -> None:
        """Let go of those who retire: they run nothing more, and the next may begin while they leave."""
        for slot in self._slots:
            child = slot.child
            if child is not None and child.retires:
                self._leaving.append(child)
                slot.child, slot.expects = None, True

    def _mourn(self, now: float) -> None:
        """Take up what dead children held, before anything else is started."""
        for slot in self._slots:
            child = slot.child
            if child is not None and child.is_dead(now):
                slot.child = None
                amiss = self._is_amiss(child)
                slot.expects = child.retires and not amiss
                if child.ready:
                    slot.failures = 0
                if amiss:
                    self._tell_of(slot, child, now)
                self._dead.append(child)
        for child in [child for child in self._leaving if child.is_dead(now)]:
            self._leaving.remove(child)
            if self._is_amiss(child):
                logger.error("Child %d: %s.", child.number, child.how_it_died())
            self._dead.append(child)
        if not self._children():
            self._ending.alone_for(now)
        self._dead = [child for child in self._dead if not self._try(self._bury, child)]

    def _is_amiss(self, child: ChildProcess) -> bool:
        """Tell whether a child ended by itself, which was not to be expected."""
        if not child.hung_up:  # its last word may have come just now
            self._hear(child)
        if child.went_as_told():
            return False
        child.starved = child.status == -signal.SIGKILL and self._oom.are_more()
        if child.was_terminated():
            child.retires = True  # so that the next is expected
            text = "Child %d: pid %d ended with its task, which was revoked."
            logger.info(text, child.number, child.pid)
            return False
        if child.was_condemned():
            text = "Child %d: pid %d was killed: its task exceeded the hard time limit."
            logger.warning(text, child.number, child.pid)
            return False
        return True

    def _tell_of(self, slot: Slot, child: ChildProcess, now: float) -> None:
        """Say how a child died, and when the next one begins if not at once."""
        pause = ""
        if not child.ready or (now - child.begun < SHORT_LIFE and not child.runs()):
            slot.stumble(now)
            slot.failures += not child.ready
            why = (
                "It lived for a moment only" if child.ready else "It had not begun to take messages"
            )
            pause = f" {why}: the next one begins in {slot.not_before - now:.1f} s."
        else:
            slot.recover()
        logger.error("Child %d: %s.%s", child.number, child.how_it_died(), pause)
        if slot.failures >= GIVE_UP:
            self._give_up(
                f"{slot.failures} children in a row died before they took messages. The last one:"
                f" {child.how_it_died()}."
            )

    def _give_up(self, why: str) -> None:
        """End the node where no child can begin: whoever watches over it shall hear of that."""
        if self.error is None and not any(child.ready for child in self._children()):
            self.error = GaveUp(why)
            self.stop()

    def _bury(self, child: ChildProcess) -> None:
        snapshot = child.page.read()
        if snapshot is not None:
            left = child.retires and child.status == 0
            if left or child.told_to_stop or self._ending.is_due(self._clock.monotonic()):
                # It left, or was stopped, by us or by whoever stops us: no task is to blame.
                snapshot = snapshot.blameless()
            how = ENDED if child.is_ended else child.how_it_died()
            self._recovery.child_died(snapshot.owner, snapshot, how)
        child.page.remove()
        child.control.close()

    def _tend(self, now: float) -> None:
        """Take back what waits in a child that is stuck in a task and does not give it back itself."""
        is_tried = self._works = False
        for slot in self._slots:
            child = slot.child
            seen = child.page.glance() if child is not None else None
            if child is None or seen is None or not seen.held:
                continue
            self._works = True
            stuck = now - seen.running_since > STUCK and seen.running
            if not stuck or seen.batch == child.fenced_batch or not seen.waiting:
                continue
            child.page.fence(seen.batch)
            self._clock.sleep(FENCE_SETTLES)
            latest = child.page.read()
            if latest is not None and latest.batch == seen.batch:
                waiting = latest.keys(Held.WAITING)
                is_tried = True
                if self._try(self._broker.take_back, latest.owner, waiting):
                    child.fenced_batch = seen.batch
        if not is_tried:
            self._attempts.settle(self._broker.take_back)

    def _scale(self, scaler: Autoscaler, waiting: Callable[[], int]) -> None:
        """Have as many children as are needed now; those that are not, and run least, are to leave."""
        slots = [slot for slot in self._slots if not slot.leaving]
        present, running = len(slots), sum(slot.running() for slot in slots)
        depth = waiting() if scaler.may_grow(present, running) else 0
        wanted = scaler.wanted(self._clock.monotonic(), present, running, depth)
        if wanted == present:
            return
        logger.info("Tasks that run: %d. Children: %d, and now %d.", running, present, wanted)
        self._slots += added(self._slots, wanted - present)
        dismiss(slots, present - wanted)

    def _fill(self, now: float) -> None:
        """Start children where there are none."""
        if self._nursery is None:
            return
        if (failures := self._nursery.failures) >= GIVE_UP:
            self._give_up(f"importing the app again failed {failures} times in a row.")
        self._slots = [slot for slot in self._slots if slot.child is not None or not slot.leaving]
        for slot in self._slots:
            if self._ending.asked:  # while others were started
                return
            if slot.child is None and now >= slot.not_before and self._nursery.is_ready():
                self._start(slot, self._nursery, now)

    def _start(self, slot: Slot, nursery: Nursery, now: float) -> None:
        page = None
        try:
            page = self._directory.new_page(unique_id(), self._orders.slots)
            slot.child = nursery.start(slot.number, page, self._orders)
            slot.child.expected, slot.child.replaces = slot.expects, slot.is_used
            slot.is_used = True
        except OSError as error:
            # A full disk, too many processes, or a fork server that died just now.
            logger.error("Child %d cannot be started; trying again. %s", slot.number, error)
            slot.stumble(now)
            if page is not None:
                page.remove()

    def _tell_to_stop(self) -> None:
        """Let children end after their current tasks: those that are there, from any thread."""
        for child in self._children():
            if not child.told_to_stop:
                child.tell_to_stop()

    def _end(self) -> None:
        """Let children end, also those that were begun meanwhile; end them when it is time for that."""
        self._tell_to_stop()
        if self._ending.is_due(self._clock.monotonic()):
            self._end_children(self._children())

    def _end_children(self, children: Sequence[ChildProcess]) -> None:
        """End those that are still there when the time is up; what ran in them runs again."""
        running = sum(child.runs() for child in children if not child.is_ended)
        if running and not self._ending.at_once:
            text = "The time to stop is up: children in which tasks run (%d) are ended."
            logger.warning(text, running)
        # Where the connection is the claim, only a child itself can say that nothing has ended it.
        clears_up = self._orders.slots > 0 or not self._broker.features.leases
        for child in children:
            child.end(self._clock.monotonic(), clears_up)

    def _say_ready(self) -> None:
        """Let the main thread say it: its receivers of signals must not hold this thread up."""
        if not self.is_ready and all(slot.child and slot.child.ready for slot in self._slots):
            self.is_ready = True
            self.news.ring()

    # Duties

    def _renew(self) -> None:
        # Until it is answered, with every step, and before the others: leases end meanwhile.
        self._renewal.due = 0.0
        own = self._recovery.consumer.owner.id
        alive = self._broker.renew(self._orders.node, self._ttl)
        self._contact = self._clock.monotonic()
        if self._broker.features.leases and own not in alive:
            self._recovery.start_over()
        self._renewal.is_due(self._clock.monotonic())
        if signals.heartbeat_sent.is_heard:
            self.news.renewed = True
            self.news.ring()
        self.on_renewal()

    def _reclaim_expired(self) -> None:
        self._recovery.expired(self._orders.node)
        self._contact = self._clock.monotonic()
        self.on_look()

    def _notice_jumps(self, now: float) -> None:
        """After a sleep of the machine, or a new wall clock, give all nodes time to renew their leases.

        Leases end by the wall clock, which goes on while the machine sleeps; the monotonic clock of
        our timers stands still.
        """
        jump = self._jumps.since_last(now)
        if jump:
            logger.warning("The clock jumped by %.0f s: leases are renewed.", jump)
            self._renewal.due = now
            self._expiry.due = now + self._ttl

    def _reclaim_nodes(self) -> None:
        """Take over what dead nodes of this host left behind, once their children are gone too."""
        self._recovery.nodes_died(self._directory)

    def _tidy(self) -> None:
        if self._results is not None and self._results.cleanup() >= MUCH:
            self._clean_up.due = 0.0  # there is more: go on with the next step
