"""``kombu.messaging``: queues, exchanges and producers."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.entities import Exchange, Queue
from umbel.producers import Producer

__all__ = ["Exchange", "Producer", "Queue"]
__getattr__ = attributes_of("kombu.messaging")
