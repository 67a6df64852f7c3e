"""``kombu.Connection``: whether a broker is there, and what waits in its queues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.app import Umbel
from umbel.connections import Connection as AppsConnection


class Connection(AppsConnection):
    """A way to the broker behind a URL, without an app: see `umbel.connections.Connection`.

    Parts of the URL that kombu takes one by one (`userid`, `password` and so on) raise ValueError: they
    belong into the URL. `connect_timeout` is in seconds.
    """

    def __init__(
        self,
        hostname: str | None = None,
        *parts: Any,
        ssl: Any = None,
        connect_timeout: float | None = None,
        transport_options: Mapping[str, Any] | None = None,
        heartbeat: float | None = None,
        **others: Any,
    ) -> None:
        if any(value for value in (*parts, *others.values())):
            names = ", ".join(others) or "userid, password and so on"
            raise ValueError(
                f"A connection was given {names} beside its URL. Write all of it into the URL:"
                " redis://user:password@host:6379/0"
            )
        app = Umbel(set_as_current=False, broker=hostname)
        given = {
            "broker_use_ssl": ssl,
            "broker_connection_timeout": connect_timeout,
            "broker_transport_options": transport_options,
        }
        app.conf.update({name: value for name, value in given.items() if value})
        super().__init__(app)

    def release(self) -> None:
        """Close what was opened."""
        self.app.close()

    close = release

    def clone(self) -> Connection:
        """Return another one of the same broker."""
        return type(self)(self.app.broker_url)


BrokerConnection = Connection
