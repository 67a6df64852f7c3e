"""Why a value cannot be serialized: the place of the part at fault, its type, and what to do instead."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import os
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from umbel.exceptions import EncodeError, MessageTooLarge
from umbel.limits import shown
from umbel.representation import representation
from umbel.serialization import Serializer

Dumps = Callable[[Any], bytes]

#: How far down a part is looked for.
_MOST_STEPS = 1000
_MOST_OF_A_PLACE = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """The innermost part of a value that cannot be serialized.

    `place` is how it is reached, for example ``['profile'].owner``; empty for the value itself.
    """

    place: str
    value: Any
    reason: str
    advice: str

    def sentence(self, whole: str, verdict: str) -> str:
        """Say it all: `whole` is what the value is called."""
        place = (
            self.place
            if len(self.place) <= _MOST_OF_A_PLACE
            else f"{self.place[:_MOST_OF_A_PLACE]}…"
        )
        where = f"{whole} → {place}" if place else whole
        kind = _a(_kind(self.value).__qualname__)
        # What JSON says of every other object is said already.
        reason = "" if "is not JSON serializable" in self.reason else f" ({self.reason})"
        return f"{where} {verdict}: it is {kind}{reason}. {self.advice}."


#: Words that begin with a vowel's letter and not with its sound, such as User and UUID.
_LIKE_YOU = re.compile(r"u[stu]|uni|url|eu|one", re.IGNORECASE)


def _a(noun: str) -> str:
    vowel = noun[:1].lower() in "aeiou" and not _LIKE_YOU.match(noun)
    return f"an {noun}" if vowel else f"a {noun}"


def _kind(value: Any) -> type:
    """Return the class that a value says it has: what stands for another one, such as a lazy one, has its."""
    try:
        said = value.__class__
    except Exception:  # noqa: BLE001 - it may be a property that fails
        return type(value)
    return said if isinstance(said, type) else type(value)


def find(value: Any, serializer: Serializer) -> Fault | None:
    """Return what makes a value unserializable, None if nothing does."""
    error = _refusal(value, serializer.dumps)
    if error is None:
        return None
    place, above = "", {id(value)}
    for _ in range(_MOST_STEPS):
        found = _first_refused(value, serializer)
        if found is None:
            break
        step, value, error = found
        place += step
        if id(value) in above:
            return Fault(place, value, "it contains itself", "Pass data without circles")
        above.add(id(value))
    key = _bad_key(value, serializer.dumps)
    if key is not None:
        return Fault(place, value, f"with the key {representation(key, 100)}", _KEYS)
    return Fault(place, value, error, _advice(value))


def _first_refused(value: Any, serializer: Serializer) -> tuple[str, Any, str] | None:
    """Return the first part that cannot be written: how it is reached, what it is, and why."""
    for step, part in _parts(value, serializer.name):
        reason = _refusal(part, serializer.dumps)
        if reason is not None:
            return step, part, reason
    return None


_KEYS = "Use texts as keys, for example str(key)"


def _refusal(value: Any, dumps: Dumps) -> str | None:
    """Return why a value cannot be written, None if it can be."""
    try:
        dumps(value)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        return str(error)[:500].rstrip(". ") or type(error).__name__
    return None


def _bad_key(value: Any, dumps: Dumps) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) and _refusal({key: None}, dumps) is not None:
                return key
    return None


def _parts(value: Any, serializer: str) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value as the serializer sees them, each with how it is reached."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield f"[{representation(key, 100)}]", item
    elif isinstance(value, list | tuple):
        names = getattr(type(value), "_fields", ())  # of a named tuple
        for index, item in enumerate(value):
            yield (f".{names[index]}" if index < len(names) else f"[{index}]"), item
    elif serializer == "json" and hasattr(value, "__json__"):
        with contextlib.suppress(Exception):
            yield ".__json__()", value.__json__()
    elif serializer == "pickle" and not _is_code(value):
        for name, item in getattr(value, "__dict__", {}).items():
            yield f".{name}", item


def _has(*names: str) -> Callable[[Any], bool]:
    def has(value: Any) -> bool:
        try:
            return all(hasattr(value, name) for name in names)
        except Exception:  # noqa: BLE001 - an attribute may be a property that fails
            return False

    return has


def _is(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kinds)


_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType)


def _is_code(value: Any) -> bool:
    return isinstance(value, _CODE)


def _is_deep(value: Any) -> bool:
    return isinstance(value, list | tuple | dict)


#: What to do about which values; the first that fits is said.
_ADVICE: tuple[tuple[Callable[[Any], bool], str], ...] = (
    (_is_code, "Pass a name instead of code, and look it up in the task"),
    (_is(types.CoroutineType), "Await it first, and pass what it returns"),
    (
        _has("values_list", "model"),
        "Pass the primary keys: list(queryset.values_list('pk', flat=True))",
    ),
    (_has("pk"), "Pass its primary key (.pk), and load it in the task"),
    (_has("model_dump"), "Pass its data: model_dump(mode='json')"),
    (dataclasses.is_dataclass, "Pass its data: dataclasses.asdict(...)"),
    (_has("__attrs_attrs__"), "Pass its data: attrs.asdict(...)"),
    (_has("id"), "Pass its id (.id), and load it in the task"),
    (_is(set, frozenset), "Pass a sorted list: sorted(...)"),
    (_is(io.StringIO, io.BytesIO), "Pass its content: .getvalue()"),
    (_is(io.IOBase), "Pass its path, and open it in the task"),
    (_has("read", "name"), "Pass its path, and open it in the task"),
    (_is(os.PathLike), "Pass its text: str(path)"),
    (_is(timedelta), "Pass its seconds: .total_seconds()"),
    (_is(enum.Enum), "Pass its value: .value"),
    (_is(bytearray, memoryview), "Pass bytes: bytes(...)"),
    (_is(complex), "Pass its parts: [z.real, z.imag]"),
    (_has("tolist"), "Pass plain numbers: .tolist()"),
    (_has("to_dict"), "Pass its data: .to_dict()"),
    (_is(BaseException), "Pass its text: str(error)"),
    (_is(str), "Pass text that is valid Unicode, or bytes"),
    (_is(int), "Pass it as a text: hex(...)"),
    (_is_deep, "Pass data that is less deeply nested"),
    (_is(range, Iterable), "Pass a list: list(...)"),
)


def _advice(value: Any) -> str:
    for fits, advice in _ADVICE:
        if fits(value):
            return advice
    return "Pass plain data: texts, numbers, lists and mappings of them"


def of_call(
    error: EncodeError,
    task: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: Serializer,
    parameters: Sequence[str] = (),
) -> EncodeError:
    """Return an error about a call that cannot be sent: which argument is at fault, and what to do.

    `parameters` are the names that the task has for its positional arguments.
    """
    named = [
        (f"argument {parameters[i]!r}" if i < len(parameters) else f"argument {i + 1}", value)
        for i, value in enumerate(args)
    ]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    if isinstance(error, MessageTooLarge):
        return MessageTooLarge(_too_large(error, task, named, serializer))
    for name, value in named:
        fault = find(value, serializer)
        if fault is not None:
            verdict = f"cannot be sent as {serializer.name}"
            return EncodeError(fault.sentence(f"{task}: {name}", verdict))
    return EncodeError(f"{task}: the call cannot be sent as {serializer.name}: {error}.")


def _too_large(
    error: MessageTooLarge, task: str, named: Sequence[tuple[str, Any]], serializer: Serializer
) -> str:
    """Say which argument is the largest."""
    text = f"{task}: the call cannot be sent as {serializer.name}: {error}."
    sizes = [(len(serializer.dumps(value)), name) for name, value in named]
    if sizes:
        size, name = max(sizes)
        text += f" Its largest argument is {name} ({shown(size)})."
    return f"{text} Keep such data elsewhere, and pass where: a path, a URL or a key."


def of_result(task: str, value: Any, error: EncodeError, serializer: Serializer) -> EncodeError:
    """Return an error about a result that cannot be stored: what of it is at fault, and what to do."""
    verdict = f"cannot be stored as {serializer.name}"
    fault = find(value, serializer)
    if fault is None:
        return EncodeError(f"{task}: the result {verdict}: {error}. Or set ignore_result.")
    text = fault.sentence(f"{task}: the result", verdict)
    return EncodeError(
        text.replace(". Pass ", ". Return ").removesuffix(".") + ", or set ignore_result."
    )
