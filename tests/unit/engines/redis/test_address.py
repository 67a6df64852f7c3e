"""What URLs and options mean."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from umbel.engines.redis.address import Address, address_of
from umbel.exceptions import ImproperlyConfigured


def read(url: str, **options: Any) -> Address:
    return address_of(url, options)


@pytest.mark.parametrize(
    ("url", "place", "database"),
    [
        ("redis://", ("localhost", 6379), 0),
        ("redis://host", ("host", 6379), 0),
        ("redis://host:1234/5", ("host", 1234), 5),
        ("redis://host/?db=7", ("host", 6379), 7),
        ("redis://host/2?virtual_host=3", ("host", 6379), 3),
        ("redis://[::1]:7/1", ("::1", 7), 1),
        ("rediss://host:1/4", ("host", 1), 4),
        ("valkey://host/4", ("host", 6379), 4),
        ("VALKEYS://host:1/4", ("host", 1), 4),
    ],
)
def test_a_url_names_host_port_and_database(
    url: str, place: tuple[str, int], database: int
) -> None:
    found = read(url)
    assert (found.hosts, found.database) == ((place,), database)


@pytest.mark.parametrize(
    ("login", "user", "password"),
    [
        ("", None, None),
        (":secret@", None, "secret"),
        ("user@", "user", None),
        ("user:secret@", "user", "secret"),
        ("user:se%40cr%2Fet@", "user", "se@cr/et"),
        ("user:p@ss:w/rd@", "user", "p@ss:w/rd"),
    ],
)
def test_a_url_names_user_and_password(login: str, user: str | None, password: str | None) -> None:
    found = read(f"redis://{login}host/1")
    assert (found.username, found.password, found.hosts) == (user, password, (("host", 6379),))
    if password is not None:
        assert "secret" not in repr(found)
        assert password not in found.shown


@pytest.mark.parametrize("scheme", ["redis+socket", "unix"])
def test_a_url_names_a_socket(scheme: str) -> None:
    found = read(f"{scheme}:///run/redis.sock?virtual_host=2")
    assert (found.path, found.hosts, found.database) == ("/run/redis.sock", (), 2)
    assert read(f"{scheme}://:secret@/run/redis.sock").password == "secret"


def test_options_fill_what_a_url_leaves_open() -> None:
    options = {"host": "h", "port": 1, "db": 2, "username": "u", "password": "p"}
    found = read("redis://", **options)
    assert (found.hosts, found.database) == ((("h", 1),), 2)
    assert (found.username, found.password) == ("u", "p")
    found = read("redis://x:y@z:3/4", **options)
    assert (found.hosts, found.database) == ((("z", 3),), 4)
    assert (found.username, found.password) == ("x", "y")


def test_times_come_from_url_or_options() -> None:
    assert (read("redis://").timeout, read("redis://").connect_timeout) == (5.0, 4.0)
    assert read("redis://", socket_timeout=3).timeout == 3.0
    assert read("redis://h?socket_timeout=1.5", socket_timeout=3).timeout == 1.5
    assert read("redis://", socket_timeout=None).timeout == 5.0
    with pytest.raises(ImproperlyConfigured, match="socket_timeout is 'soon'"):
        read("redis://", socket_timeout="soon")


def test_sentinels_need_the_name_of_what_they_watch() -> None:
    url = "sentinel://:secret@a:1/3;sentinel://b"
    found = read(url, master_name="main", sentinel_kwargs={"password": "other"})
    assert found.hosts == (("a", 1), ("b", 26379))
    assert (found.database, found.password, found.master_name) == (3, "secret", "main")
    assert found.sentinel == {"password": "other"}
    with pytest.raises(ImproperlyConfigured, match="set master_name") as caught:
        read(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@a/3?client_name=me;redis://b",
        "redis://a;redis://u:secret@b/3?client_name=me",
        "redis://u:secret@a/3;redis://u:secret@b?db=3&client_name=me",
    ],
)
def test_what_one_of_several_urls_says_it_says_of_all(url: str) -> None:
    found = read(url)
    assert found.hosts == (("a", 6379), ("b", 6379))
    login = (found.username, found.password, found.database, found.client_name)
    assert login == ("u", "secret", 3, "me")


def test_sentinels_may_say_at_their_end_what_they_watch() -> None:
    assert read("sentinel://a;sentinel://b/1?master_name=shop").master_name == "shop"


@pytest.mark.parametrize(("url", "shown"), [("redis", "redis://h:1/2"), ("redis://", "redis://")])
def test_a_bare_name_leaves_all_to_the_options(url: str, shown: str) -> None:
    found = read(url, host="h", port=1, db=2, password="secret")
    assert (found.hosts, found.database, found.password) == ((("h", 1),), 2, "secret")
    assert found.shown == shown


def test_several_servers_of_valkey_are_named_by_one_url() -> None:
    found = read("valkey://a;valkey://:secret@b:1")
    assert (found.hosts, found.tls) == ((("a", 6379), ("b", 1)), None)
    assert found.shown == "valkey://a;valkey://:********@b:1"
    tls = read("valkeys://a;valkeys://b").tls
    assert tls == {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}


def test_certificates_and_names_are_checked_unless_told_otherwise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert read("redis://").tls is None
    tls = read("rediss://host?ssl_ca_certs=/ca.pem").tls
    assert tls == {
        "ssl_ca_certs": "/ca.pem",
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
    }
    for cert_reqs in (ssl.CERT_OPTIONAL, "optional", "CERT_OPTIONAL"):
        tls = read("redis://", ssl={"ssl_cert_reqs": cert_reqs}).tls
        assert tls == {"ssl_cert_reqs": ssl.CERT_OPTIONAL, "ssl_check_hostname": True}
    assert not caplog.records
    tls = read("rediss://:secret@host?ssl_cert_reqs=CERT_NONE").tls
    assert tls == {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    assert "not checked" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is empty"),
        ("host:6379", "begin with redis://"),
        ("http://host", "begin with redis://"),
        ("redis://host:port/0", "no valid port"),
        ("redis://host/tasks", "databases of Redis have numbers"),
        ("redis://host?socket_timout=1", "Did you mean 'socket_timeout'"),
        ("redis://host?what=1", "unknown parameter 'what'"),
        ("redis://host?visibility_timeout=9", "an option, for broker_transport_options"),
        ("redis://host?ssl_ca_certs=x", "begin it with rediss://"),
        ("valkey://host?ssl_ca_certs=x", "begin it with valkeys://"),
        ("rediss://host?ssl_cert_reqs=maybe", "CERT_REQUIRED, CERT_OPTIONAL or CERT_NONE"),
        ("redis://a;rediss://b", "different schemes"),
        ("redis://a;valkey://b", "different schemes"),
        ("redis://host?credential_provider=no.such.Thing", "cannot be imported"),
        ("redis://a/0;redis://b/1", "differ in the database"),
        ("redis://a/0;redis://b?db=1", "differ in the database"),
        ("redis://:secret@a;redis://:other@b", "differ in the password"),
        ("redis://a?client_name=me;redis://b?client_name=you", "the parameter 'client_name'"),
        ("redis://host?client_name=my client", "has a space"),
        ("redis://host?socket_timeout=inf", "must be a number of seconds"),
        ("rediss://host?ssl_min_version=new", "such as TLSv1_2"),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read(url)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"port": "one"}, "port is 'one'"),
        ({"min_other_sentinels": "many"}, "must be a whole number"),
        ({"sentinel_kwargs": "secret"}, "must be a mapping"),
        ({"socket_keepalive_options": [4, 5]}, "must be a mapping"),
        ({"ssl": {"ca_certs": "x"}}, "Did you mean 'ssl_ca_certs'?"),
        ({"ssl": {"ssl_ca_cert": "x"}}, "Did you mean 'ssl_ca_certs'?"),
        ({"ssl": {"what": "x"}}, "Known are ssl_ca_certs"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        read("redis://", **options)
    assert words in str(caught.value)


@pytest.mark.parametrize("version", ["TLSv1_2", 771, "771", ssl.TLSVersion.TLSv1_2])
def test_a_version_of_tls_has_a_name_and_a_number(version: Any) -> None:
    tls = read("redis://", ssl={"ssl_min_version": version}).tls
    assert tls is not None
    assert tls["ssl_min_version"] is ssl.TLSVersion.TLSv1_2


def test_the_same_server_and_user_have_the_same_location() -> None:
    same = ["redis://localhost/1", "redis://127.0.0.1:6379/2", "redis://[::1]/0"]
    assert len({read(url).location for url in same}) == 1
    others = ["redis://localhost:1", "redis://other", "redis://user:x@localhost", "unix:///a"]
    assert len({read(url).location for url in [*others, same[0]]}) == 5


def test_prefixes_of_results_are_written_as_celery_does() -> None:
    assert read("redis://", result_keyprefix="mine").result_prefix == "mine_"
    assert read("redis://", result_keyprefix="mine:").result_prefix == "mine:"
    found = read("redis://", global_keyprefix="broker", result_keyprefix="")
    assert (found.prefix, found.result_prefix) == ("broker", "")
    found = read("redis://host?global_keyprefix=all", global_keyprefix="b", result_keyprefix="r")
    assert (found.prefix, found.result_prefix) == ("all", "all_")
