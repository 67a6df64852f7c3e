"""F3: compressed bodies, and those that would grow beyond all bounds."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel import compression
from umbel.compression import compress, decompress
from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured

TYPES = {
    "gzip": "application/x-gzip",
    "zlib": "application/x-gzip",
    "bzip2": "application/x-bz2",
    "bzip": "application/x-bz2",
    "lzma": "application/x-lzma",
    "xz": "application/x-lzma",
    "brotli": "application/x-brotli",
    "zstd": "application/zstd",
    "zstandard": "application/zstd",
}
LIMIT = 2**22


def installed(name: str) -> bool:
    return name != "brotli" or find_spec("brotli") is not None


NAMES = [name for name in TYPES if installed(name)]
EACH = pytest.mark.parametrize("name", NAMES)


@EACH
@pytest.mark.parametrize("body", [b"", b"x", b"abc" * 10**5, bytes(range(256)) * 1000])
def test_what_is_compressed_comes_back(name: str, body: bytes) -> None:
    made, content_type = compress(body, name)
    assert content_type == TYPES[name]
    assert decompress(made, name, LIMIT) == decompress(made, content_type, LIMIT) == body


@EACH
def test_a_part_is_not_taken_for_the_whole(name: str) -> None:
    made, _ = compress(bytes(range(256)) * 100, name)
    for end in (0, 1, len(made) // 2, len(made) - 1):
        with pytest.raises(DecodeError, match=r"incomplete|cannot be decompressed"):
            decompress(made[:end], name, LIMIT)


@EACH
def test_the_limit_is_exact(name: str) -> None:
    made, _ = compress(b"x" * 5000, name)
    assert len(decompress(made, name, 5000)) == 5000
    with pytest.raises(DecodeError, match="message_max_decompressed"):
        decompress(made, name, 4999)


@EACH
def test_a_bomb_is_given_up(name: str, peak: Callable[[], float]) -> None:
    bomb = bomb_of(name)
    peak()
    with pytest.raises(
        DecodeError, match=r"larger than message_max_decompressed allows \(4\.0 MiB\)"
    ):
        decompress(bomb, name, LIMIT)
    assert peak() < 16


def bomb_of(name: str) -> bytes:
    """Return a few kilobytes that stand for many megabytes."""
    return compress(b"\0" * (24 * 2**20), name)[0]


@pytest.fixture
def peak() -> Iterator[Callable[[], float]]:
    """A function that returns how many megabytes were in use at most since it was last called."""
    import tracemalloc  # noqa: PLC0415 - it slows down what it watches

    def megabytes() -> float:
        most: int = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        return most / 2**20

    tracemalloc.start()
    yield megabytes
    tracemalloc.stop()


def test_gzip_files_are_read_too() -> None:
    assert decompress(gzip.compress(b"abc"), "gzip", LIMIT) == b"abc"
    assert decompress(zlib.compress(b"abc"), "gzip", LIMIT) == b"abc"


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.sampled_from(NAMES))
def test_anything_else_is_a_decode_error(data: bytes, name: str) -> None:
    try:
        decompress(data, name, 1000)
    except DecodeError:
        return


@settings(deadline=None, max_examples=100)
@given(st.data(), st.sampled_from(NAMES))
def test_damage_is_a_decode_error_or_comes_to_an_end(data: Any, name: str) -> None:
    made = bytearray(compress(b"some text that is repeated " * 20, name)[0])
    for _ in range(data.draw(st.integers(1, 4))):
        made[data.draw(st.integers(0, len(made) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(decompress(bytes(made), name, 5000)) <= 5000
    except DecodeError:
        return


def test_unknown_names() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"no compression 'gzp'; known are: .*gzip"):
        compress(b"", "gzp")
    with pytest.raises(DecodeError, match="'gzp' is not known"):
        decompress(b"", "gzp", LIMIT)


@pytest.mark.skipif(installed("brotli"), reason="brotli is installed")
def test_a_missing_library_is_named() -> None:
    with pytest.raises(ImproperlyConfigured, match=r'pip install "umbel\[brotli\]"'):
        compress(b"", "brotli")
    with pytest.raises(DecodeError, match=r'pip install "umbel\[brotli\]"'):
        decompress(b"", "brotli", LIMIT)


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_methods", "_names"):
        monkeypatch.setattr(compression, name, dict(getattr(compression, name)))


@pytest.mark.usefixtures("_registry")
def test_others_can_be_registered() -> None:
    compression.register(
        lambda body: body[::-1], lambda body: body[::-1], "application/x-back", ["back"]
    )
    assert compress(b"abc", "back") == (b"cba", "application/x-back")
    assert decompress(b"cba", "application/x-back", 3) == b"abc"
    with pytest.raises(DecodeError, match="larger"):
        decompress(b"cba", "back", 2)
    assert "application/x-back" in compression.encoders()


@pytest.mark.usefixtures("_registry")
def test_what_others_raise_is_translated() -> None:
    def fail(body: bytes) -> bytes:
        raise KeyError("mine")

    compression.register(fail, fail, "application/x-fail")
    with pytest.raises(EncodeError, match="mine"):
        compress(b"", "application/x-fail")
    with pytest.raises(DecodeError, match="mine"):
        decompress(b"", "application/x-fail", 1)
