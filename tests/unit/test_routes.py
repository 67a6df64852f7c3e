from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from umbel.entities import Queue
from umbel.exceptions import ImproperlyConfigured
from umbel.routes import MapRoute, as_router, is_fixed, prepare


def asked(routes: Any, name: str = "a.b", *args: Any, **options: Any) -> Any:
    """Return what the first router says that knows a task."""
    for router in prepare(routes):
        found = router(name, args, {}, options, task=None)
        if found is not None:
            return found
    return None


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        (None, None),
        ({"a.b": "q"}, {"queue": "q"}),
        ({"a.b": {"queue": "q", "priority": 3}}, {"queue": "q", "priority": 3}),
        ({"a.b": Queue("q")}, {"queue": Queue("q")}),
        ({"a.*": "q"}, {"queue": "q"}),
        ({"*.c": "q"}, None),
        ({"A.*": "q"}, None),  # names are compared as they are written
        ({"a.?": "q"}, None),  # as in Celery: without a * it is a name
        ({"[ax].*": "q"}, {"queue": "q"}),
        ({"a.*": "pattern", "a.b": "name"}, {"queue": "name"}),
        ({"a.b": None, "*": "q"}, {}),
        ([("x", "1"), ("a.*", "2"), ("a.b*", "3")], {"queue": "2"}),
        ([[("a.*", "2")], {"a.b": "3"}], {"queue": "2"}),
        ([("a.*", "2"), lambda name, args, kwargs, options, task: "3"], {"queue": "2"}),
        ({re.compile("a"): "q"}, {"queue": "q"}),
        ({re.compile("b"): "q"}, None),
        (lambda name, args, kwargs, options, task=None: {"queue": name}, {"queue": "a.b"}),
        (lambda *args, **kwargs: "q", {"queue": "q"}),
        ([lambda *args, **kwargs: None, {"a.b": "q"}], {"queue": "q"}),
    ],
)
def test_the_forms_of_routes(routes: Any, expected: Any) -> None:
    assert asked(routes) == expected


def test_what_a_router_answers_is_the_callers_to_change() -> None:
    target = {"queue": "q"}
    asked({"a.b": target})["more"] = 1
    assert asked({"a.b": target}) == {"queue": "q"}


class OfAClass:
    def route_for_task(self, task: str, args: Any = None, kwargs: Any = None) -> Any:
        return {"queue": task} if args else None


def test_a_class_with_route_for_task() -> None:
    for form in (OfAClass, OfAClass(), [OfAClass()]):
        assert asked(form, "a.b", 1) == {"queue": "a.b"}
        assert asked(form, "a.b") is None


@pytest.mark.parametrize("place", ["{}.mapping", "{}:mapping", "{}.function", "{}.Klass"])
def test_a_text_names_a_router(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    module = ModuleType("routers_of_a_test")
    module.mapping = {"a.b": "q"}  # type: ignore[attr-defined]
    module.function = lambda *args, **kwargs: "q"  # type: ignore[attr-defined]

    class Klass:
        def route_for_task(self, *args: Any) -> str:
            return "q"

    module.Klass = Klass  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "routers_of_a_test", module)
    assert asked(place.format("routers_of_a_test")) == {"queue": "q"}


def test_a_text_that_names_nothing_says_so_when_it_is_used() -> None:
    routers = prepare("no_such_module.route")
    with pytest.raises(
        ImproperlyConfigured, match=r"the router 'no_such_module\.route', which can"
    ):
        routers[0]("a", (), {}, {})
    with pytest.raises(ImproperlyConfigured, match=r"the router 'umbel\.nothing'"):
        prepare(["umbel.nothing"])[0]("a", (), {}, {})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (7, "task_routes has 7, which is no router"),
        ([7], "task_routes has 7"),
        ({7: "q"}, "task_routes has 7 for a name"),
        ({"a": 7}, "task_routes sends a to 7"),
        ({"a": ["q"]}, r"task_routes sends a to \['q'\]"),
        ({"a": {7: "q"}}, "task_routes sends a to"),
        ([["a", "b", "c"]], "has 'a' in a list of pairs"),
    ],
)
def test_what_is_no_route_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=told):
        prepare(wrong)


def test_a_router_that_answers_nonsense_is_named() -> None:
    def odd(*args: Any, **kwargs: Any) -> int:
        return 7

    with pytest.raises(ImproperlyConfigured, match=r"odd.*returned 7, but must return options"):
        asked(odd)


def test_only_mappings_answer_by_the_name_alone() -> None:
    assert is_fixed(prepare(None))
    assert is_fixed(prepare([{"a": "q"}, [("b", "q")]]))
    assert not is_fixed(prepare([{"a": "q"}, OfAClass]))
    assert not is_fixed(prepare("proj.routers.route"))
    assert isinstance(as_router({"a": "q"}), MapRoute)
