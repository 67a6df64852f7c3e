"""What publishing and consuming share: queues by number, and messages as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from umbel.engines.ghosts import Ghosts
from umbel.engines.postgres import rows
from umbel.engines.postgres.link import Row
from umbel.engines.postgres.server import Server
from umbel.message import Delivery


class Messages:
    """Queues by number, as this process knows them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sql = server.statements("broker.sql")
        self.ghosts = Ghosts(server.clock)
        self.queues: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def number_queues(self, names: Iterable[str], timeout: float | None = None) -> None:
        """Learn the numbers of queues, which exist from then on."""
        unknown = sorted({name for name in names if name not in self.queues})
        if not unknown:
            return
        rows.check_texts(*unknown)
        given = rows.texts(unknown)
        parts = [(self.sql["add_queues"], (given,)), (self.sql["queue_ids"], (given,))]
        self._note(self.server.transaction(parts, timeout=timeout, repeat=True))

    def _note(self, found: Sequence[Row]) -> None:
        for name, number in found:
            self.queues[name] = number
            self._names[number] = name

    def deliveries(self, found: Sequence[Row]) -> list[Delivery]:
        """Return what was handed over. Queues that others have made are looked up."""
        queues = {row[2] for row in found}
        queues.discard(None)
        if not queues <= self._names.keys():
            self._note(self.server.call(self.sql["queue_names"], repeat=True))
        return rows.deliveries(found, self._names)
