"""Making verdicts true: in one step where broker and result store are one, else in the safe order."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from umbel import states
from umbel.app import Umbel
from umbel.clock import Clock
from umbel.exceptions import LeaseLost, OperationalError
from umbel.failpoints import fail_point
from umbel.message import Call, Delivery
from umbel.ports import Action, Broker, Consumer, FetchRequest, ResultStore, Settlement
from umbel.records import ResultRecord
from umbel.request import Request
from umbel.settings import Settings
from umbel.worker import report
from umbel.worker.chords import Claim
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict, decide, unsettleable
from umbel.worker.outcome import Lost, Prepared, Revoked, Run, asker_of, call_of

logger = logging.getLogger("umbel.worker")

#: Seconds that a follow-up's publish may take where it cannot be part of the settle.
PUBLISH_TIMEOUT = 30.0
_NOT_STORED = (
    "The outcome of task %s was not stored: its lease was taken over meanwhile, so it runs or ran"
    " elsewhere."
)
_STORED = (
    "The outcome of task %s was stored, but its message went back meanwhile, so it runs or ran"
    " elsewhere, too."
)


def _concern_chords(verdicts: Sequence[Verdict]) -> bool:
    return any(one.members or one.openings or one.unreached or one.renewed for one in verdicts)


class Settler:
    """Settles what one consumer holds."""

    def __init__(
        self,
        broker: Broker,
        consumer: Consumer,
        results: ResultStore | None,
        chords: Chords | None = None,
    ) -> None:
        self._broker = broker
        self._chords = chords
        self.consumer = consumer
        self._results = results
        self._joint = results is not None and broker.shares(results)
        if results is not None and self._joint:
            broker.join(results)
        #: What was settled, perhaps, by calls that were not answered.
        self.unanswered: set[str] = set()
        #: What was published for deliveries that are not settled: its tags, by their keys.
        self._published: dict[str, set[str]] = {}

    def settle(
        self,
        verdicts: Sequence[Verdict],
        fetch: FetchRequest | None = None,
        hold: list[Verdict] | None = None,
    ) -> Sequence[Delivery]:
        """Make verdicts true and return what was fetched.

        With `hold`, those for which code of tasks would have to run are put there, and are not settled.
        Raises OperationalError when a server does not answer; settling the same verdicts again is
        then safe. Raises LeaseLost when the consumer was taken for dead: none of its verdicts
        counts.
        """
        claims: list[Claim] = []
        # Most say nothing but what their settlements do.
        involved = [
            one
            for one in verdicts
            if one.members or one.openings or one.others or one.unreached or one.used or one.renewed
        ]
        if involved:
            verdicts, claims = self._with_chords(verdicts, hold)
            if hold and not verdicts and fetch is None:
                return ()
        settlements = [verdict.settlement for verdict in verdicts]
        if not self._joint:
            settlements = self._in_safe_order(verdicts, claims)
        try:
            settled = self.consumer.settle(settlements, fetch)
        except OperationalError:
            self.unanswered.update(one.settlement.delivery.key for one in verdicts)
            raise
        if settled.refused:
            self._say_refused(settled.refused, verdicts)
        if involved:
            refused = {delivery.key for delivery in settled.refused}
            if claims and self._chords is not None:
                self._chords.close(claims, refused - self.unanswered)
            self._forget_pieces(verdicts, claims, refused)
        if self.unanswered or self._published:
            self._forget_doubts(verdicts)
        return settled.fetched

    def _forget_doubts(self, verdicts: Sequence[Verdict]) -> None:
        """Forget what was kept of deliveries in case that they are settled again."""
        for one in verdicts:
            self.unanswered.discard(one.settlement.delivery.key)
            self._published.pop(one.settlement.delivery.key, None)

    def _say_refused(self, refused: Sequence[Delivery], verdicts: Sequence[Verdict]) -> None:
        """Say of what was taken over whether its outcome is stored: elsewhere it is before the settle.

        Of those that were not answered, the first of the two calls did it.
        """
        kept = set[str]()
        if self._results is not None and not self._joint:
            settlements = [one.settlement for one in verdicts]
            kept = {item.delivery.key for item in settlements if item.result is not None}
        for delivery in refused:
            if delivery.key not in self.unanswered:
                said = _STORED if delivery.key in kept else _NOT_STORED
                logger.warning(said, delivery.message.task_id)

    def _with_chords(
        self, verdicts: Sequence[Verdict], hold: list[Verdict] | None
    ) -> tuple[Sequence[Verdict], list[Claim]]:
        """Make true what has to be so before the settle; add what follows chords that are complete with it.

        All of it may be done again.
        """
        claims: list[Claim] = []
        told = self._store_failures(verdicts)
        if self._chords is not None and _concern_chords(verdicts):
            verdicts, claims = self._chords.heard(verdicts, hold)
        others = [one for verdict in verdicts for one in verdict.others if id(one) not in told]
        if others and self._results is not None:
            self._results.put(others)
        openings = [opening for verdict in verdicts for opening in verdict.openings]
        if openings and self._results is not None:
            self._results.open_groups(openings)
            fail_point("chords.after_openings")
        return verdicts, claims

    def _store_failures(self, verdicts: Sequence[Verdict]) -> set[int]:
        """Store failures of which others hear before these do, and return which of the others' are stored.

        Who waits for what never runs is told of that first, and looks for the cause in what was before it.
        """
        store, told = self._results, set[int]()
        failures: list[tuple[ResultRecord, Any]] = []
        if store is None:
            return told
        for one in verdicts:
            own = one.settlement.result
            if own is None or own.state not in states.PROPAGATE_STATES:
                continue
            if one.others or one.unreached or (one.members and store.counts_parts):
                failures.append((own, call_of(one.run.prepared)))
                failures += [(each, None) for each in one.others]
                told.update(id(each) for each in one.others)
        if failures:
            if self._broker.features.leases:
                # Raises LeaseLost: what was taken over runs elsewhere, and may succeed.
                self.consumer.release(())
            store.put_of(failures)
            fail_point("chords.after_failures")
        return told

    def _forget_pieces(
        self, verdicts: Sequence[Verdict], claims: Sequence[Claim], refused: Collection[str]
    ) -> None:
        """Delete pieces of workflows that nobody needs any more.

        Where what is settled may be delivered once more, as dead letters may, they stay until they expire.
        """
        if self._results is None or not self._broker.features.atomic_settle or not self._joint:
            return
        used = [
            (one.settlement.delivery.key, piece)
            for one in verdicts
            if one.used and one.settlement.action is not Action.DEAD_LETTER
            for piece in one.used
        ]
        used += [(claim.key, claim.piece) for claim in claims if claim.piece is not None]
        for key, piece in used:
            if key in refused:
                continue
            try:
                fail_point("pieces.before_forget")
                self._results.forget_group(piece)
            except OperationalError as error:
                logger.warning("A piece of a workflow cannot be deleted, and expires: %s", error)

    def settle_one_by_one(
        self, verdicts: Sequence[Verdict], settings: Settings, clock: Clock
    ) -> Iterator[Verdict]:
        """Settle each verdict for itself, and give each that is true now.

        One that no store can take becomes a dead letter with the reason.
        """
        for verdict in verdicts:
            try:
                self.settle([verdict])
                yield verdict
            except (OperationalError, LeaseLost):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is this outcome's fault
                instead = unsettleable(verdict.run, error, settings, clock)
                self.settle([instead])
                yield instead

    def _in_safe_order(self, verdicts: Sequence[Verdict], claims: list[Claim]) -> list[Settlement]:
        """Make true what cannot be so together with the acknowledgement; return what is left.

        What follows is published first, unless the broker does that in the same step as it
        acknowledges. Then chords are closed, whose bodies would be sent again by whoever is delivered
        their last calls once more; that empties `claims`. Then the results are stored.
        """
        settlements = [verdict.settlement for verdict in verdicts]
        left = [item if item.result is None else replace(item, result=None) for item in settlements]
        if not self._broker.features.atomic_settle and any(item.publish for item in settlements):
            self._publish(settlements)
            left = [replace(item, publish=()) for item in left]
            if claims and self._chords is not None:
                self._chords.close(claims, ())
                claims.clear()
        results = [
            (verdict.settlement.result, self._known_of(verdict.run.prepared))
            for verdict in verdicts
            if verdict.settlement.result is not None
        ]
        if results and self._results is not None:
            self._results.put_of(results)
            fail_point("settler.after_results")
        if self._chords is not None:
            self._chords.pass_on(verdicts)
        return left

    def _known_of(self, prepared: Prepared) -> Request | Call | None:
        """Return what the result store is told of a call beside its result."""
        known = call_of(prepared)
        if known is None and self._results is not None and self._results.reply_to is not None:
            return asker_of(prepared.delivery)
        return known

    def _publish(self, settlements: Sequence[Settlement]) -> None:
        """Publish what follows, but for what was published already when the same was settled before.

        A result store that does not answer lets all be settled again, and a broker need not recognize that.
        """
        left = [
            (item.delivery.key, one)
            for item in settlements
            for one in item.publish
            if one.tag not in self._published.get(item.delivery.key, ())
        ]
        if left:
            self._broker.publish([one for _, one in left], PUBLISH_TIMEOUT)
        for key, one in left:
            self._published.setdefault(key, set()).add(one.tag)
        fail_point("settler.after_publish")

    def tell(self, record: ResultRecord | None, prepared: Prepared) -> None:
        """Store a state that settles nothing, such as STARTED, if that works: no task depends on it."""
        if record is None:
            return
        try:
            self.store(record, prepared)
        except OperationalError as error:
            logger.warning(
                "The state %s of %s was not stored. %s", record.state, record.task_id, error
            )

    def store(self, record: ResultRecord, prepared: Prepared) -> None:
        """Store a state that settles nothing."""
        if self._results is not None:
            self._results.put_of([(record, call_of(prepared))])


def give_up(
    app: Umbel, settler: Settler, running: Sequence[Prepared], lost: Lost | Revoked
) -> None:
    """Settle what runs and is not waited for any more, and say what becomes of each.

    Raises OperationalError and LeaseLost as `Settler.settle` does.
    """
    settings, most = app.conf.snapshot, app.broker.features.batch
    verdicts = [decide(Run(prepared, lost), settings, app.clock) for prepared in running]
    for first in range(0, len(verdicts), most):
        settler.settle(verdicts[first : first + most])
    for verdict in verdicts:
        report.lost(verdict)
