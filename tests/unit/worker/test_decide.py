from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import ManualClock
from tests.unit.worker.support import NAMELESS, Made, delivery_of, foreign, take
from umbel import Exchange, Queue, Retry, Task, Umbel, states
from umbel.exceptions import (
    ContentDisallowed,
    NotRegistered,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
)
from umbel.message import Delivery, decode
from umbel.options import CallOptions
from umbel.ports import Action
from umbel.publish import derived_tag
from umbel.records import CallInfo, TaskResult
from umbel.records import decode as read
from umbel.request import delivery_info
from umbel.retrying import Again
from umbel.worker.decide import Verdict, decide, started, unsettleable
from umbel.worker.execute import Runner
from umbel.worker.outcome import (
    Failure,
    Ignored,
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
)
from umbel.worker.rates import turn_of


def verdict_on(
    app: Umbel,
    delivery: Delivery,
    outcome: Outcome,
    clock: ManualClock | None = None,
) -> Verdict:
    # What is fetched has not begun; what is marked early has been taken over.
    prepared = Runner(app, "celery@host").prepare(replace(delivery, early=False))
    prepared = replace(prepared, delivery=delivery)
    return decide(Run(prepared, outcome, 0.5), app.conf.snapshot, clock or ManualClock())


def make(app: Umbel, **options: Any) -> Made:
    def work(*args: Any) -> None: ...

    task: Made = app.task(name="t", **options)(work)
    return task


def retried(task: Made, delivery: Delivery, *args: Any, **options: Any) -> Retried:
    """Return the outcome of a task that asked for another try."""
    call = decode(delivery.message, ("json",))
    chosen: dict[str, Any] = {"task_id": call.id, "retries": 1, "queue": delivery.queue, **options}
    sig = Again(args or call.args, {}, CallOptions(**chosen))
    return Retried(task, Retry(exc=ValueError("boom"), when=10, sig=sig), "the traceback")


def stored(verdict: Verdict) -> TaskResult | None:
    result = verdict.settlement.result
    return None if result is None else read(result)


# Outcomes and policies

POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "ignores": {"ignore_result": True},
    "ignores but errors": {"ignore_result": True, "store_errors_even_if_ignored": True},
    "once": {"acks_late": False},
    "not again": {"reject_on_worker_lost": False},
}
OUTCOMES: dict[str, Outcome] = {
    "success": Success(5),
    "failure": Failure(ValueError("boom"), "the traceback"),
    "ignored": Ignored(),
    "rejected": Rejected("bad", False),
    "requeued": Rejected("later", True),
    "expired": Revoked("expired"),
    "not due": NotDue(99.0),
    "unprocessable": Unprocessable(NotRegistered("none"), "NotRegistered: none"),
    "over time": OverTime(2),
    "postponed": Postponed(99.5),
    "lost waiting": Lost("pid 1 vanished", running=False),
    "lost running": Lost("pid 1 vanished", running=True),
}
ACK, REQUEUE, PARK, DEAD = Action.ACK, Action.REQUEUE, Action.PARK, Action.DEAD_LETTER

#: What becomes of the delivery, and the state that is stored, for each policy in its order above.
TABLE: dict[str, tuple[Action, tuple[str | None, ...]]] = {
    "success": (ACK, ("SUCCESS", None, None, "SUCCESS", "SUCCESS")),
    "failure": (ACK, ("FAILURE", None, "FAILURE", "FAILURE", "FAILURE")),
    "retried": (ACK, ("RETRY", None, None, "RETRY", "RETRY")),
    "ignored": (ACK, (None, None, None, None, None)),
    "rejected": (DEAD, ("FAILURE", None, "FAILURE", "FAILURE", "FAILURE")),
    "requeued": (REQUEUE, (None, None, None, None, None)),
    "expired": (ACK, ("REVOKED", None, "REVOKED", "REVOKED", "REVOKED")),
    "not due": (PARK, (None, None, None, None, None)),
    "unprocessable": (DEAD, ("FAILURE",) * 5),
    "over time": (ACK, ("FAILURE", None, "FAILURE", "FAILURE", "FAILURE")),
    "postponed": (ACK, (None, None, None, None, None)),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", TABLE)
def test_outcomes_and_policies(app: Umbel, kind: str, policy: str) -> None:
    task = make(app, **POLICIES[policy])
    delivery = delivery_of(task, 1)
    outcome = retried(task, delivery) if kind == "retried" else OUTCOMES[kind]
    verdict = verdict_on(app, delivery, outcome)
    action, by_policy = TABLE[kind]
    result = verdict.settlement.result
    expected = by_policy[list(POLICIES).index(policy)]
    assert (verdict.settlement.action, result and result.state) == (action, expected)
    assert verdict.settlement.delivery is delivery
    assert bool(verdict.settlement.publish) is (kind in ("retried", "postponed"))
    assert verdict.settlement.crashed is False
    assert verdict.run.outcome is outcome or kind == "over time"


#: The same for deliveries whose process died, which may have been marked early (at most once).
LOST: list[tuple[str, str, bool, Action, str | None, bool]] = [
    ("lost waiting", "plain", False, REQUEUE, None, False),
    ("lost running", "plain", False, REQUEUE, None, True),
    ("lost waiting", "ignores", False, REQUEUE, None, False),
    ("lost running", "ignores", False, REQUEUE, None, True),
    ("lost running", "once", True, ACK, "FAILURE", False),
    ("lost waiting", "once", True, ACK, "FAILURE", False),
    ("lost waiting", "once", False, REQUEUE, None, False),
    ("lost running", "not again", False, ACK, "FAILURE", False),
    ("lost waiting", "not again", False, ACK, "FAILURE", False),
]


@pytest.mark.parametrize(("kind", "policy", "early", "action", "state", "crashed"), LOST)
def test_what_a_dead_process_held(
    app: Umbel,
    kind: str,
    policy: str,
    early: bool,
    action: Action,
    state: str | None,
    crashed: bool,
) -> None:
    delivery = replace(delivery_of(make(app, **POLICIES[policy])), early=early)
    verdict = verdict_on(app, delivery, OUTCOMES[kind])
    result = verdict.settlement.result
    assert (verdict.settlement.action, result and result.state) == (action, state)
    assert verdict.settlement.crashed is crashed


def test_who_runs_at_most_once_and_ignores_results_just_goes(app: Umbel) -> None:
    delivery = replace(delivery_of(make(app, acks_late=False, ignore_result=True)), early=True)
    verdict = verdict_on(app, delivery, OUTCOMES["lost running"])
    assert (verdict.settlement.action, verdict.settlement.result) == (ACK, None)


def test_a_message_may_ignore_its_result_too(app: Umbel) -> None:
    delivery = delivery_of(make(app), ignore_result=True)
    for kind in ("success", "failure", "expired"):
        assert verdict_on(app, delivery, OUTCOMES[kind]).settlement.result is None


def test_what_the_task_leaves_open_the_settings_say(app: Umbel) -> None:
    app.conf.task_ignore_result = True
    delivery = delivery_of(make(app))
    assert verdict_on(app, delivery, OUTCOMES["failure"]).settlement.result is None
    app.conf.task_store_errors_even_if_ignored = True
    assert verdict_on(app, delivery, OUTCOMES["failure"]).settlement.result is not None
    app.conf.task_reject_on_worker_lost = False
    assert verdict_on(app, delivery, OUTCOMES["lost running"]).settlement.action is ACK


# Crashes


@pytest.mark.parametrize(
    ("crashes", "running", "most", "dead"),
    [
        (0, True, 3, False),
        (1, True, 3, False),
        (2, True, 3, True),
        (2, False, 3, False),
        (3, False, 3, True),
        (0, True, 1, True),
        (0, False, 1, False),
    ],
)
def test_a_message_that_kills_its_process_is_put_away(
    app: Umbel, crashes: int, running: bool, most: int, dead: bool
) -> None:
    app.conf.worker_max_deliveries = most
    delivery = replace(delivery_of(make(app)), crashes=crashes)
    verdict = verdict_on(app, delivery, Lost("pid 7 ended with signal 9 (SIGKILL)", running))
    assert verdict.settlement.action is (DEAD if dead else REQUEUE)
    assert verdict.settlement.crashed is running
    if dead:
        found = stored(verdict)
        count = crashes + running
        assert verdict.settlement.reason == (
            f"{count} processes died running it. The last time: pid 7 ended with signal 9 (SIGKILL)"
        )
        assert found is not None
        assert found.state == states.FAILURE
        assert type(found.result).__name__ == "WorkerLostError"
        assert str(verdict.settlement.reason) in str(found.result)


def test_a_condemned_task_that_ignores_results_has_none(app: Umbel) -> None:
    delivery = replace(delivery_of(make(app, ignore_result=True)), crashes=2)
    verdict = verdict_on(app, delivery, OUTCOMES["lost running"])
    assert (verdict.settlement.action, verdict.settlement.result) == (DEAD, None)


def test_what_cannot_be_read_has_the_settings_policy_when_its_process_dies(app: Umbel) -> None:
    foreign(app, NAMELESS)
    (delivery,) = take(app)
    lost = Lost("pid 1 vanished", running=True)
    verdict = decide(Run(Prepared(delivery, lost), lost), app.conf.snapshot, ManualClock())
    assert verdict.settlement.action is REQUEUE
    condemned = replace(delivery, crashes=2)
    verdict = decide(Run(Prepared(condemned, lost), lost), app.conf.snapshot, ManualClock())
    assert (verdict.settlement.action, verdict.settlement.result) == (DEAD, None)


# What is stored


def test_a_success(app: Umbel, clock: ManualClock) -> None:
    delivery = delivery_of(make(app), parent_id="p", group_id="g")
    verdict = verdict_on(app, delivery, Success([1, {"a": 2}]), clock)
    found = stored(verdict)
    assert found is not None
    assert found.task_id == delivery.message.task_id
    assert (found.state, found.result, found.traceback) == (states.SUCCESS, [1, {"a": 2}], None)
    assert (found.parent_id, found.group_id) == ("p", "g")
    assert found.date_done is not None
    assert found.date_done.timestamp() == clock.time()


def test_a_failure(app: Umbel) -> None:
    found = stored(verdict_on(app, delivery_of(make(app)), OUTCOMES["failure"]))
    assert found is not None
    assert (found.state, repr(found.result)) == (states.FAILURE, "ValueError('boom')")
    assert found.traceback == "the traceback"


def test_an_expiry(app: Umbel) -> None:
    found = stored(verdict_on(app, delivery_of(make(app)), Revoked("expired")))
    assert found is not None
    assert (type(found.result).__name__, str(found.result)) == ("TaskRevokedError", "expired")


@pytest.mark.parametrize("kept", [60.0, None])
def test_results_and_dead_letters_expire_as_the_settings_say(
    app: Umbel, clock: ManualClock, kept: float | None
) -> None:
    app.conf.update(result_expires=kept, worker_dead_letter_expires=kept)
    expected = None if kept is None else clock.time() + kept
    delivery = delivery_of(make(app))
    result = verdict_on(app, delivery, Success(1), clock).settlement.result
    assert result is not None
    assert result.expires == expected
    assert verdict_on(app, delivery, OUTCOMES["rejected"], clock).settlement.expires == expected


class Strange:
    """A value that no serializer takes."""


def test_a_result_that_cannot_be_stored_is_a_failure(app: Umbel) -> None:
    verdict = verdict_on(app, delivery_of(make(app)), Success({"a": Strange()}))
    found = stored(verdict)
    assert found is not None
    assert isinstance(verdict.run.outcome, Failure)
    assert (verdict.settlement.action, found.state) == (ACK, states.FAILURE)
    assert type(found.result).__name__ == "EncodeError"
    assert str(found.result) == (
        "t: the result → ['a'] cannot be stored as json: it is a Strange. Return plain data: texts,"
        " numbers, lists and mappings of them, or set ignore_result."
    )


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_the_settings_say_how_results_are_written(
    app: Umbel, serializer: str, compression: str | None
) -> None:
    if serializer in ("yaml", "msgpack"):
        pytest.importorskip(serializer)
    app.conf.update(result_serializer=serializer, result_compression=compression)
    app.conf.update(accept_content=["json", serializer], result_expires=None)
    task = make(app, track_started=True)
    for outcome, expected in ((Success([1, {"a": 2}]), [1, {"a": 2}]), (OUTCOMES["failure"], None)):
        delivery = delivery_of(task)
        prepared = Runner(app, "celery@host").prepare(delivery)
        begun = started(prepared, "celery@host", 4711, app.conf.snapshot, ManualClock())
        record = verdict_on(app, delivery, outcome).settlement.result
        assert begun is not None
        assert record is not None
        assert isinstance(record.document, str) is (serializer == "json" and not compression)
        assert isinstance(begun.document, str) is isinstance(record.document, str)
        result = app.AsyncResult(record.task_id)
        app.result_store().put([begun])
        assert result.result == {"pid": 4711, "hostname": "celery@host"}
        app.result_store().put([record])
        found = result.get(propagate=False)
        assert found == expected or repr(found) == "ValueError('boom')"
    app.conf.result_accept_content = ["yaml"] if serializer != "yaml" else ["json"]
    with pytest.raises(ContentDisallowed):
        app.AsyncResult(result.id).get()


def test_a_result_serializer_that_is_not_known_is_the_tasks_failure(app: Umbel) -> None:
    app.conf.result_compression = "gzp"
    found = stored(verdict_on(app, delivery_of(make(app)), Success(1)))
    assert found is not None
    assert "no compression 'gzp'" in str(found.result)


def test_an_extended_result_says_of_which_call_it_is(app: Umbel) -> None:
    app.conf.update(result_extended=True, accept_content=["json", "pickle"], result_expires=None)
    task = make(app)
    assert app.AsyncResult("nobody").name is None
    delivery = delivery_of(task, 1, {2}, serializer="pickle", retries=1)
    prepared = Runner(app, "celery@host").prepare(delivery)
    verdict = decide(Run(prepared, Success(5)), app.conf.snapshot, ManualClock())
    assert verdict.settlement.result is not None
    app.result_store().put([verdict.settlement.result])
    result = app.AsyncResult(str(delivery.message.task_id))
    assert (result.name, result.worker, result.queue) == ("t", "celery@host", "celery")
    # What JSON does not take is shown.
    assert (result.args, result.kwargs, result.retries) == ("(1, {2})", {}, 1)
    foreign(app, NAMELESS)
    (nameless,) = take(app)
    assert verdict_on(app, nameless, Revoked("expired")).settlement.result is None


def test_a_result_that_nobody_wants_need_not_be_storable(app: Umbel) -> None:
    verdict = verdict_on(app, delivery_of(make(app, ignore_result=True)), Success(Strange()))
    assert isinstance(verdict.run.outcome, Success)
    assert verdict.settlement.result is None


@pytest.mark.parametrize(("id", "told"), [("good", True), ("half \ud800", False)])
def test_an_outcome_that_no_store_can_take_is_a_dead_letter_and_a_failure(
    app: Umbel, id: str, told: bool
) -> None:
    run = verdict_on(app, delivery_of(make(app)), Success(1)).run
    call = run.prepared.call
    assert call is not None
    run = replace(run, prepared=replace(run.prepared, call=replace(call, id=id)))
    error = ValueError("no such text \ud800")
    verdict = unsettleable(run, error, app.conf.snapshot, ManualClock())
    assert verdict.settlement.action is DEAD
    assert verdict.settlement.reason == (
        "Its outcome cannot be stored: ValueError: no such text \\ud800"
    )
    found = stored(verdict)
    assert (found is not None) is told
    assert found is None or (found.state, found.task_id) == (states.FAILURE, "good")


def test_a_message_without_an_id_is_put_away_without_a_result(app: Umbel) -> None:
    foreign(app, NAMELESS)
    (delivery,) = take(app)
    prepared = Runner(app, "celery@host").prepare(delivery)
    assert isinstance(prepared.work, Unprocessable)
    verdict = decide(Run(prepared, prepared.work), app.conf.snapshot, ManualClock())
    assert (verdict.settlement.action, verdict.settlement.result) == (DEAD, None)
    assert verdict.settlement.reason == "DecodeError: The message's id is None, not a text."


def test_parking_keeps_the_time(app: Umbel) -> None:
    assert verdict_on(app, delivery_of(make(app)), NotDue(99.0)).settlement.due == 99.0


def test_a_task_that_is_not_known_is_offered_again(app: Umbel, clock: ManualClock) -> None:
    """The same message to the same queue, as urgent as it was; and the same one if that is decided again."""
    task = make(app)
    delivery = delivery_of(task, 1, queue="other", priority=7)
    app.tasks.unregister(task)
    outcome = Unknown(NotRegistered("none"), 4.0)
    settlement = verdict_on(app, delivery, outcome, clock).settlement
    assert (settlement.action, settlement.result) == (ACK, None)
    (again,) = settlement.publish
    assert (again.queue, again.priority, again.due) == ("other", 7, clock.time() + 4.0)
    assert again.message == replace(
        delivery.message, headers={**delivery.message.headers, "offers": 1}
    )
    assert again.tag != delivery.tag
    assert verdict_on(app, delivery, outcome, clock).settlement == settlement
    later = replace(delivery, message=again.message, tag=again.tag)
    (third,) = verdict_on(app, later, outcome, clock).settlement.publish
    assert third.message.headers["offers"] == 2
    assert third.tag not in (delivery.tag, again.tag)


def test_an_offer_keeps_its_exchange(app: Umbel) -> None:
    app.conf.task_queues = [Queue("videos", Exchange("media", type="topic"), routing_key="v.#")]
    make(app).apply_async(exchange="media", routing_key="v.hd")
    (delivery,) = take(app, queue="videos")
    found = verdict_on(app, delivery, Unknown(NotRegistered("none"), 1.0))
    (again,) = found.settlement.publish
    assert (again.queue, again.exchange, again.routing_key) == ("videos", "media", "v.hd")
    assert again.more_queues == ()


def test_a_rejection_says_why(app: Umbel) -> None:
    verdict = verdict_on(app, delivery_of(make(app)), Rejected("bad", False))
    assert verdict.settlement.reason == "Rejected by the task: bad"


# Retries


def test_a_retry_is_sent_with_the_acknowledgement(app: Umbel, clock: ManualClock) -> None:
    task = make(app, time_limit=20)
    delivery = delivery_of(task, 1, queue="video")
    outcome = retried(task, delivery, 7, countdown=10, priority=3, headers={"a": 1})
    verdict = verdict_on(app, delivery, outcome, clock)
    (publication,) = verdict.settlement.publish
    call = decode(publication.message, ("json",))
    assert (publication.queue, publication.priority, publication.due) == (
        "video",
        3,
        clock.time() + 10,
    )
    assert (call.id, call.task, call.args, call.retries) == (delivery.message.task_id, "t", [7], 1)
    assert (call.time_limit, call.headers) == (20, {"a": 1})
    found = stored(verdict)
    assert found is not None
    assert (found.state, repr(found.result)) == (states.RETRY, "ValueError('boom')")
    assert (found.traceback, found.date_done) == ("the traceback", None)


def test_a_retry_may_go_elsewhere(app: Umbel) -> None:
    task = make(app)
    delivery = delivery_of(task)
    verdict = verdict_on(app, delivery, retried(task, delivery, queue="audio"))
    assert [one.queue for one in verdict.settlement.publish] == ["audio"]


def test_what_is_decided_twice_is_the_same(app: Umbel) -> None:
    task = make(app)
    delivery = delivery_of(task, 1)
    outcome = retried(task, delivery)
    one, other = (verdict_on(app, delivery, outcome, ManualClock()) for _ in range(2))
    assert one.settlement == other.settlement
    later = ManualClock()
    later.now += 3600
    (first,), (again,) = (
        one.settlement.publish,
        verdict_on(app, delivery, outcome, later).settlement.publish,
    )
    assert first.tag == again.tag == derived_tag(delivery.tag, "retry 1")
    assert first.message.task_id == again.message.task_id
    assert first.tag != delivery.tag


def test_each_retry_has_a_tag_of_its_own(app: Umbel) -> None:
    task = make(app)
    delivery = delivery_of(task)
    tags = {
        verdict_on(app, delivery, retried(task, delivery, retries=n)).settlement.publish[0].tag
        for n in range(1, 5)
    }
    assert len(tags) == 4


@pytest.mark.parametrize(
    ("args", "options", "error"),
    [
        ((Strange(),), {}, "EncodeError"),
        ((1,), {"serializer": "nope"}, "SerializerNotInstalled"),
        ((1,), {"countdown": 1e15}, "OverflowError"),
    ],
)
def test_a_retry_that_cannot_be_sent_is_a_failure(
    app: Umbel, args: Any, options: dict[str, Any], error: str
) -> None:
    task = make(app)
    delivery = delivery_of(task)
    verdict = verdict_on(app, delivery, retried(task, delivery, *args, **options))
    found = stored(verdict)
    assert found is not None
    assert (verdict.settlement.action, verdict.settlement.publish) == (ACK, ())
    assert (found.state, type(found.result).__name__) == (states.FAILURE, error)
    assert isinstance(verdict.run.outcome, Failure)


def test_a_retry_that_did_not_come_from_retry_is_a_failure(app: Umbel) -> None:
    task = make(app)
    verdict = verdict_on(app, delivery_of(task), Retried(task, Retry("mine"), "the traceback"))
    found = stored(verdict)
    assert found is not None
    assert str(found.result) == "t raised a Retry of its own; use `raise self.retry(...)`."


# STARTED


@pytest.mark.parametrize(
    ("options", "call", "wanted"),
    [
        ({}, {}, False),
        ({"track_started": True}, {}, True),
        ({"track_started": True, "ignore_result": True}, {}, False),
        ({"track_started": True}, {"ignore_result": True}, False),
    ],
)
def test_started_is_stored_only_where_it_is_wanted(
    app: Umbel, options: dict[str, Any], call: dict[str, Any], wanted: bool
) -> None:
    prepared = Runner(app, "celery@host").prepare(delivery_of(make(app, **options), **call))
    record = started(prepared, "celery@host", 4711, app.conf.snapshot, ManualClock())
    if not wanted:
        assert record is None
        return
    assert record is not None
    found = read(record)
    assert (found.state, found.result) == (states.STARTED, {"pid": 4711, "hostname": "celery@host"})


def test_what_does_not_run_does_not_start(app: Umbel) -> None:
    delivery = delivery_of(make(app, track_started=True), expires="2000-01-01T00:00:00+00:00")
    prepared = Runner(app, "celery@host").prepare(delivery)
    assert started(prepared, "h", 1, app.conf.snapshot, ManualClock()) is None


def test_how_long_results_are_kept(app: Umbel) -> None:
    task = make(app, track_started=True)
    delivery, now = delivery_of(task), ManualClock().time()
    prepared = Runner(app, "celery@host").prepare(delivery)

    def kept() -> list[float | None]:
        success = verdict_on(app, delivery, Success(5)).settlement.result
        failure = verdict_on(app, delivery, Failure(ValueError("v"), "t")).settlement.result
        start = started(prepared, "h", 1, app.conf.snapshot, ManualClock())
        expiries = [one.expires for one in (success, failure, start) if one is not None]
        return [None if moment is None else moment - now for moment in expiries]

    assert kept() == [86400, 86400, 86400]
    app.conf.result_failure_expires = 5
    assert kept() == [86400, 5, 86400]
    app.conf.result_expires = None
    assert kept() == [None, 5, None]
    app.conf.update(result_expires=0, result_failure_expires=None)
    assert kept() == [None, None, None]


def test_what_is_stored_of_the_call(app: Umbel) -> None:
    app.conf.result_extended = True
    task: Made = app.task(name="t")(lambda *args, **kwargs: None)
    delivery = delivery_of(task, 1, kwargs={"x": 2})
    prepared = Runner(app, "celery@host").prepare(delivery)
    assert isinstance(prepared.work, Job)
    prepared.work.request.children.append(app.AsyncResult("made"))
    verdict = decide(Run(prepared, Success(5)), app.conf.snapshot, ManualClock())
    found = stored(verdict)
    assert found is not None
    assert found.children == [[["made", None], None]]
    assert found.call == CallInfo("t", [1], {"x": 2}, "celery@host", 0, delivery.queue)


def test_what_is_stored_of_a_call_that_did_not_run(app: Umbel) -> None:
    app.conf.result_extended = True
    delivery = delivery_of(make(app), 1, retries=2, expires="2000-01-01T00:00:00+00:00")
    found = stored(verdict_on(app, delivery, Revoked("expired")))
    assert found is not None
    assert found.call == CallInfo("t", [1], {}, None, 2, delivery.queue)


def test_a_result_that_a_task_returns_is_stored_as_its_tuple(app: Umbel) -> None:
    verdict = verdict_on(app, delivery_of(make(app)), Success(app.AsyncResult("made")))
    found = stored(verdict)
    assert found is not None
    assert found.result == [["made", None], None]


# Failures that are not acknowledged


def test_what_is_over_its_rate_is_sent_once_more_for_its_turn(app: Umbel) -> None:
    delivery = delivery_of(make(app), 1, priority=3, headers={"mine": 1})
    once, again = (
        verdict_on(app, delivery, Postponed(turn)).settlement.publish[0] for turn in (99.5, 99.5)
    )
    assert once == again  # settled twice, it is sent once
    assert (once.queue, once.priority, once.due) == ("celery", 3, 99.5)
    assert turn_of(once.message) == 99.5
    assert once.message.headers.items() >= delivery.message.headers.items()
    assert once.message.body == delivery.message.body
    later = verdict_on(app, delivery, Postponed(100.5)).settlement.publish[0]
    assert later.tag not in (once.tag, delivery.tag)


def test_what_exceeded_its_time_says_which(app: Umbel) -> None:
    verdict = verdict_on(app, delivery_of(make(app), 1), OverTime(2.5))
    assert isinstance(verdict.run.outcome, Failure)
    result = stored(verdict)
    assert result is not None
    assert (type(result.result), result.result.args) == (TimeLimitExceeded, (2.5,))


NOT: dict[str, Any] = {"acks_on_failure_or_timeout": False}


@pytest.mark.parametrize(
    ("options", "error", "action"),
    [
        ({}, ValueError("boom"), ACK),
        (NOT, ValueError("boom"), DEAD),
        (NOT, TimeLimitExceeded(5), REQUEUE),
        ({"acks_on_failure": False}, ValueError("boom"), DEAD),
        ({"acks_on_failure": False}, TimeLimitExceeded(5), ACK),
        ({"acks_on_timeout": False}, TimeLimitExceeded(5), REQUEUE),
        ({"acks_on_timeout": False}, SoftTimeLimitExceeded(5), ACK),
        ({**NOT, "acks_on_failure": True}, ValueError("boom"), ACK),
        ({**NOT, "acks_on_timeout": True}, TimeLimitExceeded(5), ACK),
    ],
)
def test_what_is_not_acknowledged_is_rejected(
    app: Umbel, options: dict[str, Any], error: Exception, action: Action
) -> None:
    delivery = delivery_of(make(app, **options), 1)
    verdict = verdict_on(app, delivery, Failure(error, "the traceback"))
    assert verdict.settlement.action is action
    result = stored(verdict)
    assert (result is None) == (action is REQUEUE)
    if action is DEAD:
        expected = "Its failures are not acknowledged: ValueError('boom')"
        assert verdict.settlement.reason == expected


def test_the_settings_say_so_for_all(app: Umbel) -> None:
    app.conf.task_acks_on_failure_or_timeout = False
    task = make(app)
    failure = Failure(ValueError("boom"), "")
    assert verdict_on(app, delivery_of(task, 1), failure).settlement.action is DEAD
    app.conf.task_acks_on_failure = True
    assert verdict_on(app, delivery_of(task, 1), failure).settlement.action is ACK


def test_of_time_limits_a_setting_of_its_own_counts_first(app: Umbel) -> None:
    app.conf.update(task_acks_on_failure_or_timeout=True, task_acks_on_timeout=False)
    task = make(app)
    late, failed = Failure(TimeLimitExceeded(5), ""), Failure(ValueError("boom"), "")
    assert verdict_on(app, delivery_of(task, 1), late).settlement.action is REQUEUE
    assert verdict_on(app, delivery_of(task, 1), failed).settlement.action is ACK


def test_what_runs_at_most_once_is_acknowledged_already(app: Umbel) -> None:
    delivery = replace(delivery_of(make(app, acks_late=False, **NOT), 1), early=True)
    verdict = verdict_on(app, delivery, Failure(ValueError("boom"), ""))
    assert verdict.settlement.action is ACK


def test_a_retry_that_was_sent_is_not_sent_again(app: Umbel) -> None:
    task = make(app)
    delivery = delivery_of(task, 1)
    outcome = retried(task, delivery)
    outcome.retry.sig = replace(outcome.retry.sig, sent=True)
    verdict = verdict_on(app, delivery, outcome)
    assert verdict.settlement.publish == ()
    result = stored(verdict)
    assert result is not None
    assert result.state == "RETRY"


# Retries of what was lost


def lost_after(app: Umbel, retries: int, **options: Any) -> Verdict:
    task = make(app, **{"retry_on_worker_lost": True, "max_retries": 1, **options})
    delivery = delivery_of(task, 1, retries=retries)
    return verdict_on(app, delivery, OUTCOMES["lost running"])


@pytest.mark.parametrize("options", [{}, {"acks_late": False}])
def test_what_was_lost_may_be_retried(app: Umbel, options: dict[str, Any]) -> None:
    verdict = lost_after(app, retries=0, **options)
    assert verdict.settlement.action is ACK
    (publication,) = verdict.settlement.publish
    call = decode(publication.message, ("json",))
    assert (call.retries, call.args) == (1, [1])
    assert publication.due is not None
    result = stored(verdict)
    assert result is not None
    assert (result.state, str(result.result)) == ("RETRY", "Worker lost: pid 1 vanished")


@pytest.mark.parametrize(
    ("setting", "own", "retried"),
    [(True, None, True), (True, False, False), (False, None, False), (False, True, True)],
)
def test_the_setting_says_so_for_tasks_that_do_not(
    app: Umbel, setting: bool, own: bool | None, retried: bool
) -> None:
    app.conf.task_retry_on_worker_lost = setting
    found = lost_after(app, retries=0, retry_on_worker_lost=own).settlement
    assert (found.action, len(found.publish)) == ((ACK, 1) if retried else (REQUEUE, 0))


def test_a_retry_that_is_sent_at_once_goes_back_where_the_call_came_from(app: Umbel) -> None:
    app.conf.task_queues = [Queue("videos", Exchange("media", "topic"), "media.#")]

    @app.task(name="t", bind=True)
    def task(self: Task[..., Any], /, **options: Any) -> None:
        self.retry(throw=False, countdown=0, **options)

    def again(**options: Any) -> Delivery:
        task.apply_async((), options, exchange="media", routing_key="media.x", delivery_mode=1)
        (delivery,) = take(app, queue="videos")
        runner = Runner(app, "h")
        verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
        assert verdict.settlement.publish == ()
        (found,) = take(app, queue=options.get("queue", "videos"))
        return found

    back = again()
    assert delivery_info(back)["exchange"] == "media"
    assert delivery_info(back)["routing_key"] == "media.x"
    assert back.message.properties["delivery_mode"] == 1
    assert delivery_info(again(queue="celery"))["routing_key"] == "celery"


def test_when_the_retries_run_out_it_fails(app: Umbel) -> None:
    verdict = lost_after(app, retries=1)
    assert (verdict.settlement.action, verdict.settlement.publish) == (ACK, ())
    result = stored(verdict)
    assert result is not None
    assert result.state == "FAILURE"


#: A task whose retry cannot be sent, and why.
UNSENDABLE: list[tuple[dict[str, Any], str]] = [
    ({}, "EncodeError: t: argument"),
    ({"serializer": "none"}, "SerializerNotInstalled: There is no"),
    ({"default_retry_delay": 1e300}, "OverflowError: "),
]


@pytest.mark.parametrize(
    ("policy", "crashes", "expected"),
    [
        ({}, 0, (REQUEUE, None, True)),
        ({}, 2, (DEAD, "FAILURE", True)),
        ({"acks_late": False}, 0, (ACK, "FAILURE", False)),
        ({"reject_on_worker_lost": False}, 0, (ACK, "FAILURE", False)),
    ],
)
@pytest.mark.parametrize(("options", "why"), UNSENDABLE)
def test_what_was_lost_and_cannot_be_sent_again_goes_on_as_without_retries(
    app: Umbel,
    options: dict[str, Any],
    why: str,
    policy: dict[str, Any],
    crashes: int,
    expected: tuple[Action, str | None, bool],
) -> None:
    app.conf.accept_content = ["json", "pickle"]
    task = make(app, retry_on_worker_lost=True, **options, **policy)
    delivery = delivery_of(task, {1, 2}, serializer="pickle")
    delivery = replace(delivery, crashes=crashes, early=not policy.get("acks_late", True))
    verdict = verdict_on(app, delivery, OUTCOMES["lost running"])
    settlement, result = verdict.settlement, stored(verdict)
    assert settlement.publish == ()
    assert (settlement.action, result and result.state, settlement.crashed) == expected
    assert isinstance(verdict.run.outcome, Lost)
    assert f"pid 1 vanished; its retry cannot be sent: {why}" in verdict.run.outcome.reason


def test_the_result_names_what_the_task_called(app: Umbel) -> None:
    leaf = app.task(name="leaf")(lambda: None)

    @app.task(name="parent")
    def parent() -> list[str]:
        return [leaf.apply_async(queue="leaves").id for _ in range(2)]

    delivery = delivery_of(parent)
    runner = Runner(app, "h")
    verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    record = verdict.settlement.result
    assert record is not None
    app.result_store().put([record])
    found = app.AsyncResult(record.task_id)
    children = found.children or []
    assert [child.id for child in children] == found.result
    assert f'"children":[[["{found.result[0]}",null],null],' in str(record.document).replace(
        " ", ""
    )
    assert children[0].children is None


# What a message says itself, where nobody takes over from the dead


@pytest.mark.parametrize(
    ("said", "action", "error"),
    [
        ({"crashes": 3}, Action.DEAD_LETTER, "WorkerLostError"),
        ({"early": True}, Action.ACK, "WorkerLostError"),
        ({"over_time": 2.0}, Action.ACK, "TimeLimitExceeded"),
    ],
)
def test_what_says_that_it_ended_its_process_does_not_run(
    app: Umbel, said: dict[str, Any], action: Action, error: str
) -> None:
    ran: list[int] = []
    task = app.task(name="t")(lambda: ran.append(1))
    delivery = replace(delivery_of(task), **said)
    runner = Runner(app, "h")
    verdict = decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)
    assert ran == []
    assert verdict.settlement.action is action
    assert error in str(verdict.settlement.result)


def test_what_crashed_less_often_runs(app: Umbel) -> None:
    ran: list[int] = []
    task = app.task(name="t")(lambda: ran.append(1))
    runner = Runner(app, "h")
    runner.run(runner.prepare(replace(delivery_of(task), crashes=2)))
    assert ran == [1]
