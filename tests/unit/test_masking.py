from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.masking import MASK, is_secret, masked, masked_place, masked_url


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("redis://user:pw@host:6379/0", f"redis://user:{MASK}@host:6379/0"),
            ("redis://:pw@host", f"redis://:{MASK}@host"),
            ("redis://:p/w@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:p@w@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:p?w@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:p/w?x#y@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:p w;x,y'z@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:a://b@host/0", f"redis://:{MASK}@host/0"),
            ("redis://:@host", f"redis://:{MASK}@host"),
            ("sqlite:////a.db?password=pw&wait=1", f"sqlite:////a.db?password={MASK}&wait=1"),
            ("redis://host:6379/0?password=p@w", f"redis://host:6379/0?password={MASK}"),
            (
                "mssql+pyodbc:///?odbc_connect=UID%3Dme%3BPWD%3Dpw",
                f"mssql+pyodbc:///?odbc_connect={MASK}",
            ),
            (
                "azureblockblob://AccountName=me;AccountKey=abc==;EndpointSuffix=x",
                f"azureblockblob://AccountName=me;AccountKey={MASK};EndpointSuffix=x",
            ),
            (
                "redis://:one@a;redis://:two@b;redis://c",
                f"redis://:{MASK}@a;redis://:{MASK}@b;redis://c",
            ),
            (
                "It is redis://:one@a, or redis://:two@b",
                f"It is redis://:{MASK}@a, or redis://:{MASK}@b",
            ),
        ],
    )
    def test_a_password_is_masked(self, url: str, shown: str) -> None:
        assert masked_url(url) == shown

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "celery",
            "sqlite:////var/lib/shop/umbel.db",
            "redis://host:6379/0?ssl=true",
            "redis://user@host",
            "memory://",
            "me:you@example.org",
            "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s",
            "proj.*: a=b&c=d",
        ],
    )
    def test_what_holds_none_is_shown_as_it_is(self, text: str) -> None:
        assert masked_url(text) == text

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("guest:pw@host//", f"guest:{MASK}@host//"),
            ("amqp://guest:pw@host//", f"amqp://guest:{MASK}@host//"),
            ("localhost:6379", "localhost:6379"),
        ],
    )
    def test_what_should_be_a_url_needs_no_scheme_to_be_masked(self, text: str, shown: str) -> None:
        assert masked_place(text) == shown


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "redis_password",
            "PASSWORD",
            "s3_secret_access_key",
            "SENTRY_DSN",
            "api_key",
            "pwd",
            "AWS_ACCESS_KEY_ID",
            "slack_token",
            "credentials",
            "AccountKey",
            "security_key_password",
        ],
    )
    def test_secrets_are_known_by_their_names(self, name: str) -> None:
        assert is_secret(name)

    @pytest.mark.parametrize(
        "name",
        ["task_default_routing_key", "broker_url", "author", "security_key", "compass", "keys"],
    )
    def test_other_names_are_not(self, name: str) -> None:
        assert not is_secret(name)


class Pair(NamedTuple):
    url: str
    number: int


class TestValues:
    def test_what_is_nested_is_masked(self) -> None:
        value = {
            "password": "pw",
            "hosts": ["redis://:pw@a", {"api_key": 5}],
            "redis://:pw@b": ("redis://:pw@c", 1),
            "raw": b"redis://:pw@d",
            "some": {"redis://:pw@e"},
            3: None,
        }
        assert masked("anything", value) == {
            "password": MASK,
            "hosts": [f"redis://:{MASK}@a", {"api_key": MASK}],
            f"redis://:{MASK}@b": (f"redis://:{MASK}@c", 1),
            "raw": f"redis://:{MASK}@d".encode(),
            "some": {f"redis://:{MASK}@e"},
            3: None,
        }

    @pytest.mark.parametrize("value", ["pw", 5, ["pw"], {"a": "pw"}, b"pw"])
    def test_everything_under_a_secret_name_is_masked(self, value: object) -> None:
        assert masked("redis_password", value) == MASK

    @pytest.mark.parametrize("value", [None, True, False])
    def test_it_may_be_seen_whether_there_is_one(self, value: object) -> None:
        assert masked("redis_password", value) is value

    def test_a_named_tuple_is_shown_too(self) -> None:
        assert masked("x", Pair("redis://:pw@h", 2)) == (f"redis://:{MASK}@h", 2)

    @pytest.mark.parametrize("value", [1, 1.5, "text", (1, "a"), [], {}, frozenset({1})])
    def test_the_rest_is_shown_as_it_is(self, value: object) -> None:
        assert masked("task_routes", value) == value


#: Letters of a password as people write it, with those that mean something in a URL.
PASSWORDS = st.text("XYZ/@?:;,# '", min_size=1, max_size=8).map(lambda text: f"Q{text}Q")
#: In a list of URLs, "; X://" begins the next one.
SECRETS = PASSWORDS.filter(lambda text: "://" not in text)
PLACES = st.sampled_from(
    [
        "redis://user:{}@host:6379/0",
        "redis://:{}@host",
        "amqp://a:b@one;amqp://user:{}@two//;amqp://three",
        "see redis://:{}@host",
    ]
)


#: Stands for a leaf: what it is drawn in is made once, and not anew for each leaf.
LEAF = object()
NESTED = st.recursive(
    st.just(LEAF),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2),
        st.tuples(st.just(1), inner),
        st.dictionaries(st.sampled_from(["a", "b"]), inner, min_size=1),
    ),
)


def nested(leaf: Any) -> st.SearchStrategy[Any]:
    """Everything that a value of settings may hide a leaf in."""
    return NESTED.map(lambda shape: filled(shape, leaf))


def filled(shape: Any, leaf: Any) -> Any:
    """Return a shape with a leaf in each place for one."""
    if isinstance(shape, dict):
        return {key: filled(inner, leaf) for key, inner in shape.items()}
    if isinstance(shape, list | tuple):
        return type(shape)(filled(inner, leaf) for inner in shape)
    return leaf if shape is LEAF else shape


@given(st.data(), SECRETS, PLACES)
def test_a_password_of_a_url_is_never_shown(data: st.DataObject, secret: str, place: str) -> None:
    value = data.draw(nested(place.format(secret)))
    assert "Q" not in repr(masked("broker_url", value))


@given(st.data(), SECRETS, st.sampled_from(["password", "api_key", "SECRET", "token"]))
def test_what_has_a_secret_name_is_never_shown(data: st.DataObject, secret: str, name: str) -> None:
    value = data.draw(nested({name: data.draw(nested(secret))}))
    assert "Q" not in repr(masked("broker_transport_options", value))
    assert "Q" not in repr(masked(name, data.draw(nested(secret))))


@given(st.text("XYZ/@?:'", min_size=1), st.sampled_from(["?", "?a=1&"]))
def test_a_secret_in_a_query_is_never_shown(secret: str, before: str) -> None:
    assert "Q" not in masked_url(f"redis://host:6379/0{before}password=Q{secret}Q&b=2")


@given(st.text())
def test_a_text_without_a_url_or_a_value_is_not_touched(text: str) -> None:
    assert masked_url(text) == text or "://" in text or "=" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=db user=u password=geheim", f"host=db user=u password={MASK}"),
        ("password=geheim", f"password={MASK}"),
        ("password = 'ge heim' host=db", f"password ={MASK} host=db"),
        (r"password='ge\'heim' host=db", f"password={MASK} host=db"),
        ("AccountName=a;AccountKey=geheim==;x=1", f"AccountName=a;AccountKey={MASK};x=1"),
        ("token=geheim redis://:geheim@h", f"token={MASK} redis://:{MASK}@h"),
        ("a = b, no secret here", "a = b, no secret here"),
    ],
)
def test_words_of_a_text_that_is_no_url(text: str, shown: str) -> None:
    assert masked_url(text) == shown
