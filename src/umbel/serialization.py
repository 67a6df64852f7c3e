"""How values become bytes and back: the serializers by name, and JSON with kombu's extended types.

JSON carries ``datetime``, ``date``, ``time``, ``Decimal``, ``UUID`` and ``bytes`` as
``{"__type__": marker, "__value__": value}``, exactly as kombu 5.7 does (kombu/utils/json.py), so
both sides read each other's messages. Objects with a ``__json__`` method are replaced by what it
returns.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from umbel.exceptions import ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class Serializer:
    """A way to write values as bytes: `name` in settings, `content_type` in messages."""

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    loads: Callable[[bytes], Any]


_encoders: dict[type, tuple[str | None, Callable[[Any], Any]]] = {}
_decoders: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda value: value.encode("utf-8"),
    "base64": lambda value: base64.b64decode(value.encode("utf-8")),
}


def register_type(
    kind: type,
    marker: str | None,
    encoder: Callable[[Any], Any],
    decoder: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Teach JSON a type: `encoder` returns plain JSON values, `decoder` takes them back.

    With `marker` None the encoding replaces the value and nothing marks it, so nothing decodes it.
    """
    _encoders[kind] = (marker, encoder)
    if marker is not None:
        _decoders[marker] = decoder


register_type(datetime, "datetime", datetime.isoformat, datetime.fromisoformat)
register_type(date, "date", date.isoformat, lambda value: datetime.fromisoformat(value).date())
register_type(time, "time", time.isoformat, time.fromisoformat)
register_type(Decimal, "decimal", str, Decimal)
register_type(uuid.UUID, "uuid", lambda value: {"hex": value.hex}, lambda value: uuid.UUID(**value))


def _marked(marker: str, value: object) -> dict[str, object]:
    return {"__type__": marker, "__value__": value}


def _encode_extended(value: Any) -> Any:
    """Return a JSON form of what `json` does not know."""
    reducer = getattr(value, "__json__", None)
    if reducer is not None:
        return reducer()
    for kind, (marker, encoder) in _encoders.items():
        if isinstance(value, kind):
            return encoder(value) if marker is None else _marked(marker, encoder(value))
    if isinstance(value, bytes):
        try:
            return _marked("bytes", value.decode("utf-8"))
        except UnicodeDecodeError:
            return _marked("base64", base64.b64encode(value).decode("ascii"))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _decode_extended(value: dict[str, Any]) -> Any:
    """Return what a marked JSON object stands for, or the object itself."""
    if len(value) == 2 and "__type__" in value and "__value__" in value:
        decoder = _decoders.get(value["__type__"])
        if decoder is None:
            raise DecodeError(f"JSON with the unknown type marker {value['__type__']!r}")
        return decoder(value["__value__"])
    return value


def _json_encoder() -> Callable[[Any], str]:
    """Return what `json.JSONEncoder.encode` does.

    That builds a C encoder for each text it writes, which takes half of its time for small ones;
    here it is built once. It keeps no list of what it is in, so a circular value ends at the depth limit.
    """
    plain = json.JSONEncoder(default=_encode_extended)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return plain.encode
    quoted = json.encoder.encode_basestring_ascii
    separators = (plain.key_separator, plain.item_separator)
    encode = make(None, _encode_extended, quoted, None, *separators, False, False, True)
    return lambda value: "".join(encode(value, 0))


_encode_json = _json_encoder()
_decode_json = json.JSONDecoder(object_hook=_decode_extended).decode


def dumps(value: Any) -> str:
    """Write a value as JSON text with kombu's extended types.

    Raises EncodeError for what cannot be written: an unknown type, a circular or too deep value.
    """
    try:
        return _encode_json(value)
    except MemoryError:
        raise
    except Exception as error:
        # ``__json__`` methods and registered encoders are not ours and raise what they like.
        raise EncodeError(str(error)) from error


def loads(text: str | bytes) -> Any:
    """Read what `dumps` wrote. Raises DecodeError for anything that is not such JSON."""
    try:
        return _decode_json(text if isinstance(text, str) else text.decode("utf-8"))
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        # Decoders of extended types get whatever the sender wrote, and raise what they like.
        raise DecodeError(f"not JSON as umbel or Celery write it: {error}") from error


JSON = Serializer(
    "json", "application/json", "utf-8", lambda value: dumps(value).encode("utf-8"), loads
)

_by_name: dict[str, Serializer] = {}
_by_content_type: dict[str, Serializer] = {}


def register(serializer: Serializer) -> None:
    """Make a serializer known by its name and by its content type."""
    _by_name[serializer.name] = serializer
    _by_content_type[serializer.content_type] = serializer


register(JSON)


def serializer(name: str) -> Serializer:
    """Return the serializer of that name. Raises ImproperlyConfigured when there is none."""
    try:
        return _by_name[name]
    except KeyError:
        known = ", ".join(sorted(_by_name))
        raise ImproperlyConfigured(
            f"There is no serializer {name!r}; known are: {known}."
        ) from None


def decode(data: bytes, content_type: str, accept: Collection[str]) -> Any:
    """Read a body of a content type, if `accept` lists it by content type or by serializer name.

    Raises ContentDisallowed when it is not listed, DecodeError when it cannot be read.
    """
    found = _by_content_type.get(content_type)
    if content_type not in accept and (found is None or found.name not in accept):
        raise ContentDisallowed(
            f"The content type {content_type!r} is refused: accept_content lists only "
            f"{', '.join(sorted(accept))}."
        )
    if found is None:
        raise DecodeError(f"No serializer is registered for the content type {content_type!r}.")
    return found.loads(data)
