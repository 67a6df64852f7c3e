"""The states a task can be in, under Celery's names: which of them are final, and which one wins."""

from __future__ import annotations

#: Nothing is known: it waits, or was never sent.
PENDING = "PENDING"
#: A worker has it; stored by Celery's workers only where tasks say so.
RECEIVED = "RECEIVED"
#: It runs; stored with ``task_track_started``.
STARTED = "STARTED"
#: It returned.
SUCCESS = "SUCCESS"
#: It raised, or was lost.
FAILURE = "FAILURE"
#: It was called off, or its time was over before it started.
REVOKED = "REVOKED"
#: It raised `Reject`.
REJECTED = "REJECTED"
#: It is to run again.
RETRY = "RETRY"
#: It runs, and tells how far it is.
PROGRESS = "PROGRESS"
#: It raised `Ignore`.
IGNORED = "IGNORED"

#: States after which nothing more comes.
READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
#: States after which more comes.
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
#: States whose result is an exception.
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
#: States whose exception `AsyncResult.get` raises.
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
#: The states that a task can be in by itself.
ALL_STATES = frozenset({PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, REVOKED})

#: From the state that says most to the one that says least; None stands for all states of users' own.
PRECEDENCE = (
    SUCCESS,
    FAILURE,
    None,
    REVOKED,
    STARTED,
    RECEIVED,
    REJECTED,
    RETRY,
    PENDING,
)
PRECEDENCE_LOOKUP = {name: place for place, name in enumerate(PRECEDENCE)}
NONE_PRECEDENCE = PRECEDENCE_LOOKUP[None]


def stays(stored: str, new: str) -> bool:
    """Tell whether a state that is stored stays so, whatever a late word of another state says.

    A success does, until there is another one. A task that has ended is not on its way any more.
    """
    if new == PROGRESS:
        return stored in READY_STATES
    return stored == SUCCESS and new != SUCCESS


def precedence(state: str) -> int:
    """Return a state's place in `PRECEDENCE`: of two states, the one with the lower place wins."""
    return PRECEDENCE_LOOKUP.get(state, NONE_PRECEDENCE)


class state(str):
    """A state that is compared by precedence: ``state("PENDING") < state("SUCCESS")``."""

    __slots__ = ()

    def __gt__(self, other: str) -> bool:
        return precedence(self) < precedence(other)

    def __ge__(self, other: str) -> bool:
        return precedence(self) <= precedence(other)

    def __lt__(self, other: str) -> bool:
        return precedence(self) > precedence(other)

    def __le__(self, other: str) -> bool:
        return precedence(self) >= precedence(other)
