"""`app.control`: what of Celery's remote control there is, which is to revoke calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from umbel.absent import tell_of_absent
from umbel.clock import Clock
from umbel.nearest import meant
from umbel.opened import OpenEngines
from umbel.revoking import revoke, signal_number
from umbel.stamped import given_stamps, revoke_stamps

#: What Celery's `broadcast` takes, and has no meaning where nobody is asked and nothing is waited for.
_BROADCAST = (
    *("arguments", "callback", "channel", "connection", "limit", "matcher", "pattern"),
    *("reply", "timeout"),
)
#: By which signal a running task is ended where nothing else is said.
TERM_SIGNAME = "SIGTERM"


class _App(Protocol):
    engines: OpenEngines
    clock: Clock


@tell_of_absent
class Control:
    """Revokes calls, by their ids or stamps. What is revoked is kept by the state store, not by workers."""

    def __init__(self, app: _App) -> None:
        self.app = app

    def revoke(
        self,
        task_id: str | Iterable[str],
        destination: Iterable[str] | str | None = None,
        terminate: bool = False,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Any] | None:
        """Let a call, or each of several, not run any more.

        Whatever has its id does not start: what waits in a queue, or for its time, a retry, and what is
        given back when a worker died. Workers may be down meanwhile, or start anew. Its result becomes
        REVOKED when a worker meets the message. With `terminate` a call that runs is ended, too, within about
        two seconds: by a `signal` to its process, by its name or number, where it has that to itself, else
        it is cancelled.

        `destination` and the other keywords of Celery's `broadcast` are accepted: the id is revoked wherever
        it is, and nothing is waited for; so with ``reply=True`` it returns an empty list, else None.

        When this returns it is stored. Where messages and state are on one server (SQLite, Redis,
        PostgreSQL), no worker starts what it takes from then on. Raises ImproperlyConfigured where there is
        no state store, OperationalError where it does not answer, ValueError for a signal that does not end
        a process, and TypeError for an id that is no text.
        """
        _check(kwargs)
        ids = _ids(task_id)
        number = signal_number(signal or TERM_SIGNAME) if terminate else None
        state = self.app.engines.state_store()
        if ids:
            revoke(state, ids, self.app.clock, number)
        return [] if kwargs.get("reply") else None

    def terminate(
        self,
        task_id: str | Iterable[str],
        destination: Iterable[str] | str | None = None,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Any] | None:
        """Revoke with ``terminate=True``."""
        return self.revoke(task_id, destination, True, signal, **kwargs)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any] | Iterable[str],
        destination: Iterable[str] | str | None = None,
        terminate: bool = False,
        signal: str | int | None = TERM_SIGNAME,
        **kwargs: Any,
    ) -> list[Any] | None:
        """Let no call run any more that has one of these stamps, as `revoke` lets none of an id.

        `headers` has the values of stamps by their names, such as ``{"tenant": "a"}`` or
        ``{"tenant": ["a", "b"], "order": 7}``; or it is a list of ``"name=value"``. A call is meant if it has
        one of the stamps with one of its values; where it has several values, any counts. They are compared
        as Python does: 1 is not "1".

        It counts for what was sent before, whenever that is met, and for what is sent within three hours.
        What is sent later runs. The rest is as with `revoke`; raises TypeError or ValueError for what names
        no stamps, and EncodeError for values that no message could have.
        """
        _check(kwargs)
        stamps = given_stamps(headers)
        number = signal_number(signal or TERM_SIGNAME) if terminate else None
        revoke_stamps(self.app.engines.state_store(), stamps, self.app.clock, number)
        return [] if kwargs.get("reply") else None


def _ids(given: str | Iterable[str]) -> list[str]:
    found = [given] if isinstance(given, str) else list(given)
    for one in found:
        if not isinstance(one, str):
            raise TypeError(f"{one!r} is no task's id: give its id, a text, such as result.id.")
    return found


def _check(given: dict[str, Any]) -> None:
    for name in given:
        if name not in _BROADCAST:
            raise TypeError(f"revoke has no option {name!r}.{meant(name, _BROADCAST)}")
