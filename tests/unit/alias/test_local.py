from __future__ import annotations

import pickle
from fractions import Fraction
from typing import Any

import pytest

from umbel.alias.celery.local import (
    PromiseProxy,
    Proxy,
    class_property,
    maybe_evaluate,
    try_import,
)


def test_a_proxy_stands_for_what_a_function_returns_now() -> None:
    values: list[Any] = [{"a": 1}]
    proxy: Any = Proxy(lambda: values[0])
    assert proxy["a"] == 1
    proxy["b"] = 2
    assert "b" in proxy
    assert len(proxy) == 2
    assert list(proxy) == ["a", "b"]
    del proxy["b"]
    assert proxy == {"a": 1}
    assert isinstance(proxy, dict)
    assert repr(proxy) == str(proxy) == "{'a': 1}"
    values[0] = None
    assert not proxy


def test_a_proxy_passes_attributes_and_calls_on() -> None:
    def function(number: int) -> int:
        return number + 1

    proxy: Any = Proxy(lambda number: function, (1,))
    proxy.mark = "set"
    assert function.mark == "set"  # type: ignore[attr-defined]
    assert proxy(1) == 2
    assert hash(proxy) == hash(function)
    del proxy.mark
    with pytest.raises(AttributeError):
        _ = proxy.mark


def test_a_proxy_is_pickled_as_its_object() -> None:
    assert pickle.loads(pickle.dumps(Proxy(lambda: Fraction(1, 2)))) == Fraction(1, 2)  # noqa: S301


def test_a_promise_is_made_once() -> None:
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return made

    promise: Any = PromiseProxy(make)
    assert not promise.__evaluated__()
    assert len(promise) == 1
    assert len(promise) == 1
    assert promise.__evaluated__()
    assert promise.__maybe_evaluate__() is maybe_evaluate(promise) is made
    assert maybe_evaluate(3) == 3


def test_a_property_of_a_class() -> None:
    class Setting:
        kept = 1

        def _get(cls) -> int:
            return cls.kept

        def _set(cls, value: int) -> None:
            cls.kept = value

        value = class_property(_get, _set)
        fixed = class_property(_get)

    assert Setting.value == Setting().value == 1
    Setting().value = 2
    assert Setting.kept == 2
    with pytest.raises(AttributeError, match="cannot be set"):
        Setting().fixed = 3


def test_a_module_may_be_missing() -> None:
    assert try_import("fractions").Fraction is Fraction
    assert try_import("no_such_module_at_all", 5) == 5
