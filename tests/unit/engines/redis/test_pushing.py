"""New messages go by plain commands: none is lost, and none is there twice, whatever answer is lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from tests.redis_servers import PrivateServer
from tests.unit.engines.redis.support import QUEUE, Movable, attach
from umbel import Umbel
from umbel.calls import task_maker
from umbel.engines.redis import RedisEngine, pushing
from umbel.engines.redis.link import Link
from umbel.exceptions import EncodeError, OperationalError
from umbel.message import Publication
from umbel.options import NO_OPTIONS, CallOptions
from umbel.outbox import Outbox
from umbel.publish import Context, build, tagged
from umbel.testing.conformance.support import (
    LONG,
    PATIENCE,
    fetch,
    ids,
    in_thread,
    now,
    publication,
    until,
)

pytestmark = pytest.mark.engine


def _new(task_id: str, queue: str = QUEUE, **options: Any) -> Publication:
    return replace(publication(task_id, queue=queue, **options), is_new=True)


def _publish(engine: RedisEngine, *items: Publication) -> None:
    engine.broker.publish(items, PATIENCE)


@pytest.fixture
def known(engine: RedisEngine, admin: Any) -> RedisEngine:
    """The engine, when it has noted the queue and a connection has its record."""
    for number in range(2):
        _publish(engine, _new(f"first {number}"))
    admin.delete(QUEUE)
    admin.config_resetstat()
    return engine


def _scripts(admin: Any) -> int:
    used = admin.info("commandstats")
    return sum(used.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))


def _record(engine: RedisEngine) -> str:
    (record,) = engine.broker._pushing._unsure.values()
    assert record is not None
    return record


@pytest.fixture(params=["whole", "parts"])
def in_parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several messages are sent at once, or each while the next is written."""
    if request.param == "parts":
        monkeypatch.setattr(pushing, "AT_ONCE", 1)


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next push fail at a fail point."""

    def at(name: str) -> None:
        def fail(point: str) -> None:
            if point == name:
                monkeypatch.setattr(pushing, "fail_point", lambda point: None)
                raise OperationalError("no answer")

        monkeypatch.setattr(pushing, "fail_point", fail)

    return at


@pytest.mark.usefixtures("in_parts")
def test_new_messages_for_one_list_are_one_packet_without_a_script(
    known: RedisEngine, admin: Any
) -> None:
    _publish(known, _new("1"))
    _publish(known, *(_new(str(number)) for number in range(2, 3000)))
    assert _scripts(admin) == 0
    assert admin.keys("umbel:tags:*") != []  # of the first, which noted the queue
    for key in admin.keys("umbel:sent:*"):
        assert 0 < admin.ttl(key) <= pushing.KNOWN_FOR
    found = fetch(attach(known), limit=1000)
    assert ids(found) == [str(number) for number in range(1, 1001)]


@pytest.mark.parametrize(
    "items",
    [
        [publication("1")],
        [_new("1"), publication("2")],
        [_new("1"), _new("2", priority=9)],
        [_new("1"), _new("2", queue="another")],
        [_new("1"), _new("2", due=now() + 600)],
        [_new("1", due=now() + 600)],
    ],
)
def test_what_a_packet_cannot_do_is_done_by_a_script(
    known: RedisEngine, admin: Any, items: list[Publication]
) -> None:
    _publish(known, *items)
    assert _scripts(admin) >= 1
    assert sum(known.queues.find(item.message.task_id or "") != [] for item in items) == len(items)


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("point", ["redis.publish.before", "redis.publish.after"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_call_whose_answer_was_lost_can_be_repeated(
    known: RedisEngine, admin: Any, fails: Callable[[str], None], point: str, number: int
) -> None:
    items = [_new(str(one)) for one in range(number)]
    fails(point)
    with pytest.raises(OperationalError, match="no answer"):
        _publish(known, *items)
    assert admin.llen(QUEUE) == (number if point.endswith("after") else 0)
    _publish(known, *items)
    assert ids(fetch(attach(known))) == [str(one) for one in range(number)]
    assert known.broker._pushing._unsure == {}


def test_a_packet_that_comes_after_its_repetition_does_nothing(
    known: RedisEngine, admin: Any, fails: Callable[[str], None]
) -> None:
    item = _new("1")
    fails("redis.publish.before")
    with pytest.raises(OperationalError):
        _publish(known, item)
    with admin.pipeline() as late:  # as the connection that was given up
        late.watch(_record(known))
        _publish(known, item)
        late.multi()
        late.lpush(QUEUE, "late")
        with pytest.raises(Exception, match="Watched"):
            late.execute()
    assert admin.llen(QUEUE) == 1


def test_a_call_is_repeated_as_often_as_it_fails(
    known: RedisEngine,
    admin: Any,
    fails: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    item = _new("1")
    fails("redis.publish.before")
    with pytest.raises(OperationalError):
        _publish(known, item)
    calls = known.broker._calls
    push = calls.push

    def unanswered(item: Publication, timeout: float) -> None:
        push(item, timeout)
        raise OperationalError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(calls, "push", unanswered)
        for _ in range(2):
            with pytest.raises(OperationalError, match="no answer"):
                _publish(known, item)
    _publish(known, item)
    assert admin.llen(QUEUE) == 1


def test_a_call_that_failed_as_a_script_is_repeated_as_one(
    engine: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first of all notes its queue, which a packet does not."""
    item = _new("1")
    publish = engine.broker._calls.publish

    def unanswered(*given: Any) -> None:
        publish(*given)
        raise OperationalError("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(engine.broker._calls, "publish", unanswered)
        with pytest.raises(OperationalError):
            _publish(engine, item)
    _publish(engine, item)
    assert admin.llen(QUEUE) == 1


def test_what_is_remembered_of_calls_that_failed_has_a_limit(
    known: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "UNSURE_AT_MOST", 3)
    for number in range(10):
        known.broker._pushing.note_unsure([_new(str(number), tag=str(number))])
    assert list(known.broker._pushing._unsure) == ["7", "8", "9"]


class Interrupted(dict[str, str | None]):
    """Calls that failed: whoever asks for their number may have to wait for another thread, once."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        super().__init__()
        self._meanwhile = [meanwhile]

    def __len__(self) -> int:
        found = super().__len__()
        if found > pushing.UNSURE_AT_MOST and self._meanwhile:
            self._meanwhile.pop()()
        return found


def test_threads_whose_calls_fail_forget_no_more_than_the_oldest(
    known: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "UNSURE_AT_MOST", 3)
    noting = known.broker._pushing

    def note(name: str) -> None:
        noting.note_unsure([_new(name, tag=name)])

    noting._unsure = Interrupted(lambda: note("of another"))
    for number in range(4):
        note(str(number))
    assert len(noting._unsure.copy()) == 3


@pytest.mark.parametrize("seconds", [1.0, LONG])
def test_what_was_refused_late_has_the_rest_of_its_time_for_another_way(
    known: RedisEngine, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    given: list[float] = []
    calls = known.broker._calls
    clock = calls.clock = Movable()

    def refuse(function: Callable[..., object], timeout: float) -> None:
        clock.ahead += timeout - 0.5

    monkeypatch.setattr(calls.server, "lend", refuse)
    monkeypatch.setattr(calls, "push", lambda _, timeout: given.append(timeout))
    known.broker.publish([_new("1")], seconds)
    assert 0 < given[0] <= 0.5


def test_whoever_is_woken_by_a_packet_takes_none_but_its_time(
    known: RedisEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    calls = known.broker._calls
    clock = calls.clock = Movable()

    def push(function: Callable[..., object], timeout: float) -> bool:
        clock.ahead += timeout - 0.5
        return True  # somebody has to be woken

    def ring(*_: object, timeout: float) -> list[bytes]:
        given.append(timeout)
        return [b"1"]

    monkeypatch.setattr(calls.server, "lend", push)
    monkeypatch.setattr(calls, "run", ring)
    monkeypatch.setattr(calls.server, "unblock", lambda _, timeout: given.append(timeout))
    known.broker.publish([_new("1")], PATIENCE)
    assert len(given) == 2
    assert all(0 < timeout <= 0.5 for timeout in given)


def test_a_record_that_has_expired_is_made_anew(known: RedisEngine, admin: Any) -> None:
    admin.delete(*admin.keys("umbel:sent:*"))
    _publish(known, _new("1"))
    assert admin.llen(QUEUE) == 1
    admin.config_resetstat()
    _publish(known, _new("2"))
    assert admin.llen(QUEUE) == 2
    assert _scripts(admin) == 0


@pytest.mark.usefixtures("in_parts")
def test_a_list_that_is_none_takes_nothing_and_is_said(known: RedisEngine, admin: Any) -> None:
    items = [_new("1"), _new("2")]
    admin.set(QUEUE, "x")
    for _ in range(2):
        with pytest.raises(OperationalError, match="holds something else"):
            _publish(known, *items)
    admin.delete(QUEUE)
    _publish(known, *items)
    assert admin.llen(QUEUE) == 2


@pytest.mark.parametrize("refused", ["-watch", "-multi", "-exec"])
def test_a_server_that_refuses_plain_commands_gets_scripts(
    private: PrivateServer, admin: Any, refused: str
) -> None:
    rights = {"commands": ["+@all", refused], "keys": ["*"], "channels": ["*"]}
    admin.acl_setuser("app", True, passwords="+pw", **rights)
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as engine:
        for number in range(4):
            _publish(engine, _new(str(number)))
        consumer = attach(engine)
        assert ids(fetch(consumer)) == ["0", "1", "2", "3"]
        assert admin.keys("umbel:sent:*") == []


@pytest.mark.usefixtures("in_parts")
@pytest.mark.parametrize("refused", ["-watch", "-multi", "-exec"])
def test_a_server_that_begins_to_refuse_plain_commands_has_each_message_once(
    private: PrivateServer, admin: Any, refused: str
) -> None:
    rights = {"passwords": "+pw", "keys": ["*"], "channels": ["*"]}
    admin.acl_setuser("app", True, commands=["+@all"], **rights)
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as engine:
        for number, commands in enumerate((["+@all"], ["+@all"], [refused], [refused])):
            admin.acl_setuser("app", True, commands=commands, **rights)
            _publish(engine, *(_new(str(3 * number + one)) for one in range(3)))
        assert ids(fetch(attach(engine), limit=100)) == [str(number) for number in range(12)]


@pytest.mark.parametrize("later", [None, 60.0], ids=["at once", "later"])
@pytest.mark.parametrize("queues", [1, 2])
def test_what_may_not_be_put_on_its_list_is_refused_each_time(
    private: PrivateServer, admin: Any, queues: int, later: float | None
) -> None:
    """A user without that right. Whoever repeats the call is not told that it is there."""
    rights = {"passwords": "+pw", "keys": ["*"], "channels": ["*"]}
    admin.acl_setuser("app", True, commands=["+@all"], **rights)
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as engine:
        due = None if later is None else now() + later
        names = [f"q{number}" for number in range(queues)]
        _publish(engine, *(_new("noted", queue=name) for name in names))
        items = [_new("1", queue=name, due=due) for name in names]
        admin.acl_setuser("app", True, commands=["-lpush"], **rights)
        for _ in range(3):
            with pytest.raises(OperationalError, match="Rights"):
                _publish(engine, *items)
        admin.acl_setuser("app", True, commands=["+@all"], **rights)
        for _ in range(2):  # and once it has worked it is there once
            _publish(engine, *items)
        assert [admin.llen(name) for name in names] == [2] * queues


@pytest.mark.usefixtures("in_parts")
def test_of_messages_of_which_one_cannot_be_written_none_is_sent(
    known: RedisEngine, admin: Any
) -> None:
    """Not even those before it, of which the server may have heard."""
    message = _new("2").message
    headers = {**message.headers, "theirs": object()}
    unwritable = replace(_new("2"), message=replace(message, headers=headers))
    with pytest.raises(EncodeError):
        _publish(known, _new("1"), unwritable, _new("3"))
    assert admin.llen(QUEUE) == 0
    _publish(known, _new("4"), _new("5"))
    assert ids(fetch(attach(known))) == ["4", "5"]


def test_who_is_interrupted_within_a_transaction_leaves_it_to_nobody(
    known: RedisEngine, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a soft time limit of the task that sends: what comes next would become part of it."""
    monkeypatch.setattr(pushing, "AT_ONCE", 1)
    exchange = Link.exchange

    def interrupted(self: Link, *arguments: Any) -> Any:
        answers = exchange(self, *arguments)
        if answers == [b"OK"]:
            monkeypatch.undo()
            raise KeyboardInterrupt
        return answers

    monkeypatch.setattr(Link, "exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _publish(known, _new("1"), _new("2"))
    _publish(known, _new("3"))
    assert ids(fetch(attach(known))) == ["3"]


def test_a_connection_on_which_nothing_is_watched_has_no_record(
    private: PrivateServer, admin: Any
) -> None:
    """An answer that came late would count for what it never watched."""
    rights = {"passwords": "+pw", "keys": ["*"], "channels": ["*"]}
    admin.acl_setuser("app", True, commands=["+@all"], **rights)
    with closing(RedisEngine(private.url.replace("//", "//app:pw@"), {})) as engine:
        for number in range(2):
            _publish(engine, _new(str(number)))
        lend = engine.broker._server.lend
        assert lend(lambda link, _: link.record, PATIENCE) is not None
        admin.acl_setuser("app", True, commands=["-watch"], **rights)
        _publish(engine, _new("2"))
        assert lend(lambda link, _: link.record, PATIENCE) is None
        assert ids(fetch(attach(engine))) == ["0", "1", "2"]


def test_who_waits_for_another_queue_is_woken(known: RedisEngine, admin: Any) -> None:
    consumer = attach(known)
    queues = [QUEUE, "other"]
    fetch(consumer, queues=queues)
    _publish(known, _new("0", queue="other"))
    fetch(consumer, queues=queues)
    consumer._waits = 1  # it waits for QUEUE
    with in_thread(lambda: fetch(consumer, wait=PATIENCE, queues=queues)) as waiting:
        until(lambda: admin.exists("umbel:far:other") == 1)
        _publish(known, _new("1", queue="other"))
        assert ids(waiting.result(1.0)) == ["1"]
    assert admin.keys("umbel:far:*") == []


def test_who_waits_for_the_list_is_woken_by_the_server(known: RedisEngine, admin: Any) -> None:
    consumer = attach(known)
    fetch(consumer)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        admin.config_resetstat()
        _publish(known, _new("1"))
        assert ids(waiting.result(1.0)) == ["1"]
    assert _scripts(admin) == 0


def test_who_waits_is_woken_for_what_is_less_urgent(known: RedisEngine, admin: Any) -> None:
    consumer = attach(known)
    fetch(consumer)
    with in_thread(lambda: fetch(consumer, wait=PATIENCE)) as waiting:
        until(lambda: admin.exists(f"umbel:blocked:{QUEUE}") == 1)
        _publish(known, _new("1", priority=9))
        assert ids(waiting.result(1.0)) == ["1"]


def test_only_a_tag_that_was_made_for_the_call_is_new() -> None:
    app = Umbel(broker="memory://", set_as_current=False)

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    makers = [task_maker(app, add, options) for options in (NO_OPTIONS, CallOptions(countdown=5))]
    assert [make((1, 2), {}).is_new for make in makers] == [True, True]
    template, context = add.template(app.conf.snapshot), Context(app.conf.snapshot, app.clock)
    route, _ = app.amqp.router.where(add.name, NO_OPTIONS, add)
    for tag in ("computed", None):
        again = build(template, (1, 2), {}, NO_OPTIONS, route, replace(context, tag=tag))
        assert again.is_new is (tag is None)
    assert not tagged(again, "computed").is_new
    outbox = Outbox("tag", "id", "purpose")
    outbox.publish([again], 1.0)
    assert [one.is_new for one in outbox.publications] == [False]
