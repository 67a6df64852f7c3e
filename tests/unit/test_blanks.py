"""Plain calls, whose messages are filled in from blanks: they say what all other calls would say."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import messages, only_call
from tests.each import for_each
from umbel import Exchange, Queue, Task, Umbel, current, signals
from umbel.calls import maker, task_maker
from umbel.exceptions import EncodeError, MessageTooLarge
from umbel.links import Tail
from umbel.mappings import Layered, Shared
from umbel.message import Publication
from umbel.options import NO_OPTIONS, CallOptions, call_options
from umbel.request import Request
from umbel.serialization import dumps_mapping
from umbel.tails import RawTail

#: What two calls differ in, though they ask for the same.
OF_ONE_CALL = ("id", "root_id", "sent_at")


def told(publication: Publication) -> Any:
    """Return all that a publication says but for what only one call says."""
    message = publication.message
    headers = {key: value for key, value in message.headers.items() if key not in OF_ONE_CALL}
    properties = dict(message.properties)
    assert properties.pop("correlation_id") == message.headers["id"] == publication.task_id
    assert message.headers["root_id"] == message.headers["id"]
    rest = (message.body, message.content_type, message.content_encoding, publication.content)
    place = (publication.queue, publication.priority, publication.due, publication.exchange)
    return headers, properties, rest, place, publication.routing_key, publication.task


def is_from_a_blank(publication: Publication) -> bool:
    return isinstance(publication.message.headers, Layered)


@for_each(
    ["options", "settings", "from_blank"],
    [
        ({}, {}, True),
        ({"serializer": "pickle", "compression": "gzip"}, {}, True),
        ({"queue": "q", "priority": 3, "time_limit": 5, "soft_time_limit": 2}, {}, True),
        ({"ignore_result": True, "delivery_mode": 1}, {}, True),
        ({"queue": Queue("q", Exchange("x", "direct"), "k")}, {}, True),
        ({}, {"task_default_priority": 4, "task_time_limit": 9, "task_compression": "zlib"}, True),
        ({}, {"task_routes": {"*": {"queue": "r"}}, "task_serializer": "yaml"}, True),
        # What may differ from one call to the next.
        ({"expires": 60}, {}, False),
        ({}, {"task_protocol": 1}, False),
        ({"shadow_name": lambda *_: "other"}, {}, False),
        ({}, {"task_routes": [lambda *_, **__: {"queue": "r"}]}, False),
        ({}, {"task_routes": {"*": {"queue": "r", "serializer": "yaml"}}}, False),
        ({}, {"task_inherit_parent_priority": True}, False),
        (
            {"exchange": "all", "routing_key": "k"},
            {
                "task_queues": [
                    Queue("one", Exchange("all", "topic"), "k"),
                    Queue("two", Exchange("all", "topic"), "k"),
                ]
            },
            False,
        ),
    ],
)
def test_a_plain_call_says_what_it_would_say_without_a_blank(
    options: dict[str, Any], settings: dict[str, Any], from_blank: bool
) -> None:
    app = Umbel("proj", broker="memory://", set_as_current=False, **settings)

    @app.task(**options)  # type: ignore[untyped-decorator]
    def work(x: int, y: int = 0) -> None: ...

    app.finalize()
    for args, kwargs in (((1,), {}), (([1, "é"], {"a": None}), {}), ((), {"x": 1, "y": 2})):
        plain = task_maker(app, work, NO_OPTIONS)(args, kwargs)
        assert is_from_a_blank(plain) is from_blank
        if settings.get("task_protocol") == 1 or "expires" in options:
            continue  # their texts hold ids and moments
        assert told(plain) == told(
            maker(app, work.target(app, NO_OPTIONS), NO_OPTIONS)(args, kwargs)
        )
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        task_maker(app, work, NO_OPTIONS)((), {})


@pytest.fixture
def work(app: Umbel) -> Task[..., Any]:
    @app.task(name="work")
    def work(*args: Any, **kwargs: Any) -> None: ...

    work.delay()
    app.queues.purge("celery")
    return work


CHANGES: dict[str, tuple[Any, str, Any]] = {
    "queue": (lambda app, work: setattr(work, "queue", "q"), "q", {}),
    "class": (
        lambda app, work: setattr(type(work), "time_limit", 7),
        "celery",
        {"timelimit": [7, None]},
    ),
    "limit": (
        lambda app, work: setattr(work, "soft_time_limit", 9),
        "celery",
        {"timelimit": [None, 9]},
    ),
    "default": (lambda app, work: setattr(app.conf, "task_default_queue", "d"), "d", {}),
    "gzip": (
        lambda app, work: setattr(app.conf, "task_compression", "gzip"),
        "celery",
        {"compression": "application/x-gzip"},
    ),
    "routes": (lambda app, work: setattr(app.conf, "task_routes", {"work": "r"}), "r", {}),
    "name": (lambda app, work: setattr(work, "name", "other"), "celery", {"task": "other"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_counts_for_the_next_call(app: Umbel, work: Task[..., Any], name: str) -> None:
    change, queue, headers = CHANGES[name]
    change(app, work)
    work.delay()
    (message,) = messages(app, queue)
    assert message.headers == {**message.headers, **headers}


def test_a_child_of_a_fork_says_who_it_is(work: Task[..., Any], app: Umbel) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        publication = task_maker(app, work, NO_OPTIONS)((), {})
        os.write(writing, str(publication.message.headers["origin"]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 1000).startswith(f"gen{child}@".encode())
    os.close(reading)
    os.close(writing)


def test_options_go_another_way(work: Task[..., Any], app: Umbel) -> None:
    publication = task_maker(app, work, CallOptions(headers={"mine": 1}))((), {})
    assert not is_from_a_blank(publication)
    assert publication.tag != publication.task_id  # whoever chooses an id may choose it again
    plain = task_maker(app, work, NO_OPTIONS)((), {})
    assert plain.tag == plain.task_id


NEXT = {"task": "next", "args": [], "kwargs": {}, "options": {"task_id": "n"}}
RAW = RawTail(json.dumps([NEXT, NEXT])[1:-1].encode())


@for_each(
    ["options", "settings", "from_blank"],
    [
        ({"task_id": "t"}, {}, True),
        ({"task_id": "t", "reply_to": "me", "root_id": "r", "parent_id": "p"}, {}, True),
        ({"task_id": "t", "chain": RAW}, {}, True),
        ({"task_id": "t", "chain": Tail([NEXT]), "chord": NEXT}, {}, True),
        ({"root_id": "r", "chain": RAW}, {"task_serializer": "yaml"}, True),
        ({"link": NEXT, "link_error": [NEXT], "chain": RAW}, {"task_compression": "gzip"}, True),
        ({"chain": None, "root_id": None, "task_id": "t"}, {}, True),
        # What is more than that.
        ({"task_id": "t", "group_id": "g"}, {}, False),
        ({"task_id": "t", "stamped_headers": ["s"], "s": 1}, {}, False),
        ({"task_id": "t", "app_id": "a"}, {}, False),
        ({"task_id": "t", "expires": None}, {}, False),
        ({"task_id": "t", "retries": 1}, {}, False),
    ],
)
def test_a_step_says_what_it_would_say_without_a_blank(
    options: dict[str, Any], settings: dict[str, Any], from_blank: bool
) -> None:
    app = Umbel("proj", broker="memory://", set_as_current=False, **settings)

    @app.task
    def work(x: int, y: int = 0) -> None: ...

    app.finalize()
    checked = call_options(options)
    assert checked.says_more is not from_blank
    for parent in (None, Request(id="a", root_id="b", called_directly=False)):
        token = current.running.set(parent)
        try:
            step = task_maker(app, work, checked)((1,), {"y": 2})
            other = maker(app, work.target(app, checked), checked)((1,), {"y": 2})
        finally:
            current.running.reset(token)
        assert is_from_a_blank(step) is from_blank
        if from_blank:  # whoever chooses an id may choose it again
            assert (step.tag == step.task_id) is (options.get("task_id") is None)
        assert of_a_step(step, options) == of_a_step(other, options)


def of_a_step(publication: Publication, options: dict[str, Any]) -> Any:
    """Return all that a publication says but for its tag, its moment and, unless it is chosen, its id."""
    headers, properties = dict(publication.message.headers), dict(publication.message.properties)
    own: dict[str, Any] = {"sent_at": None}
    if options.get("task_id") is None:
        assert properties.pop("correlation_id") == headers["id"] == publication.task_id
        own |= {"id": None, "root_id": headers["root_id"] == headers["id"] or headers["root_id"]}
    message = replace(publication.message, headers={**headers, **own}, properties=properties)
    content = publication.content
    return replace(publication, message=message, tag="", task_id=""), content, publication.is_new


def test_what_receivers_change_counts_for_this_call_alone(app: Umbel, work: Task[..., Any]) -> None:
    def change(body: Any, headers: Any, properties: Any, **_: Any) -> None:
        headers["mine"], properties["app_id"] = 1, "me"
        body[2]["chord"] = "changed"

    signals.before_task_publish.connect(change)
    try:
        work.delay()
    finally:
        signals.before_task_publish.disconnect(change)
    (changed,) = messages(app)
    assert (changed.headers["mine"], changed.properties["app_id"]) == (1, "me")
    assert json.loads(changed.body)[2]["chord"] == "changed"
    app.queues.purge("celery")
    work.delay()
    (plain,) = messages(app)
    assert "mine" not in plain.headers
    assert "app_id" not in plain.properties
    assert only_call(app).chord is None


def test_wrong_arguments_are_told_like_those_of_other_calls(
    app: Umbel, work: Task[..., Any]
) -> None:
    with pytest.raises(EncodeError, match=r"work.*object"):
        work.delay(object())
    app.conf.message_max_bytes = 1000
    with pytest.raises(MessageTooLarge):
        work.delay("x" * 1001)
    with pytest.raises(TypeError, match="must be a list or a tuple"):
        work.apply_async("ab")
    assert messages(app) == []


def test_layers_are_one_mapping() -> None:
    layered = Layered(Shared({"a": 1, "b": [2]}), {"c": "é", "d": None, "e": 0.5})
    whole = {"a": 1, "b": [2], "c": "é", "d": None, "e": 0.5}
    assert layered == whole
    assert (dict(layered), list(layered), len(layered)) == (whole, list(whole), 5)
    assert "a" in layered
    assert "c" in layered
    assert "x" not in layered
    assert layered.get("x", 3) == 3
    assert repr(layered) == repr(whole)
    for one in (layered, Layered(Shared({}), {"c": "é"}), Layered(Shared({"a": 1}), {})):
        assert json.loads(dumps_mapping(one)) == dict(one)
    with pytest.raises(MessageTooLarge):
        dumps_mapping(Layered(Shared({"a": 1}), {"c": "x" * 2_000_000}))
