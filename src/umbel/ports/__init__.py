"""The five ports on which every engine stands.

An engine is a server, a file or a piece of memory behind a URL. It offers some or all of: a
`Broker` (messages, in batches), a `QueueAdmin` (looking into queues), a `ResultStore`, a
`StateStore` (what a fleet must agree on) and a `Broadcast` (remote control and events). These
classes are the contract; the suite in `umbel.testing.conformance` is its proof.

For all ports: calls take and return batches; times are seconds since the epoch, durations are
seconds; what fails raises OperationalError (`BrokerFull` when there is no room). A call that failed has
changed either everything or nothing: where a network lies between, only the answer may be lost, so
callers repeat what may be repeated, and start over as another owner where they cannot know what they
hold. Objects may be used by many threads at once; after a fork the child may use them and gets
connections of its own, the parent's stay untouched.
"""

from __future__ import annotations

from umbel.ports.broadcast import Broadcast, Subscription
from umbel.ports.broker import (
    Action,
    Broker,
    Consumer,
    Features,
    FetchRequest,
    Owner,
    Settled,
    Settlement,
    WentBack,
)
from umbel.ports.engine import Engine, EngineOptions, Spare
from umbel.ports.queues import DeadLetter, Holding, QueueAdmin, QueueDepth, StoredMessage
from umbel.ports.results import GroupOpening, GroupPart, ResultStore, ResultSubscription
from umbel.ports.state import REVOKED, STAMPED, TERMINATED, Change, Changes, Put, StateStore

__all__ = [
    "REVOKED",
    "STAMPED",
    "TERMINATED",
    "Action",
    "Broadcast",
    "Broker",
    "Change",
    "Changes",
    "Consumer",
    "DeadLetter",
    "Engine",
    "EngineOptions",
    "Features",
    "FetchRequest",
    "GroupOpening",
    "GroupPart",
    "Holding",
    "Owner",
    "Put",
    "QueueAdmin",
    "QueueDepth",
    "ResultStore",
    "ResultSubscription",
    "Settled",
    "Settlement",
    "Spare",
    "StateStore",
    "StoredMessage",
    "Subscription",
    "WentBack",
]
