"""What a server says when it refuses something, as our errors: what happened, where, and what to do."""

from __future__ import annotations

import re
import ssl

from umbel.engines.rabbitmq.address import Address
from umbel.exceptions import BrokerFull, OperationalError


class NotFound(OperationalError):
    """A queue or exchange is not there (any more)."""


class Inequivalent(OperationalError):
    """A queue or exchange is there already, and was declared with other properties."""


class NoChannel(OperationalError):
    """The user may open no more channels."""


#: What OpenSSL says where a certificate is not for the host, or not for the address.
_OTHER_NAME = (62, 64)
#: What is said of a login, and not of a queue or exchange whose name has that word.
_REFUSED_LOGIN = re.compile(r"login (?:was )?refused", re.IGNORECASE)
_ADVICE = {
    403: "Give the user the permissions that umbel needs: configure, write and read, also for queues and"
    " exchanges whose names begin with 'umbel.' (rabbitmqctl set_permissions).",
    405: "Another connection has it for itself.",
    530: "Check the virtual host in the URL, and that it exists and the user may use it.",
    320: "An operator closed the connection, or the server is stopping.",
}


def refused(address: Address, error: Exception) -> OperationalError:
    """Return the error for a connection that could not be made, or was lost."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_NAME:
        return OperationalError(
            f"The certificate of {address.place} is for another name: {error.verify_message}. Use the name it"
            " is for in the URL, or give it as ssl_server_hostname in broker_use_ssl."
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return OperationalError(
            f"The certificate of {address.place} cannot be trusted: {error.verify_message}. Name the file of"
            " its authority as ssl_ca_certs in broker_use_ssl."
        )
    if isinstance(error, TimeoutError):
        return OperationalError(f"{address.place} does not answer.")
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return OperationalError(
            f"{address.place} speaks no TLS there, as amqps:// or broker_use_ssl asks for. Its port for TLS"
            " is 5671 unless somebody has chosen another."
        )
    return OperationalError(f"{address.place} cannot be reached: {error}.")


def _not_let_in(address: Address, text: str) -> str:
    if "EXTERNAL" in text:
        return f"does not take the client's certificate for a user of it: {text}"
    told = f"does not accept the user {address.username!r} or the password. Check them in the URL."
    if address.username == "guest":
        told += " 'guest' may log in from the server's own machine only, unless somebody has changed that."
    return told


def closed(address: Address, code: int, text: str) -> OperationalError:
    """Return the error for what the server gave as its reason to close a channel or the connection."""
    kind = {404: NotFound, 406: OperationalError, 506: BrokerFull}.get(code, OperationalError)
    if code == 406 and "inequivalent arg" in text:
        return Inequivalent(
            f"{address.place} has a queue or exchange of that name, which was declared otherwise: {text}."
            " Declare it in task_queues as it is there, or delete it there once it is empty."
        )
    if code == 406 and "delivery acknowledgement" in text and "timed out" in text:
        return OperationalError(
            f"{address.place} gave back what was held for longer than its consumer_timeout: {text}. Raise"
            " consumer_timeout there."
        )
    if code == 403 and _REFUSED_LOGIN.search(text):
        found = OperationalError(f"{address.place} {_not_let_in(address, text)}")
        found.passes = False
        return found
    if code == 530 and "channels opened" in text:
        return NoChannel(f"{address.place} refuses: {text} ({code}).")
    advice = _ADVICE.get(code, "")
    found = kind(f"{address.place} refuses: {text} ({code}). {advice}".strip())
    if code == 530 and "not found" in text:  # the virtual host, which is not one that is down
        found.passes = False
    return found
