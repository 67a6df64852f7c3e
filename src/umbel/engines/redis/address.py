"""From a URL and options to the address of a Redis server: hosts, credentials, TLS, timeouts.

URLs: ``redis://[user:password@]host:port/db``, ``rediss://`` (TLS), ``redis+socket:///path?db=1``,
``unix:///path?db=1`` and ``sentinel://host:26379/db``, with ``valkey://`` and ``valkeys://`` for Valkey;
several, joined by ``;``, are tried one after the other, or asked for the server of a cluster that has our
keys: their login, database and query are the same, and one of them may say it for all. What a URL leaves open
comes from the options, which have the names of Celery's; a bare ``redis`` leaves all of it.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from umbel.engines.redis.cluster import slot_of
from umbel.engines.redis.insides import tls_options
from umbel.exceptions import ImproperlyConfigured
from umbel.masking import masked_url
from umbel.nearest import asked, nearest
from umbel.settings.transport import HEEDED, NEEDLESS

logger = logging.getLogger("umbel.redis")

#: Seconds that any call may take when nobody says otherwise.
TIMEOUT = 5.0
#: Seconds that opening a connection may take.
CONNECT_TIMEOUT = 4.0

#: Schemes of servers that speak TLS. Valkey speaks Redis's protocol, and its URLs may say its name.
TLS_SCHEMES = ("rediss", "valkeys")
_SCHEMES = ("redis", "valkey", *TLS_SCHEMES, "redis+socket", "unix", "sentinel")
_SOCKETS = ("redis+socket", "unix")
_TLS_TEXTS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_ciphers",
)
_TLS = (*_TLS_TEXTS, "ssl_cert_reqs", "ssl_check_hostname", "ssl_min_version")
_PARAMETERS = (
    "db",
    "virtual_host",
    "username",
    "password",
    "client_name",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "credential_provider",
    "master_name",
    "global_keyprefix",
    "wait_replicas",
)
#: What other clients take in a URL, and what is answered here by how umbel works.
_NEEDLESS = (
    "retry_on_timeout",
    "max_connections",
    "decode_responses",
    "encoding",
    "protocol",
    "socket_read_size",
    "timeout",
)
_FALSE = ("", "0", "false", "no", "off", "n", "f")
_CERT_REQS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and how to talk to it. Times are seconds."""

    shown: str
    """The URL without its secrets, for texts."""
    hosts: tuple[tuple[str, int], ...] = ()
    """Servers to try one after the other, or sentinels or servers of a cluster to ask."""
    path: str | None = None
    """The server's socket, instead of hosts."""
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    credential_provider: Any = field(default=None, repr=False)
    tls: Mapping[str, Any] | None = field(default=None, repr=False)
    """What redis-py's connections are given for TLS; None: no TLS."""
    master_name: str | None = None
    """What the sentinels call the server; None: hosts are servers."""
    sentinel: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """What connections to sentinels are given."""
    min_other_sentinels: int = 0
    timeout: float = TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    health_check_interval: float = 15.0
    """An idle subscription is tested after so long."""
    keepalive: Mapping[int, int] = field(default_factory=dict)
    client_name: str | None = None
    prefix: str = ""
    """What the broker's keys begin with (``global_keyprefix``)."""
    result_prefix: str = ""
    """The same of results (``result_keyprefix``), which Celery has a setting of its own for."""
    wait_replicas: int = 0
    """How many replicas have to have what is published before that counts as accepted."""

    @property
    def slot(self) -> int | None:
        """Where the keys are if this is a cluster, by the hash tag of their prefix; None without one."""
        return slot_of(self.prefix) if self.path is None and self.master_name is None else None

    @property
    def place(self) -> str:
        """Hosts and ports, or the socket, for texts about the server and none of its databases."""
        return self.path or ";".join(f"{host}:{port}" for host, port in self.hosts)

    @property
    def location(self) -> str:
        """A text that is the same for two addresses of one server and user, whatever the database.

        Of a cluster, slots may come to different servers at any time.
        """
        user = self.username or "default"
        if self.path is not None:
            return f"{user}@{self.path}"
        hosts = ";".join(sorted(f"{_canonical(host)}:{port}" for host, port in self.hosts))
        if self.slot is not None:
            return f"{user}@{hosts}#{self.slot}"
        return f"{user}@{hosts}" + (f"/{self.master_name}" if self.master_name else "")


def _canonical(host: str) -> str:
    return "127.0.0.1" if host in ("localhost", "::1") else host


def address_of(url: str, options: Mapping[str, Any]) -> Address:
    """Return the address that a URL names. Raises ImproperlyConfigured for what it cannot mean."""
    parts = [part.strip() for part in url.split(";") if part.strip()]
    if not parts:
        raise ImproperlyConfigured("The URL of the Redis server is empty.")
    read = _agreed([_Parts(part) for part in parts], options)
    first = read[0]
    given = first.given
    provider = _provider(given.get("credential_provider"))
    master = _master(first, given)
    return Address(
        shown=masked_url(url) if "://" in url else first.spelled_out(),
        hosts=() if first.path else tuple(part.host for part in read),
        path=first.path,
        database=first.database,
        username=None if provider else first.username,
        password=None if provider else first.password,
        credential_provider=provider,
        tls=_tls(first),
        master_name=master,
        sentinel=first.mapping("sentinel_kwargs"),
        min_other_sentinels=first.whole("min_other_sentinels"),
        timeout=first.seconds("socket_timeout", TIMEOUT),
        connect_timeout=first.seconds("socket_connect_timeout", CONNECT_TIMEOUT),
        health_check_interval=first.seconds("health_check_interval", 15.0),
        keepalive=first.mapping("socket_keepalive_options"),
        client_name=first.client_name(),
        prefix=str(given.get("global_keyprefix") or ""),
        result_prefix=_result_prefix(first),
        wait_replicas=max(first.whole("wait_replicas"), 0),
    )


class _Parts:
    """One URL taken apart; `given` is what all of them and the options say.

    The query counts more than the path, and both more than the options. A password may be written as it is:
    it ends at the last ``@``.
    """

    def __init__(self, url: str) -> None:
        if url.lower() in _SCHEMES:
            url = f"{url}://"  # Celery takes a bare name for a server that the options name
        self.shown = masked_url(url)
        self.scheme, separator, rest = url.partition("://")
        self.scheme = self.scheme.lower()
        if not separator or self.scheme not in _SCHEMES:
            known = ", ".join(f"{name}://" for name in _SCHEMES)
            raise ImproperlyConfigured(
                f"{self.shown!r} is no address of a Redis server: those begin with {known}."
            )
        login, at, place = rest.rpartition("@")
        place, _, query = place.partition("?")
        user, colon, password = login.partition(":")
        self.query = dict(parse_qsl(query, keep_blank_values=True))
        self._check_query()
        self.given: dict[str, Any] = {}
        self.host, self.database = ("", 0), 0
        self.username = (unquote(user) or None) if at else None
        self.password: str | None = unquote(password) if colon else None
        self.path = unquote(f"/{place.lstrip('/')}") if self.scheme in _SOCKETS else None
        self._place, _, path = ("", "", "") if self.path else place.partition("/")
        #: What stands where the number of a database does.
        self.named = self.query.get("virtual_host") or self.query.get("db") or path.strip("/")

    def complete(self, options: Mapping[str, Any]) -> None:
        """Take from the options what the URL leaves open."""
        self.given = {**options, **self.query}
        self.username = self.username or self.given.get("username") or None
        if self.password is None:
            self.password = self.given.get("password")
        self.host = ("", 0) if self.path else self._host(self._place)
        self.database = self._database()

    def spelled_out(self) -> str:
        """Return the URL with what it leaves open, but for the login."""
        return f"{self.scheme}://{self.host[0]}:{self.host[1]}/{self.database}"

    def _check_query(self) -> None:
        known = (*_PARAMETERS, *_TLS, *_NEEDLESS)
        for name in self.query:
            if name in known:
                continue
            guess = nearest(name, known)
            hint = asked(guess) if guess else f" Known are {', '.join(known)}."
            if name in HEEDED or name in NEEDLESS:
                hint = " It is an option, for broker_transport_options or result_backend_transport_options."
            raise ImproperlyConfigured(f"{self.shown!r} has an unknown parameter {name!r}.{hint}")

    def _host(self, place: str) -> tuple[str, int]:
        default = 26379 if self.scheme == "sentinel" else 6379
        try:
            parts = urlsplit(f"//{place}")
            port = parts.port
        except ValueError as error:
            raise ImproperlyConfigured(f"{self.shown!r} has no valid port: {error}.") from error
        host = unquote(parts.hostname or "") or self.given.get("host") or "localhost"
        return str(host), port or self.whole("port") or default

    def _database(self) -> int:
        found = self.named or self.given.get("db") or self.given.get("virtual_host") or 0
        try:
            return int(str(found).strip("/") or 0)
        except ValueError:
            raise ImproperlyConfigured(
                f"{self.shown!r} names the database {str(found)!r}, but databases of Redis have numbers:"
                " write redis://host:6379/0."
            ) from None

    def seconds(self, name: str, default: float) -> float:
        """Return a duration of the URL or the options."""
        value = self.given.get(name)
        if value is None or value == "":
            return default
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        if not math.isfinite(found):
            raise ImproperlyConfigured(f"{name} is {value!r}, but must be a number of seconds.")
        return found if found > 0 else default

    def whole(self, name: str) -> int:
        """Return a whole number of the URL or the options, 0 where there is none."""
        value = self.given.get(name) or 0
        try:
            return int(value)
        except (TypeError, ValueError):
            raise ImproperlyConfigured(
                f"{name} is {value!r}, but must be a whole number."
            ) from None

    def mapping(self, name: str) -> dict[Any, Any]:
        """Return an option that has options of its own."""
        value = self.given.get(name) or {}
        if not isinstance(value, Mapping):
            raise ImproperlyConfigured(f"{name} is {value!r}, but must be a mapping.")
        return dict(value)

    def client_name(self) -> str | None:
        """Return what connections are called. Redis takes no name with a space in it."""
        name = self.given.get("client_name")
        if name is not None and not all("!" <= sign <= "~" for sign in str(name)):
            raise ImproperlyConfigured(
                f"The client name {name!r} has a space or another sign that Redis does not allow there:"
                " write it with letters, digits and signs of ASCII."
            )
        return None if name is None else str(name)


def _agreed(parts: Sequence[_Parts], options: Mapping[str, Any]) -> Sequence[_Parts]:
    """Complete URLs that are joined: what one says of login, database or query, it says of all."""
    first = parts[0]
    for part in parts:
        if part.scheme != first.scheme:
            raise ImproperlyConfigured(f"{first.shown!r} joins URLs with different schemes.")
        for name, value in first.query.items():
            if part.query.setdefault(name, value) != value:
                raise _disagree(first, part, f"the parameter {name!r}")
        first.query.update(part.query)
        for name in ("username", "password", "named"):
            mine, theirs = getattr(first, name), getattr(part, name)
            if mine and theirs and mine != theirs:
                what = "the database" if name == "named" else f"the {name}"
                raise _disagree(first, part, what)
            setattr(first, name, mine or theirs)
    for part in parts:
        part.complete({**options, **first.query})
    return parts


def _disagree(one: _Parts, other: _Parts, what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"{one.shown!r} and {other.shown!r} are joined, but differ in {what}: servers that stand in for each"
        " other have all of it in common. Say it once, or the same in each."
    )


def _result_prefix(parts: _Parts) -> str:
    given = parts.given
    name = "global_keyprefix" if "global_keyprefix" in parts.query else "result_keyprefix"
    prefix = str(given.get(name, given.get("global_keyprefix")) or "")
    return f"{prefix}_" if prefix and prefix[-1] not in ":_-." else prefix  # as Celery does


def _master(parts: _Parts, given: Mapping[str, Any]) -> str | None:
    if parts.scheme != "sentinel":
        return None
    name = given.get("master_name")
    if not name:
        raise ImproperlyConfigured(
            f"{parts.shown!r} names sentinels, but not the server that they watch: set master_name in"
            " broker_transport_options (and result_backend_transport_options)."
        )
    return str(name)


def _provider(value: Any) -> Any:
    """Return what gives credentials: an object, or one made of the class of a dotted name."""
    if not isinstance(value, str):
        return value
    module, _, name = value.replace(":", ".").rpartition(".")
    try:
        return getattr(import_module(module), name)()
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(
            f"credential_provider {value!r} cannot be imported: {error}."
        ) from error


def _tls(parts: _Parts) -> Mapping[str, Any] | None:
    """Return what connections are given for TLS: certificates and host names are checked by default."""
    wanted = parts.given.get("ssl")
    given = {name: parts.given[name] for name in _TLS if name in parts.given}
    if isinstance(wanted, Mapping):
        _check_tls(wanted)
        given = {**wanted, **given}
    if parts.scheme not in TLS_SCHEMES and not wanted:
        if any(name in parts.query for name in _TLS):
            raise ImproperlyConfigured(
                f"{parts.shown!r} has parameters for TLS, but no TLS: begin it with"
                f" {'valkeys' if parts.scheme == 'valkey' else 'rediss'}://."
            )
        return None
    required = _cert_reqs(given.get("ssl_cert_reqs", ssl.CERT_REQUIRED))
    given["ssl_cert_reqs"] = required
    if required is ssl.CERT_NONE:
        given["ssl_check_hostname"] = False
        logger.warning(
            "Connections to %s are encrypted, but not checked (ssl_cert_reqs is CERT_NONE): whoever sits"
            " between can read and change everything. Give ssl_ca_certs instead.",
            parts.shown,
        )
    else:
        given["ssl_check_hostname"] = _flag(given.get("ssl_check_hostname", True))
    if "ssl_min_version" in given:
        given["ssl_min_version"] = _tls_version(given["ssl_min_version"])
    return given


def _check_tls(given: Mapping[str, Any]) -> None:
    """Refuse options that connections do not know."""
    known = tls_options()
    for name in given:
        if name not in known:
            whole = f"ssl_{name}"  # as RabbitMQ's are called
            guess = whole if whole in known else nearest(str(name), known)
            hint = asked(guess) if guess else f" Known are {', '.join(sorted(known))}."
            raise ImproperlyConfigured(f"There is no option {name!r} for TLS with Redis.{hint}")


def _tls_version(value: Any) -> ssl.TLSVersion:
    """Return a version by its number or name, such as ``TLSv1_2``."""
    try:
        return ssl.TLSVersion[value] if value in ssl.TLSVersion.__members__ else _by_number(value)
    except (TypeError, ValueError):
        raise ImproperlyConfigured(
            f"ssl_min_version is {value!r}, but must be a version of TLS, such as TLSv1_2."
        ) from None


def _by_number(value: Any) -> ssl.TLSVersion:
    return ssl.TLSVersion(int(value))


def _cert_reqs(value: Any) -> ssl.VerifyMode:
    if isinstance(value, ssl.VerifyMode):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return ssl.VerifyMode(value)
    name = str(value).lower().removeprefix("cert_")
    if name not in _CERT_REQS:
        raise ImproperlyConfigured(
            f"ssl_cert_reqs is {value!r}, but must be CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE."
        )
    return _CERT_REQS[name]


def _flag(value: Any) -> bool:
    return value.lower() not in _FALSE if isinstance(value, str) else bool(value)
