"""From a URL and options to the address of RabbitMQ: servers, login, virtual host, TLS, times.

URLs: ``amqp://user:password@host:port/vhost``, ``amqps://`` (TLS), ``pyamqp://``. Several, joined by ``;``,
are the servers of one cluster, tried one after the other. Options have the names of Celery's settings.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from umbel.exceptions import ImproperlyConfigured, OperationalError
from umbel.masking import masked_url
from umbel.nearest import nearest

#: Seconds between two signs of life. A server looks as often, and gives back what a connection holds when it
#: has heard nothing twice: 18 s after it vanished at most.
HEARTBEAT = 6
#: Seconds that any answer may take when nobody says otherwise.
TIMEOUT = 5.0
#: Seconds that opening a connection may take.
CONNECT_TIMEOUT = 4.0

_QUERY = re.compile(r"\?([A-Za-z_]+=.*|$)", re.DOTALL)
_SCHEMES = {"amqp": 5672, "pyamqp": 5672, "amqps": 5671}
_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_TLS = (
    "ca_certs",
    "ca_path",
    "ca_data",
    "certfile",
    "keyfile",
    "password",
    "ciphers",
    "cert_reqs",
    "check_hostname",
    "server_hostname",
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is and how to talk to it. Times are seconds."""

    shown: str
    """The URL without its secrets, for texts."""
    hosts: tuple[tuple[str, int], ...]
    """Servers to try one after the other."""
    username: str = "guest"
    password: str = field(default="guest", repr=False)
    vhost: str = "/"
    tls: Mapping[str, Any] | None = field(default=None, repr=False)
    """Options of TLS by their names; None: no TLS."""
    heartbeat: int = HEARTBEAT
    timeout: float = TIMEOUT
    connect_timeout: float = CONNECT_TIMEOUT
    client_name: str | None = None
    named: bool = True
    """Whether a user was named: if not, a client's certificate may say who it is."""

    @property
    def place(self) -> str:
        """The servers and the virtual host, for texts."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"RabbitMQ at {hosts}, virtual host {self.vhost!r},"

    def context(self) -> ssl.SSLContext:
        """Return what encrypts connections. Certificates and names are checked unless told otherwise.

        Raises OperationalError where a file cannot be read, or is not what it should be.
        """
        try:
            return self._context(self.tls or {})
        except OSError as error:  # also those of TLS
            given = [
                f"{name} is {one!r}" for name in _LOOKED_AT if (one := (self.tls or {}).get(name))
            ]
            raise OperationalError(
                f"TLS to {self.place} cannot be set up: {error}. Of broker_use_ssl, {', '.join(given)}."
            ) from error

    def _context(self, given: Mapping[str, Any]) -> ssl.SSLContext:
        context = ssl.create_default_context(
            cafile=given.get("ca_certs"), capath=given.get("ca_path"), cadata=given.get("ca_data")
        )
        required = _required(given.get("cert_reqs"))
        context.check_hostname = bool(given.get("check_hostname", required != ssl.CERT_NONE))
        context.verify_mode = required
        if given.get("certfile"):
            context.load_cert_chain(given["certfile"], given.get("keyfile"), given.get("password"))
        if given.get("ciphers"):
            context.set_ciphers(given["ciphers"])
        return context


#: What a query may say; what else is there may be of others.
_IN_A_QUERY = (
    *("heartbeat", "socket_timeout", "socket_connect_timeout", "client_name", "ssl"),
    *("username", "password", "virtual_host"),
    *(f"ssl_{name}" for name in _TLS),
)
#: What of TLS may be wrong in itself.
_LOOKED_AT = ("ca_certs", "ca_path", "certfile", "keyfile", "ciphers")


def address_of(url: str, options: Mapping[str, Any]) -> Address:
    """Return the address that a URL names. Raises ImproperlyConfigured for what it cannot mean."""
    parts = [_Parts(part.strip(), options) for part in url.split(";") if part.strip()]
    if not parts:
        raise ImproperlyConfigured("The URL of RabbitMQ is empty.")
    first = parts[0]
    for part in parts[1:]:
        if (part.vhost, part.tls is None) != (first.vhost, first.tls is None):
            raise ImproperlyConfigured(
                f"{masked_url(url)} joins servers with different virtual hosts or schemes. They have to be"
                " those of one cluster."
            )
    return Address(
        shown=masked_url(url),
        hosts=tuple(part.host for part in parts),
        username=first.username,
        password=first.password,
        vhost=first.vhost,
        tls=first.tls,
        heartbeat=int(first.seconds("heartbeat", HEARTBEAT)),
        timeout=first.seconds("socket_timeout", TIMEOUT),
        connect_timeout=first.seconds("socket_connect_timeout", CONNECT_TIMEOUT),
        client_name=first.given.get("client_name"),
        named=first.named,
    )


class _Parts:
    """One URL taken apart. A password may be written as it is: it ends at the last ``@``."""

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self.shown = masked_url(url)
        scheme, separator, rest = url.partition("://")
        scheme = scheme.lower()
        if not separator or scheme not in _SCHEMES:
            raise ImproperlyConfigured(
                f"{self.shown!r} is no address of RabbitMQ: those begin with amqp:// or amqps://."
            )
        rest, query = _parted(rest)
        login, at, place = rest.rpartition("@")
        given = dict(parse_qsl(query, keep_blank_values=True))
        for name in given:
            guess = None if name in _IN_A_QUERY else nearest(name, _IN_A_QUERY)
            if guess is not None:
                raise ImproperlyConfigured(
                    f"{self.shown!r} has an unknown parameter {name!r}. Did you mean {guess!r}?"
                )
        self.given: dict[str, Any] = {**options, **given}
        user, colon, password = login.partition(":")
        named = (unquote(user) if at and user else None) or self.given.get("username")
        self.named = bool(named)
        self.username = str(named or "guest")
        self.password = unquote(password) if colon else str(self.given.get("password") or "guest")
        where, _, path = place.partition("/")
        self.host = self._host(where, _SCHEMES[scheme])
        self.vhost = unquote(path) or str(self.given.get("virtual_host") or "/")
        self.tls = self._tls(scheme == "amqps")

    def _host(self, where: str, default: int) -> tuple[str, int]:
        host, _, port = where.rpartition(":") if not where.endswith("]") else (where, "", "")
        if not host:
            host, port = where, ""
        try:
            number = int(port or default)
        except ValueError:
            raise ImproperlyConfigured(
                f"{self.shown!r} has {port!r} for a port, which is no number. A slash in a password is"
                " written as %2F."
            ) from None
        return host.strip("[]") or "localhost", number

    def seconds(self, name: str, default: float) -> float:
        """Return an option that is a time; 0 and None are the default's for all but the heartbeat."""
        value = self.given.get(name)
        if value is None or value == "":
            return default
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1
        if number < 0:
            raise ImproperlyConfigured(f"{name} is {value!r}, but must be a number of seconds.")
        return number if number or name == "heartbeat" else default

    def _tls(self, encrypted: bool) -> Mapping[str, Any] | None:
        given = self.given.get("ssl")
        named = {
            name: value
            for name in _TLS
            if (value := self.given.get(f"ssl_{name}")) is not None and value != ""
        }
        if isinstance(given, Mapping):
            # py-amqp's options have no prefix, those of Celery's other brokers have one.
            named = {str(name).removeprefix("ssl_"): value for name, value in given.items()} | named
        unknown = [name for name in named if name not in _TLS]
        if unknown:
            raise ImproperlyConfigured(
                f"TLS has no option {unknown[0]!r}. There are: {', '.join(_TLS)}."
            )
        if not (encrypted or given):
            return None
        _required(named.get("cert_reqs"))
        checked = named.get("check_hostname")
        if isinstance(checked, str):
            named["check_hostname"] = checked.lower() not in ("false", "no", "0")
        return named


def _parted(rest: str) -> tuple[str, str]:
    """Part what follows the scheme from its query: a question mark may be in a password, an @ in either."""
    found = _QUERY.search(rest)
    if found is not None and ("@" in rest[: found.start()] or "@" not in found.group()):
        return rest[: found.start()], found[1]
    login, at, place = rest.rpartition("@")
    place, _, query = place.partition("?")
    return login + at + place, query


def _required(value: Any) -> ssl.VerifyMode:
    """Return how certificates are checked: always, unless told otherwise."""
    if value is None or value == "":
        return ssl.CERT_REQUIRED
    if isinstance(value, str):
        found = _CERT_REQS.get(value.lower().removeprefix("cert_"))
        if found is None:
            raise ImproperlyConfigured(
                f"ssl_cert_reqs is {value!r}, but must be one of {', '.join(_CERT_REQS)}."
            )
        return found
    return ssl.VerifyMode(value)
