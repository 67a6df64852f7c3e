"""Values that are made for each task."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(kind: type[T]) -> type[T]:
    """Make a dataclass with slots whose fields type checkers refuse to set.

    Python itself is not asked to refuse it: a frozen dataclass takes five to seven times as long to make,
    and a dozen are made for each task.
    """
    return dataclass(slots=True, unsafe_hash=True)(kind)
