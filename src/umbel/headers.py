"""The headers of a task message, which are read by their types.

A message of protocol 2 has two dozen headers, most of them null. To ask a dictionary for each and to look at
what it is takes twice as long as to read the JSON; msgspec, where it is installed, does both as it reads. It
takes only what is exactly as the protocol has it. All else is read as a dictionary, by the same code as
without msgspec, which knows what to make of it, or what to say of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from umbel import serialization
from umbel.limits import MOST_HEADERS

Reader = Callable[[str | bytes], Any]


def reader_of(decode: Reader) -> Reader:
    """Return what reads JSON by a decoder of msgspec's, and returns None for what that does not take.

    Nor does it take extended types, which kombu's JSON has.
    """

    def read(data: str | bytes) -> Any:
        if not serialization.is_plain(data):
            return None
        try:
            return decode(data)
        except serialization.REFUSED:
            return None

    return read


_fields_in: Reader | None = None
_convert: Callable[[Mapping[str, Any]], Fields] | None = None
try:
    import msgspec
except ImportError:
    pass
else:

    class Fields(msgspec.Struct, forbid_unknown_fields=True, gc=False):
        """The headers of a message of protocol 2; None for what is null or not there."""

        task: str
        id: str
        lang: Any = None
        shadow: str | None = None
        eta: str | None = None
        expires: str | None = None
        group: str | None = None
        group_index: int | None = None
        retries: int | None = None
        timelimit: tuple[int | float | None, int | float | None] | None = None
        root_id: str | None = None
        parent_id: str | None = None
        argsrepr: str | None = None
        kwargsrepr: str | None = None
        origin: str | None = None
        ignore_result: bool | None = None
        replaced_task_nesting: int | None = None
        stamped_headers: Any = None
        stamps: dict[str, Any] | None = None
        sent_at: int | float | None = None
        compression: str | None = None

    _NAMES = frozenset(Fields.__struct_fields__)
    _fields_in = reader_of(msgspec.json.Decoder(Fields).decode)
    _convert = partial(msgspec.convert, type=Fields)


class Headers(Mapping[str, Any]):
    """Headers as `fields`. Who wants them as a mapping has them read again, which workers seldom need."""

    __slots__ = ("_all", "_read", "_text", "fields")

    def __init__(
        self, fields: Fields, text: str | bytes, read: Callable[[Any], Mapping[str, Any]]
    ) -> None:
        """`read` makes of the text what is to be the mapping."""
        self.fields = fields
        self._text = text
        self._read = read
        self._all: Mapping[str, Any] | None = None

    def _mapping(self) -> Mapping[str, Any]:
        if self._all is None:
            self._all = self._read(self._text)
        return self._all

    def get(self, key: str, default: Any = None) -> Any:
        """Return a header as `dict.get` does."""
        if key not in _NAMES:
            return default
        found = getattr(self.fields, key)
        if found is None and default is None:
            return None
        # A null and a list are there as what they are in the JSON.
        is_same = found is not None and type(found) is not tuple
        return found if is_same else self._mapping().get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in _NAMES and key in self._mapping()

    def __getitem__(self, key: str) -> Any:
        return self._mapping()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping())

    def __len__(self) -> int:
        return len(self._mapping())

    def __repr__(self) -> str:
        return repr(dict(self))

    # What receivers of signals may do with a dictionary, too.

    def copy(self) -> dict[str, Any]:
        """Return a dictionary."""
        return dict(self)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self) | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return dict(other) | dict(self)


def read(text: str) -> Mapping[str, Any]:
    """Read headers as an engine keeps them, as `serialization.loads_mapping` does."""
    if _fields_in is not None and len(text) <= MOST_HEADERS:
        fields = _fields_in(text)
        if fields is not None:
            return Headers(fields, text, serialization.loads_mapping)
    return serialization.loads_mapping(text)


def fields_of(headers: Mapping[str, Any]) -> Fields | None:
    """Return headers by their types; None for any that are not exactly as the protocol has them."""
    if type(headers) is Headers:
        return headers.fields
    if _convert is None or type(headers) is not dict:
        return None
    try:
        return _convert(headers)
    except serialization.REFUSED:
        return None
