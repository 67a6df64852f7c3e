"""Taking over what the dead held.

Their unstarted deliveries go back, the fate of the others is decided.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from umbel.app import Umbel
from umbel.exceptions import DecodeError, LeaseLost, NotRegistered, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Delivery, decode
from umbel.ports import Broker, Consumer, Owner
from umbel.request import request_of
from umbel.worker import report
from umbel.worker.decide import Verdict, decide, unsettleable
from umbel.worker.nodes import DeadNode, NodeDirectory
from umbel.worker.outcome import Job, Lost, OverTime, Prepared, Revoked, Run
from umbel.worker.page import Held, Snapshot
from umbel.worker.settler import Settler
from umbel.worker.timelimits import time_limits

logger = logging.getLogger("umbel.worker")


class Recovery:
    """Reclaims leases for one supervisor. `tell` is told what became of each delivery once it is true."""

    def __init__(
        self,
        app: Umbel,
        broker: Broker,
        attach: Callable[[], Settler],
        tell: Callable[[Verdict], None] = report.lost,
    ) -> None:
        self._app = app
        self._tell = tell
        self._broker = broker
        self._attach = attach
        self._attached: Settler | None = None
        #: What a former settler settled, perhaps, without being answered.
        self._unanswered: set[str] = set()
        self._undecided: list[tuple[Delivery, Snapshot | None, str]] = []
        #: Owners that this supervisor was when a reclaim was not answered: they may hold something.
        self._doubtful: deque[tuple[str, Snapshot | None, str]] = deque()

    @property
    def _settler(self) -> Settler:
        """What settles for the supervisor; attached when first needed, since from then on leases run."""
        if self._attached is None:
            self._attached = self._attach()
            self._attached.unanswered |= self._unanswered
            self._unanswered.clear()
        return self._attached

    @property
    def consumer(self) -> Consumer:
        """The supervisor's own hold on what it takes over."""
        return self._settler.consumer

    def start_over(self) -> None:
        """Begin anew after the supervisor itself was taken for dead; what it held is gone."""
        logger.error(
            "The supervisor was taken for dead (frozen for longer than worker_lease_ttl?); it goes on."
        )
        self._attached = None
        self._unanswered.clear()
        self._undecided.clear()

    def close(self) -> None:
        """Give up the supervisor's own hold."""
        if self._attached is not None:
            self._attached.consumer.close()

    def child_died(self, owner: str, page: Snapshot | None, how: str) -> None:
        """Reclaim what a dead child held."""
        page = None if page is None else page.blamed()
        waiting = None if page is None else page.keys(Held.WAITING)
        if page is not None and page.former:
            self._take_over(page.former, waiting, page, how)
        self._take_over(owner, waiting, page, how)

    def nodes_died(self, directory: NodeDirectory) -> None:
        """Reclaim what the dead nodes of this host held, once their children are gone too."""
        for node in directory.dead_nodes():
            if node.children_alive():
                node.leave()
                continue
            logger.warning("The node %s on this host is dead; its tasks are taken over.", node.node)
            self._node_died(node)
            node.forget()

    def _node_died(self, node: DeadNode) -> None:
        for path, page in node.pages:
            self.child_died(page.owner, page, "its node died")
            path.unlink(missing_ok=True)
        if node.owner:
            self.child_died(node.owner, None, "its node died")

    def expired(self, node: str) -> None:
        """Reclaim what silent nodes held, but for the own `node`, which is not silent."""
        for owner in self._broker.expired():
            if owner.node != node:
                how = f"the node {owner.node} on {owner.host} fell silent"
                self._take_over(owner.id, None, None, how, only_expired=True)

    def taken_for_dead(self, owner: Owner, how: str) -> None:
        """Reclaim what an owner holds, whether it lives or not."""
        self._take_over(owner.id, None, None, how)

    def _take_over(
        self,
        owner: str,
        waiting: Collection[str] | None,
        page: Snapshot | None,
        how: str,
        only_expired: bool = False,
    ) -> None:
        fail_point("supervisor.before_reclaim")
        self._reclaim(owner, waiting, page, how, only_expired)
        fail_point("supervisor.after_reclaim")
        self.settle_undecided()

    def _reclaim(
        self,
        owner: str,
        waiting: Collection[str] | None,
        page: Snapshot | None,
        how: str,
        only_expired: bool = False,
    ) -> None:
        """Take over what an owner held.

        When no answer comes it may have been done all the same. The supervisor is another owner from
        then on, who takes over from the one it was.
        """
        settler = self._settler
        try:
            deliveries = settler.consumer.reclaim(owner, waiting, only_expired)
        except OperationalError:
            self._doubtful.append((settler.consumer.owner.id, page, how))
            self._unanswered |= settler.unanswered
            self._attached = None
            raise
        known = {delivery.key for delivery, _, _ in self._undecided}
        self._undecided += [
            (delivery, page, how) for delivery in deliveries if delivery.key not in known
        ]

    def settle_undecided(self) -> None:
        """Decide and settle the fate of what may have started.

        What was taken over is held by this supervisor from then on, and nobody else will ask for it:
        it is kept here until it is settled.
        """
        while self._doubtful:
            former, page, how = self._doubtful[0]
            self._reclaim(former, (), page, how)
            self._doubtful.popleft()
        if not self._undecided:
            return
        verdicts = [self._verdict(*undecided) for undecided in self._undecided]
        for verdict in self._settled(verdicts):
            del self._undecided[0]
            self._tell(verdict)

    def _settled(self, verdicts: Sequence[Verdict]) -> Iterable[Verdict]:
        """Settle verdicts and give those that are true now, in their order."""
        try:
            self._settler.settle(verdicts)
        except (OperationalError, LeaseLost):
            raise
        except Exception:
            logger.exception("What a dead process held cannot be settled; settling one by one.")
            settings = self._app.conf.snapshot
            return self._settler.settle_one_by_one(verdicts, settings, self._app.clock)
        return verdicts

    def _verdict(self, delivery: Delivery, page: Snapshot | None, how: str) -> Verdict:
        """Decide on one delivery; a message on which nobody can decide must not hold up the others."""
        state = Held.GONE if page is None else page.held.get(delivery.key, Held.GONE)
        is_late = page is not None and page.was_late(delivery.key)
        # What ran beside one that exceeded its time limit has not killed its process.
        beside = page is not None and page.condemned and state is Held.RUNNING
        stopped = page is not None and page.stopped
        running = state is Held.RUNNING and not beside
        lost = Lost(how, running=running, stopped=stopped or bool(beside))
        settings, clock = self._app.conf.snapshot, self._app.clock
        run = Run(Prepared(delivery, lost), lost)
        try:
            prepared = self._prepared(delivery, lost)
            outcome: Lost | OverTime | Revoked = lost
            if page is not None and page.was_terminated(delivery.key):
                outcome = Revoked("terminated", page.signum)
            elif is_late:
                outcome = OverTime(time_limits(prepared)[0])
            run = Run(prepared, outcome)
            return decide(run, settings, clock)
        except Exception as error:
            logger.exception(
                "What becomes of task %s, %s, cannot be decided.", delivery.message.task_id, how
            )
            what = f"Its process died ({how}), and what becomes of it cannot be decided"
            return unsettleable(run, error, settings, clock, what)

    def _prepared(self, delivery: Delivery, lost: Lost) -> Prepared:
        """Read a delivery as far as possible: its task's options decide on its fate."""
        settings = self._app.conf.snapshot
        try:
            call = decode(delivery.message, settings.accept_content, settings)
        except DecodeError:
            return Prepared(delivery, lost)
        try:
            task = self._app.tasks[call.task]
        except NotRegistered:
            return Prepared(delivery, lost, call)
        job = Job(task, call, request_of(call, delivery, ""))
        return Prepared(delivery, job, call, task.policy(settings))
