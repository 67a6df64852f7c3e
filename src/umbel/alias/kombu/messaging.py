"""``kombu.messaging``: queues, exchanges, producers and consumers."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.consuming import Consumer
from umbel.entities import Exchange, Queue
from umbel.producers import Producer
from umbel.received import ReceivedMessage as Message

__all__ = ["Consumer", "Exchange", "Message", "Producer", "Queue"]
__getattr__ = attributes_of("kombu.messaging")
