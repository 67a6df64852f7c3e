"""What is imported as ``kombu``: queues, exchanges and serializers, as settings and tasks use them.

kombu as a library of its own, with transports and channels, is not here.
"""

from __future__ import annotations

from umbel.alias.kombu.connection import BrokerConnection, Connection
from umbel.alias.kombu.messaging import Consumer, Producer
from umbel.alias.packages import attributes_of
from umbel.alias.versions import KOMBU, version_info
from umbel.clock import unique_id as uuid
from umbel.entities import Exchange, Queue, binding
from umbel.received import ReceivedMessage as Message
from umbel.serialization import disable_insecure_serializers, enable_insecure_serializers

__version__ = KOMBU
VERSION = version_info(KOMBU)
__all__ = [
    "BrokerConnection",
    "Connection",
    "Consumer",
    "Exchange",
    "Message",
    "Producer",
    "Queue",
    "VERSION",
    "binding",
    "disable_insecure_serializers",
    "enable_insecure_serializers",
    "uuid",
]
__getattr__ = attributes_of("kombu")
