from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from umbel.amqp import AMQP
from umbel.entities import Broadcast, Exchange, Queue
from umbel.exceptions import ImproperlyConfigured, QueueNotFound, Unroutable
from umbel.message import Delivery, Message
from umbel.options import call_options
from umbel.request import Request
from umbel.routing import Route, back_to, inherited
from umbel.settings import Config

MEDIA = Exchange("media", "topic")
QUEUES = [Queue("celery"), Queue("videos", MEDIA, "media.video.#"), Queue("all", MEDIA, "media.#")]


def amqp(**settings: Any) -> AMQP:
    conf = Config(settings)
    return AMQP(lambda: conf.snapshot)


def routed(settings: dict[str, Any], task: dict[str, Any] | None = None, **options: Any) -> Route:
    own = SimpleNamespace(**(task or {}))
    return amqp(**settings).router.where("t", call_options(options), own)[0]


def test_what_nobody_says_is_the_default() -> None:
    assert routed({}) == Route("celery")
    assert routed({"task_default_queue": "main", "task_default_priority": 4}) == Route("main", 4)


def test_the_call_goes_before_the_task_and_the_task_before_the_routes() -> None:
    routes = {"task_routes": {"t": {"queue": "route", "priority": 3}}, "task_default_priority": 1}
    own = {"queue": "own", "priority": 5}
    assert routed(routes, own, queue="call", priority=7) == Route("call", 7)
    assert routed(routes, own) == Route("own", 5)
    assert routed(routes, {"priority": 5}) == Route("route", 5)
    assert routed(routes, {"queue": "own"}) == Route("own", 3)
    assert routed(routes) == Route("route", 3)
    assert routed({"task_default_priority": 1}) == Route("celery", 1)


def test_priority_zero_is_a_priority() -> None:
    routes = {"task_routes": {"t": {"queue": "route", "priority": 3}}}
    assert routed(routes, priority=0) == Route("route", 0)
    assert routed({}, {"priority": 5}, priority=0).priority == 0


def test_a_key_counts_only_for_an_exchange_that_looks_at_it() -> None:
    assert routed({}, routing_key="k") == Route("celery")
    assert routed({"task_queues": QUEUES}, queue="videos", routing_key="media.video.x") == Route(
        "videos", None, "media.video.x", "media", ("all",)
    )


def test_the_queue_of_a_message_is_the_first_that_gets_it() -> None:
    found = routed({"task_queues": QUEUES}, exchange="media", routing_key="media.x")
    assert found == Route("all", None, "media.x", "media")
    assert (found.key, Route("q").key, Route("q", routing_key="").key) == ("media.x", "q", "")


def test_a_route_gives_other_options_than_where_to() -> None:
    extra = {"serializer": "json", "headers": {"a": 1}, "retry": False, "retry_policy": {}}
    settings = {"task_routes": {"t": {"queue": "q", **extra}}}
    router = amqp(**settings).router
    given = call_options({"headers": {"b": 2}})
    found, options = router.where("t", given)
    assert found == Route("q")
    assert (options.serializer, options.headers, options.retry) == ("json", {"b": 2}, False)
    assert router.where("other", given)[1] is given
    own = SimpleNamespace(serializer="own")
    assert router.where("t", given, own)[1].serializer is None  # the task's is put in later


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ({"queue": "q", "countdown": 5}, "has no option 'countdown'"),
        ({"que": "q"}, "has no option 'que'. Did you mean 'queue'?"),
        ({"priority": 300}, "gives the priority 300"),
        ({"priority": "high"}, "gives the priority 'high'"),
        ({"queue": "q", "exchange": 7}, "An exchange is given as 7"),
        ({"delivery_mode": 5}, "delivery_mode is 5"),
    ],
)
def test_what_a_route_cannot_give_is_refused(target: dict[str, Any], told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=told):
        routed({"task_routes": {"t": target}})


def test_a_wrong_priority_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(ImproperlyConfigured, match="gives the priority 'high'"):
        routed({}, {"priority": "high"})
    with pytest.raises(ImproperlyConfigured, match="task_default_priority is 256"):
        routed({"task_default_priority": 256})


def test_an_exchange_alone_is_no_place() -> None:
    with pytest.raises(Unroutable, match="the exchange 'media', without a routing key"):
        routed({"task_routes": {"t": {"exchange": "media"}}})
    with pytest.raises(Unroutable, match="reaches no queue"):
        routed({}, exchange="media", routing_key="k")


def test_an_exchange_type_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="exchange_type is 'headers'"):
        routed({}, exchange="media", exchange_type="headers", routing_key="k")


def test_routers_see_what_was_asked_and_change_nothing_of_it() -> None:
    seen = []

    def router(
        name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **kw: Any
    ) -> None:
        seen.append((name, args, kwargs, options["queue"].name, options["priority"], task))
        options.clear()

    own = SimpleNamespace(priority=3)
    given = amqp(task_routes=[router, router]).router
    assert given.fixed is False
    found, _ = given.where("t", call_options({"queue": "q"}), own, (1,), {"a": 2})
    assert seen == [("t", (1,), {"a": 2}, "q", 3, own)] * 2
    assert found == Route("q", 3)


def test_celerys_way_to_ask_a_router() -> None:
    found = amqp(task_queues=QUEUES, task_routes={"t": {"queue": "videos", "priority": 3}})
    options = {"priority": None, "queue": None}
    assert found.router.route(options, "t") == {"queue": found.queues["videos"], "priority": 3}
    assert found.router.route({}, "other") == {"queue": found.queues["celery"]}
    assert options == {"priority": None, "queue": None}


def test_queues_that_do_not_exist() -> None:
    settings = {"task_queues": QUEUES, "task_create_missing_queues": False}
    with pytest.raises(QueueNotFound, match=r"'other'.*: all, celery, videos"):
        routed(settings, queue="other")


# After the settings have changed


def test_a_change_of_settings_is_noticed() -> None:
    conf = Config({})
    found = AMQP(lambda: conf.snapshot)
    assert found.router.where("t", call_options({}))[0] == Route("celery")
    conf.task_routes = {"t": "q"}
    assert found.router.where("t", call_options({}))[0] == Route("q")
    conf.task_routes = None
    conf.task_default_queue = "main"
    assert found.router.where("t", call_options({}))[0] == Route("main")
    assert found.default_queue == Queue("main", Exchange("main"), "main")


def test_queues_stay_while_their_settings_do() -> None:
    conf = Config({})
    found = AMQP(lambda: conf.snapshot)
    queues = found.queues
    queues.select(["a"])
    conf.task_acks_late = False
    assert found.queues is queues
    conf.task_queues = [Queue("b")]
    assert list(found.queues.consume_from) == ["b"]


def test_queues_and_routes_by_hand() -> None:
    routes: dict[str, Any] = {"t": "a"}
    found = amqp(task_routes=routes)
    router = found.router
    assert found.router is router
    routes["t"] = "b"
    found.flush_routes()
    assert found.router.where("t", call_options({}))[0] == Route("b")
    found.queues = [Queue("celery", Exchange("x"), "k")]
    assert found.router.queues["celery"].exchange == Exchange("x")
    found.queues = found.Queues([Queue("z")], create_missing=False)
    assert "z" in found.queues


def test_another_default_queue_by_hand_is_noticed() -> None:
    found = amqp()
    assert found.router.where("t", call_options({}))[0] == Route("celery")
    found.queues.add(Queue("celery", MEDIA, "a"))
    assert found.router.where("t", call_options({}))[0] == Route("celery", None, "a", "media")


def test_who_listens_is_asked_for_each_call() -> None:
    conf = Config({"task_queues": [Broadcast("news")], "task_default_queue": "news"})
    listening = ["one"]
    found = AMQP(lambda: conf.snapshot, lambda exchange: listening)
    for queue in ("one", "two"):
        listening[:] = [queue]
        assert found.router.where("t", call_options({}))[0] == Route(queue, None, "news", "news")


# Retries and children


def delivery(**properties: Any) -> Delivery:
    return Delivery("1.1", "videos", Message({}, properties, b""))


def test_a_retry_goes_back_to_the_queue_it_came_from_and_to_no_other() -> None:
    assert back_to(delivery(), call_options({"priority": 3})) == Route("videos", 3)
    info = {"exchange": "media", "routing_key": "media.x"}
    nothing = call_options({})
    assert back_to(delivery(delivery_info=info, delivery_mode=1), nothing) == Route(
        "videos", None, "media.x", "media", delivery_mode=1
    )
    assert back_to(delivery(delivery_info="odd", delivery_mode="x"), nothing) == Route("videos")
    odd = {"exchange": 5, "routing_key": ["a"]}
    assert back_to(delivery(delivery_info=odd), nothing) == Route("videos")


def test_a_retry_may_name_another_queue() -> None:
    for queue in ("other", Queue("other")):
        assert back_to(delivery(), call_options({"queue": queue})) == Route("other")


def test_a_child_gets_its_parents_priority_where_that_is_wanted() -> None:
    parent = Request(id="p", delivery_info={"priority": 6})
    wanted = Config({"task_inherit_parent_priority": True}).snapshot
    assert inherited(Route("q"), wanted, parent) == Route("q", 6)
    assert inherited(Route("q", 0), wanted, parent) == Route("q", 0)
    assert inherited(Route("q"), wanted, None) == Route("q")
    assert inherited(Route("q"), wanted, Request(delivery_info={"priority": 0})) == Route("q")
    assert inherited(Route("q"), Config({}).snapshot, parent) == Route("q")
