"""Chords in the worker: how they come to their ends, whatever becomes of their calls."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.worker.support import consumer_of
from umbel import Ignore, Reject, Task, Umbel, chain, chord, group
from umbel.backend import chord_expiry
from umbel.clock import unique_id
from umbel.exceptions import ChordError, ImproperlyConfigured, OperationalError, TaskRevokedError
from umbel.ports import FetchRequest, GroupPart, Owner
from umbel.records import ResultRecord
from umbel.result import GroupResult
from umbel.tails import RawTail
from umbel.testing import Ran, run_pending
from umbel.worker.chords import has_errbacks, needs_its_thread
from umbel.worker.completing import Chords
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import Waiting
from umbel.worker.settler import Settler

Made = Task[..., Any]
Seen = list[tuple[Any, ...]]


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture(autouse=True)
def tasks(app: Umbel, seen: Seen) -> None:
    """Make tasks that add, fail in their ways, and note what they hear."""

    @app.task(name="same")
    def same(value: Any = None, *more: Any) -> Any:
        return value

    @app.task(name="total")
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    @app.task(name="unsendable")
    def unsendable() -> object:
        return object()

    @app.task(name="ignore")
    def ignore() -> None:
        raise Ignore

    @app.task(name="reject")
    def reject() -> None:
        raise Reject("a reason")

    @app.task(name="tell")
    def tell(task_id: str) -> None:
        seen.append((task_id,))

    @app.task(name="tell-error")
    def tell_error(request: Any, error: Exception, traceback: str) -> None:
        seen.append((request.id, repr(error)))

    @app.task(name="silent", ignore_result=True)
    def silent(value: Any) -> Any:
        return value


def s(app: Umbel, name: str, *args: Any) -> Any:
    return app.tasks[name].s(*args)


def test_a_header_whose_chain_ends_in_a_group_is_counted_where_it_follows_something(
    app: Umbel,
) -> None:
    ends_in_group = chain(s(app, "same", 1), group(s(app, "same"), s(app, "same")))
    whole = chain(s(app, "same", 1), chord([ends_in_group], s(app, "same")))
    result = whole.apply_async()
    run_pending(app)
    assert result.get(timeout=5) == [[1, 1]]


def test_a_header_with_a_chain_of_a_group_alone_is_counted_where_it_follows_a_chord(
    app: Umbel,
) -> None:
    of_a_group = chain(group(s(app, "same"), s(app, "same")))
    body = chord([s(app, "same"), of_a_group], s(app, "same"))
    result = chord([s(app, "same", 1), s(app, "same", 2)], body).apply_async()
    run_pending(app)
    assert result.get(timeout=5) == [[1, 2], [[1, 2], [1, 2]]]


def names(ran: list[Ran]) -> list[str | None]:
    return [one.name for one in ran]


# Bodies


def test_a_body_runs_once_with_all_results_in_order(app: Umbel) -> None:
    result = chord([s(app, "same", n) for n in range(20)], s(app, "same"))()
    assert names(run_pending(app)) == ["same"] * 21
    assert result.get() == list(range(20))
    assert result.parent.get() == list(range(20))
    assert result.parent.results[0].children is not None


def test_the_body_is_a_child_of_the_call_that_ended_last(app: Umbel) -> None:
    result = chord([s(app, "same", 1), s(app, "same", 2)], s(app, "total"))()
    body = run_pending(app)[-1]
    record = app.results.get([result.id])[result.id] if app.results else None
    assert body.id == result.id
    assert record is not None
    assert result.parent[1].id in str(record.document)


def test_calls_that_store_no_result_count(app: Umbel) -> None:
    result = chord([s(app, "silent", 1), s(app, "silent", 2)], s(app, "total"))()
    run_pending(app)
    assert result.get() == 3


def test_a_closed_chord_leaves_nothing(app: Umbel) -> None:
    result = chord([s(app, "same", 1), s(app, "same", 2)], s(app, "total"))()
    run_pending(app)
    assert app.results is not None
    assert app.results.parts(result.parent.id) == []


def test_a_call_that_is_delivered_twice_counts_once(app: Umbel) -> None:
    whole = chord([s(app, "same", n) for n in range(3)], s(app, "total").set(task_id="whole"))
    whole.freeze()
    for _ in range(3):
        whole.apply_async()
    ran = run_pending(app)
    assert [one.id for one in ran].count("whole") == 1
    assert app.AsyncResult("whole").get() == 3
    late = whole.tasks.tasks[0].clone().set(chord=whole.body, group_index=0)
    late.apply_async()  # long after
    assert [one.id for one in run_pending(app)].count("whole") == 0


def test_what_follows_a_body_follows_the_chord(app: Umbel) -> None:
    body = chain(s(app, "total"), s(app, "same"), group(s(app, "same"), s(app, "same")))
    result = (chord([s(app, "same", 1), s(app, "same", 2)], body) | s(app, "total")).apply_async()
    run_pending(app)
    assert result.get() == 6


def test_groups_within_a_header_keep_their_places(app: Umbel) -> None:
    inner = s(app, "same", 1) | group(s(app, "same"), s(app, "same"))
    result = chord([inner, s(app, "same", 2), group(s(app, "same", 3))], s(app, "same"))()
    run_pending(app)
    assert result.get() == [[1, 1], 2, 3]
    assert isinstance(result.parent[0], GroupResult)


def test_an_empty_header_is_a_body_alone(app: Umbel) -> None:
    result = chord([], s(app, "total"))()
    assert names(run_pending(app)) == ["total"]
    assert result.get() == 0


def test_a_chord_follows_a_call(app: Umbel) -> None:
    first = s(app, "same", 1)
    first.link(chord([s(app, "same"), s(app, "same")], s(app, "total").set(task_id="whole")))
    first.apply_async()
    run_pending(app)
    assert app.AsyncResult("whole").get() == 2


def test_a_retry_keeps_its_place_in_a_header(app: Umbel) -> None:
    @app.task(name="again", bind=True)
    def again(self: Made, value: int) -> int:
        if not self.request.retries:
            raise self.retry(countdown=0)
        return value

    result = chord([again.s(1), s(app, "same", 2) | again.s()], s(app, "same"))()
    run_pending(app)
    assert result.get() == [1, 2]


def test_chains_in_messages_of_protocol_1_are_links(app: Umbel) -> None:
    app.conf.task_protocol = 1
    whole = s(app, "same", 1) | group(s(app, "same"), s(app, "same")) | s(app, "total")
    result = (whole | s(app, "same") | s(app, "same")).apply_async()
    run_pending(app)
    assert result.get() == 2


def test_a_chord_outlives_the_results_of_its_header(app: Umbel) -> None:
    now = app.clock.time()
    app.conf.result_expires = 2
    kept = chord_expiry(app.conf.snapshot, now)
    assert kept is not None
    assert kept >= now + 7 * 86_400
    app.conf.result_expires = 30 * 86_400
    assert chord_expiry(app.conf.snapshot, now) == now + 30 * 86_400
    app.conf.result_chord_expires = 60
    assert chord_expiry(app.conf.snapshot, now) == now + 60
    app.conf.result_chord_expires = None
    app.conf.result_expires = None
    assert chord_expiry(app.conf.snapshot, now) is None


# Failures


@pytest.mark.parametrize(
    ("culprit", "says"),
    [
        ("fail", "ValueError('no')"),
        ("unsendable", "EncodeError"),
        ("reject", "raised reject requeue=False: a reason"),
    ],
)
def test_a_body_fails_with_its_header(app: Umbel, seen: Seen, culprit: str, says: str) -> None:
    body = s(app, "total")
    body.link_error(s(app, "tell"))
    body.link_error(s(app, "tell-error"))
    result = chord([s(app, "same", 1), s(app, culprit)], body)()
    assert "total" not in names(run_pending(app))
    with pytest.raises(ChordError) as caught:
        result.get(follow_parents=False)
    assert says in str(caught.value)
    assert result.parent[1].id in str(caught.value)
    (called, sent) = seen
    assert (called[0], sent) == (result.id, (result.id,))
    assert called[1].startswith("ChordError(")


@pytest.mark.parametrize("form", ["chain", "header", "chain in a header", "group at the end"])
def test_the_failure_is_stored_before_those_that_come_of_it(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Who waits for the last of a workflow is told of its cause, and can look for it."""
    store, fails = app.results, s(app, "fail").set(task_id="cause")
    assert store is not None
    result = {
        "chain": fails | s(app, "same") | s(app, "same"),
        "header": chord([s(app, "same", 1), fails], s(app, "total")),
        "chain in a header": chord([fails | s(app, "same")], s(app, "total")),
        "group at the end": chord([fails], group(s(app, "same").set(task_id="a"), s(app, "same"))),
    }[form].apply_async()
    put, causes = store.put, []

    def watched(stored: Sequence[ResultRecord]) -> None:
        put(stored)
        if any(one.task_id in {result.id, "a"} for one in stored):
            causes.append(app.AsyncResult("cause").state)

    monkeypatch.setattr(store, "put", watched)
    run_pending(app)
    assert causes == ["FAILURE"]
    with pytest.raises(ValueError, match="no"):
        result.get(timeout=5)


def test_an_expired_call_of_a_header_is_a_failure(app: Umbel, seen: Seen) -> None:
    body = s(app, "total").on_error(s(app, "tell"))
    result = chord([s(app, "same", 1), s(app, "same", 2).set(expires=-1)], body)()
    run_pending(app)
    with pytest.raises(TaskRevokedError):
        result.get()
    assert seen == [(result.id,)]


def test_a_failure_in_a_chain_reaches_the_chord_that_it_belongs_to(app: Umbel, seen: Seen) -> None:
    body = s(app, "total").on_error(s(app, "tell"))
    broken = s(app, "same", 1) | s(app, "fail") | s(app, "same") | s(app, "same")
    result = chord([s(app, "same", 1), broken], body)()
    assert names(run_pending(app)) == ["same", "same", "fail", "tell"]
    assert result.failed()
    assert result.parent[1].failed()
    assert seen == [(result.id,)]


def test_a_failure_reaches_outer_chords_and_what_follows_them(app: Umbel, seen: Seen) -> None:
    inner = chord([s(app, "fail")], s(app, "total").on_error(s(app, "tell")))
    outer = chord([s(app, "same", 1), inner], s(app, "total").on_error(s(app, "tell")))
    result = (outer | s(app, "same") | group(s(app, "same"), s(app, "same"))).apply_async()
    run_pending(app)
    assert all(one.failed() for one in result)
    assert result.parent.failed()
    assert result.parent.parent.failed()
    assert len(seen) == 2


def test_each_call_of_a_body_that_is_a_group_fails(app: Umbel, seen: Seen) -> None:
    body = group(s(app, "same"), s(app, "same"))
    body.link_error(s(app, "tell"))
    result = chord([s(app, "fail")], body)()
    run_pending(app)
    assert [one.failed() for one in result] == [True, True]
    assert sorted(seen) == sorted((one.id,) for one in result)


def test_a_body_that_cannot_be_sent_fails(app: Umbel, seen: Seen) -> None:
    class Never(Task[..., Any]):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            raise ImproperlyConfigured("no way")

    never = app.task(name="never", base=Never)(lambda numbers: None)
    result = chord([s(app, "same", 1)], never.s().on_error(s(app, "tell")))()
    run_pending(app)
    with pytest.raises(ChordError, match=r"Callback error: .*no way"):
        result.get(follow_parents=False)
    assert seen == [(result.id,)]


def test_an_errback_that_raises_is_logged_and_changes_nothing(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="bad")
    def bad(request: Any, error: Any, traceback: Any) -> None:
        raise KeyError("bad")

    result = chord([s(app, "fail")], s(app, "total").on_error(s(app, "bad")))()
    run_pending(app)
    assert result.failed()
    assert "Errback 'bad' raised an exception" in caplog.text


def test_a_call_that_is_ignored_leaves_its_chord_open(app: Umbel) -> None:
    result = chord([s(app, "ignore"), s(app, "same", 1)], s(app, "total"))()
    run_pending(app)
    assert not result.ready()


# Settling


def test_errbacks_are_called_once_however_often_a_settle_is_made(app: Umbel, seen: Seen) -> None:
    """A broker that does not answer is asked again, with all that follows."""
    body = s(app, "total").on_error(s(app, "tell-error")).on_error(s(app, "tell"))
    chord([s(app, "fail")], body)()
    verdict = _only_verdict(app)
    chords = Chords(app, app.results)
    (first,), claims = chords.heard([verdict])
    (second,), _ = chords.heard([verdict])
    assert first.settlement.publish == second.settlement.publish != ()
    assert [len(one) for one in seen] == [2]
    chords.close(claims, [])
    assert chords.heard([verdict])[1] == []


def test_where_errbacks_may_not_be_called_their_verdict_waits(app: Umbel, seen: Seen) -> None:
    chord([s(app, "fail")], s(app, "total").on_error(s(app, "tell-error")))()
    failed = _only_verdict(app)
    chord([s(app, "same", 1)], s(app, "total"))()
    fine = _only_verdict(app)
    chords, held = Chords(app, app.results), list[Verdict]()
    (left,), claims = chords.heard([failed, fine], held)
    assert left.settlement.delivery == fine.settlement.delivery
    assert {claim.key for claim in claims} == {fine.settlement.delivery.key}
    assert (held, seen) == ([failed], [])
    _, claims = chords.heard(held)
    assert [one[1][:11] for one in seen] == ["ChordError("]
    assert {claim.key for claim in claims} == {failed.settlement.delivery.key}


def test_a_settle_that_was_not_answered_closes_its_chord(app: Umbel) -> None:
    result = chord([s(app, "same", 1)], s(app, "total"))()
    verdict = _only_verdict(app)
    assert app.results is not None
    settler = Settler(app.broker, consumer_of(app), app.results, Chords(app, app.results))
    key = verdict.settlement.delivery.key
    settler.unanswered.add(
        key
    )  # another owner has the lease: so it looks when the first call did it
    settler.settle([verdict])
    assert app.results.parts(result.parent.id) == []
    result = chord([s(app, "same", 1)], s(app, "total"))()
    settler.settle([_only_verdict(app)])  # taken over by somebody, who goes on with it
    assert len(app.results.parts(result.parent.id)) == 1


def test_who_dies_before_the_settle_makes_the_same_messages_again(app: Umbel) -> None:
    chord([s(app, "same", 1)], chord([s(app, "same"), s(app, "same")], s(app, "total")))()
    verdict = _only_verdict(app)
    (first,), _ = Chords(app, app.results).heard([verdict])
    (second,), _ = Chords(app, app.results).heard([verdict])
    published = [(one.tag, one.message.task_id) for one in first.settlement.publish]
    assert published == [(one.tag, one.message.task_id) for one in second.settlement.publish]
    assert len(published) == 2
    opened = [(one.group, one.size) for one in first.openings]
    assert opened == [(one.group, one.size) for one in second.openings]
    assert len(opened) == 1


@pytest.mark.parametrize("by_reference", [False, True], ids=["as Celery", "by reference"])
def test_nothing_follows_a_group_that_another_one_closed_after_the_claim(
    app: Umbel, monkeypatch: pytest.MonkeyPatch, seen: Seen, by_reference: bool
) -> None:
    """It has sent the body; its word to the store may come later than its delivery to somebody else."""
    app.conf.workflow_by_reference = by_reference
    body = s(app, "total").on_error(s(app, "tell-error")) | s(app, "same")
    result = chord([s(app, "same", 1)], body)()
    verdict = _only_verdict(app)
    assert app.results is not None
    add_parts, (member,) = app.results.add_parts, verdict.members

    def and_hears_late(parts: Sequence[GroupPart]) -> list[bool]:
        answers = add_parts(parts)
        assert app.results is not None
        assert app.results.close_group(member.part.group, member.part.claimant)
        return answers

    monkeypatch.setattr(app.results, "add_parts", and_hears_late)
    (found,), _ = Chords(app, app.results).heard([verdict])
    assert (found.settlement, found.others, seen) == (verdict.settlement, verdict.others, [])
    assert result.state == "PENDING"


def test_a_supervisor_sends_bodies_without_any_code_of_tasks(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(Task[..., Any]):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            raise AssertionError("no code of tasks may run")

    own = app.task(name="own", base=Own)(lambda numbers: numbers)
    chord([s(app, "same", 1)], own.s())()
    (verdict,), _ = Chords(app, app.results, plainly=True).heard([_only_verdict(app)])
    assert [one.task for one in verdict.settlement.publish] == ["own"]
    chord([s(app, "fail")], s(app, "total").on_error(s(app, "tell-error")))()
    (verdict,), _ = Chords(app, app.results, plainly=True).heard([_only_verdict(app)])
    assert verdict.settlement.publish == ()
    assert "no child is here to run it" in caplog.text


def test_where_nobody_counts_that_is_said(app: Umbel, caplog: pytest.LogCaptureFixture) -> None:
    chord([s(app, "same", 1)], s(app, "total"))()
    verdict = _only_verdict(app)
    assert Chords(app, None).heard([verdict]) == ([verdict], [])
    assert "no results are kept: nobody counts them" in caplog.text


def test_a_body_that_nobody_can_read_is_logged(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    chord([s(app, "same", 1)], s(app, "total"))()
    verdict = _only_verdict(app)
    (member,) = verdict.members
    wrong = replace(verdict, members=(replace(member, body={"task": "t", "subtask_type": "ring"}),))
    (found,), claims = Chords(app, app.results).heard([wrong])
    assert (found.settlement, len(claims)) == (verdict.settlement, 1)
    assert "cannot be read" in caplog.text


def _only_verdict(app: Umbel) -> Verdict:
    """Return the verdict on the only call that waits; it is not settled."""
    consumer = app.broker.consumer(Owner(unique_id(), "node", "host", 1), 60.0)
    (delivery,) = consumer.fetch(FetchRequest(["celery"], 1), 0.0)
    runner = Runner(app, "celery@host")
    with closing(runner):
        return decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)


# Replacing


@pytest.fixture
def spread(app: Umbel) -> Made:
    @app.task(name="spread", bind=True)
    def spread(self: Made, number: int) -> Any:
        return self.replace(group(s(app, "same", number), s(app, "same", number)))

    made: Made = spread
    return made


def test_what_follows_a_call_follows_what_takes_its_place(app: Umbel, spread: Made) -> None:
    linked = spread.s(1)
    linked.link(s(app, "same").set(task_id="linked"))
    result = (linked | s(app, "total")).apply_async()
    run_pending(app)
    assert result.get() == 2
    assert app.AsyncResult("linked").get() == [1, 1]
    assert result.parent.get() == [1, 1]


def test_a_call_of_a_header_may_be_replaced(app: Umbel, spread: Made) -> None:
    result = chord([spread.s(1), s(app, "same", 5)], s(app, "same"))()
    run_pending(app)
    assert result.get() == [[1, 1], 5]


def test_a_chain_takes_the_place_of_a_call(app: Umbel) -> None:
    @app.task(name="again", bind=True)
    def again(self: Made) -> Any:
        return self.replace(s(app, "same", 1) | group(s(app, "same"), s(app, "same")))

    result = (again.s() | s(app, "total") | s(app, "same")).apply_async()
    ran = run_pending(app)
    assert result.get() == 2
    assert result.parent.parent.get() == [1, 1]
    assert [one.name for one in ran][:2] == ["again", "same"]


def test_a_chain_that_ends_in_an_empty_one_ends_before_that(app: Umbel) -> None:
    """As others may have written it: umbel's own chains have no empty ones."""

    @app.task(name="again", bind=True)
    def again(self: Made) -> Any:
        sig = chain(s(app, "same", 1), s(app, "same"))
        sig["kwargs"]["tasks"].append(chain())
        return self.replace(sig)

    result = again.delay()
    run_pending(app)
    assert result.get() == 1


def test_who_dies_before_the_settle_is_replaced_by_the_same_calls_again(app: Umbel) -> None:
    """And by others if it makes others then, whose chord has nothing to do with the first."""
    sizes = [2]

    @app.task(name="sized", bind=True)
    def sized(self: Made) -> Any:
        mixed = {1: {}, "one": (1,)}
        return self.replace(group(s(app, "same", mixed, number) for number in range(sizes[0])))

    sized.delay()
    (delivery,) = consumer_of(app).fetch(FetchRequest(["celery"], 1), 0.0)

    def follow() -> list[tuple[str | None, str]]:
        runner = Runner(app, "celery@host")
        with closing(runner):
            ran = runner.run(runner.prepare(delivery))
        published = decide(ran, app.conf.snapshot, app.clock).settlement.publish
        return [(one.message.task_id, one.tag) for one in published]

    first = follow()
    assert len(first) == 2
    assert follow() == first
    sizes[0] = 3
    others = follow()
    assert len(others) == 3
    assert not set(others) & set(first)


def test_a_call_that_is_run_twice_is_replaced_by_the_same_calls(app: Umbel, spread: Made) -> None:
    sig = spread.s(1)
    sig.freeze("twice")
    sig.apply_async()
    sig.apply_async()
    first, second = (one for one in run_pending(app, limit=50) if one.name == "spread")
    assert first.id == second.id == "twice"
    assert app.AsyncResult("twice").get() == [1, 1]


def test_errbacks_follow_what_takes_the_place_of_a_call(app: Umbel, seen: Seen) -> None:
    @app.task(name="into-failure", bind=True)
    def into_failure(self: Made) -> Any:
        return self.replace(s(app, "fail"))

    result = into_failure.s().on_error(s(app, "tell")).apply_async()
    run_pending(app)
    assert result.failed()
    assert seen == [(result.id,)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda app: chain(), "empty chain"),
        (lambda app: chord([s(app, "same")], chain()), "empty chain"),
        (lambda app: s(app, "same").set(chord=s(app, "total")), "must not be part of a chord"),
    ],
)
def test_what_cannot_take_a_place_says_so(app: Umbel, make: Any, says: str) -> None:
    @app.task(name="wrong", bind=True)
    def wrong(self: Made) -> Any:
        return self.replace(make(app))

    wrong.delay()
    (ran,) = run_pending(app)
    assert isinstance(ran.result, ImproperlyConfigured)
    assert says in str(ran.result)


def test_a_call_that_its_caller_runs_is_replaced_in_place(app: Umbel, spread: Made) -> None:
    assert spread.apply((1,)).get() == [1, 1]
    assert (spread.s(1) | s(app, "total")).apply().get() == 2


# Growing


def test_a_header_may_grow(app: Umbel) -> None:
    @app.task(name="grow", bind=True)
    def grow(self: Made, number: int) -> int:
        self.add_to_chord(s(app, "same", 10 * number))
        self.add_to_chord(s(app, "same", 100 * number) | s(app, "same"))
        lazy = self.add_to_chord(s(app, "same", 1000 * number), lazy=True)
        lazy.delay()
        return number

    whole = chord([grow.s(1), grow.s(2)], s(app, "total").set(task_id="whole"))
    whole.freeze()
    result = whole.apply_async()
    run_pending(app)
    assert result.get() == 3333


def test_what_is_added_to_a_header_with_groups_in_it_comes_last(app: Umbel) -> None:
    @app.task(name="grow-one", bind=True)
    def grow_one(self: Made, number: int) -> int:
        self.add_to_chord(s(app, "same", 10 * number))
        return number

    inner = s(app, "same", 2) | group(s(app, "same"), s(app, "same"))
    result = chord([grow_one.s(1), inner], s(app, "same"))()
    run_pending(app)
    assert result.get() == [1, [2, 2], 10]


def test_who_runs_again_adds_the_same_calls_to_a_header(app: Umbel) -> None:
    """Who dies in between has told of calls that it has not sent: nobody else would send them."""

    @app.task(name="grow-twice", bind=True)
    def grow_twice(self: Made) -> int:
        self.add_to_chord(group(s(app, "same", 10), s(app, "same", 100)))
        self.add_to_chord(s(app, "same", 1000) | s(app, "same"))
        return 1

    def dies(*_: object) -> None:
        raise OperationalError("It dies here.")

    result = chord([grow_twice.s()], s(app, "total"))()
    with closing(consumer_of(app)) as consumer, closing(Runner(app, "celery@host")) as runner:
        (delivery,) = consumer.fetch(FetchRequest(["celery"], 1), 0.0)
        with pytest.MonkeyPatch.context() as dying:
            dying.setattr(app.broker, "publish", dies)
            runner.run(runner.prepare(delivery))
        consumer.release([delivery.key])
    run_pending(app)
    assert result.get(timeout=1) == 1111


def test_only_a_call_of_a_header_can_let_it_grow(app: Umbel) -> None:
    @app.task(name="alone", bind=True)
    def alone(self: Made) -> Any:
        return self.add_to_chord(s(app, "same", 1))

    alone.delay()
    (ran,) = run_pending(app)
    assert isinstance(ran.result, ValueError)


# Celery's own


def test_a_chord_that_celerys_worker_polls_for_is_understood(app: Umbel, seen: Seen) -> None:
    result = group(s(app, "same", 1), s(app, "same", 2)).apply_async()
    written = [one.as_tuple() for one in result]
    body = dict(s(app, "total").set(task_id="whole"))
    app.send_task("celery.chord_unlock", (result.id, body), {"result": written, "interval": 0})
    run_pending(app)
    assert app.AsyncResult("whole").get() == 3
    failed = group(s(app, "same", 1), s(app, "fail")).apply_async()
    body = dict(s(app, "total").set(task_id="never").on_error(s(app, "tell")))
    written = [one.as_tuple() for one in failed]
    app.send_task("celery.chord_unlock", (failed.id, body), {"result": written, "interval": 0})
    run_pending(app)
    with pytest.raises(ChordError, match="raised ValueError"):
        app.AsyncResult("never").get()
    assert seen == [("never",)]


# Which thread settles


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("plain", False),
        ("errback", True),
        ("in a chain", True),
        ("behind it", True),
        ("in a chord", True),
        ("in a piece", True),
        ("raw", True),
    ],
)
def test_what_may_call_errbacks_is_known_of_a_body(app: Umbel, body: str, found: bool) -> None:
    plain, told = s(app, "same"), s(app, "same").on_error(s(app, "tell-error"))
    bodies: dict[str, Any] = {
        "plain": chord([plain, plain], plain),
        "errback": told,
        "in a chain": chain(plain, told),
        "behind it": s(app, "same").set(chord=dict(told)),
        "in a chord": chord([plain, told], plain),
        "in a piece": {"task": "umbel.rest", "kwargs": {"piece": "p"}},
        "raw": {"task": "same", "options": {"chain": RawTail(b"[]")}},
    }
    assert has_errbacks(bodies[body]) is found


def test_a_header_is_not_complete_while_its_next_call_waits(app: Umbel) -> None:
    told = s(app, "same").on_error(s(app, "tell-error"))
    for _ in range(2):
        chord([s(app, "same", 1), s(app, "same", 2)], told)()
    app.tasks["same"].delay(3)
    consumer, runner = consumer_of(app), Runner(app, "w1@host")
    prepared = [runner.prepare(one) for one in consumer.fetch(FetchRequest(("celery",), 9), 0.0)]
    verdicts = [decide(runner.run(one), app.conf.snapshot, app.clock) for one in prepared]
    waiting = [Waiting(*one) for one in enumerate(prepared)]
    needed = [
        needs_its_thread(verdict.members, waiting[place + 1 :])
        for place, verdict in enumerate(verdicts)
    ]
    assert needed == [False, True, False, True, False]


def test_who_completes_a_chord_late_leaves_it_to_the_run_that_has_begun_since(
    app: Umbel, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="note")
    def note(values: list[int]) -> None:
        seen.append(tuple(values))

    same = app.tasks["same"]
    made = chord([same.s(1), same.s(2), same.s(3)], note.s())
    made.freeze()
    store = app.results
    assert store is not None
    look, add, first, again = store.saved_group, store.add_parts, list[GroupPart](), list[str]()

    def noted(parts: Sequence[GroupPart]) -> list[bool]:
        first.extend(parts)
        return add(parts)

    def slow(group: str) -> str | bytes | None:
        if not again:  # as the claim has been given; one call of the other run has ended, too
            again.append(group)
            made.apply_async()
            add([replace(first[0], claimant="another")])
        return look(group)

    monkeypatch.setattr(store, "add_parts", noted)
    monkeypatch.setattr(store, "saved_group", slow)
    made.apply_async()
    run_pending(app)
    assert again
    assert seen == [(1, 2, 3)]
