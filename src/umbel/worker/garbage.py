"""How soon Python looks for cyclic garbage in a child: not because of what its batch consists of."""

from __future__ import annotations

import gc

#: Objects that a collection would look at for each delivery, from its message to what settles it: 21 on
#: PostgreSQL and 25 on RabbitMQ, as Python counted them.
EACH = 32


class Allowance:
    """Lets a batch's own objects not count as what may be garbage.

    All of them are alive until it is settled, and then go without a collection. Of a batch of hundreds,
    Python would look at each several times, in vain. A child that holds a single delivery collects as any
    process does.
    """

    def __init__(self) -> None:
        self._own = self._given = gc.get_threshold()
        self._expected = 0

    def expect(self, deliveries: int) -> None:
        """Allow for a batch, until the next one. Who has set others since, as a task may, keeps them."""
        if deliveries == self._expected:
            return
        youngest, *older = self._own
        if youngest and gc.get_threshold() == self._given:
            gc.set_threshold(youngest + EACH * deliveries, *older)
            self._given, self._expected = gc.get_threshold(), deliveries
