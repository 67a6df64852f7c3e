"""Compressed bodies, by kombu's names and content types; they are read no further than a limit.

``application/x-gzip`` is a zlib stream, as in kombu; a gzip file is read too. A body is decompressed in
pieces and given up when it grows beyond the limit, so that a small message cannot become gigabytes. The
libraries of brotli and zstd are imported when they are used.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from umbel.exceptions import DecodeError, EncodeError, ImproperlyConfigured
from umbel.limits import shown

Pieces = Callable[[bytes, int], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class _Method:
    """`pieces` decompresses step by step, given the body and the most that will be wanted."""

    content_type: str
    compress: Callable[[bytes], bytes]
    pieces: Pieces


_methods: dict[str, _Method] = {}
_names: dict[str, str] = {}

#: Bytes of a piece at least. Pieces are no smaller than the body, of which each may cost a copy.
_PIECE = 2**18


def register(
    encoder: Callable[[bytes], bytes],
    decoder: Callable[[bytes], bytes],
    content_type: str,
    aliases: Sequence[str] = (),
) -> None:
    """Make a compression known by its content type and by other names, as kombu's ``register``.

    A `decoder` of one's own decompresses as a whole; whether the outcome is too large is seen after that.
    """

    def pieces(body: bytes, most: int) -> Iterator[bytes]:
        yield decoder(body)

    _add(_Method(content_type, encoder, pieces), aliases)


def _add(method: _Method, aliases: Sequence[str]) -> None:
    _methods[method.content_type] = method
    _names.update(dict.fromkeys((method.content_type, *aliases), method.content_type))


def encoders() -> list[str]:
    """Return the content types of all that is known."""
    return list(_methods)


def content_type(name: str) -> str:
    """Return the content type of a compression. Raises ImproperlyConfigured when there is none."""
    try:
        return _names[name]
    except (KeyError, TypeError):
        known = ", ".join(sorted(_names))
        raise ImproperlyConfigured(
            f"There is no compression {name!r}; known are: {known}."
        ) from None


def compress(body: bytes, name: str) -> tuple[bytes, str]:
    """Return the compressed body and the content type that says how.

    Raises ImproperlyConfigured for an unknown name or a missing library, EncodeError when it fails.
    """
    method = _methods[content_type(name)]
    try:
        return method.compress(body), method.content_type
    except (ImproperlyConfigured, MemoryError):
        raise
    except Exception as error:
        raise EncodeError(f"it cannot be compressed by {name}: {error}") from error


def decompress(body: bytes, name: str, most: int) -> bytes:
    """Return the body as it was. Raises DecodeError for what is broken, or larger than `most` bytes."""
    method = _methods.get(_names.get(name, ""))
    if method is None:
        raise DecodeError(f"The compression {name[:100]!r} is not known here.")
    parts: list[bytes] = []
    size = 0
    try:
        for part in method.pieces(body, most):
            size += len(part)
            if size > most:
                raise DecodeError(
                    f"The body is {shown(len(body))} of {method.content_type} and, decompressed, larger than"
                    f" message_max_decompressed allows ({shown(most)})."
                )
            parts.append(part)
        return b"".join(parts) if len(parts) != 1 else parts[0]
    except DecodeError:
        raise
    except Exception as error:  # MemoryError too: what is so large has no place here
        reason = str(error).rstrip(".") or type(error).__name__
        raise DecodeError(
            f"The body cannot be decompressed as {method.content_type}: {reason}."
        ) from error


def _incomplete() -> DecodeError:
    return DecodeError("The compressed body is incomplete.")


def _zlib_pieces(body: bytes, most: int) -> Iterator[bytes]:
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip, whichever the header says
    left = body
    while not stream.eof:
        piece = stream.decompress(left, max(_PIECE, len(body)))
        left = stream.unconsumed_tail
        if not piece and not left and not stream.eof:
            raise _incomplete()
        yield piece


def _stream_pieces(make: Callable[[int], Any]) -> Pieces:
    """Return how bodies are read by decompressors like those of `bz2`: one stream after the other."""

    def pieces(body: bytes, most: int) -> Iterator[bytes]:
        left = body
        while True:
            stream = make(most)
            while not stream.eof:
                if not left and stream.needs_input:
                    raise _incomplete()
                piece = stream.decompress(left, max(_PIECE, len(body)))
                left = b""
                yield piece
            left = stream.unused_data
            if not left:
                return

    return pieces


def _lzma_stream(most: int) -> lzma.LZMADecompressor:
    # A header may ask for gigabytes; the highest level that there is asks for 65 MiB.
    return lzma.LZMADecompressor(memlimit=most + 2**26)


_add(_Method("application/x-gzip", zlib.compress, _zlib_pieces), ("gzip", "zlib"))
_add(
    _Method("application/x-bz2", bz2.compress, _stream_pieces(lambda most: bz2.BZ2Decompressor())),
    ("bzip2", "bzip"),
)
_add(_Method("application/x-lzma", lzma.compress, _stream_pieces(_lzma_stream)), ("lzma", "xz"))


def _library(module: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ImproperlyConfigured(
            f'The compression {extra} needs a library. Install it: pip install "umbel[{extra}]"'
        ) from None


def _brotli_compress(body: bytes) -> bytes:
    compressed: bytes = _library("brotli", "brotli").compress(body)
    return compressed


def _brotli_pieces(body: bytes, most: int) -> Iterator[bytes]:
    stream = _library("brotli", "brotli").Decompressor()
    left = body
    while not stream.is_finished():
        piece = stream.process(left, output_buffer_limit=max(_PIECE, len(body)))
        left = b""
        if not piece and not stream.is_finished() and stream.can_accept_more_data():
            raise _incomplete()
        yield piece


_add(_Method("application/x-brotli", _brotli_compress, _brotli_pieces), ("brotli",))


def _own_zstd(library: Any) -> tuple[Callable[[bytes], bytes], Pieces]:
    parameter = library.DecompressionParameter.window_log_max

    def stream(most: int) -> Any:
        return library.ZstdDecompressor(options={parameter: _window_bits(most)})

    return library.compress, _stream_pieces(stream)


@cache
def _zstandard() -> tuple[Callable[[bytes], bytes], Pieces]:
    """Return how zstd is written and read by the library that there is.

    From Python 3.14 on it is Python's own; before that, the one kombu takes, or the one of our extra.
    """
    for module in ("compression.zstd", "backports.zstd"):
        try:
            return _own_zstd(import_module(module))
        except ImportError:
            continue
    library = _library("zstandard", "zstd")

    def pieces(body: bytes, most: int) -> Iterator[bytes]:
        said = library.frame_content_size(body)
        decompressor = library.ZstdDecompressor(max_window_size=2 ** _window_bits(most))
        reader = decompressor.stream_reader(body, read_across_frames=True)
        size = 0
        while piece := reader.read(max(_PIECE, len(body))):
            size += len(piece)
            yield piece
        if size < said:
            raise _incomplete()

    def compressed(body: bytes) -> bytes:
        # A copy: the library's own keeps the room that it had in case nothing could be compressed.
        return memoryview(library.ZstdCompressor().compress(body)).tobytes()

    return compressed, pieces


def _window_bits(most: int) -> int:
    """Return how much memory a frame may ask for: its size, or the 8 MiB of all but the highest levels."""
    return max(23, (most - 1).bit_length())


def _zstd_compress(body: bytes) -> bytes:
    return _zstandard()[0](body)


def _zstd_pieces(body: bytes, most: int) -> Iterator[bytes]:
    return _zstandard()[1](body, most)


_add(
    _Method("application/zstd", _zstd_compress, _zstd_pieces),
    ("zstd", "zstandard"),
)
