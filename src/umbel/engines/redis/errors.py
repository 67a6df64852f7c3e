"""Errors of redis-py as ours: what happened, at which server, and what to do."""

from __future__ import annotations

import re
from typing import NamedTuple

from redis import exceptions as theirs
from redis.sentinel import MasterNotFoundError

from umbel.engines.redis.address import TLS_SCHEMES
from umbel.exceptions import BrokerFull, EncodeError, OperationalError


class Answer(NamedTuple):
    """What an answer contains, what is to be said then, and whether it may pass by itself."""

    sign: str
    told: str
    passes: bool = True


#: Those that are known; the first that fits counts.
_ANSWERS: tuple[Answer, ...] = (
    Answer(
        "Authentication required",
        "{server} asks for a password, and none is given. Write redis://:PASSWORD@host:port/0 or set"
        " redis_password.",
    ),
    *(
        Answer(
            sign,
            "{server} asks for a password, and none is given. Write redis://:PASSWORD@host:port/0 or set"
            " redis_password.",
            passes=False,
        )
        # Instead, where a call is large: such are not even read.
        for sign in ("unauthenticated multibulk", "unauthenticated bulk")
    ),
    Answer(
        "invalid username-password",
        "{server} does not accept the user or the password. Check them in the URL, or in redis_username"
        " and redis_password.",
    ),
    Answer(
        "without any password configured",
        "{server} has no password, and one is given. Take it out of the URL, or set requirepass there.",
    ),
    Answer(
        "NOPERM",
        "{server} does not allow this user to do that ({text}). Give it the commands and keys that umbel"
        ' needs by ACL SETUSER: they stand under "Rights" on the documentation\'s page about Redis.',
    ),
    Answer(
        "READONLY",
        "{server} is a replica and takes no writes. After a failover, point the URL at the new master, or"
        " use sentinel:// so that it is found.",
    ),
    Answer(
        "UNBLOCKED force",
        "{server} has become a replica, and takes no writes. After a failover, point the URL at the new"
        " master, or use sentinel:// so that it is found.",
    ),
    Answer(
        "LOADING",
        "{server} has been started and still loads its data. Try again in a moment.",
    ),
    Answer(
        "MASTERDOWN",
        "{server} is a replica that has lost its master. Point the URL at the master, or use sentinel://.",
    ),
    Answer(
        "NOREPLICAS",
        "{server} takes no writes, because too few replicas are connected (min-replicas-to-write).",
    ),
    Answer(
        "MISCONF",
        "{server} takes no writes, because it cannot write its data to its disk ({text}). Look into its"
        " log; often the disk is full.",
    ),
    Answer(
        "max number of clients reached",
        "{server} has as many connections as its maxclients allows. Raise maxclients, or run fewer"
        " processes.",
    ),
    Answer("BUSY ", "{server} is busy with a script that takes long. SCRIPT KILL ends it."),
    Answer("UNKILLABLE", "{server} is busy with a script that takes long and has written already."),
    Answer(
        "DB index is out of range",
        "{server} has no database with that number: see `databases` in its configuration.",
        passes=False,
    ),
    Answer(
        "WRONGTYPE",
        "{server} holds something else under a key that umbel uses. Give umbel a database of its own, or a"
        " global_keyprefix.",
    ),
    *(
        Answer(
            sign,
            "{server} is a cluster, where all keys of umbel have to be in one slot. Set global_keyprefix to a"
            " prefix with a hash tag, such as '{{shop}}:', in broker_transport_options and in"
            " result_backend_transport_options; or 'shop:{{queue}}:' in the former, for a slot each.",
        )
        for sign in ("CROSSSLOT", "in a cluster node")
    ),
    Answer(
        "SELECT is not allowed in cluster",
        "{server} is a cluster, and those have no database but 0. Let the URL end with /0.",
        passes=False,
    ),
    Answer(
        "MOVED ",
        "{server} is a cluster, and another server of it has the keys now ({text}); it is looked for. Where"
        " that does not help, the user may not ask for it: allow CLUSTER SLOTS, MYID and INFO.",
    ),
    *(
        Answer(
            sign,
            "{server} is a cluster that moves the keys to another server of it just now. Try again in a"
            " moment.",
        )
        for sign in ("TRYAGAIN ", "ASK ")
    ),
    Answer("CLUSTERDOWN", "{server} is a cluster that is down ({text})."),
    Answer(
        "unknown command 'SENTINEL'",
        "{server} is no Sentinel but a server. Let the URL begin with redis://, or name the Sentinel's port,"
        " mostly 26379.",
        passes=False,
    ),
    Answer(
        "unknown command 'EVALSHA'",
        "{server} runs no scripts: it is a Sentinel, or is told to refuse EVALSHA. Let the URL of a Sentinel"
        " begin with sentinel://, and set master_name.",
    ),
    Answer(
        "Protocol error, got",
        "{server} does not answer as Redis does ({text}). Check host and port: something else listens there.",
        passes=False,
    ),
)
#: The code that an answer began with, where redis-py has turned it into a class.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (theirs.ReadOnlyError, "READONLY"),
    (theirs.NoPermissionError, "NOPERM"),
    (theirs.BusyLoadingError, "LOADING"),
    (theirs.OutOfMemoryError, "OOM"),
    (theirs.MasterDownError, "MASTERDOWN"),
    (theirs.ClusterDownError, "CLUSTERDOWN"),
    (theirs.ClusterCrossSlotError, "CROSSSLOT"),
    (theirs.MovedError, "MOVED"),
    (theirs.AskError, "ASK"),
    (theirs.TryAgainError, "TRYAGAIN"),
)
#: Those that somebody asks for, also where redis-py leaves them as they are.
_CLASSES: dict[str, type[Exception]] = {
    "READONLY": theirs.ReadOnlyError,
    "NOPERM": theirs.NoPermissionError,
    "OOM": theirs.OutOfMemoryError,
    "MASTERDOWN": theirs.MasterDownError,
}
#: What a server answers that is not, or not for long, the one to ask.
_ELSEWHERE = (
    theirs.ReadOnlyError,
    theirs.MasterDownError,
    theirs.AskError,  # and MovedError, which is one
    theirs.TryAgainError,
    theirs.ClusterDownError,
)
#: How Redis 6.2 tells of an error within a script: the answer to the command follows the places in it.
_IN_SCRIPT = re.compile(r"Error running script \(call to \w+\): (?:@?user_script: ?\d+: )+-?")
#: What a script is told that may not do something, without a code: by Redis up to 7.0, and by later ones and
#: Valkey.
_NOT_ALLOWED = ("The user executing the script", "ACL failure in script")
#: What redis-py quotes of a Sentinel that could not be asked.
_SILENT = re.compile(r"(?:Connection|Timeout|Authentication)Error\(([\"'])(.*?)\1")
#: What servers answer that do not know a command, or one of its options.
_TOO_OLD = ("unknown command", "unknown redis command", "syntax error", "wrong number of arg")
#: What they quote of it, which may be a whole script.
_ARGUMENTS = re.compile(r",? with args beginning with: .*")
#: What a connection's error says when nothing has been sent yet.
_UNREACHED = ("connecting to", "Connection refused", "Name or service not known", "No such file")


def plain(error: Exception) -> Exception:
    """Return an error as if its command had not been in a script: without places, with its class."""
    if type(error) is not theirs.ResponseError:
        return error
    answer = _IN_SCRIPT.sub("", str(error), count=1)
    if answer.startswith(_NOT_ALLOWED):
        return theirs.NoPermissionError(answer)
    code, _, rest = answer.partition(" ")
    if code in _CLASSES:
        return _CLASSES[code](rest)
    return error if answer == str(error) else theirs.ResponseError(answer.removeprefix("ERR "))


def translated(error: Exception, shown: str, timeout: float) -> Exception:
    """Return our error for a plain one of redis-py's, met at a server (its URL without secrets)."""
    server = f"Redis at {shown}"
    code = next((f"{code} " for kind, code in _CODES if isinstance(error, kind)), "")
    text = code + " ".join(str(error).split())
    if isinstance(error, UnicodeError):
        return EncodeError(f"A text cannot be written as UTF-8: {error}.")
    if text.startswith("OOM"):
        return BrokerFull(
            f"{server} has used all the memory it may (maxmemory); nothing was written. Raise maxmemory"
            " there, or let workers empty the queues."
        )
    said = text.replace("`", "'")  # as Redis 6.2 quotes
    for answer in _ANSWERS:
        if answer.sign in said:
            found = OperationalError(answer.told.format(server=server, text=text))
            found.passes = answer.passes and not _is_refused(error)
            return found
    if isinstance(error, theirs.AuthenticationError):
        found = OperationalError(f"{server} refuses the user or the password: {text}.")
        found.passes = False
        return found
    if isinstance(error, theirs.TimeoutError):
        scheme = shown.partition(":")[0].lower()
        tls = ""
        if scheme in TLS_SCHEMES:
            tls = f" Or it speaks no TLS: then begin the URL with {scheme.removesuffix('s')}://."
        return OperationalError(
            f"{server} did not answer within {timeout:.3g} s. It may be overloaded, stopped, or cut off; what"
            f" was asked for may still have been done.{tls}"
        )
    if isinstance(error, theirs.ConnectionError):
        tell = _about_sentinels if isinstance(error, MasterNotFoundError) else _about_connection
        return OperationalError(tell(server, text))
    if any(sign in text.lower() for sign in _TOO_OLD):
        return OperationalError(
            f"{server} does not know what it was asked for ({_ARGUMENTS.sub('', text)}). umbel needs Redis"
            " 6.2 or later, or Valkey, where no command is renamed or disabled."
        )
    return OperationalError(f"{server} answered: {text}")


def may_pass(error: OperationalError) -> bool:
    """Tell whether the same call may work a moment later: the server was away, not unwilling."""
    cause = error.__cause__
    if _is_refused(cause):
        return False
    return is_elsewhere(error) or isinstance(cause, theirs.ConnectionError | theirs.TimeoutError)


def _is_refused(error: BaseException | None) -> bool:
    """Tell whether a login was refused."""
    return isinstance(error, theirs.AuthenticationError | theirs.AuthorizationError)


def is_elsewhere(error: OperationalError) -> bool:
    """Tell whether another server may be the right one now, which can be looked for.

    This one is a replica, or what we need is or goes elsewhere in its cluster. It has done nothing.
    """
    return isinstance(error.__cause__, _ELSEWHERE)


def without_tag(error: Exception) -> Exception:
    """Return the error that counts where a cluster is met and keys have no hash tag.

    Keys that are on another server are one of many then, and to look for it would be in vain.
    """
    if isinstance(error, theirs.AskError | theirs.TryAgainError):
        return theirs.ClusterCrossSlotError(str(error))
    return error


def _about_sentinels(server: str, text: str) -> str:
    """Say which master is not known, and why Sentinels that did not answer did not."""
    name = text.removeprefix("No master found for ").partition(" : ")[0]
    silent = sorted({told for _, told in _SILENT.findall(text)})
    answers = f" Of those that were asked some did not answer: {' '.join(silent)}" if silent else ""
    return (
        f"{server} has no Sentinel that knows a master {name} which is up.{answers} Check master_name, and"
        " that the Sentinels run there."
    )


def _about_connection(server: str, text: str) -> str:
    if text.startswith("ssl_"):
        return f"{server} cannot be connected to: {text} Check the path, and who may read it."
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return (
            f"{server} cannot be trusted or speaks no TLS: {text} Give ssl_ca_certs, or check whether the"
            " URL has to begin with redis://."
        )
    if any(sign in text for sign in _UNREACHED):
        return f"{server} cannot be reached: {text} Check that it runs there and that the URL is right."
    return f"The connection to {server} was lost: {text} What was asked for last may have been done or not."


#: Errors of redis-py that a call may raise, and those of a text that is no UTF-8.
THEIRS: tuple[type[Exception], ...] = (theirs.RedisError, UnicodeError)
