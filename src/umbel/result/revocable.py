"""How a result lets its call not run any more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from umbel.backend import Source


class _Result(Protocol):
    id: str

    @property
    def app(self) -> Source: ...


class Revocable:
    """What `AsyncResult` has of revoking, which ``app.control`` does."""

    __slots__ = ()

    def revoke(
        self: _Result,
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let the call not run any more; see `umbel.control.Control.revoke`.

        When this returns it is stored: so `connection`, `wait` and `timeout` have no meaning here.
        """
        self.app.control.revoke(self.id, terminate=terminate, signal=signal)

    def revoke_by_stamped_headers(
        self: _Result,
        headers: Mapping[str, Any] | Iterable[str],
        connection: Any = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let no call run any more that has one of these stamps, whatever its id.

        See `umbel.control.Control.revoke_by_stamped_headers`. This call is meant only if it has one of them.
        """
        self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)
