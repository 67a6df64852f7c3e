"""F3: pickle, YAML and msgpack, and documents that are made to cost much."""

import pickle
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import formats
from umbel.exceptions import DecodeError, EncodeError, SerializerNotInstalled
from umbel.limits import FixedLimits
from umbel.serialization import decode, serializer

yaml = pytest.importorskip("yaml")
msgpack = pytest.importorskip("msgpack")

SHALLOW = FixedLimits(message_max_depth=5)
TYPES = {"pickle": "application/x-python-serialize", "yaml": "application/x-yaml"}
TYPES["msgpack"] = "application/x-msgpack"


def read(name: str, data: bytes, limits: FixedLimits = FixedLimits()) -> Any:  # noqa: B008 - frozen
    return decode(data, TYPES[name], (name,), limits)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=15,
)


@settings(deadline=None, max_examples=50)
@given(plain, st.sampled_from(sorted(TYPES)))
def test_what_is_written_is_read_back(value: Any, name: str) -> None:
    assert read(name, serializer(name).dumps(value)) == value


@pytest.mark.parametrize("name", sorted(TYPES))
def test_what_cannot_be_written_is_an_encode_error(name: str) -> None:
    deep: list[Any] = []
    for _ in range(50_000):
        deep = [deep]
    for value in (lambda: 1, deep):
        with pytest.raises(EncodeError):
            serializer(name).dumps(value)
    while deep:
        deep = deep.pop()


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.sampled_from(["yaml", "msgpack"]))
def test_anything_is_read_or_a_decode_error(data: bytes, name: str) -> None:
    try:
        read(name, data)
    except DecodeError:
        return


FLOW = b"[" * 6 + b"]" * 6
BLOCK = b"- - - - - - 1"
BILLION_LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 9)) for n in range(97, 106)
)
LONG_SCALAR = b"- &a '" + b"x" * 10**6 + b"'\n" + b"- *a\n" * 9
MERGES = b"a: &a {1: 1, 2: 2}\n" + b"".join(
    b"%c: &%c {<<: [%s]}\n" % (n + 1, n + 1, b", ".join([b"*%c" % n] * 20)) for n in range(97, 106)
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FLOW, "more than 5 lists or mappings"),
        (BLOCK, "more than 5 lists or mappings"),
        (b"? " * 6 + b"1", "more than 5 lists or mappings"),
        # libyaml scans ahead, and since PyYAML 6.0.4 it has a limit of its own, which may come first.
        (b"[" * 100_000, "more than 5 lists or mappings|exceeded maximum nesting depth"),
        (BILLION_LAUGHS, "aliases stand for more than 4.0 MiB"),
        (LONG_SCALAR, "aliases stand for more than 4.0 MiB"),
        (MERGES, "aliases stand for more than 4.0 MiB"),
        (b"&a [*a]", "stands for nothing before it"),
        (b"[*a]", "stands for nothing before it"),
        (b":".join([b"1"] * 10**5), "A number in the YAML has 199999 digits"),
        (b"!!int '" + b":".join([b"1"] * 10**5) + b"'", "A number in the YAML has"),
        (b"9" * 10**5, "A number in the YAML has 100000 digits"),
        (b"!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (b"? [1]\n: 2", "unhashable"),
        (b"\xff\xff", "cannot be read as yaml"),
        (b"a: b: c", "cannot be read as yaml"),
        (b"", None),
        (b"'" + b"1" * 10**5 + b"'", None),
        (b"&a [1, 2]", None),
        (b"- &a [1]\n- *a", None),
    ],
)
def test_yaml_that_is_made_to_cost_much(data: bytes, reason: str | None) -> None:
    if reason is None:
        read("yaml", data, SHALLOW)
        return
    with pytest.raises(DecodeError, match=reason):
        read("yaml", data, SHALLOW)


def array(count: int) -> bytes:
    return b"\xdd" + struct.pack(">I", count)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x91" * 6 + b"\x01", "more than 5 lists or mappings"),
        (b"\x81\xa1a" * 6 + b"\x01", "more than 5 lists or mappings"),
        (b"\x91" * 100_000, "incomplete or nested too deeply"),
        (array(2**32 - 1), "incomplete"),
        (array(10**6) * 200_000, "incomplete or nested too deeply"),
        (b"\xdf\xff\xff\xff\xff", "incomplete"),
        (b"\xc6\xff\xff\xff\xff", "incomplete"),
        (b"", "incomplete"),
        (b"\xc1", "incomplete"),
        (b"\x01\x01", "cannot be read as msgpack"),
        (b"\x81\x91\x01\x01", "unhashable"),
        (b"\xa1\xff", "cannot be read as msgpack"),
        (b"\x91" * 5 + b"\x01", None),
        (b"\x81\x01\x02", None),
        (b"\xc4\x50" + b"\x91" * 80, None),
    ],
)
def test_msgpack_that_is_made_to_cost_much(data: bytes, reason: str | None) -> None:
    if reason is None:
        read("msgpack", data, SHALLOW)
        return
    with pytest.raises(DecodeError, match=reason):
        read("msgpack", data, SHALLOW)


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x04", b"cnowhere\nNothing\n.", b"r\xff\xff\xff\x7f.", b"\x80\x63.", b"0."]
)
def test_a_broken_pickle_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match="cannot be read as pickle"):
        read("pickle", data)


def test_errors_of_celery_are_ours_in_a_pickle() -> None:
    data = b"ccelery.exceptions\nReject\n(Vbad\nI01\ntR."
    found = read("pickle", data)
    assert (type(found).__module__, found.args) == ("umbel.exceptions", ("bad", True))


def test_a_pickle_is_written_so_that_old_pythons_read_it() -> None:
    assert formats.dump_pickle(1) == pickle.dumps(1, protocol=4)


@pytest.mark.parametrize(("name", "extra"), [("yaml", "yaml"), ("msgpack", "msgpack")])
def test_a_missing_library_is_named(name: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(SerializerNotInstalled, match=rf'pip install "umbel\[{extra}\]"'):
        serializer(name).dumps(1)
    with pytest.raises(DecodeError, match=rf'pip install "umbel\[{extra}\]"'):
        read(name, b"1")
