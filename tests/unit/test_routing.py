from __future__ import annotations

from typing import Any

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.options import call_options
from umbel.routing import NOTHING, Route, Wish, route
from umbel.settings import Config

ROUTES = {
    "feed.*": {"queue": "feeds", "priority": 3},
    "feed.special": "special",
    "*.mail": {"queue": "mails"},
    "feed.mail": {"priority": 9},
    "urgent.*": {"priority": 8},
    "[ab].t": "letters",
    "never.*": None,
    "keyed.*": {"routing_key": "key"},
    "both.*": {"queue": "q", "routing_key": "key"},
}


def routed(
    name: str,
    task_queue: str | None = None,
    task_priority: int | None = None,
    task_key: str | None = None,
    **options: Any,
) -> Route:
    conf = Config({"task_routes": ROUTES})
    wish = Wish(task_queue, task_priority, task_key)
    return route(name, call_options(options), wish, conf.snapshot)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("other", Route("celery")),
        ("feed.import", Route("feeds", 3)),
        ("feed.special", Route("special")),  # the exact name, though a pattern comes first
        ("x.mail", Route("mails")),
        ("feed.mail", Route("celery", 9)),  # an exact name is all of the answer
        ("urgent.x", Route("celery", 8)),
        ("a.t", Route("letters")),
        ("c.t", Route("celery")),
        ("never.x", Route("celery")),
        ("FEED.import", Route("celery")),  # names are compared as they are written
    ],
)
def test_names_before_patterns_and_patterns_in_their_order(name: str, expected: Route) -> None:
    assert routed(name) == expected


def test_the_call_goes_before_the_task_and_the_task_before_the_routes() -> None:
    assert routed("feed.import", "own", 5, queue="call", priority=7) == Route("call", 7)
    assert routed("feed.import", "own", 5) == Route("own", 5)
    assert routed("feed.import", None, 5) == Route("feeds", 5)
    assert routed("feed.import", "own") == Route("own", 3)
    assert routed("feed.import", queue="call") == Route("call", 3)


def test_priority_zero_is_a_priority() -> None:
    assert routed("feed.import", priority=0) == Route("feeds", 0)
    assert routed("feed.import", None, 5, priority=0).priority == 0


def test_what_nobody_says_is_the_default() -> None:
    conf = Config({"task_default_queue": "main", "task_default_priority": 4})
    assert route("t", call_options({}), NOTHING, conf.snapshot) == Route("main", 4)


def test_a_routing_key_alone_names_the_queue() -> None:
    assert routed("other", routing_key="call") == Route("call", None, "call")
    assert routed("other", task_key="own") == Route("own", None, "own")
    assert routed("keyed.x") == Route("key", None, "key")
    assert routed("keyed.x", task_key="own", routing_key="call").queue == "call"


def test_a_routing_key_beside_a_queue_only_travels() -> None:
    assert routed("other", queue="call", routing_key="k") == Route("call", None, "k")
    assert routed("other", "own", routing_key="k") == Route("own", None, "k")
    assert routed("feed.import", task_key="k") == Route("feeds", 3, "k")
    assert routed("both.x") == Route("q", None, "key")


@pytest.mark.parametrize("routes", [["feed.*"], "feeds", 7])
def test_routes_that_are_no_mapping_are_refused(routes: Any) -> None:
    conf = Config({"task_routes": routes})
    with pytest.raises(ImproperlyConfigured, match="must map task names or patterns to queues"):
        route("t", call_options({}), NOTHING, conf.snapshot)


@pytest.mark.parametrize("target", [7, ["feeds"], {"queue": "feeds", "exchange": "x"}])
def test_a_target_that_is_none_is_refused_by_name(target: Any) -> None:
    conf = Config({"task_routes": {"feed.*": target}})
    with pytest.raises(ImproperlyConfigured, match=r"task_routes sends feed\.x to .*'queue' and"):
        route("feed.x", call_options({}), NOTHING, conf.snapshot)
