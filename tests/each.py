"""One test for a whole table, where each line of it asks for less than pytest does around a test.

``for_each`` is written like ``pytest.mark.parametrize``, and makes one test of all: it goes through the
whole table and then fails with everything that was wrong, each with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from inspect import signature
from typing import Any

import pytest


def for_each(
    names: str | Sequence[str], table: Iterable[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give these arguments of a test each line of a table; its fixtures are the same for all."""
    rows = [_row(names, line) for line in table]
    if not rows:
        raise ValueError(f"The table of {names!r} is empty: its test would hold nothing.")

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def whole(*fixtures: Any, **more: Any) -> None:
            wrong = []
            for row in rows:
                try:
                    test(*fixtures, **more, **row)
                except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - raised below
                    error.add_note(", ".join(f"{name}={value!r}" for name, value in row.items()))
                    wrong.append(error)
            if wrong:
                raise BaseExceptionGroup(f"{len(wrong)} of {len(rows)} lines", wrong)

        all_of_it = signature(test)
        left = [one for name, one in all_of_it.parameters.items() if name not in rows[0]]
        whole.__signature__ = all_of_it.replace(parameters=left)  # type: ignore[attr-defined]
        return whole

    return decorate


def _row(names: str | Sequence[str], line: Any) -> dict[str, Any]:
    if isinstance(names, str):
        return {names: line}
    return dict(zip(names, line, strict=True))
