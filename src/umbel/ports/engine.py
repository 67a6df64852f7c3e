"""What stands behind one URL: all ports together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

from umbel.ports.broadcast import Broadcast
from umbel.ports.broker import Broker, Features
from umbel.ports.queues import QueueAdmin
from umbel.ports.results import ResultStore
from umbel.ports.state import StateStore


class Spare(NamedTuple):
    """How many connections more a server takes: what it is called, their number, and which limit that is."""

    place: str
    connections: int
    limit: str


class Engine(ABC):
    """What stands behind one URL.

    A port that the engine does not offer is None; else it is the same object at each call.
    """

    url: str
    features: Features

    @property
    @abstractmethod
    def broker(self) -> Broker | None:
        """The broker."""

    @property
    @abstractmethod
    def queues(self) -> QueueAdmin | None:
        """The queue administration."""

    @property
    @abstractmethod
    def results(self) -> ResultStore | None:
        """The result store."""

    @property
    @abstractmethod
    def state(self) -> StateStore | None:
        """The state store."""

    @property
    @abstractmethod
    def broadcast(self) -> Broadcast | None:
        """The broadcast."""

    def problem(self) -> str | None:
        """Return why the place cannot be used, if waiting will not mend it and nothing is made to see it.

        A worker does not start then. A server that cannot be reached, or a file that is locked, is none.
        """
        return None

    def warnings(self) -> list[str]:
        """Return what a worker should say about the server when it starts, a sentence each.

        It is quick and never fails: a server that cannot be reached is warned of by who needs it.
        """
        return []

    def spare_connections(self) -> Spare | None:
        """Return how many connections more the server takes; None where there is no limit, or nobody knows.

        It is quick and never fails, as `warnings`.
        """
        return None

    def migrate(self) -> list[str] | None:
        """Make the place ready for this umbel, and return what was done, a sentence each.

        None where there is nothing that would ever have to be done. Many may do it at once. Raises
        OperationalError, and ImproperlyConfigured for a place that cannot be made ready.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Give back all connections."""


EngineOptions = Mapping[str, Any]
