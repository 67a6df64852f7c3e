"""Errors of PostgreSQL and psycopg as ours: what happened, at which server, and what to do."""

from __future__ import annotations

import re

import psycopg
from psycopg import errors as theirs

from umbel.exceptions import BrokerFull, EncodeError, ImproperlyConfigured, OperationalError

#: Raised by our functions: a delivery is not held any more; an owner is gone.
NOT_HELD, GONE = "UM001", "UM002"
#: The user has not the right.
NOT_ALLOWED = "42501"
#: What the server undid because of others who did the same at the same time: to be done again at once.
CLASHES = frozenset({"40001", "40P01"})
#: How names are told that somebody else has taken: of a table, another object, a function.
TAKEN = frozenset({"42P07", "42710", "42723"})
#: How names are told that are not there.
_MISSING = frozenset({"42P01", "42883", "3F000", "42704"})

#: What is to be said of an SQLSTATE, or of all that begin so.
_ANSWERS: tuple[tuple[str, str], ...] = (
    (
        "28",
        "{server} does not accept the user or the password ({text}). Check them in the URL, or pg_hba.conf"
        " there.",
    ),
    (
        "3D000",
        "{server} has no such database ({text}). Create it (createdb), or correct the URL.",
    ),
    (
        "42501",
        "{server} does not allow this user to do that ({text}). Let a user who owns the tables run `umbel"
        " migrate`, and grant this one USAGE on the schema, and all rights on its tables and sequences.",
    ),
    (
        "25006",
        "{server} is read-only, a standby perhaps. Name all servers in the URL and add"
        " ?target_session_attrs=read-write, so that the primary is found.",
    ),
    (
        "53300",
        "{server} has as many connections as its max_connections allows. Raise that, run fewer processes,"
        " or put pgbouncer before it.",
    ),
    ("53200", "{server} has no memory left ({text})."),
    ("55P03", "{server} did not get a lock in time ({text})."),
    ("57P03", "{server} is starting up or shutting down ({text}). Try again in a moment."),
    (
        "57P0",
        "{server} ended the connection ({text}). What was asked for last may have been done or not.",
    ),
    ("57014", "{server} cancelled what it was asked for ({text}): see statement_timeout there."),
)
#: What no other try could mend: a text or a value that the server does not take.
_UNWRITABLE = ("22", "54000", "54P")


#: Words of a server that lets somebody not log in; and what it says that has no time to look.
_LOGIN = ("password", "authentication", "pg_hba", "not permitted to log in")
_NO_TIME = "canceling authentication"
#: Names in what is said: of hosts, users and databases.
_NAMES = re.compile(r"""(["'])[^"']*\1""")
#: What precedes each server's answer, where several were asked.
_ATTEMPT = "connection failed: "


class Silent(Exception):
    """A server that did not answer in time."""


#: Errors that a call may raise.
THEIRS: tuple[type[Exception], ...] = (
    psycopg.Error,
    psycopg.Warning,
    Silent,
    UnicodeError,
    OSError,
)


def translated(
    error: Exception, shown: str, timeout: float, schema: str, opening: bool = False
) -> Exception:
    """Return our error for one of psycopg's, met at a server (its URL without secrets).

    `opening` says that there was no connection yet.
    """
    server = f"PostgreSQL at {shown}"
    state = getattr(error, "sqlstate", None) or ""
    text = " ".join(str(error).split())
    if isinstance(error, Silent):
        return OperationalError(
            f"{server} did not answer within {timeout:.3g} s. It may be overloaded, stopped, or cut off; what"
            " was asked for may still have been done."
        )
    if isinstance(error, UnicodeError) or (isinstance(error, psycopg.DataError) and not state):
        return EncodeError(f"A text cannot be written to PostgreSQL: {text}.")
    if state.startswith(_UNWRITABLE):
        return EncodeError(f"{server} cannot hold that: {text}.")
    if state == "53100":
        return BrokerFull(f"The disk of {server} is full; nothing was written. Free some space.")
    if state in _MISSING:
        return ImproperlyConfigured(missing(shown, schema, text))
    for sign, answer in _ANSWERS:
        if state.startswith(sign):
            return OperationalError(answer.format(server=server, text=text))
    if isinstance(error, theirs.ProgrammingError) and not state:
        return ImproperlyConfigured(f"{server}: {text}.")
    if not state and isinstance(error, psycopg.OperationalError | OSError):
        found = OperationalError(_about_connection(server, text, opening))
        found.passes = not _is_in_the_settings(text)
        return found
    return OperationalError(f"{server} answered: {text}")


def missing(shown: str, schema: str, detail: str) -> str:
    """Say that umbel's tables are not there, or not all of them."""
    return (
        f"The tables of umbel are not in the schema {schema!r} of {shown} ({detail}). Run: umbel -A APP"
        " migrate"
    )


def forbidden(shown: str, schema: str) -> str:
    """Say that the user may not make, or change, umbel's tables."""
    return (
        f"This user may not make the tables of umbel in the schema {schema!r} of {shown}. Let one who may run"
        " `umbel -A APP migrate`, and grant this one USAGE on the schema, and all rights on its tables and"
        " sequences."
    )


def foreign(shown: str, schema: str, detail: str) -> str:
    """Say that another program has what would be umbel's."""
    return (
        f"The schema {schema!r} of {shown} has tables of another program ({detail}). Nothing was changed."
        " Give umbel a schema of its own: add ?schema=NAME to the URL."
    )


def _about_connection(server: str, text: str, opening: bool) -> str:
    if _has_no_database(text):
        return f"{server} has no such database ({text}). Create it (createdb), or correct the URL."
    if "SSL" in text or "certificate" in text:
        return f"{server} cannot be trusted or speaks no TLS: {text}. See sslmode and sslrootcert."
    if _lets_nobody_in(text):
        return f"{server} does not accept the user or the password ({text})."
    if "onnection refused" in text or "resolve" in text or "timeout expired" in text:
        return f"{server} cannot be reached ({text}). Check that it runs there and that the URL is right."
    if opening:
        return f"A connection to {server} could not be opened ({text})."
    return f"The connection to {server} was lost ({text}). What was asked for last may have been done or not."


def _is_in_the_settings(text: str) -> bool:
    """Tell whether every server that was asked refuses what the settings say: none was away or busy."""
    attempts = text.split(_ATTEMPT)[1:] or [text]
    return all(_has_no_database(one) or _lets_nobody_in(one) for one in attempts)


def _has_no_database(text: str) -> bool:
    said = _NAMES.sub("", text)
    return "database" in said and "does not exist" in said


def _lets_nobody_in(text: str) -> bool:
    said = _NAMES.sub("", text)
    if _NO_TIME in said:
        return False
    return any(word in said for word in _LOGIN) or (" role " in said and "does not exist" in said)


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of what caused an error of ours."""
    cause = error.__cause__ if isinstance(error, OperationalError) else error
    return getattr(cause, "sqlstate", None) or ""


def may_pass(error: OperationalError) -> bool:
    """Tell whether the same call may work a moment later: the server was away, not unwilling."""
    state = sqlstate(error)
    if state:
        return state in CLASHES or state.startswith(("08", "57P0", "25006", "53300"))
    return error.passes and isinstance(error.__cause__, psycopg.OperationalError | Silent | OSError)
