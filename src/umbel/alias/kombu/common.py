"""``kombu.common``: broadcast queues, and declaring, which umbel does by itself."""

from __future__ import annotations

from typing import Any

from umbel.alias.packages import attributes_of
from umbel.clock import unique_id as uuid
from umbel.entities import Broadcast

__all__ = ["Broadcast", "maybe_declare", "uuid"]


def maybe_declare(entity: Any, channel: Any = None, retry: bool = False, **policy: Any) -> bool:
    """Return False, "nothing was declared": a queue begins with its first message."""
    return False


__getattr__ = attributes_of("kombu.common")
