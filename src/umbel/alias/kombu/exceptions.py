"""``kombu.exceptions``: what a broker, or reading and writing messages, raises."""

from __future__ import annotations

from umbel.alias.packages import attributes_of
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    OperationalError,
    SerializerNotInstalled,
    UmbelError,
)
from umbel.received import MessageStateError

KombuError = UmbelError
#: What a broker raises is one error here, whatever went wrong on the way to it.
ConnectionError = OperationalError
ChannelError = OperationalError


class LimitExceeded(OperationalError):
    """Raised by no part of umbel: its connections have no limit that waits."""


ConnectionLimitExceeded = LimitExceeded
ChannelLimitExceeded = LimitExceeded

__all__ = [
    "ChannelError",
    "ChannelLimitExceeded",
    "ConnectionError",
    "ConnectionLimitExceeded",
    "ContentDisallowed",
    "DecodeError",
    "EncodeError",
    "KombuError",
    "LimitExceeded",
    "MessageStateError",
    "OperationalError",
    "SerializerNotInstalled",
]
__getattr__ = attributes_of("kombu.exceptions")
