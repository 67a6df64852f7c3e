from __future__ import annotations

from typing import Any

import pytest

from umbel.entities import Broadcast, Exchange, Queue, binding
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, Unroutable
from umbel.topology import Defaults, Queues

DEFAULTS = Defaults(Exchange("main"), "main")


def queues(*listed: Any, **changed: Any) -> Queues:
    values = {"exchange": DEFAULTS.exchange, "routing_key": "main", **changed}
    return Queues(listed, Defaults(**values))


MEDIA = Exchange("media", "topic")


def test_a_queue_gets_the_default_exchange_and_key() -> None:
    found = queues(Queue("a"), Queue("b", Exchange("x"), "k"), Queue("c", Exchange("", "topic")))
    assert found["a"] == Queue("a", Exchange("main"), "main")
    assert found["b"] == Queue("b", Exchange("x"), "k")
    assert found["c"].exchange == Exchange("main")


def test_a_queue_that_is_not_declared_is_added() -> None:
    found = queues(Queue("a"))
    assert found["b"] == Queue("b", Exchange("b"), "b")
    assert list(found) == ["a", "b"]
    assert list(found.consume_from) == ["a"]
    found = queues(missing_exchange_type="topic", missing_queue_type="quorum")
    assert found["b"] == Queue(
        "b", Exchange("b", "topic"), "b", queue_arguments={"x-queue-type": "quorum"}
    )


def test_it_is_refused_where_that_is_wanted() -> None:
    found = queues(Queue("a"), Queue("z"), create_missing=False)
    with pytest.raises(QueueNotFound, match=r"'b' is missing from task_queues, which has: a, z\."):
        found["b"]
    with pytest.raises(KeyError):
        found["b"]
    with pytest.raises(ImproperlyConfigured, match="task_create_missing_queue_type is 'odd'"):
        queues(missing_queue_type="odd")["b"]


def test_queues_have_aliases() -> None:
    found = queues(Queue("a", alias="one"))
    assert found["one"] is found["a"]
    assert "one" in found
    assert list(found) == ["a"]
    del found["one"]
    assert "a" not in found
    assert "one" not in found


def test_queues_from_a_mapping() -> None:
    found = Queues(
        {
            "a": {"exchange": "x", "exchange_type": "topic"},
            "b": {"binding_key": "k"},
            "c": Queue("d"),
        },
        DEFAULTS,
    )
    assert found["a"] == Queue("a", Exchange("x", "topic"), "a")
    assert found["b"] == Queue("b", Exchange("main"), "k")
    assert list(found) == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("videos", "task_queues is 'videos'"),
        (7, "task_queues is 7"),
        (["videos"], "task_queues lists 'videos'"),
        ({"videos": "media"}, "task_queues has 'videos': 'media'"),
        ([Queue("")], "a queue without a name"),
        ({"a": {"exchange_type": "headers", "exchange": "x"}}, "of the type 'headers'"),
    ],
)
def test_what_lists_no_queues_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=told):
        Queues(wrong, DEFAULTS)


def test_queues_added_by_hand() -> None:
    found = queues(Queue("a"))
    assert found.add("b", exchange="x", routing_key="k") == Queue("b", Exchange("x"), "k")
    assert found.add(Queue("c")).name == "c"
    with pytest.raises(ImproperlyConfigured, match="7 is no queue"):
        found.add(7)


def test_selected_queues_are_consumed_from() -> None:
    found = queues(Queue("a", alias="one"), Queue("b"), Queue("c"))
    assert list(found.consume_from) == ["a", "b", "c"]
    found.select(None)
    assert list(found.consume_from) == ["a", "b", "c"]
    found.deselect("c, nonsense")
    assert list(found.consume_from) == ["a", "b"]
    found.select(["one", "new"])
    assert list(found.consume_from) == ["a", "new"]
    found.deselect(["one"])
    assert list(found.consume_from) == ["new"]
    found.select_add(Queue("more"))
    assert list(found.consume_from) == ["new", "more"]


def test_queues_for_people_to_read() -> None:
    found = queues(Queue("videos", MEDIA, "media.#"), Queue("a"))
    assert found.format(indent=2, indent_first=False) == (
        ".> a                exchange=main(direct) key=main\n"
        "  .> videos           exchange=media(topic) key=media.#"
    )
    found.deselect("videos,a")
    assert found.format() == ""


def test_every_queue_gets_a_most_priority() -> None:
    found = queues(Queue("a"), Queue("b", queue_arguments={"x-max-priority": 3}), max_priority=9)
    assert found["a"].queue_arguments == {"x-max-priority": 9}
    assert found["b"].queue_arguments == {"x-max-priority": 3}


# Where messages go


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("a.b", ["a.b"], ["a", "a.b.c", "axb", ""]),
        ("a.*", ["a.b"], ["a", "a.", "a.b.c"]),
        ("*.b", ["a.b"], ["b", "a.b.c"]),
        ("#", ["", "a", "a.b"], []),
        ("a.#", ["a", "a.b", "a.b.c"], ["", "b", "ab"]),
        ("#.b", ["b", "a.b", "c.a.b"], ["a.b.c", "ab"]),
        ("a.#.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "z", "a.b"]),
        ("*.#", ["a", "a.b"], [""]),
        ("a+.(b)", ["a+.(b)"], ["aa.b"]),
    ],
)
def test_patterns_of_a_topic(pattern: str, matching: list[str], others: list[str]) -> None:
    found = queues(Queue("q", Exchange("t", "topic"), pattern))
    for key in matching:
        assert found.targets("t", key) == ["q"], key
    for key in others:
        with pytest.raises(Unroutable):
            found.targets("t", key)


def test_without_an_exchange_the_key_is_the_queue() -> None:
    assert queues().targets("", "anything") == ["anything"]
    with pytest.raises(Unroutable):
        queues().targets("", "")


def test_a_queue_that_is_bound_twice_gets_one_message() -> None:
    pair = [binding(MEDIA, "a.#"), binding(MEDIA, "#.b")]
    assert queues(Queue("q", bindings=pair)).targets("media", "a.b") == ["q"]


def test_a_queue_of_the_call_itself_counts() -> None:
    found = queues(Queue("a", MEDIA, "x"))
    own = Queue("own", MEDIA, "x")
    assert found.targets("media", "x", own) == ["a", "own"]
    assert found.targets("media", "x") == ["a"]
    assert "own" not in found


def test_a_message_that_reaches_no_queue_is_refused_with_the_bindings_there_are() -> None:
    found = queues(Queue("a", MEDIA, "a.#"), Queue("b", MEDIA, "b.#"))
    with pytest.raises(Unroutable) as raised:
        found.targets("media", "c.d")
    assert "'media' with the routing key 'c.d' reaches no queue" in str(raised.value)
    assert "topic exchange are: 'a.#' to a, 'b.#' to b." in str(raised.value)
    with pytest.raises(Unroutable, match="there are bindings to: media"):
        found.targets("other", "x")


def test_an_exchange_has_one_type() -> None:
    found = queues(Queue("a", Exchange("x", "topic"), "k"), Queue("b", Exchange("x"), "k"))
    with pytest.raises(ImproperlyConfigured, match="'x' is of the type 'topic' for the queue 'a'"):
        found.targets("x", "k")


def test_the_queue_of_a_worker_need_not_be_declared() -> None:
    assert queues().targets("C.dq2", "w1@host") == ["w1@host.dq2"]


def test_a_change_of_queues_is_noticed() -> None:
    found = queues(Queue("a", MEDIA, "k"))
    assert found.targets("media", "k") == ["a"]
    found.add(Queue("b", MEDIA, "k"))
    assert found.targets("media", "k") == ["a", "b"]
    del found["a"]
    assert found.targets("media", "k") == ["b"]


def test_a_broadcast_goes_to_those_who_listen_now() -> None:
    found = queues(Broadcast("news"), Queue("fixed", Exchange("news", "fanout")))
    listening = {"news": ["bcast.1", "bcast.2"]}
    found.listeners = lambda exchange: listening.get(exchange, [])
    assert found.targets("news", "") == ["fixed", "bcast.1", "bcast.2"]
    del found["fixed"]
    listening.clear()
    with pytest.raises(Unroutable, match="no worker listens to it now"):
        found.targets("news", "")
