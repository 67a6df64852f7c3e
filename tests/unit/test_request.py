from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from umbel.message import Call, Delivery, Message
from umbel.request import _RARE, Request, delivery_info, request_of

DELIVERY = Delivery(
    key="1",
    queue="video",
    message=Message({"id": "i"}, {"correlation_id": "i", "priority": 7}, b""),
    priority=7,
    count=2,
    crashes=1,
)


def test_an_empty_request_is_celerys_empty_context() -> None:
    empty = Request()
    assert empty.called_directly is True
    assert (empty.retries, empty.is_eager, empty.children) == (0, False, [])
    assert empty.replaced_task_nesting == 0
    rest = {
        field.name: getattr(empty, field.name)
        for field in fields(empty)
        if field.name
        not in {
            "called_directly",
            "retries",
            "is_eager",
            "children",
            "replaced_task_nesting",
            "crashes",
        }
    }
    assert set(rest.values()) == {None}


def test_children_are_not_shared() -> None:
    one, other = Request(), Request()
    one.children.append("child")
    assert other.children == []


#: Every field of a call that a task sees, with a value that is nothing's default.
SEEN = {
    "id": "i",
    "task": "t",
    "args": (1, 2),
    "kwargs": {"a": 1},
    "retries": 4,
    "eta": "2026-01-01T00:00:00+00:00",
    "expires": "2026-01-02T00:00:00+00:00",
    "root_id": "root",
    "parent_id": "parent",
    "group_index": 3,
    "chain": [{"task": "next"}],
    "chord": {"task": "body"},
    "callbacks": [{"task": "link"}],
    "errbacks": [{"task": "link_error"}],
    "correlation_id": "c",
    "reply_to": "r",
    "origin": "gen1@host",
    "shadow": "s",
    "ignore_result": True,
    "time_limit": 20.0,
    "soft_time_limit": 10.0,
    "replaced_task_nesting": 1,
    "stamped_headers": ["tenant"],
    "stamps": {"tenant": ["a"]},
    "headers": {"tenant": "a"},
    "sent_at": 12.5,
}


@pytest.mark.parametrize("name", SEEN)
def test_a_task_sees_its_call(name: str) -> None:
    request = request_of(Call(**SEEN), DELIVERY, "celery@host")  # type: ignore[arg-type]
    assert getattr(request, name) == SEEN[name]


def test_a_task_sees_its_delivery() -> None:
    request = request_of(Call(**SEEN, group_id="g"), DELIVERY, "celery@host")  # type: ignore[arg-type]
    assert request.group == "g"
    assert request.hostname == "celery@host"
    assert request.called_directly is False
    assert request.timelimit == (20.0, 10.0)
    assert request.properties == {"correlation_id": "i", "priority": 7}
    assert request.delivery_info == {
        "exchange": "",
        "routing_key": "video",
        "priority": 7,
        "redelivered": True,
    }
    assert request.crashes == 1


def test_a_task_sees_the_exchange_that_its_message_was_sent_to() -> None:
    info = {"exchange": "media", "routing_key": "media.x"}
    message = replace(DELIVERY.message, properties={"delivery_info": info})
    found = request_of(Call(**SEEN), replace(DELIVERY, message=message), "celery@host")  # type: ignore[arg-type]
    assert found.delivery_info == {**info, "priority": 7, "redelivered": True}


@pytest.mark.parametrize(("asked", "seen"), [(7, 7), ("7", 6), (True, 6)])
def test_a_task_sees_the_priority_that_was_asked_for_where_brokers_have_steps(
    asked: object, seen: int
) -> None:
    message = replace(DELIVERY.message, properties={"priority": asked})
    delivery = replace(DELIVERY, message=message, priority=6)
    request = request_of(Call(**SEEN), delivery, "celery@host")  # type: ignore[arg-type]
    assert request.delivery_info is not None
    assert request.delivery_info["priority"] == seen


def test_no_field_of_a_call_is_forgotten() -> None:
    # Of the properties those of the whole message are seen.
    unseen = {"group_id", "argsrepr", "kwargsrepr", "properties"}
    assert {field.name for field in fields(Call)} == SEEN.keys() | unseen


# What users do with it


def test_headers_of_the_caller_are_read_like_fields() -> None:
    request = Request(headers={"tenant": "a", "id": "no"})
    assert request.tenant == "a"
    assert (request.get("tenant"), request.get("id"), request.get("x", 5)) == ("a", None, 5)
    with pytest.raises(AttributeError, match="This call has no 'nope'"):
        _ = request.nope
    assert not hasattr(Request(), "tenant")


def test_fields_can_be_set() -> None:
    request = Request(id="i")
    request.update({"own": 1}, retries=2)
    request.update([("timelimit", [3, 2])])
    assert (request.own, request.retries, request.time_limit, request.soft_time_limit) == (
        1,
        2,
        3,
        2,
    )
    request.update(timelimit=None)
    assert (request.time_limit, request.soft_time_limit) == (None, None)
    request.clear()
    assert request == Request()
    assert request.taskset is None


def test_the_options_of_another_call_of_the_same_work() -> None:
    request = Request(
        id="i",
        group="g",
        timelimit=(5, 3),
        headers={"a": 1, "x-death": [], "x-last-death-queue": "q"},
        callbacks=["c"],
        stamped_headers=["tenant"],
        stamps={"tenant": "t", "other": "o"},
    )
    assert request.as_execution_options() == {
        "task_id": "i",
        "root_id": None,
        "parent_id": None,
        "group_id": "g",
        "group_index": None,
        "shadow": None,
        "chord": None,
        "chain": None,
        "link": ["c"],
        "link_error": None,
        "expires": None,
        "soft_time_limit": 3,
        "time_limit": 5,
        "headers": {"a": 1},
        "retries": 0,
        "reply_to": None,
        "replaced_task_nesting": 0,
        "origin": None,
        "stamped_headers": ["tenant"],
        "tenant": "t",
    }


def test_the_request_of_a_worker_has_every_field() -> None:
    call, delivery = Call("t", "i"), Delivery("1", "q", Message({}, {}, b""))
    found, none = request_of(call, delivery, "h"), Request()
    for field in fields(Request):
        # What few calls have, or ask for, costs the others nothing.
        if field.name not in vars(found) and field.name != "delivery_info":
            assert getattr(found, field.name) == getattr(none, field.name)
    assert found.children is not request_of(call, delivery, "h").children
    told = Call("t", "i", **{name: 1 for name in _RARE.values()})  # type: ignore[arg-type]
    found = request_of(told, replace(delivery, crashes=3), "h")
    assert {getattr(found, name) for name in _RARE} == {1}
    assert (found.crashes, found.timelimit) == (3, (1, 1))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"priority": 3},
        {"count": 2},
        {"message": Message({}, {"priority": 7, "delivery_info": {"exchange": "media"}}, b"")},
        {"message": Message({}, {"delivery_info": {"routing_key": "k"}}, b""), "count": 2},
    ],
)
def test_how_a_message_came_is_made_out_when_somebody_asks(changes: dict[str, Any]) -> None:
    delivery = replace(Delivery("1", "q", Message({}, {}, b"")), **changes)
    request = request_of(Call("t", "i"), delivery, "h")
    assert request.delivery_info == delivery_info(delivery)
    assert request.delivery_info is request.delivery_info, "what is changed in it counts"
