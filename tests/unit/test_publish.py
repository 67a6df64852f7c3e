from __future__ import annotations

import logging
import os
import platform
import re
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import ManualClock, calls, messages
from umbel import Umbel, signals
from umbel.clock import utc
from umbel.entities import Exchange, Queue
from umbel.exceptions import (
    BrokerFull,
    EncodeError,
    ImproperlyConfigured,
    MessageTooLarge,
    OperationalError,
)
from umbel.message import Call, Publication, decode
from umbel.options import call_options, warn_once
from umbel.ports import Broker, Owner
from umbel.publish import (
    ONE_TRY,
    Context,
    Template,
    build,
    derived_tag,
    send,
    spread,
    warn_if_never_consumed,
)
from umbel.request import Request
from umbel.routing import Route
from umbel.settings import Config
from umbel.testing.conformance.support import at_most

ADD = Template("proj.add")


def built(
    template: Template = ADD,
    args: Any = (),
    kwargs: Any = None,
    priority: int | None = None,
    settings: dict[str, Any] | None = None,
    parent: Request | None = None,
    **options: Any,
) -> Publication:
    context = Context(Config(settings or {}).snapshot, ManualClock(), parent)
    chosen = call_options(options)
    return build(template, args, kwargs or {}, chosen, Route("q", priority), context)


def call_of(publication: Publication) -> Call:
    return decode(publication.message, ("json",))


# What a message says


def test_a_plain_call() -> None:
    found = built(args=(1, 2), kwargs={"z": 3})
    call = call_of(found)
    assert (found.queue, found.routing_key, found.priority, found.due) == ("q", "q", 0, None)
    assert "priority" not in found.message.properties
    assert (call.task, call.args, call.kwargs) == ("proj.add", [1, 2], {"z": 3})
    assert call.root_id == call.id
    assert call.parent_id is None
    assert call.retries == 0
    assert call.ignore_result is False
    assert call.origin == f"gen{os.getpid()}@{platform.node()}"
    assert call.sent_at == ManualClock().now
    assert found.message.headers["argsrepr"] == "(1, 2)"
    assert found.message.headers["kwargsrepr"] == "{'z': 3}"


def test_every_call_has_an_id_and_a_tag_of_its_own() -> None:
    one, other = built(), built()
    assert len({one.tag, other.tag, call_of(one).id, call_of(other).id}) == 4


def test_a_list_travels_as_celery_writes_it() -> None:
    assert built(args=[1]).message.headers["argsrepr"] == "[1]"


@pytest.mark.parametrize(
    ("option", "value", "field", "expected"),
    [
        ("task_id", "mine", "id", "mine"),
        ("retries", 2, "retries", 2),
        ("time_limit", 20, "time_limit", 20),
        ("soft_time_limit", 10, "soft_time_limit", 10),
        ("shadow", "other", "shadow", "other"),
        ("root_id", "r", "root_id", "r"),
        ("parent_id", "p", "parent_id", "p"),
        ("group_id", "g", "group_id", "g"),
        ("group_index", 4, "group_index", 4),
        ("reply_to", "me", "reply_to", "me"),
        ("ignore_result", True, "ignore_result", True),
        ("argsrepr", "(...)", "argsrepr", "(...)"),
        ("kwargsrepr", "{...}", "kwargsrepr", "{...}"),
        ("headers", {"tenant": "a"}, "headers", {"tenant": "a"}),
        ("expires", "2026-01-01T00:00:00+00:00", "expires", "2026-01-01T00:00:00+00:00"),
    ],
)
def test_an_option_is_in_the_message(option: str, value: Any, field: str, expected: Any) -> None:
    assert getattr(call_of(built(**{option: value})), field) == expected


def test_the_calls_options_go_before_the_templates() -> None:
    template = Template(
        "t", expires=30.0, time_limit=20.0, soft_time_limit=10.0, ignore_result=True, shadow="s"
    )
    call = call_of(built(template))
    assert (call.time_limit, call.soft_time_limit, call.shadow) == (20.0, 10.0, "s")
    assert call.ignore_result is True
    assert call.expires == utc(ManualClock().now + 30).isoformat()
    call = call_of(
        built(
            template,
            time_limit=2,
            soft_time_limit=0,
            ignore_result=False,
            shadow="x",
            expires=60,
        )
    )
    assert (call.time_limit, call.soft_time_limit, call.shadow) == (2, 0, "x")
    assert call.ignore_result is False
    assert call.expires == utc(ManualClock().now + 60).isoformat()


def test_a_priority_is_on_the_publication_and_in_the_message() -> None:
    found = built(priority=7)
    assert found.priority == found.message.properties["priority"] == 7


# Times


def test_a_countdown_counts_from_now_in_utc() -> None:
    found = built(countdown=1.5)
    assert found.due == ManualClock().now + 1.5
    assert call_of(found).eta == utc(ManualClock().now + 1.5).isoformat()


def test_a_countdown_is_written_in_the_apps_time_zone() -> None:
    found = built(countdown=60, expires=90, settings={"timezone": "Asia/Tokyo"})
    eta, expires = call_of(found).eta, call_of(found).expires
    assert eta is not None
    assert expires is not None
    assert eta.endswith("+09:00")
    assert datetime.fromisoformat(eta).timestamp() == ManualClock().now + 60
    assert datetime.fromisoformat(expires).timestamp() == ManualClock().now + 90


@pytest.mark.parametrize("countdown", [0, -5, None])
def test_a_countdown_that_is_over_means_now(countdown: float | None) -> None:
    found = built(countdown=countdown)
    assert found.due is None
    # As in Celery, a time that is over is told.
    assert (call_of(found).eta is None) == (not countdown)


@pytest.mark.parametrize(
    "eta",
    [
        datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2030, 1, 2, 3, 4, 5),  # noqa: DTZ001 - without an offset it is UTC
        "2030-01-02T05:04:05+02:00",
    ],
)
def test_an_eta_is_when_it_is_due(eta: datetime | str) -> None:
    found = built(eta=eta)
    assert found.due == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    assert call_of(found).eta == (eta if isinstance(eta, str) else eta.isoformat())


@pytest.mark.parametrize("expires", [30, 30.0])
def test_seconds_to_expiry_become_a_time(expires: float) -> None:
    assert call_of(built(expires=expires)).expires == utc(ManualClock().now + 30).isoformat()


def test_an_expiry_may_be_a_time() -> None:
    moment = utc(ManualClock().now) + timedelta(hours=1)
    assert call_of(built(expires=moment)).expires == moment.isoformat()


# Who calls


def test_a_call_from_a_task_knows_its_parent_and_root() -> None:
    call = call_of(built(parent=Request(id="parent", root_id="root")))
    assert (call.parent_id, call.root_id) == ("parent", "root")


def test_a_parent_without_a_root_is_the_root() -> None:
    assert call_of(built(parent=Request(id="parent"))).root_id == "parent"


def test_given_ids_go_before_the_parents() -> None:
    call = call_of(built(parent=Request(id="x", root_id="y"), parent_id="p", root_id="r"))
    assert (call.parent_id, call.root_id) == ("p", "r")


# Tags


def test_a_derived_tag_is_the_same_each_time_and_differs_by_purpose() -> None:
    tag = built().tag
    derived = derived_tag(tag, "retry 1")
    assert derived == derived_tag(tag, "retry 1")
    assert len({tag, derived, derived_tag(tag, "retry 2"), derived_tag(derived, "retry 1")}) == 4
    assert derived[:14] == tag[:14]
    assert len(derived) == 36
    assert str(uuid.UUID(derived)) == derived


def test_a_given_tag_is_kept() -> None:
    context = Context(Config().snapshot, ManualClock(), tag="once")
    assert build(ADD, (), {}, call_options({}), Route("q"), context).tag == "once"


# What cannot be sent


class Order:
    """An object of a database."""

    pk = 7


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        (
            (1, object()),
            {},
            r"proj\.add: argument 2 cannot be sent as json: it is an object\. Pass plain data",
        ),
        (
            (),
            {"day": {1, 2}},
            r"proj\.add: argument 'day' cannot be sent as json: it is a set\. Pass a sorted list",
        ),
        (
            (Order(),),
            {},
            r"argument 1 .* it is an Order\. Pass its primary key \(\.pk\), and load it",
        ),
    ],
)
def test_the_error_names_task_and_argument(args: Any, kwargs: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        built(args=args, kwargs=kwargs)


def test_the_argument_that_can_be_sent_is_not_blamed() -> None:
    with pytest.raises(EncodeError, match="argument 3 cannot"):
        built(args=(1, Order.pk, Order()))


class Pair:
    def __init__(self) -> None:
        self.id = 7


def test_a_positional_argument_has_the_name_that_the_task_has_for_it(app: Umbel) -> None:
    @app.task(name="proj.welcome")
    def welcome(user: Any, /, *rest: Any, day: Any = None) -> None: ...

    with pytest.raises(
        EncodeError, match=r"argument 'user' → \['a'\] cannot be sent as json: it is a Pair\."
    ):
        welcome.delay({"a": Pair()})
    with pytest.raises(EncodeError, match=r"argument 2 cannot be sent"):
        welcome.delay(1, Pair())
    with pytest.raises(EncodeError, match=r"argument 'day' cannot be sent"):
        welcome.delay(1, day=Pair())


# What no worker would read


@pytest.mark.parametrize(
    ("settings", "options", "text"),
    [
        (
            {"message_max_bytes": 100},
            {},
            r"proj\.add: .* message_max_bytes .* argument 'x' \(202 bytes\)",
        ),
        (
            {"message_max_bytes": 100},
            {"serializer": "pickle"},
            "cannot be sent as pickle.*message_max_bytes",
        ),
        ({"message_max_decompressed": 100}, {"compression": "gzip"}, "message_max_decompressed"),
        ({"message_max_depth": 2}, {}, None),
        ({"message_max_depth": 1}, {}, "more than 1 lists or mappings"),
    ],
)
def test_a_call_that_a_worker_would_refuse_is_not_sent(
    app: Umbel, settings: dict[str, Any], options: dict[str, Any], text: str | None
) -> None:
    @app.task(name="proj.add")
    def add(x: Any) -> None: ...

    app.conf.update(settings)
    if text is None:
        add.apply_async(("x" * 200,), **options)
        return
    with pytest.raises(MessageTooLarge, match=text):
        add.apply_async(("x" * 200,), **options)
    assert messages(app) == []


def test_a_serializer_that_workers_would_refuse_is_told_once(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="proj.add", serializer="pickle")
    def add(x: Any) -> None: ...

    warn_once.cache_clear()
    add.delay(1)
    add.delay(2)
    assert [text for text in caplog.messages if "accept_content does not list" in text] == [
        "Calls are sent as pickle, which accept_content does not list: workers with these settings"
        " refuse them."
    ]
    app.conf.accept_content = ["application/x-python-serialize"]
    warn_once.cache_clear()
    caplog.clear()
    add.delay(1)
    assert not any("accept_content" in text for text in caplog.messages)


def test_compression_is_the_calls_or_the_tasks_or_the_settings(app: Umbel) -> None:
    plain = app.task(name="plain")(lambda: None)
    own = app.task(name="own", compression="bzip2")(lambda: None)
    app.conf.task_compression = "gzip"
    plain.delay()
    own.delay()
    own.apply_async(compression="lzma")
    assert [message.headers["compression"] for message in messages(app)] == [
        "application/x-gzip",
        "application/x-bz2",
        "application/x-lzma",
    ]
    with pytest.raises(ImproperlyConfigured, match="no compression 'gzp'"):
        own.apply_async(compression="gzp")


def test_the_depth_of_what_monitors_show(app: Umbel) -> None:
    echo = app.task(name="echo")(lambda *args, **kwargs: None)
    app.conf.task_repr_maxlevels = 1
    echo.delay([1, [2]], a={"b": 1})
    (message,) = messages(app)
    assert (message.headers["argsrepr"], message.headers["kwargsrepr"]) == (
        "([...],)",
        "{'a': {...}}",
    )


# Signals


Heard = list[tuple[str, Any, dict[str, Any]]]
FOLLOWING = ("callbacks", "errbacks", "chain", "chord")


@pytest.fixture
def heard() -> Iterator[Heard]:
    found: Heard = []
    receivers = []
    for signal in (signals.before_task_publish, signals.after_task_publish):

        def receive(sender: Any, signal: signals.Signal, **arguments: Any) -> None:
            found.append((signal.name, sender, arguments))

        receivers.append((signal, receive))
        signal.connect(receive)
    yield found
    for signal, receive in receivers:
        signal.disconnect(receive)


def test_signals_before_and_after_a_publish(app: Umbel, heard: Heard) -> None:
    @app.task(name="t")
    def work(x: int) -> None: ...

    work.apply_async((1,), queue="video")
    (message,) = messages(app, "video")
    assert [(name, sender) for name, sender, _ in heard] == [
        ("before_task_publish", "t"),
        ("after_task_publish", "t"),
    ]
    for _, _, arguments in heard:
        assert arguments["body"] == ((1,), {}, dict.fromkeys(FOLLOWING))
        assert arguments["headers"] == message.headers
        assert arguments["routing_key"] == "video"
        assert arguments["exchange"] == ""
    before = heard[0][2]
    assert [queue.name for queue in before["declare"]] == ["video"]
    assert before["declare"][0].exchange.type == "direct"
    assert before["retry_policy"] == app.conf.task_publish_retry_policy


def test_what_a_receiver_changes_in_the_body_is_sent(app: Umbel) -> None:
    def receive(body: Any, **_: Any) -> None:
        body[1]["tenant"] = "a"

    def spoil(body: Any, **_: Any) -> None:
        body[1]["tenant"] = object()

    @app.task(name="t")
    def work(x: int, tenant: str = "") -> None: ...

    signals.before_task_publish.connect(receive)
    try:
        work.apply_async((1,), compression="gzip")
        signals.before_task_publish.connect(spoil)
        with pytest.raises(EncodeError):
            work.delay(1)
    finally:
        signals.before_task_publish.disconnect(receive)
        signals.before_task_publish.disconnect(spoil)
    assert [(call.args, call.kwargs) for call in calls(app)] == [([1], {"tenant": "a"})]


MEDIA = Exchange("media", "topic")
THREE = [Queue("celery"), *(Queue(name, MEDIA, "#") for name in ("one", "two", "three"))]


def test_a_message_for_many_queues_is_announced_once(app: Umbel, heard: Heard) -> None:
    app.conf.task_queues = THREE
    app.task(name="t")(lambda: None).apply_async(exchange="media", routing_key="k")
    assert [(name, told["exchange"], told["routing_key"]) for name, _, told in heard] == [
        ("before_task_publish", "media", "k"),
        ("after_task_publish", "media", "k"),
    ]


def test_and_sent_at_once_with_tags_of_their_own() -> None:
    context = Context(Config({}).snapshot, ManualClock(), tag="0190-1111-tag")
    place = Route("one", 3, "k", "media", ("two", "three"))
    plain, many = built(), build(ADD, (), {}, call_options({}), place, context)
    assert spread([plain]) == [plain]
    first, *rest = spread([many, plain])
    assert [one.queue for one in (first, *rest)] == ["one", "two", "three", "q"]
    assert len({one.tag for one in (first, *rest)}) == 4
    assert first.tag == "0190-1111-tag"
    assert spread([many]) == spread([many])  # the same tags each time: it may be repeated
    for one in (first, *rest[:2]):
        assert (one.exchange, one.routing_key, one.priority) == ("media", "k", 3)
        assert one.message is many.message
        assert one.more_queues == ()


def test_a_message_says_which_exchange_it_was_sent_to() -> None:
    context = Context(Config({}).snapshot, ManualClock())
    sent = build(ADD, (), {}, call_options({}), Route("q", None, "", "media"), context)
    assert sent.message.properties["delivery_info"] == {"exchange": "media", "routing_key": ""}
    assert "delivery_info" not in built().message.properties
    transient = build(ADD, (), {}, call_options({}), Route("q", delivery_mode=1), context)
    assert transient.message.properties["delivery_mode"] == 1
    assert built().message.properties["delivery_mode"] == 2


def test_a_receiver_may_listen_to_one_task(app: Umbel) -> None:
    found: list[object] = []

    def receive(sender: object, **_: Any) -> None:
        found.append(sender)

    @app.task(name="loud")
    def loud() -> None: ...

    @app.task(name="quiet")
    def quiet() -> None: ...

    signals.before_task_publish.connect(receive, sender="loud")
    signals.after_task_publish.connect(receive, sender=loud)
    try:
        quiet.delay()
        loud.delay()
        quiet.delay()
    finally:
        signals.before_task_publish.disconnect(receive, sender="loud")
        signals.after_task_publish.disconnect(receive, sender=loud)
    assert found == ["loud", "loud"]


def test_a_receiver_may_add_a_header(app: Umbel) -> None:
    def receive(headers: dict[str, Any], **_: Any) -> None:
        headers["tenant"] = "a"

    @app.task(name="t")
    def work() -> None: ...

    signals.before_task_publish.connect(receive)
    try:
        work.delay()
    finally:
        signals.before_task_publish.disconnect(receive)
    assert [call.headers for call in calls(app)] == [{"tenant": "a"}]


def test_a_receiver_that_raises_does_not_stop_the_publish(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    def receive(**_: Any) -> None:
        raise ValueError("mine")

    @app.task(name="t")
    def work() -> None: ...

    signals.before_task_publish.connect(receive)
    try:
        work.delay()
    finally:
        signals.before_task_publish.disconnect(receive)
    assert len(calls(app)) == 1
    assert "mine" in caplog.text


# Tries


class Failing:
    """A broker that fails some times before it takes a publish; it notes what it was given."""

    def __init__(self, clock: ManualClock, *errors: Exception, lasting: float = 0.0) -> None:
        self.clock = clock
        self.errors = list(errors)
        self.lasting = lasting
        self.began = clock.now
        self.tries: list[tuple[float, float, list[str]]] = []

    def publish(self, publications: Any, timeout: float) -> None:
        tags = [publication.tag for publication in publications]
        self.tries.append((round(self.clock.now - self.began, 3), round(timeout, 3), tags))
        self.clock.now += min(self.lasting, timeout)
        if self.errors:
            raise self.errors.pop(0)

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.tries]


def sent(broker: Failing, settings: dict[str, Any] | None = None, **options: Any) -> None:
    send(
        cast(Broker, broker),
        [built()],
        Config(settings or {}).snapshot,
        broker.clock,
        call_options(options),
    )


def away(times: int) -> list[Exception]:
    return [OperationalError(f"away {n}") for n in range(times)]


def test_a_publish_is_tried_again_with_the_same_tags(clock: ManualClock) -> None:
    broker = Failing(clock, *away(4))
    sent(broker)
    assert [(at, left) for at, left, _ in broker.tries] == [
        (0.0, 5.0),
        (0.0, 5.0),
        (0.2, 4.8),
        (0.6, 4.4),
        (1.2, 3.8),
    ]
    assert len({tag for _, _, (tag,) in broker.tries}) == 1


def test_it_is_given_up_when_the_time_of_a_publish_is_over(clock: ManualClock) -> None:
    broker = Failing(clock, *away(1000))
    with pytest.raises(OperationalError, match="away"):
        sent(broker, {"broker_publish_timeout": 2.5})
    assert broker.times == [0.0, 0.0, 0.2, 0.6, 1.2, 2.0]
    assert clock.now - broker.began <= 2.5


def test_a_try_that_took_all_the_time_is_the_last(clock: ManualClock) -> None:
    broker = Failing(clock, *away(3), lasting=9.0)
    with pytest.raises(OperationalError, match="away 0"):
        sent(broker)
    assert broker.times == [0.0]


def test_the_policy_of_the_call_goes_before_that_of_the_settings(clock: ManualClock) -> None:
    broker = Failing(clock, *away(9))
    with pytest.raises(OperationalError, match="away 3"):
        sent(
            broker,
            {"task_publish_retry_policy": {"max_retries": 3, "interval_start": 9}},
            retry_policy={"interval_start": 0.5, "interval_step": 0.1, "interval_max": 0.1},
        )
    assert broker.times == [0.0, 0.5, 1.1, 1.7]


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({}, {"retry": False}),
        ({"task_publish_retry": False}, {}),
        ({}, {"retry": False, "retry_policy": {"max_retries": 3}}),
    ],
)
def test_without_retry_there_is_one_try_and_little_waiting(
    clock: ManualClock, settings: dict[str, Any], options: dict[str, Any]
) -> None:
    broker = Failing(clock, *away(2))
    with pytest.raises(OperationalError, match="away 0"):
        sent(broker, settings, **options)
    ((_, timeout, _),) = broker.tries
    assert timeout == ONE_TRY < 5.0


def test_the_call_goes_before_the_setting(clock: ManualClock) -> None:
    broker = Failing(clock, *away(1))
    sent(broker, {"task_publish_retry": False}, retry=True)
    assert len(broker.tries) == 2


def refused() -> OperationalError:
    error = OperationalError("the password is wrong")
    error.passes = False
    return error


@pytest.mark.parametrize(
    "error", [BrokerFull("full"), refused(), ImproperlyConfigured("wrong"), KeyError(1)]
)
def test_what_will_not_pass_by_itself_is_not_tried_again(
    clock: ManualClock, error: Exception
) -> None:
    broker = Failing(clock, error)
    with pytest.raises(type(error)):
        sent(broker)
    assert broker.times == [0.0]


def test_the_errors_of_a_policy_are_those_that_are_tried_again(clock: ManualClock) -> None:
    broker = Failing(clock, BrokerFull("full"), OperationalError("away"))
    with pytest.raises(OperationalError, match="away"):
        sent(broker, retry_policy={"retry_errors": (BrokerFull,)})
    assert len(broker.tries) == 2


def test_a_call_says_how_it_is_published(tmp_path: Path) -> None:
    path = tmp_path / "umbel.db"
    with Umbel(broker=f"sqlite:///{path}", broker_publish_timeout=60) as app:

        @app.task(name="t")
        def work() -> None: ...

        work.delay()
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with at_most(20.0), pytest.raises(OperationalError):
                work.apply_async(retry=False)
            with at_most(20.0), pytest.raises(OperationalError):
                work.delay_many([()], retry=False)


# The hint that nobody listens


class Deaf:
    """A broker of which only one thing can be asked."""

    def __init__(self, answer: bool | OperationalError) -> None:
        self.answer = answer

    def ever_consumed(self) -> bool:
        if isinstance(self.answer, OperationalError):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "said"), [(False, ["Start one."]), (True, []), (OperationalError("away"), [])]
)
def test_the_hint_is_a_courtesy(
    answer: bool | OperationalError, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "umbel.publish"):
        warn_if_never_consumed(cast(Broker, Deaf(answer)), lambda: "Start one.")
    assert caplog.messages == said


def test_the_hint_is_given_once_and_says_what_to_do(
    memory: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])  # from where this module is imported
    app = Umbel(broker=memory)

    @app.task(name="t")
    def work() -> None: ...

    with caplog.at_level(logging.WARNING, "umbel.publish"):
        work.delay()
        work.delay_many([(), ()])
        work.delay()
    (text,) = caplog.messages
    module = re.escape(__name__)
    assert re.fullmatch(
        rf"No worker has ever consumed from {memory}\. Start one with: umbel -A {module} worker",
        text,
    )


def test_publishing_says_nothing_once_a_worker_was_there(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    app.broker.consumer(Owner("worker", "node", "host", 1), 60.0).close()

    @app.task(name="t")
    def work() -> None: ...

    work.delay()
    assert caplog.messages == []
