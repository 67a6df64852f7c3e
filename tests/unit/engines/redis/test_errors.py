"""What servers answer, as their versions word it, is told in our words, also from within a script."""

from __future__ import annotations

import pytest
from redis import exceptions as theirs
from redis.sentinel import MasterNotFoundError

from umbel.engines.redis.errors import is_elsewhere, may_pass, plain, translated
from umbel.exceptions import BrokerFull, OperationalError

#: How Redis 6.2 begins an error of a script, with what its command answered or what kept it from being run.
ANSWERED = (
    "Error running script (call to f_88eb99ba83ee8ed5b1d71ebd53418510762a9dc2): @user_script:14: "
)
REFUSED = f"{ANSWERED}@user_script: 14: "
#: How Redis 7 ends it.
END = " script: 88eb99ba83ee8ed5b1d71ebd53418510762a9dc2, on @user_script:14."
OOM = "OOM command not allowed when used memory > 'maxmemory'."
READONLY = "READONLY You can't write against a read only replica."
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOPERM = (
    "The user executing the script can't access at least one of the keys mentioned in the command"
)
DOWN = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."


def told(error: Exception) -> OperationalError:
    """Return our error, raised as a connection raises it."""
    cause = plain(error)
    with pytest.raises(OperationalError) as caught:
        raise translated(cause, "redis://host/0", 1.0) from cause
    return caught.value


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (f"{REFUSED}-{OOM}", "maxmemory"),
        (f"{REFUSED}-{READONLY}", "is a replica and takes no writes"),
        (f"{ANSWERED}{WRONGTYPE}", "something else under a key"),
        (f"{WRONGTYPE}{END}", "something else under a key"),
        (f"{REFUSED}{NOPERM}", "ACL SETUSER"),
        (f"{NOPERM}{END}", "ACL SETUSER"),
        (f"ACL failure in script: User app has no permissions{END}", "ACL SETUSER"),
        (f"{REFUSED}-MISCONF Redis is configured to save", "cannot write its data to its disk"),
        (f"{REFUSED}Unknown Redis command called from Lua script", "umbel needs Redis 6.2"),
        (f"{REFUSED}Wrong number of args calling Redis command From Lua", "umbel needs Redis 6.2"),
        (f"{ANSWERED}ERR DB index is out of range", "no database with that number"),
        (f"{ANSWERED}ERR value is not an integer", "answered: value is not an integer"),
        (f"{ANSWERED}user_script:14: mine", "answered: mine"),
        (DOWN, "has lost its master"),
    ],
)
def test_an_error_is_told_in_our_words(answer: str, words: str) -> None:
    found = str(told(theirs.ResponseError(answer)))
    assert words in found
    assert "user_script: " not in found


def test_a_full_server_is_a_full_broker_in_each_version() -> None:
    for error in (
        theirs.ResponseError(f"{REFUSED}-{OOM}"),
        theirs.OutOfMemoryError(f"command not allowed when used memory > 'maxmemory'.{END}"),
    ):
        assert isinstance(told(error), BrokerFull)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            theirs.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
            "is a cluster",
        ),
        (theirs.MovedError("3999 127.0.0.1:6381"), "another server of it has the keys now"),
        (theirs.AskError("3999 127.0.0.1:6381"), "moves the keys to another server"),
        (theirs.TryAgainError("Multiple keys request during rehashing of slot"), "moves the keys"),
        (theirs.ClusterDownError("The cluster is down"), "is down"),
        (theirs.MasterDownError("Link with MASTER is down"), "has lost its master"),
        (theirs.ResponseError("UNBLOCKED force unblock, instance state changed"), "a replica"),
        (theirs.ResponseError("unknown command 'SENTINEL', with args"), "is no Sentinel"),
        (
            theirs.ResponseError("unknown command 'BLMOVE', with args beginning with: 'a' 'b' "),
            "(unknown command 'BLMOVE'). umbel needs Redis 6.2 or later, or Valkey, where no command",
        ),
        (theirs.ResponseError("Protocol error: unauthenticated bulk length"), "redis_password"),
        (theirs.ResponseError("unknown command `EVALSHA`, with args"), "begin with sentinel://"),
        (theirs.InvalidResponse('Protocol error, got "H" as reply type byte'), "something else"),
        (theirs.ConnectionError("ssl_ca_certs is '/x', and cannot be read."), "Check the path"),
    ],
)
def test_what_redis_py_has_a_class_for_is_told_all_the_same(error: Exception, words: str) -> None:
    assert words in str(told(error))


def test_sentinels_that_know_no_master_are_told_with_what_kept_them_silent() -> None:
    told_of = "<redis.client.Redis(<redis.connection.ConnectionPool(<password=<REDACTED>>)>)>"
    error = MasterNotFoundError(
        f"No master found for 'shop' : {told_of} - ConnectionError('Error 111. Connection refused.')"
    )
    found = str(told(error))
    assert "a master 'shop' which is up" in found
    assert "Error 111. Connection refused." in found
    assert "<redis" not in found
    assert "some did not answer" not in str(told(MasterNotFoundError("No master found for 'x'")))


def test_another_server_is_looked_for_where_this_one_is_not_to_be_asked() -> None:
    for error in (
        theirs.ResponseError(f"{REFUSED}-{READONLY}"),
        theirs.ReadOnlyError("You can't write against a read only replica."),
        theirs.ResponseError(DOWN),
        theirs.MasterDownError("Link with MASTER is down"),
        theirs.MovedError("3999 127.0.0.1:6381"),
        theirs.AskError("3999 127.0.0.1:6381"),
        theirs.TryAgainError("Multiple keys request during rehashing of slot"),
        theirs.ClusterDownError("The cluster is down"),
    ):
        assert is_elsewhere(told(error))
        assert may_pass(told(error))
    assert not may_pass(told(theirs.ClusterCrossSlotError("Keys don't hash to the same slot")))
    # It is a master, which has not enough replicas.
    assert not is_elsewhere(
        told(theirs.ResponseError(f"{REFUSED}-NOREPLICAS Not enough good replicas"))
    )
    assert not may_pass(told(theirs.ResponseError(f"{REFUSED}{NOPERM}")))


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_a_server_that_may_speak_no_tls_is_named_by_its_other_scheme(scheme: str) -> None:
    error = theirs.TimeoutError("Timeout reading from socket")
    assert f"begin the URL with {scheme}://" in str(translated(error, f"{scheme}s://host/0", 1.0))
    assert "TLS" not in str(translated(error, f"{scheme}://host/0", 1.0))


@pytest.mark.parametrize(
    "error",
    [
        theirs.AuthenticationError("WRONGPASS invalid username-password pair or user is disabled."),
        theirs.AuthenticationError("Authentication required."),
        theirs.AuthenticationError("another word"),
        theirs.ResponseError("Protocol error: unauthenticated multibulk length"),
        theirs.ResponseError("DB index is out of range"),
        theirs.ResponseError("unknown command 'SENTINEL', with args beginning with: "),
        theirs.InvalidResponse('Protocol error, got "A" as reply type byte'),
    ],
    ids=lambda error: str(error)[:20],
)
def test_no_waiting_mends_what_is_wrong_in_the_settings(error: Exception) -> None:
    assert not told(error).passes


@pytest.mark.parametrize(
    "error",
    [
        theirs.ConnectionError("Error 111 connecting to host:6379. Connection refused."),
        theirs.BusyLoadingError("Redis is loading the dataset in memory"),
        theirs.ResponseError("MISCONF Redis is configured to save"),
        theirs.ResponseError(READONLY),
    ],
    ids=lambda error: str(error)[:20],
)
def test_what_a_server_refuses_for_a_while_may_pass(error: Exception) -> None:
    assert told(error).passes
