"""From an outcome to everything that must become true. Pure: the same run gives the same verdict.

That includes the tags of what follows a task, so that a verdict that is decided and settled twice,
because the process died in between, has the effect of one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from umbel import records, states
from umbel.backend import ResultBase, expiry, unstorable, written
from umbel.clock import Clock, utc
from umbel.definition import Policy
from umbel.exceptions import (
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    Reject,
    Retry,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)
from umbel.links import is_signature
from umbel.message import (
    Delivery,
    Message,
    Publication,
    offered_again,
    offers,
)
from umbel.pieces import due
from umbel.ports import Action, GroupOpening, Settlement
from umbel.publish import Context, build, derived_tag, spread, tagged
from umbel.records import ResultRecord, TaskResult
from umbel.replacing import Replaced
from umbel.representation import careful_repr
from umbel.request import delivery_info
from umbel.retrying import Again, When, same_call
from umbel.routing import back_to
from umbel.settings import Settings
from umbel.task import Task
from umbel.values import value
from umbel.worker.chords import Doom, Member, Unreached, doom_of_chain, member_of
from umbel.worker.follow_ups import errbacks_only
from umbel.worker.outcome import (
    Condemned,
    Failure,
    Ignored,
    Interrupted,
    Job,
    Lost,
    NotDue,
    Outcome,
    OverTime,
    Postponed,
    Prepared,
    Rejected,
    Retried,
    Revoked,
    Run,
    Success,
    Unknown,
    Unprocessable,
    about,
    ignores_result,
)
from umbel.worker.rates import given_turn

#: What sending a call again raises: arguments that its serializer cannot write, no such serializer, a time
#: that does not exist.
UNSENDABLE = (DecodeError, EncodeError, ImproperlyConfigured, OverflowError)


@value
class Verdict:
    """What is to be settled, and the run it comes from.

    The run's outcome is the final one: a success whose value cannot be stored has become a failure.
    `others` are results of other calls, stored before, as `openings` of chords are made before: to do so
    again does no harm. `members` are the chords that hear of it (`umbel.worker.chords`). `unreached` are
    pieces of its workflow whose steps never run, and `used` those that nobody needs once this is settled;
    those in `renewed` are to be kept for longer.
    """

    run: Run
    settlement: Settlement
    others: tuple[ResultRecord, ...] = ()
    members: tuple[Member, ...] = ()
    openings: tuple[GroupOpening, ...] = ()
    unreached: tuple[Unreached, ...] = ()
    used: tuple[str, ...] = ()
    renewed: tuple[str, ...] = ()


def decide(run: Run, settings: Settings, clock: Clock) -> Verdict:
    """Return the verdict on a run."""
    verdict = _decided(run, settings, clock)
    if not settings.workflow_by_reference:
        return verdict
    prepared = run.prepared
    renewed = due(prepared.call, prepared.delivery.message, settings, clock.time())
    return replace(verdict, renewed=renewed) if renewed else verdict


def _decided(run: Run, settings: Settings, clock: Clock) -> Verdict:
    decision = _Decision(run, settings, clock)
    if isinstance(run.outcome, Success):
        return decision.success(run.outcome.value)
    match run.outcome:
        case Failure(error, traceback):
            return decision.failure(error, traceback)
        case Retried(task, retry, traceback):
            return decision.retry(task, retry, traceback)
        case Lost() as lost:
            return decision.lost(lost)
        case Condemned(crashes, job):
            return decision.of(job).condemned(crashes)
        case Interrupted(job):
            return decision.of(job).lost(Lost("its process died", running=True))
        case OverTime(limit):
            return decision.failure(TimeLimitExceeded(limit), "")
        case outcome:
            return decision.told(Verdict(run, decision.not_run(outcome)))


def unsettleable(
    run: Run,
    error: Exception,
    settings: Settings,
    clock: Clock,
    what: str = "Its outcome cannot be stored",
) -> Verdict:
    """Return what becomes of a run whose outcome no store can take: a dead letter, and a failure.

    Where it is the id that cannot be stored there is no result: that could be refused again. `what` says
    what it was that raised the error.
    """
    decision = _Decision(run, settings, clock)
    reason = f"{what}: {type(error).__name__}: {error}"
    safe = reason.encode("utf-8", "backslashreplace").decode("utf-8")
    call = run.prepared.call
    nameable = call is not None and call.id.encode("utf-8", "replace").decode() == call.id
    result = None
    if nameable and decision.wants_result(error=True):
        result = decision.record(states.FAILURE, EncodeError(safe))
    verdict = Verdict(run, decision.dead(safe, result=result))
    return decision.hears_of_failure(verdict, EncodeError(safe)) if nameable else verdict


def default_policy(settings: Settings) -> Policy:
    """Return what holds for a task that this app does not know."""
    return Policy(
        acks_late=settings.task_acks_late,
        reject_on_worker_lost=settings.task_reject_on_worker_lost,
        ignore_result=settings.task_ignore_result,
        store_errors_even_if_ignored=settings.task_store_errors_even_if_ignored,
        track_started=settings.task_track_started,
    )


def started(
    prepared: Prepared, hostname: str, pid: int, settings: Settings, clock: Clock
) -> ResultRecord | None:
    """Return the record of a task that is about to start, where its policy wants one."""
    call, policy = prepared.call, prepared.policy
    if not isinstance(prepared.work, Job) or call is None or policy is None:
        return None
    if not policy.track_started or ignores_result(policy, call):
        return None
    value = {"pid": pid, "hostname": hostname}
    children, info = about(prepared, settings)
    result = TaskResult(
        call.id,
        states.STARTED,
        value,
        parent_id=call.parent_id,
        group_id=call.group_id,
        children=children,
        call=info,
    )
    return records.encode(result, expiry(settings, states.STARTED, clock.time()), settings)


@value
class _Decision:
    """One decision in the making."""

    run: Run
    settings: Settings
    clock: Clock

    @property
    def delivery(self) -> Delivery:
        return self.run.prepared.delivery

    @property
    def policy(self) -> Policy:
        return self.run.prepared.policy or default_policy(self.settings)

    def success(self, value: Any) -> Verdict:
        """Store the value, if it is wanted and can be, and tell the call's chord of it."""
        if isinstance(value, ResultBase):
            value = written(value, self.settings)
        prepared, record = self.run.prepared, None
        try:
            if self.wants_result():
                record = self.record(states.SUCCESS, value)
            members = self.members(states.SUCCESS, value)
        except EncodeError as error:
            name = prepared.call.task if prepared.call else "The task"
            return self.failure(unstorable(name, value, error, self.settings), "")
        except ImproperlyConfigured as error:
            # There is no such serializer or compression, or no library of it.
            return self.failure(error, "")
        settlement = Settlement(prepared.delivery, result=record, publish=self.run.follow)
        return Verdict(self.run, settlement, members=members, openings=self.run.openings)

    def members(self, state: str, value: Any) -> tuple[Member, ...]:
        """Return the chord that hears of the call's end, if it has one."""
        call = self.run.prepared.call
        if call is None or not call.group_id or not is_signature(call.chord):
            return ()
        about = (self.delivery.tag, self.settings, self.clock.time())
        return (member_of(call, state, value, *about),)

    def hears_of_failure(
        self, verdict: Verdict, error: BaseException, traceback: str | None = None
    ) -> Verdict:
        """Add to a verdict what is told of a failure: the rest of the chain, and chords."""
        call = self.run.prepared.call
        if call is None or not (call.chain or call.chord):
            return verdict
        stored = self.wants_result(error=True)
        about = (self.delivery.tag, self.settings, self.clock.time())
        doom = doom_of_chain(call.chain, error, traceback, *about) if call.chain else Doom()
        state = states.REVOKED if isinstance(error, TaskRevokedError) else states.FAILURE
        return replace(
            verdict,
            others=doom.results if stored else (),
            members=(*self.members(state, error), *doom.members),
            unreached=tuple(replace(one, stored=stored) for one in doom.unreached),
        )

    def failure(self, error: BaseException, traceback: str) -> Verdict:
        """Store the error, if it is wanted."""
        run = self.run
        if not isinstance(run.outcome, Failure):
            run = self.with_errbacks(replace(run, outcome=Failure(error, traceback)))
        record = None
        if self.wants_result(error=True):
            record = self.record(states.FAILURE, error, traceback)
        settlement = self._failed(error, record)
        if settlement.action is Action.REQUEUE:
            return Verdict(run, settlement)
        verdict = Verdict(run, replace(settlement, publish=run.follow), openings=run.openings)
        return self.hears_of_failure(verdict, error, traceback)

    def _failed(self, error: BaseException, record: ResultRecord | None) -> Settlement:
        """Acknowledge a failure, unless the task says that its failures are not to be."""
        policy, timeout = self.policy, isinstance(error, TimeLimitExceeded)
        acknowledged = policy.acks_on_timeout if timeout else policy.acks_on_failure
        if acknowledged or self.delivery.early:
            return Settlement(self.delivery, result=record)
        if timeout:
            return Settlement(self.delivery, Action.REQUEUE)
        return self.dead(f"Its failures are not acknowledged: {careful_repr(error)}", result=record)

    def retry(self, task: Task[Any, Any], retry: Retry, traceback: str) -> Verdict:
        """Send the call again and remember why, in one step with the acknowledgement."""
        again = retry.sig
        if not isinstance(again, Again):
            error = TypeError(
                f"{task.name} raised a Retry of its own; use `raise self.retry(...)`."
            )
            return self.failure(error, traceback)
        record = None
        if self.wants_result():
            record = self.record(states.RETRY, retry.exc, traceback)
        if again.sent:
            return Verdict(self.run, Settlement(self.delivery, result=record))
        try:
            publications = spread(self._messages(task, again))
        except UNSENDABLE as error:
            return self.failure(error, traceback)
        return Verdict(
            self.run, Settlement(self.delivery, result=record, publish=tuple(publications))
        )

    def _messages(self, task: Task[Any, Any], again: Again) -> list[Publication]:
        """Return the message of the next try, or those that were made of it while the task ran."""
        if again.messages is None:
            return [self.again(task, again)]
        purpose = f"retry {again.options.retries}"
        return [
            tagged(message, derived_tag(self.delivery.tag, f"{purpose} message {index}"))
            for index, message in enumerate(again.messages)
        ]

    def again(self, task: Task[Any, Any], again: Again) -> Publication:
        """Return the message of the next try; the same message whenever it is decided on."""
        tag = derived_tag(self.delivery.tag, f"retry {again.options.retries}")
        return build(
            task.template(self.settings),
            again.args,
            again.kwargs,
            again.options,
            again.route or back_to(self.delivery, again.options),
            Context(self.settings, self.clock, tag=tag),
        )

    def lost(self, lost: Lost) -> Verdict:
        """Decide on a delivery whose process died.

        At most once: it fails. At least once, or where a worker was stopped before its task ended: it runs
        again, but only so often if it was what ran when its processes died. A task's
        ``retry_on_worker_lost`` goes before both, if its retry can be sent.
        """
        delivery, policy = self.delivery, self.policy
        job = self.run.prepared.work
        if lost.running and policy.retry_on_worker_lost and isinstance(job, Job):
            try:
                return self._retried_after_loss(job, lost)
            except UNSENDABLE as error:
                why = f"{type(error).__name__}: {error}"
                lost = replace(lost, reason=f"{lost.reason}; its retry cannot be sent: {why}")
        if delivery.early:
            return self._failed_with_its_process(lost, "may run only once")
        if not policy.reject_on_worker_lost and not lost.stopped:
            return self._failed_with_its_process(lost, "reject_on_worker_lost is off")
        run = replace(self.run, outcome=lost)
        crashes = delivery.crashes + (1 if lost.running else 0)
        if crashes < self.settings.worker_max_deliveries:
            return Verdict(run, Settlement(delivery, Action.REQUEUE, crashed=lost.running))
        text = f"{crashes} processes died running it. The last time: {lost.reason}"
        return self._condemned(run, text, crashed=lost.running)

    def condemned(self, crashes: int) -> Verdict:
        """Put away what comes back once too often."""
        return self._condemned(self.run, f"{crashes} processes died running it", crashed=False)

    def of(self, job: Job) -> _Decision:
        """Return the decision on a job that was not run."""
        run = replace(self.run, prepared=replace(self.run.prepared, work=job))
        return replace(self, run=run)

    def _condemned(self, run: Run, text: str, crashed: bool) -> Verdict:
        """Put what its processes die of with the dead letters."""
        error = WorkerLostError(f"Worker lost: {text}")
        record = self.record(states.FAILURE, error) if self.wants_result(error=True) else None
        return self._lost_for_good(run, self.dead(text, result=record, crashed=crashed), error)

    def _lost_for_good(self, run: Run, settlement: Settlement, error: Exception) -> Verdict:
        """Let the errbacks follow the failure of what ran when its process died."""
        outcome = (
            replace(run.outcome, error=error) if isinstance(run.outcome, Lost) else run.outcome
        )
        run = self.with_errbacks(replace(run, outcome=outcome))
        settlement = replace(settlement, publish=run.follow)
        return self.hears_of_failure(Verdict(run, settlement, openings=run.openings), error)

    def with_errbacks(self, run: Run) -> Run:
        """Return a run that is followed by its errbacks, and nothing else."""
        sent = errbacks_only(run.prepared.work, self.delivery)
        follow, openings = ((), ()) if sent is None else (sent.publications, sent.openings)
        return replace(run, follow=tuple(follow), openings=tuple(openings))

    def _failed_with_its_process(self, lost: Lost, end: str) -> Verdict:
        """Acknowledge what does not run again after its process died; `end` says why not."""
        error = WorkerLostError(f"Worker lost: {lost.reason}")
        record = self.record(states.FAILURE, error) if self.wants_result(error=True) else None
        run = replace(self.run, outcome=replace(lost, end=end))
        return self._lost_for_good(run, Settlement(self.delivery, result=record), error)

    def _retried_after_loss(self, job: Job, lost: Lost) -> Verdict:
        """Send the call again as its task's `retry` would, as often as its ``max_retries`` allows."""
        task, request = job.task, job.request
        if task.max_retries is not None and request.retries >= task.max_retries:
            return self._failed_with_its_process(lost, "no retries are left")
        delay = task.default_retry_delay
        options = same_call(request, request.retries + 1, When(countdown=delay), {})
        publication = self.again(task, Again(request.args or (), request.kwargs or {}, options))
        error = WorkerLostError(f"Worker lost: {lost.reason}")
        record = self.record(states.RETRY, error) if self.wants_result() else None
        return Verdict(self.run, Settlement(self.delivery, result=record, publish=(publication,)))

    def told(self, verdict: Verdict) -> Verdict:
        """Add to the verdict on what did not run what its chain and its chord are told of that."""
        match self.run.outcome:
            case Revoked(why):
                return self.hears_of_failure(verdict, TaskRevokedError(why))
            case Rejected(reason, False):
                return self.hears_of_failure(verdict, Reject(reason))
            case Unprocessable(error, _):
                return self.hears_of_failure(verdict, error)
            case Ignored(Replaced() as made):
                return replace(verdict, openings=made.openings, used=made.used)
        return verdict

    def not_run(self, outcome: Outcome) -> Settlement:
        """Settle what did not run, or asked for nothing to be stored."""
        match outcome:
            case NotDue(due):
                return Settlement(self.delivery, Action.PARK, due=due)
            case Unknown(_, wait):
                return Settlement(self.delivery, publish=(self.offer(wait),))
            case Postponed(turn):
                return Settlement(self.delivery, publish=(self.postponed(turn),))
            case Revoked(why):
                result = None
                if self.wants_result(error=True):
                    result = self.record(states.REVOKED, TaskRevokedError(why))
                return Settlement(self.delivery, result=result)
            case Rejected(_, True):
                return Settlement(self.delivery, Action.REQUEUE)
            case Rejected(reason, False):
                wanted = self.wants_result(error=True)
                result = self.record(states.FAILURE, Reject(reason)) if wanted else None
                return self.dead(f"Rejected by the task: {reason}", result=result)
            case Unprocessable(error, reason):
                return self.dead(reason, result=self.record(states.FAILURE, error))
            case Ignored(Replaced() as made):
                return Settlement(self.delivery, publish=made.publications)
            case _:  # Ignored
                return Settlement(self.delivery)

    def offer(self, wait: float) -> Publication:
        """Return the message as it is offered again: to the same queue only, at the same priority.

        It is sent anew rather than parked, because it carries the number of its offers: not every engine
        counts deliveries, and none knows why a message was delivered before.
        """
        message = offered_again(self.delivery.message)
        due = self.clock.time() + wait
        return self.once_more(message, f"offer {offers(message)}", due)

    def postponed(self, turn: float) -> Publication:
        """Return the message as it is sent again for its turn, which it carries."""
        message = given_turn(self.delivery.message, turn)
        return self.once_more(message, f"turn {turn!r}", turn)

    def once_more(self, message: Message, why: str, due: float) -> Publication:
        """Return a message to the delivery's own queue; settled twice, it is sent once."""
        delivery, sent = self.delivery, delivery_info(self.delivery)
        return Publication(
            queue=delivery.queue,
            message=message,
            tag=derived_tag(delivery.tag, why),
            priority=delivery.priority,
            due=due,
            exchange=sent["exchange"],
            routing_key=sent["routing_key"],
        )

    def wants_result(self, error: bool = False) -> bool:
        """Tell whether the outcome is to be stored."""
        prepared = self.run.prepared
        policy = prepared.policy or default_policy(self.settings)
        ignored = ignores_result(policy, prepared.call)
        return not ignored or (error and policy.store_errors_even_if_ignored)

    def record(self, state: str, value: Any, traceback: str | None = None) -> ResultRecord | None:
        """Return the result to store; None for a message of which not even the id is known."""
        settings, prepared, now = self.settings, self.run.prepared, self.clock.time()
        call = prepared.call
        task_id = call.id if call else prepared.delivery.message.task_id
        if task_id is None:
            return None
        parent, group = (call.parent_id, call.group_id) if call else (None, None)
        done = utc(now) if state in states.READY_STATES else None
        children, info = about(prepared, settings)
        # By their places: to give so many by name takes three times as long.
        result = TaskResult(
            task_id, state, value, traceback or None, done, parent, group, children, info
        )
        return records.encode(result, expiry(settings, state, now), settings)

    def dead(
        self, reason: str, result: ResultRecord | None = None, crashed: bool = False
    ) -> Settlement:
        """Put the message with the dead letters."""
        kept = self.settings.worker_dead_letter_expires
        return Settlement(
            self.delivery,
            Action.DEAD_LETTER,
            result=result,
            reason=reason,
            expires=None if kept is None else self.clock.time() + kept,
            crashed=crashed,
        )
