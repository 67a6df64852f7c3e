"""The connections that a node needs, held against those that its servers have left."""

from __future__ import annotations

from collections.abc import Iterator

from umbel.app import Umbel
from umbel.ports import Spare
from umbel.worker.bootstrap import Orders

#: Connections of a supervisor: one of its keeper, one that listens.
OWN = 2


def needed(orders: Orders) -> int:
    """Return how many connections a node has to each of its servers, when all its children are there.

    A child of threads or coroutines settles and waits at the same time, and has two.
    """
    return OWN + (orders.most or orders.children) * (2 if orders.slots else 1)


def too_few_connections(app: Umbel, orders: Orders) -> Iterator[str]:
    """Give what to say of each server that cannot take the connections of all children."""
    urls = {app.broker_url, app.result_url or app.broker_url}
    most, left = needed(orders), dict[str, Spare]()
    for url in urls:
        spare = app.engine(url).spare_connections()
        # Two databases of one server have one limit; a child has one connection for both.
        known = None if spare is None else left.get(spare.place)
        if spare is not None and (known is None or spare.connections < known.connections):
            left[spare.place] = spare
    for place, connections, limit in sorted(left.values()):
        if connections < most:
            yield (
                f"This node may need {most} connections to {place}, which has {max(connections, 0)} left"
                f" ({limit}). A child that is refused tries again until one is free, and runs nothing until"
                " then. Start fewer children, or raise that limit."
            )
