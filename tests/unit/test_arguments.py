from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel.arguments import checker


def add(x: int, y: int = 1) -> None: ...
def bound(self: Any, x: int, y: int) -> None: ...
def everything(
    a: int, /, b: int, *rest: int, c: int, d: object = object(), **more: int
) -> None: ...


@pytest.mark.parametrize(
    ("function", "skip_first", "args", "kwargs", "text"),
    [
        (add, False, (), {}, "add() missing 1 required positional argument: 'x'"),
        (
            add,
            False,
            (1, 2, 3),
            {},
            "add() takes from 1 to 2 positional arguments but 3 were given",
        ),
        (add, False, (1,), {"w": 2}, "add() got an unexpected keyword argument 'w'"),
        (add, False, (1,), {"x": 2}, "add() got multiple values for argument 'x'"),
        (bound, True, (1,), {}, "bound() missing 1 required positional argument: 'y'"),
        (
            bound,
            True,
            (1,),
            {"self": 2, "y": 1},
            "bound() got an unexpected keyword argument 'self'",
        ),
        (
            everything,
            False,
            (1, 2),
            {},
            "everything() missing 1 required keyword-only argument: 'c'",
        ),
        (
            everything,
            False,
            (),
            {"b": 1, "c": 1},
            "everything() missing 1 required positional argument: 'a'",
        ),
    ],
)
def test_the_error_is_pythons_own(
    function: Callable[..., Any],
    skip_first: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    text: str,
) -> None:
    with pytest.raises(TypeError) as caught:
        checker(function, skip_first)(*args, **kwargs)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (add, (1,), {}),
        (add, (1, 2), {}),
        (add, (), {"x": 1, "y": 2}),
        (everything, (1, 2, 3, 4), {"c": 1, "e": 2, "a": 3}),
        (lambda x: x, (1,), {}),
        (print, ("a", "b"), {"sep": ""}),
    ],
)
def test_what_fits_passes(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    checker(function, skip_first=False)(*args, **kwargs)


def test_the_function_is_not_called() -> None:
    called: list[int] = []
    checker(called.append, skip_first=False)(1)
    assert called == []


def test_a_lambda_has_no_name_to_show() -> None:
    with pytest.raises(TypeError, match=r"task\(\) missing 1 required positional argument"):
        checker(lambda x: x, skip_first=False)()


def test_a_callable_object_is_checked_by_its_call() -> None:
    class Mailer:
        def __call__(self, to: str) -> None: ...

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'to'"):
        checker(Mailer(), skip_first=False)()


def test_a_task_among_any_arguments_is_left_there() -> None:
    def any_number(*args: int) -> None: ...

    checker(any_number, skip_first=True)(1, 2)
