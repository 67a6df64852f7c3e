"""From a URL and options to the address of a PostgreSQL database: what libpq is given, schema, limits.

URLs: ``postgresql://[user:password@]host[:port][,host…]/database?…`` and ``postgres://``. The query takes
all of libpq's parameters (sslmode, target_session_attrs, …) and ours: schema, pooler, poll_interval,
create_tables, timeout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import psycopg
from psycopg import conninfo

from umbel.exceptions import ImproperlyConfigured
from umbel.masking import masked_url
from umbel.nearest import nearest

#: Seconds that any call may take when nobody says otherwise.
TIMEOUT = 5.0
#: Seconds that opening a connection may take.
CONNECT_TIMEOUT = 4.0
#: The schema that has umbel's tables unless another one is named.
SCHEMA = "umbel"
#: Longest names that PostgreSQL keeps whole, in bytes.
_LONGEST = 63
#: Ours, in the query of a URL or among the options.
_OURS = ("schema", "pooler", "poll_interval", "create_tables", "timeout", "connect_timeout")
_POOLERS = ("auto", "none", "transaction")
_FALSE = ("", "0", "false", "no", "off", "n", "f")
#: How a dead machine is noticed by the system: after about 15 s, also where nothing is being asked.
_KEEPALIVE = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15000,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and how to talk to it. Times are seconds."""

    shown: str
    """The URL without its secrets, for texts."""
    parameters: Mapping[str, Any] = field(repr=False)
    """What libpq is given."""
    schema: str = SCHEMA
    """The schema that has the tables."""
    pooler: str = "auto"
    """``transaction``: a pooler that lends connections for a transaction is between; ``none``: none is;
    ``auto``: it is found out."""
    poll_interval: float = 0.5
    """How long who waits may rest between two looks, where nobody can be notified."""
    create_tables: bool = True
    """Whether the first to come makes the tables, where there are none."""
    timeout: float = TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT

    @property
    def quoted(self) -> str:
        """The schema as statements name it."""
        return f'"{self.schema}"'

    @property
    def servers(self) -> int:
        """How many servers are named, to be tried one after the other."""
        named = self.parameters.get("hostaddr") or self.parameters.get("host") or ""
        return str(named).count(",") + 1

    @property
    def location(self) -> tuple[str, ...]:
        """What is the same for two addresses of the same tables."""
        names = ("host", "hostaddr", "port", "dbname", "user", "service")
        return (*(str(self.parameters.get(name) or "") for name in names), self.schema)


def address_of(url: str, options: Mapping[str, Any]) -> Address:
    """Return the address that a URL names. Raises ImproperlyConfigured for what it cannot mean."""
    shown = masked_url(url)
    place, _, query = url.partition("?")
    parts = [part.partition("=") for part in query.split("&") if part]
    ours = {name: unquote(value) for name, _, value in parts if name in _OURS}
    # libpq's as they are written: it reads them in its own way.
    rest = "&".join(f"{name}={value}" for name, _, value in parts if name not in _OURS)
    given = {**{name: options[name] for name in _OURS if options.get(name) is not None}, **ours}
    try:
        parameters: dict[str, Any] = conninfo.conninfo_to_dict(f"{place}?{rest}" if rest else place)
    except psycopg.ProgrammingError as error:
        raise ImproperlyConfigured(_refused(shown, error, [part[0] for part in parts])) from error
    if options.get("ssl") and "sslmode" not in parameters:
        raise ImproperlyConfigured(
            f"broker_use_ssl is set, and {shown!r} does not say what is to be checked. PostgreSQL's clients"
            " take that from the URL: add sslmode=verify-full to its query, and sslrootcert=FILE where the"
            " authority is one of your own."
        )
    # Whatever the database, the user or PGCLIENTENCODING says: texts are any texts.
    own = {**_KEEPALIVE, "application_name": "umbel"}
    parameters = {**own, **parameters, "client_encoding": "UTF8"}
    pooler = str(given.get("pooler", "auto")).lower()
    if pooler not in _POOLERS:
        raise ImproperlyConfigured(f"pooler is {pooler!r}, but must be {', '.join(_POOLERS)}.")
    return Address(
        shown=shown,
        parameters=parameters,
        schema=_schema(str(given.get("schema") or SCHEMA)),
        pooler=pooler,
        poll_interval=_seconds(given, "poll_interval", 0.5),
        create_tables=str(given.get("create_tables", True)).lower() not in _FALSE,
        timeout=_seconds(given, "timeout", TIMEOUT),
        connect_timeout=_seconds(
            {"connect_timeout": options.get("socket_connect_timeout"), **given},
            "connect_timeout",
            CONNECT_TIMEOUT,
        ),
    )


def _refused(shown: str, error: Exception, names: list[str]) -> str:
    """Say what libpq does not like about a URL."""
    known = [*_OURS, *(one.keyword.decode() for one in psycopg.pq.Conninfo.get_defaults())]
    text = " ".join(str(error).split())
    for name in names:
        if name not in known:
            guess = nearest(name, known)
            hint = f" Did you mean {guess!r}?" if guess else ""
            return f"{shown!r} has an unknown parameter {name!r}.{hint}"
    return f"{shown!r} is no address of a PostgreSQL database: {text}."


def _schema(name: str) -> str:
    if len(name.encode()) > _LONGEST or set(name) & set('\0"%'):
        raise ImproperlyConfigured(
            f'schema is {name!r}, but must have at most {_LONGEST} bytes, and none of " and %.'
        )
    return name


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name)
    if value is None or value == "":
        return default
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"{name} is {value!r}, but must be a number of seconds."
        ) from None
    return found if found > 0 else default
