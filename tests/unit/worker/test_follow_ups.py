"""What follows a call that a worker runs; which messages these are in Celery is in tests/compat/calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import calls
from tests.unit.worker.support import Made, consumer_of, delivery_of, foreign, take
from umbel import AsyncResult, Signature, Task, Umbel, signals
from umbel.message import Call, Delivery, Publication, decode
from umbel.ports import Action
from umbel.records import decode as read
from umbel.result import GroupResult
from umbel.serialization import serializer
from umbel.worker.decide import Verdict, decide
from umbel.worker.execute import Runner
from umbel.worker.outcome import Failure, Lost, Run, Success, Unprocessable
from umbel.worker.settler import Settler
from umbel.writing import encode


@pytest.fixture
def runner(app: Umbel) -> Iterator[Runner]:
    runner = Runner(app, "celery@host")
    yield runner
    runner.close()


@pytest.fixture
def add(app: Umbel) -> Made:
    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


@pytest.fixture
def fail(app: Umbel) -> Made:
    @app.task(name="fail")
    def fail(*args: Any) -> None:
        raise ValueError("no")

    return fail


def verdict(runner: Runner, delivery: Delivery, app: Umbel) -> Verdict:
    return decide(runner.run(runner.prepare(delivery)), app.conf.snapshot, app.clock)


def following(found: Verdict) -> list[Call]:
    return [decode(one.message, ("json",)) for one in found.settlement.publish]


def children(app: Umbel, found: Verdict) -> list[Any]:
    assert found.settlement.result is not None
    written = read(found.settlement.result).children
    return [app.result_from_tuple(one) for one in written or ()]


def written(app: Umbel, delivery: Delivery, **parts: Any) -> Delivery:
    """Return a delivery of a call as no client of ours would write it."""
    call = Call(task="add", id="theirs", args=(1, 2), **parts)
    foreign(app, encode(call, serializer("json")), queue="foreign")
    (found,) = take(app, queue="foreign")
    return found


# Callbacks


def test_what_is_decided_twice_makes_the_same_messages(
    app: Umbel, runner: Runner, add: Made
) -> None:
    delivery = delivery_of(add, 1, 2, link=[add.s(10), add.si(3, 4)])
    first, second = (verdict(runner, delivery, app) for _ in range(2))
    for found in (first, second):
        assert [call.args for call in following(found)] == [[3, 10], [3, 4]]
    assert [(one.tag, one.task_id) for one in first.settlement.publish] == [
        (one.tag, one.task_id) for one in second.settlement.publish
    ]
    tags = {one.tag for one in first.settlement.publish}
    assert len(tags) == len({one.task_id for one in first.settlement.publish}) == 2
    assert children(app, first) == children(app, second)


def test_what_is_settled_twice_is_sent_once(app: Umbel, runner: Runner, add: Made) -> None:
    delivery = delivery_of(add, 1, 2, link=add.s(10))
    for _ in range(2):  # the first worker dies when it has published and not acknowledged
        app.broker.publish(verdict(runner, delivery, app).settlement.publish, 1.0)
    assert [call.args for call in calls(app)] == [[3, 10]]


def test_callbacks_are_children_of_the_call(app: Umbel, runner: Runner, add: Made) -> None:
    one = verdict(runner, delivery_of(add, 1, 2, link=add.s(1)), app)
    assert children(app, one) == [app.AsyncResult(following(one)[0].id)]
    two = verdict(runner, delivery_of(add, 1, 2, link=[add.s(1), add.s(2)]), app)
    (group,) = children(app, two)
    assert isinstance(group, GroupResult)
    assert [result.id for result in group] == [call.id for call in following(two)]
    assert {call.group_id for call in following(two)} == {group.id}


def test_callbacks_follow_also_where_the_result_is_ignored(
    app: Umbel, runner: Runner, add: Made
) -> None:
    found = verdict(runner, delivery_of(add, 1, 2, link=add.s(1), ignore_result=True), app)
    assert (found.settlement.result, len(found.settlement.publish)) == (None, 1)


def test_a_callback_goes_through_the_apply_async_of_its_task(app: Umbel, runner: Runner) -> None:
    class Tenant(Task[..., Any]):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            options["headers"] = {"tenant": options.pop("tenant", "none")}
            return super().apply_async(*args, **options)

    @app.task(base=Tenant, name="work")
    def work(*args: Any) -> None: ...

    delivery = delivery_of(work, link=[work.s().set(tenant="a"), work.s()])
    assert [call.headers for call in following(verdict(runner, delivery, app))] == [
        {"tenant": "a"},
        {"tenant": "none"},
    ]
    assert calls(app) == []  # all of it waits for the call to be settled


def test_signals_tell_of_what_follows(app: Umbel, runner: Runner, add: Made) -> None:
    delivery = delivery_of(add, 1, 2, link=add.s(1))
    told: list[Any] = []

    def before(headers: Any, **_: Any) -> None:
        headers["trace"] = "t"
        told.append("before")

    def after(**_: Any) -> None:
        told.append("after")

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        found = verdict(runner, delivery, app)
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert told == ["before", "after"]
    assert following(found)[0].headers == {"trace": "t"}


def test_a_value_that_cannot_be_sent_is_a_failure_before_anybody_hears_of_a_success(
    app: Umbel, runner: Runner, add: Made
) -> None:
    heard: list[Any] = []

    @app.task(name="work", ignore_result=True, on_success=lambda *args: heard.append(args))
    def work() -> object:
        return object()

    found = verdict(runner, delivery_of(work, link=add.s(1)), app)
    assert isinstance(found.run.outcome, Failure)
    assert (found.settlement.publish, heard) == ((), [])
    assert "add" in str(found.run.outcome.error)


def test_nothing_follows_what_is_retried_or_rejected(app: Umbel, runner: Runner, add: Made) -> None:
    @app.task(name="again", bind=True)
    def again(self: Any) -> None:
        raise self.retry(countdown=1)

    found = verdict(runner, delivery_of(again, link=add.s(1), link_error=add.s(2)), app)
    (call,) = following(found)
    assert (call.task, call.callbacks, call.errbacks) == (
        "again",
        [dict(add.s(1), args=[1])],
        [dict(add.s(2), args=[2])],
    )


# Errbacks


def test_an_errback_that_takes_an_id_is_sent_with_the_failure(
    app: Umbel, runner: Runner, fail: Made
) -> None:
    @app.task(name="tell")
    def tell(task_id: str) -> None: ...

    delivery = delivery_of(fail, link_error=tell.s(), link=tell.s())
    found = verdict(runner, delivery, app)
    (call,) = following(found)
    failed = delivery.message.task_id
    assert (call.task, call.args, call.parent_id, call.root_id) == (
        "tell",
        [failed],
        failed,
        failed,
    )
    assert found.settlement.action is Action.ACK
    assert children(app, found) == []
    again = verdict(runner, delivery, app)
    assert [one.tag for one in again.settlement.publish] == [
        one.tag for one in found.settlement.publish
    ]


def test_an_errback_that_takes_the_error_is_called_where_the_task_failed(
    app: Umbel, runner: Runner, fail: Made, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    @app.task(name="raises")
    def raises(request: Any, error: Any, traceback: Any) -> None:
        raise KeyError("errback")

    @app.task(name="tell")
    def tell(request: Any, error: Any, traceback: Any) -> None:
        seen.append((request.id, repr(error), "ValueError: no" in traceback))

    delivery = delivery_of(fail, link_error=[raises.s(), tell.s()])
    found = verdict(runner, delivery, app)
    assert seen == [(delivery.message.task_id, "ValueError('no')", True)]
    assert found.settlement.publish == ()
    assert "Errback 'raises' raised an exception" in caplog.text


def test_a_bound_errback_that_can_do_with_an_id_is_sent(
    app: Umbel, runner: Runner, fail: Made
) -> None:
    """Celery sends all that are bound; here one that needs the error is called with it."""
    seen: list[Any] = []

    @app.task(name="tell", bind=True)
    def tell(self: Task[..., Any], task_id: str, *more: Any, by: str = "") -> None: ...

    @app.task(name="note", bind=True)
    def note(self: Task[..., Any], task_id: str, place: str = "here") -> None: ...

    @app.task(name="hear", bind=True)
    def hear(self: Task[..., Any], request: Any, error: Any, traceback: Any) -> None:
        seen.append(repr(error))

    delivery = delivery_of(fail, link_error=[tell.s(), note.s(), hear.s()])
    sent = following(verdict(runner, delivery, app))
    assert [(one.task, one.args) for one in sent] == [
        ("tell", [delivery.message.task_id]),
        ("note", [delivery.message.task_id]),
    ]
    assert seen == ["ValueError('no')"]


def test_an_errback_that_cannot_be_sent_is_logged_and_the_failure_stored(
    app: Umbel, runner: Runner, fail: Made, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="tell", serializer="no-such")
    def tell(task_id: str) -> None: ...

    found = verdict(runner, delivery_of(fail, link_error=tell.s()), app)
    assert (found.settlement.publish, found.settlement.result is None) == ((), False)
    assert "The errback tell of task" in caplog.text


def test_an_errback_that_could_not_be_sent_the_first_time_takes_no_others_tag(
    app: Umbel, runner: Runner, fail: Made
) -> None:
    @app.task(name="tell")
    def tell(task_id: str) -> None: ...

    @app.task(name="broken", serializer="no-such")
    def broken(task_id: str) -> None: ...

    delivery = delivery_of(fail, link_error=[broken.s(), tell.s()])
    first = verdict(runner, delivery, app).settlement.publish
    broken.serializer = "json"
    second = verdict(runner, delivery, app).settlement.publish
    assert [one.task for one in first] == ["tell"]
    assert [one.task for one in second] == ["broken", "tell"]
    assert first[0].tag == second[1].tag != second[0].tag


def test_failures_that_are_not_acknowledged_have_errbacks_too(app: Umbel, runner: Runner) -> None:
    @app.task(name="tell")
    def tell(task_id: str) -> None: ...

    @app.task(name="bad", acks_on_failure=False)
    def bad() -> None:
        raise ValueError("no")

    found = verdict(runner, delivery_of(bad, link_error=tell.s()), app)
    assert (found.settlement.action, len(found.settlement.publish)) == (Action.DEAD_LETTER, 1)


def test_errbacks_follow_a_call_whose_process_died(
    app: Umbel, runner: Runner, add: Made, caplog: pytest.LogCaptureFixture
) -> None:
    class Own(Task[..., Any]):
        def apply_async(self, *args: Any, **options: Any) -> Any:
            raise AssertionError("the code of a task runs where none may")

    @app.task(name="tell", base=Own)
    def tell(task_id: str) -> None: ...

    @app.task(name="takes-it")
    def takes_it(request: Any, error: Any, traceback: Any) -> None:
        raise AssertionError("the code of a task runs where none may")

    app.conf.worker_max_deliveries = 1
    steps = [add.s(1).set(task_id="last"), add.s(2).set(task_id="next")]
    delivery = delivery_of(add, 1, 2, link_error=[tell.s(), takes_it.s()], chain=steps)
    run = Run(runner.prepare(delivery), Lost("signal 9", running=True))
    found = decide(run, app.conf.snapshot, app.clock)
    assert found.settlement.action is Action.DEAD_LETTER
    assert [(call.task, call.args) for call in following(found)] == [
        ("tell", [delivery.message.task_id])
    ]
    assert [one.task_id for one in found.others] == ["last", "next"]
    assert "The errback takes-it of task" in caplog.text
    app.conf.worker_max_deliveries = 2
    again = decide(run, app.conf.snapshot, app.clock)
    assert (again.settlement.publish, again.others) == ((), ())


def test_errbacks_follow_a_retry_that_cannot_be_sent(app: Umbel, runner: Runner) -> None:
    @app.task(name="tell")
    def tell(task_id: str) -> None: ...

    @app.task(name="again", bind=True)
    def again(self: Any) -> None:
        raise self.retry(args=(object(),))

    found = verdict(runner, delivery_of(again, link_error=tell.s(), link=tell.s("x")), app)
    assert isinstance(found.run.outcome, Failure)
    assert [call.task for call in following(found)] == ["tell"]


# Chains


def test_the_rest_of_a_chain_follows(app: Umbel, runner: Runner, add: Made) -> None:
    steps = [add.s(100).set(task_id="last"), add.s(10).set(task_id="next")]
    found = verdict(runner, delivery_of(add, 1, 2, chain=steps), app)
    (call,) = following(found)
    assert (call.id, call.args) == ("next", [3, 10])
    assert [step["options"]["task_id"] for step in call.chain] == ["last"]
    assert children(app, found) == [AsyncResult("next", app=app)]


#: More steps than are read at once (`umbel.tails`).
LONG = 50


@pytest.mark.parametrize("behind", [0, 1, LONG])
@pytest.mark.parametrize("kind", ["s", "si"])
@pytest.mark.parametrize("ids", [{"task_id": "next", "reply_to": "me"}, {}])
def test_a_plain_step_is_sent_as_by_its_signature(
    app: Umbel,
    runner: Runner,
    add: Made,
    monkeypatch: pytest.MonkeyPatch,
    behind: int,
    kind: str,
    ids: dict[str, Any],
) -> None:
    """Where anything of its way is not ours, it goes that way."""
    step = add.s(y=10) if kind == "s" else add.si(4, y=10)
    last = [add.s(number).set(task_id=f"{number}") for number in range(behind)]
    delivery = delivery_of(add, 1, 2, chain=[*last, step.set(**ids)])
    called = list[str]()

    def apply_async(self: Signature[Any], *args: Any, **options: Any) -> Any:
        called.append(self.task)
        return original(self, *args, **options)

    made = [verdict(runner, delivery, app)]
    original = Signature.apply_async
    monkeypatch.setattr(Signature, "apply_async", apply_async)
    made.append(verdict(runner, delivery, app))
    assert called == ["add"]
    plain, signed = (found.settlement.publish[0] for found in made)
    assert without_time(plain) == without_time(signed)
    assert children(app, made[0]) == children(app, made[1])


def without_time(publication: Publication) -> Publication:
    """Return what was published, but for when that was and how its parts are kept."""
    message = publication.message
    headers = {name: value for name, value in message.headers.items() if name != "sent_at"}
    assert "sent_at" in message.headers
    made = replace(message, headers=headers, properties=dict(message.properties))
    return replace(publication, message=made, content=None)


@pytest.mark.parametrize("whose", [Task, Umbel, None], ids=["of all tasks", "of the app", "of one"])
def test_who_is_around_calls_sees_the_steps_of_chains(
    app: Umbel, runner: Runner, add: Made, monkeypatch: pytest.MonkeyPatch, whose: Any
) -> None:
    delivery = delivery_of(add, 1, 2, chain=[add.s(10)])
    seen = list[Any]()
    name = "send_task" if whose is Umbel else "apply_async"
    where = whose or add
    original = getattr(where, name)

    def around(*args: Any, **options: Any) -> Any:
        seen.append(args[0])
        return original(*args, **options)

    monkeypatch.setattr(where, name, around)
    found = verdict(runner, delivery, app)
    assert [call.args for call in following(found)] == [[3, 10]]
    assert seen == [{Task: add, Umbel: app, None: (3, 10)}[whose]]


def test_a_task_that_two_apps_have_is_sent_as_a_next_step_by_the_one_that_it_is_bound_to(
    app: Umbel, runner: Runner, add: Made, memory: str
) -> None:
    other = Umbel("other", broker=memory, backend=memory, set_as_current=False)
    other.conf.task_default_queue = "theirs"

    @other.task(name="shared")
    def shared(x: int) -> int:
        return x

    app.register_task(shared)
    other.register_task(shared)
    found = verdict(runner, delivery_of(add, 1, 2, chain=[shared.s()]), app)
    assert [one.queue for one in found.settlement.publish] == ["theirs"]


def test_the_options_of_the_step_after_the_next_are_looked_at_before_that_is_sent(
    app: Umbel, runner: Runner, add: Made
) -> None:
    steps = [{**add.s(100), "options": {"priority": "high"}}, add.s(10)]
    delivery = written(app, delivery_of(add, 1, 2), chain=steps)
    found = verdict(runner, delivery, app)
    assert isinstance(found.run.outcome, Failure)
    assert found.settlement.publish == ()


def test_arguments_that_the_next_step_does_not_take_are_a_failure(
    app: Umbel, runner: Runner, add: Made
) -> None:
    found = verdict(runner, delivery_of(add, 1, 2, chain=[add.s(1, 2, 3)]), app)
    assert isinstance(found.run.outcome, Failure)
    assert isinstance(found.run.outcome.error, TypeError)


def test_what_would_have_followed_in_a_chain_fails_too(
    app: Umbel, runner: Runner, fail: Made, add: Made
) -> None:
    steps = [add.s(100).set(task_id="last"), add.s(5), add.s(10).set(task_id="next")]
    delivery = delivery_of(fail, chain=steps)
    found = verdict(runner, delivery, app)
    assert found.settlement.publish == ()
    assert [one.task_id for one in found.others] == ["last", "next"]
    Settler(app.broker, consumer_of(app), app.results).settle([found])
    last = app.AsyncResult("last")
    assert last.failed()
    with pytest.raises(ValueError, match="no"):
        last.get()
    ignoring = verdict(runner, delivery_of(fail, chain=steps, ignore_result=True), app)
    assert ignoring.others == ()


# What no client of ours writes


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"chord": {"task": "t"}}, "the body of its chord is no signature, or it has no group"),
        ({"callbacks": ["add"]}, "what follows it as link is no signature"),
        ({"callbacks": 5}, "what follows it as link is no signature"),
        ({"errbacks": [{"task": 5}]}, "what follows it as link_error is no signature"),
        ({"chain": [{"task": "t", "args": 5}]}, "what follows it as chain is no signature"),
        (
            {"callbacks": [{"task": "t", "subtask_type": "group"}]},
            "t, which follows it as link, is a group without tasks",
        ),
        (
            {"callbacks": [{"task": "t", "subtask_type": "ring"}]},
            "t, which follows it as link, is of the kind 'ring', which there is not",
        ),
        (
            {"callbacks": [{"task": "c", "subtask_type": "chain", "kwargs": {"tasks": [5]}}]},
            "c, which follows it as link, has a part that is no signature",
        ),
        (
            {"callbacks": [{"task": "t", "options": {"priority": "high"}}]},
            "the options of t, which follows it as link, are wrong: priority is 'high'",
        ),
        (
            {"chain": [{"task": "t", "options": {"task_id": 5}}]},
            "the options of t, which follows it as chain, are wrong: task_id is 5",
        ),
        (
            {"chain": [{"task": "t", "options": {"task_id": "", "reply_to": "r"}}]},
            "the options of t, which follows it as chain, are wrong: task_id is ''",
        ),
    ],
)
def test_a_call_that_cannot_be_followed_does_not_run(
    app: Umbel, runner: Runner, add: Made, parts: dict[str, Any], reason: str
) -> None:
    found = verdict(runner, written(app, delivery_of(add, 1, 2), **parts), app)
    assert isinstance(found.run.outcome, Unprocessable)
    assert found.settlement.action is Action.DEAD_LETTER
    assert found.settlement.reason is not None
    assert reason in found.settlement.reason


def test_what_follows_alone_need_be_no_list(app: Umbel, runner: Runner, add: Made) -> None:
    after = {"task": "add", "args": [1]}
    delivery = written(app, delivery_of(add, 1, 2), callbacks=after, chain=after)
    assert [call.args for call in following(verdict(runner, delivery, app))] == [[3, 1]] * 2


def test_options_that_only_celery_knows_are_left_out(
    app: Umbel, runner: Runner, add: Made, caplog: pytest.LogCaptureFixture
) -> None:
    inner = {"task": "add", "options": {"tenant_of_mine": 5, "priority": 3}}
    outer = {"task": "add", "args": [1], "options": {"tenant_of_mine": 4, "link": inner}}
    steps = [inner, outer]
    found = verdict(
        runner, written(app, delivery_of(add, 1, 2), callbacks=[outer], chain=steps), app
    )
    assert isinstance(found.run.outcome, Success)
    first, second = following(found)
    assert first.callbacks == [{"task": "add", "options": {"priority": 3}}]
    assert second.chain == [inner]  # is read when it is its turn
    assert "The options tenant_of_mine of the signature of add have no meaning here" in caplog.text


@pytest.mark.parametrize("part", ["callbacks", "chain"])
def test_stamps_that_are_named_and_not_there_are_left_out(
    app: Umbel, runner: Runner, add: Made, part: str
) -> None:
    """Celery's clients write them, when they stamp a chord whose header has a chain."""
    stamps = {"stamped_headers": ["tenant", "in_chain"], "tenant": "a"}
    after = {
        "task": "add",
        "args": [1],
        "options": {**stamps, "link": {"task": "add", "options": stamps}},
    }
    found = verdict(runner, written(app, delivery_of(add, 1, 2), **{part: [after]}), app)
    (publication,) = found.settlement.publish
    headers = publication.message.headers
    assert (headers["stamped_headers"], headers["stamps"]) == (["tenant"], {"tenant": "a"})
