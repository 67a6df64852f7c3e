"""A fleet whose broker is RabbitMQ, in a virtual host of its own; its results are in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.faults.fleet import Fleet
from umbel.engines.rabbitmq.address import address_of
from umbel.engines.rabbitmq.delays import Delays
from umbel.engines.rabbitmq.link import Link
from umbel.engines.rabbitmq.topology import depth
from umbel.worker.processes import start_time


class RabbitFleet(Fleet):
    """A fleet on a server that tells nobody what its consumers hold: the ledger says what still runs."""

    def __init__(self, directory: Path, url: str, queues: str = "classic", **settings: Any) -> None:
        """Let all queues be "classic" or "quorum"; who is silent for a lease has lost its connection."""
        results = f"sqlite:///{directory}/results.db"
        at: dict[str, Any] = {
            "broker_url": url,
            "result_backend": results,
            "task_default_queue_type": queues,
            "broker_native_delayed_delivery_queue_type": queues,
        }
        if "worker_lease_ttl" in settings:
            at["broker_heartbeat"] = max(int(settings["worker_lease_ttl"] / 2), 1)
        super().__init__(directory, **at | settings)
        self._url = url
        # What follows a task is published before it is acknowledged, and nobody recognizes it. So is a copy
        # of a message that says more of itself.
        self.follow_ups_repeat = self.copies_stay = True

    def is_quiet(self) -> bool:
        """Look whether nothing waits and nothing that began goes on, twice: a message may be on its way."""
        return all(self._nothing_waits() and self._nothing_runs() for _ in range(2))

    def stop(self) -> None:
        """Stop all nodes. What they held without having started it goes back: another one runs that."""
        super().stop()
        while not self._nothing_waits():
            self.start("another")
            self.wait_until_quiet()
            super().stop()

    @property
    def lease(self) -> float:
        """Two heartbeats, and the server looks for them as often as they are due."""
        return 3.0 * float(self.app.conf.broker_heartbeat)

    def note_fault(self, how: str) -> None:
        """Note what may end the connections of all that run tasks."""
        self.ledger.fault(how, [pid for node in self.nodes for pid in node.members()])

    def _nothing_waits(self) -> bool:
        link = Link(address_of(self._url, {}), 5.0, "test")
        try:
            if depth(link, "celery"):
                return False
            if link.broken is not None:  # nothing was ever sent
                return True
            return not any(depth(link, name) for name in Delays().names())
        finally:
            link.close()

    def _nothing_runs(self) -> bool:
        history = self.history()
        ended = {end.run for end in history.ends}
        return not any(start.run not in ended and start_time(start.pid) for start in history.starts)

    def _owners(self) -> list[tuple[str, int]]:
        return []

    def _leased_by_nobody(self) -> list[str]:
        return []

    def _in_broker(self) -> dict[str, str]:
        return {}

    def empty(self) -> None:
        """Leave nothing for the next fleet on this server."""
        self.app.queues.purge("celery")
        letters = self.app.queues.dead_letters(1000)
        self.app.queues.drop_dead([letter.key for letter in letters])
