"""Options of a task that no task can have fail where they are written."""

from __future__ import annotations

import math
from typing import Any

import pytest

from umbel import Task, Umbel

WRONG: list[tuple[str, Any, str]] = [
    ("time_limit", "10", "time_limit is '10', but must be a number of seconds"),
    ("soft_time_limit", -1, "soft_time_limit is -1, but must be 0.0 or more seconds"),
    ("default_retry_delay", "3m", "default_retry_delay is '3m', but must be a number"),
    ("retry_backoff_max", math.inf, "retry_backoff_max is inf, but must be"),
    (
        "autoretry_for",
        ConnectionError,
        r"tuple of classes of exceptions\. Write \(ConnectionError,\)",
    ),
    ("autoretry_for", ("ConnectionError",), "autoretry_for is .* but must be a tuple of classes"),
    ("dont_autoretry_for", KeyError(), "dont_autoretry_for is KeyError.* must be a tuple"),
    ("throws", "KeyError", "throws is 'KeyError', but must be a tuple of classes of exceptions"),
    ("priority", 300, "priority is 300, but must be a number from 0 to 255"),
    ("max_retries", "3", "max_retries is '3', but must be a whole number"),
    ("rate_limit", "10/fortnight", "rate_limit is '10/fortnight', but must be a number a second"),
    ("rate_limit", -1, "rate_limit is -1, but must be"),
    (
        "executor",
        "greenlets",
        r"executor is 'greenlets', but must be 'threads' or 'asyncio'\.(?:\n|$)",
    ),
    (
        "executor",
        "prefork",
        r"'prefork' is for a whole worker \(umbel worker -P prefork\): give the",
    ),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_a_wrong_option_is_refused_at_decoration(
    app: Umbel, name: str, value: Any, told: str
) -> None:
    options: Any = {name: value}
    with pytest.raises((TypeError, ValueError), match=told):
        app.task(**options)(lambda: None)


@pytest.mark.parametrize(("name", "value", "told"), WRONG)
def test_and_so_is_an_attribute_of_a_class(app: Umbel, name: str, value: Any, told: str) -> None:
    kind = type("Wrong", (Task,), {name: value, "run": lambda self: None})
    with pytest.raises((TypeError, ValueError), match=told):
        app.register_task(kind())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("throws", KeyError),
        ("autoretry_for", [KeyError, ValueError]),
        ("max_retries", None),
        ("max_retries", math.inf),
        *[("rate_limit", rate) for rate in ("", "10", "10/s", "0.5/m", "1000/h", 5, 0.5, 0, None)],
    ],
)
def test_what_celery_takes_is_taken(app: Umbel, name: str, value: Any) -> None:
    options: Any = {name: value}
    assert getattr(app.task(**options)(lambda: None), name) == value


def test_a_class_may_have_an_executor_of_its_own(app: Umbel) -> None:
    pool = object()
    options: Any = {"executor": pool}
    kind = type("Own", (Task,), {"name": "own", "executor": pool, "run": lambda self: None})
    app.register_task(kind())
    assert app.tasks["own"].executor is pool
    with pytest.raises(TypeError, match="but must be 'threads' or 'asyncio'"):
        app.task(**options)(lambda: None)
