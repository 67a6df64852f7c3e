"""How values become bytes and back: the serializers by name, and JSON with kombu's extended types.

``json``, ``pickle``, ``yaml`` and ``msgpack`` are known, others by `register` or the entry points
``kombu.serializers`` of installed packages. What is read has to be listed as acceptable, and is checked for
size and depth before it is decoded (limits.py).

JSON carries ``datetime``, ``date``, ``time``, ``Decimal``, ``UUID`` and ``bytes`` as
``{"__type__": marker, "__value__": value}``, exactly as kombu 5.7 does (kombu/utils/json.py), so
both sides read each other's messages. Objects with a ``__json__`` method are replaced by what it
returns.
"""

from __future__ import annotations

import base64
import json
import sys
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from importlib.metadata import entry_points
from typing import Any

from umbel import formats
from umbel.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    ImproperlyConfigured,
    MessageTooLarge,
    SerializerNotInstalled,
)
from umbel.limits import (
    DEFAULT,
    MOST_HEADERS,
    UNREAD,
    Limits,
    check_json,
    json_is_deeper,
    unread,
    value_is_deeper,
)
from umbel.mappings import Layered
from umbel.representation import representation


@dataclass(frozen=True, slots=True)
class Serializer:
    """A way to write values as bytes: `name` in settings, `content_type` in messages.

    `dumps` raises EncodeError for what cannot be written. `read` raises DecodeError for what cannot be
    read, or costs more than the limits allow.
    """

    name: str
    content_type: str
    content_encoding: str
    dumps: Callable[[Any], bytes]
    read: Callable[[bytes, Limits], Any]


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
    if _is_lazy_text(value):
        return str(value)
    for kind, (marker, encoder) in _encoders.items():
        if isinstance(value, kind):
            return encoder(value) if marker is None else _marked(marker, encoder(value))
    if isinstance(value, bytes):
        try:
            return _marked("bytes", value.decode("utf-8"))
        except UnicodeDecodeError:
            return _marked("base64", base64.b64encode(value).decode("ascii"))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _is_lazy_text(value: Any) -> bool:
    """Tell whether a value is a text of Django's that is translated when it is shown."""
    functional: Any = sys.modules.get("django.utils.functional")
    return functional is not None and isinstance(value, functional.Promise)


def _decode_extended(value: dict[str, Any]) -> Any:
    """Return what a marked JSON object stands for, or the object itself."""
    if len(value) == 2 and "__type__" in value and "__value__" in value:
        decoder = _decoders.get(value["__type__"])
        if decoder is None:
            marker = representation(value["__type__"], 100)
            raise DecodeError(f"JSON with the unknown type marker {marker}")
        return decoder(value["__value__"])
    return value


def _json_encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return what does as `json.JSONEncoder.encode`, in pieces, at a level of indentation that is 0.

    That builds a C encoder for each text it writes, which takes half of its time for small ones;
    here it is built once. It keeps no list of what it is in, so a circular value ends at the depth limit.
    """
    plain = json.JSONEncoder(default=_encode_extended)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # not CPython
        return lambda value, _: (plain.encode(value),)
    quoted = json.encoder.encode_basestring_ascii
    separators = (plain.key_separator, plain.item_separator)
    encode: Callable[[Any, int], Iterable[str]]
    encode = make(None, _encode_extended, quoted, None, *separators, False, False, True)
    return encode


_encode_json = _json_encoder()
_decoder = json.JSONDecoder(object_hook=_decode_extended)

# A quicker reader of plain JSON, where one is installed. It must read exactly what the standard library
# reads, or refuse it: msgspec keeps integers of any size, and refuses NaN, Infinity, numbers too large for a
# float and halves of characters.
_read_quickly: Callable[[str | bytes], Any] | None
_write_quickly: Callable[[Any], bytes] | None
REFUSED: tuple[type[Exception], ...]
try:
    import msgspec
except ImportError:
    _read_quickly, _write_quickly, REFUSED = None, None, ()
else:
    _read_quickly = msgspec.json.Decoder().decode
    _write_quickly = msgspec.json.Encoder().encode
    REFUSED = (msgspec.MsgspecError, UnicodeError, RecursionError)


def is_plain(data: str | bytes) -> bool:
    """Tell whether there is no marker of an extended type in a JSON text, also none written in escapes."""
    if isinstance(data, bytes):
        # By `find`: `in` asks first whether what it looks for is a number, and takes twice as long.
        return data.find(b"__type__") < 0 and (data.find(b"\\") < 0 or data.find(b"\\u00") < 0)
    return "__type__" not in data and ("\\" not in data or "\\u00" not in data)


def _decode_json(data: str | bytes) -> Any:
    """Return what `json.JSONDecoder.decode` does, sooner."""
    text = data if isinstance(data, str) else data.decode("utf-8")
    # `decode` looks for blanks around the text twice, which takes longer than to read a small one.
    try:
        value, end = _decoder.raw_decode(text)
    except json.JSONDecodeError:
        return _decoder.decode(text)
    return value if end == len(text) else _decoder.decode(text)


def dumps(value: Any) -> str:
    """Write a value as JSON text with kombu's extended types.

    Raises EncodeError for what cannot be written: an unknown type, a circular or too deep value.
    """
    try:
        return "".join(_encode_json(value, 0))
    except MemoryError:
        raise
    except Exception as error:
        # ``__json__`` methods and registered encoders are not ours and raise what they like.
        raise EncodeError(str(error)) from error


def dumps_plain(values: Mapping[str, str | float | None]) -> str:
    """Write texts and finite numbers like `dumps`, sooner, where a quicker writer is installed."""
    if _write_quickly is not None:
        try:
            return _write_quickly(values).decode()
        except REFUSED:
            pass  # halves of characters
    return dumps(values)


def loads(text: str | bytes) -> Any:
    """Read what `dumps` wrote. Raises DecodeError for anything that is not such JSON."""
    try:
        if _read_quickly is not None and is_plain(text):
            try:
                return _read_quickly(text)
            except REFUSED:
                pass  # the slower reader takes it, or says what is wrong with it
        return _decode_json(text)
    except DecodeError:
        raise
    except Exception as error:
        # Decoders of extended types get whatever the sender wrote, and raise what they like.
        raise DecodeError(f"not JSON as umbel or Celery write it: {_reason(error)}") from error


def dumps_mapping(mapping: Mapping[str, Any]) -> str:
    """Write headers or properties. Raises MessageTooLarge for more than `loads_mapping` would read."""
    if type(mapping) is Layered and mapping.own and mapping.shared.values:
        shared = mapping.shared
        if shared.text is None:
            shared.text = dumps(shared.values)
        text = f"{shared.text[:-1]}, {dumps_plain(mapping.own)[1:]}"
    else:
        text = dumps(mapping if isinstance(mapping, dict) else dict(mapping))
    if len(text) > MOST_HEADERS:
        raise MessageTooLarge(unread(len(text), MOST_HEADERS))
    return text


def loads_mapping(text: str) -> dict[str, Any]:
    """Read headers or properties as an engine keeps them, whatever is in them.

    A message whose headers no decoder of extended types takes, or that are too large, is one that a worker
    refuses, and not one that keeps it from fetching others.
    """
    if len(text) > MOST_HEADERS:
        return {UNREAD: unread(len(text), MOST_HEADERS)}
    for decode in (loads, json.loads):
        try:
            found = decode(text)
        except (DecodeError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return {}


def _reason(error: Exception) -> str:
    """Return what an error says, at most a few lines: some repeat what they could not read."""
    return str(error)[:500] or type(error).__name__


def _read_json(data: bytes, limits: Limits) -> Any:
    if len(data) > limits.message_max_depth:
        check_json(data, limits)
    return loads(data)


JSON = Serializer(
    "json", "application/json", "utf-8", lambda value: dumps(value).encode("utf-8"), _read_json
)


def _dumps_unsigned(value: Any) -> bytes:
    raise ImproperlyConfigured(f"The serializer auth signs messages, {_SETUP}")


def _read_signed(data: bytes, limits: Limits) -> Any:
    raise DecodeError(f"The body is signed (auth), {_SETUP}")


_SETUP = (
    "and app.setup_security() was not called in this process. Call it where the app is made, behind its"
    " settings security_key, security_certificate and security_cert_store."
)
#: What stands for the serializer of signed messages until `security.setup` was called.
SIGNED = Serializer("auth", "application/data", "utf-8", _dumps_unsigned, _read_signed)

_by_name: dict[str, Serializer] = {}
_by_content_type: dict[str, Serializer] = {}
#: What `decode` refuses where nobody says what is acceptable, by content type.
_disabled: set[str] = set()


def add(serializer: Serializer) -> None:
    """Make a serializer known, in place of one of the same name."""
    _by_name[serializer.name] = serializer
    _by_content_type[serializer.content_type] = serializer


def register(
    name: str,
    encoder: Callable[[Any], str | bytes] | None,
    decoder: Callable[[bytes], Any] | None,
    content_type: str,
    content_encoding: str = "utf-8",
) -> None:
    """Make a serializer known by its name and content type, as kombu's ``register`` does.

    Without an `encoder` it only reads, without a `decoder` it only writes. The decoder gets the body's bytes,
    of at most `message_max_bytes`; how deep it lets them nest is its own affair.
    """

    def read(data: bytes, limits: Limits) -> Any:
        if decoder is None:
            raise DecodeError(f"The serializer {name!r} has no decoder.")
        return decoder(data)

    add(_guarded(name, encoder, read, content_type, content_encoding))


def _guarded(
    name: str,
    encoder: Callable[[Any], str | bytes] | None,
    read: Callable[[bytes, Limits], Any],
    content_type: str,
    content_encoding: str,
) -> Serializer:
    """Return a serializer that raises nothing but EncodeError and DecodeError, or what to install."""

    def dumps(value: Any) -> bytes:
        if encoder is None:
            raise SerializerNotInstalled(f"The serializer {name!r} has no encoder.")
        try:
            written = encoder(value)
            return written.encode("utf-8") if isinstance(written, str) else written
        except (EncodeError, SerializerNotInstalled, MemoryError):
            raise
        except Exception as error:
            raise EncodeError(_reason(error)) from error

    def guarded(data: bytes, limits: Limits) -> Any:
        try:
            return read(data, limits)
        except DecodeError:
            raise
        except Exception as error:  # MemoryError too: to be read again would not help
            raise DecodeError(f"The body cannot be read as {name}: {_reason(error)}") from error

    return Serializer(name, content_type, content_encoding, dumps, guarded)


def unregister(name: str) -> None:
    """Forget a serializer. Raises SerializerNotInstalled when there is none of that name."""
    found = _by_name.pop(name, None)
    if found is None:
        raise SerializerNotInstalled(f"There is no serializer {name!r}.")
    _by_content_type.pop(found.content_type, None)


add(JSON)
add(SIGNED)
for _found in (
    _guarded(
        "pickle",
        formats.dump_pickle,
        lambda data, limits: formats.load_pickle(data),
        "application/x-python-serialize",
        "binary",
    ),
    _guarded("yaml", formats.dump_yaml, formats.read_yaml, "application/x-yaml", "utf-8"),
    _guarded(
        "msgpack", formats.dump_msgpack, formats.read_msgpack, "application/x-msgpack", "binary"
    ),
):
    add(_found)
    _disabled.add(_found.content_type)


#: Names of entry points that were looked for; None: all that there are.
_looked_for: set[str | None] = set()


def _load_entry_points(name: str | None = None) -> None:
    """Register what installed packages bring as ``kombu.serializers``: that of a name, or all.

    Each is loaded at most once, and only when something is asked for that is not known.
    """
    if name in _looked_for or None in _looked_for:
        return
    _looked_for.add(name)
    for entry in entry_points(group="kombu.serializers"):
        if entry.name not in _by_name and name in (None, entry.name):
            try:
                register(entry.name, *entry.load())
            except Exception as error:
                raise SerializerNotInstalled(
                    f"The serializer {entry.name!r} of an installed package cannot be loaded from"
                    f" {entry.value}: {error!r}"
                ) from error


def serializer(name: str) -> Serializer:
    """Return the serializer of that name. Raises SerializerNotInstalled when there is none."""
    found = _by_name.get(name)
    if found is None:
        _load_entry_points(name)
        found = _by_name.get(name)
    if found is None:
        known = ", ".join(sorted(_by_name))
        raise SerializerNotInstalled(f"There is no serializer {name!r}; known are: {known}.")
    return found


def is_deeper(serializer: Serializer, value: Any, data: bytes, most: int) -> bool:
    """Tell whether `value`, written as `data`, nests more deeply than the serializer would read.

    Only of JSON, YAML, msgpack and what is signed is the depth checked.
    """
    if serializer is JSON:
        return len(data) > most and json_is_deeper(data, most)
    return serializer.name in ("yaml", "msgpack", "auth") and value_is_deeper(value, most)


def content_types(names: Iterable[str]) -> frozenset[str]:
    """Return content types for a list of them and of serializers' names.

    Raises SerializerNotInstalled for a name that is not known.
    """
    return frozenset(name if "/" in name else serializer(name).content_type for name in names)


def enable_insecure_serializers(choices: Iterable[str] = ("pickle", "yaml", "msgpack")) -> None:
    """Let `decode` read these where nobody says what is acceptable, as kombu's function of that name.

    Workers and results never ask for that: `accept_content` says what they read.
    """
    for choice in choices:
        found = _by_name.get(choice)
        _disabled.discard(found.content_type if found else choice)


def disable_insecure_serializers(allowed: Iterable[str] = ("json",)) -> None:
    """Let `decode` read only these where nobody says what is acceptable."""
    _disabled.update(_by_content_type)
    enable_insecure_serializers(allowed)


def decode(
    data: bytes,
    content_type: str,
    accept: Collection[str] | None = None,
    limits: Limits = DEFAULT,
) -> Any:
    """Read a body of a content type, if `accept` lists it by content type or by serializer name.

    Without `accept`, everything but what is disabled is read. Raises ContentDisallowed when it is not
    listed, DecodeError when it cannot be read or costs more than the limits allow.
    """
    found = _by_content_type.get(content_type)
    if found is None or (accept is not None and found.name not in accept):
        found = _acceptable(content_type, accept)
    elif accept is None and content_type in _disabled:
        raise ContentDisallowed(f"The content type {content_type!r} is disabled.")
    return found.read(data, limits)


def serializer_of(content_type: str) -> Serializer:
    """Return the serializer of a content type. Raises DecodeError when there is none."""
    return _by_content_type.get(content_type) or _acceptable(content_type, None)


def _acceptable(content_type: str, accept: Collection[str] | None) -> Serializer:
    """Return the serializer of a content type that is not simply listed by its serializer's name."""
    listed = accept is None or ("/" in content_type and content_type in accept)
    try:
        if listed and content_type not in _by_content_type:
            _load_entry_points()
        elif not listed:
            for name in accept or ():
                listed = listed or ("/" not in name and _type_of(name) == content_type)
    except SerializerNotInstalled as error:
        raise DecodeError(str(error)) from error
    if not listed:
        raise ContentDisallowed(
            f"The content type {content_type[:100]!r} is refused: accept_content lists only"
            f" {', '.join(sorted(accept or ()))}."
        )
    found = _by_content_type.get(content_type)
    if found is None:
        raise DecodeError(f"No serializer is registered for the content type {content_type!r}.")
    return found


def _type_of(name: str) -> str | None:
    if name not in _by_name:
        _load_entry_points(name)
    found = _by_name.get(name)
    return None if found is None else found.content_type
