"""Periodic runs whose messages may come twice: of the copies of one, the first that a worker takes up runs.

Where beat cannot send and note in one step, and its broker does not recognize a message that it has had, who
sends does not know after a crash whether the message went out, and sends another copy of it. The header of
such a message (`umbel.periodic.COPY`) names the run and the copy. Before a copy runs it is claimed for its
run in the state store. A message that comes back after its process died is still the copy that was claimed,
and runs again; so does a retry.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TypeGuard

from umbel.app import Umbel
from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.options import warn_once
from umbel.periodic import COPY
from umbel.worker.outcome import Copied, Job, NotDue, Prepared

logger = logging.getLogger("umbel.worker")

KIND = "beat.copies"
#: Seconds for which it is known which copy ran. Another one may wait behind it, and for all that it takes.
KEPT = 86400.0
#: Most characters of the header: two ids and a colon are less.
LONGEST = 128
#: Seconds after which a message is offered again when the state store does not answer.
AGAIN = 2.0


def _is_name(header: object) -> TypeGuard[str]:
    """Tell whether a header can be one of beat's: whoever may send may write anything into it."""
    return (
        isinstance(header, str)
        and len(header) <= LONGEST
        and header.isascii()
        and header.isprintable()
    )


class Copies:
    """Lets one copy of each periodic run pass. Other messages cost nothing."""

    def __init__(self, app: Umbel) -> None:
        self._app = app

    def admit(self, prepared: Prepared) -> Prepared:
        """Return a delivery as it is, or as a copy of what has run; or put off, if nobody can tell."""
        call = prepared.call
        name = call.headers.get(COPY) if call is not None and call.headers else None
        if name is None or not _is_name(name) or not isinstance(prepared.work, Job):
            return prepared
        run, _, copy = name.partition(":")
        try:
            state = self._app.engines.state_store()
            if state.put_new(KIND, run, copy, KEPT) or state.get(KIND, run) in {copy, None}:
                return prepared
        except ImproperlyConfigured as error:
            warn_once(f"A periodic task may run twice when beat dies, since {error}")
            return prepared
        except OperationalError as error:
            logger.warning(
                "Whether another copy of a periodic run has run cannot be told; it is offered again in %g s."
                " %s",
                AGAIN,
                error,
            )
            return replace(prepared, work=NotDue(self._app.clock.time() + AGAIN))
        return replace(prepared, work=Copied())
