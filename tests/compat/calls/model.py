"""What the table of calls is made of: cases that know neither Celery nor umbel, and what comes of them."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

#: The id of nearly every call; `Renumber` leaves ids alone that are plainly not random.
TASK_ID = "11111111-0000-4000-8000-000000000001"

Json = Any


@dataclass
class Kit:
    """What a case gets: an app with two tasks, and the names of the library that the app is from.

    `api` has `Task`, `shared_task`, `Queue`, `Exchange` and so on; asking for one that the library does
    not have raises AttributeError.
    """

    app: Any
    api: Any
    #: Takes the call that was sent last from its queue and runs it as a worker does. What was
    #: published before is forgotten: the record has what the task published.
    work: Callable[[], None] = lambda: None
    #: What a task saw that is not in a message.
    notes: list[str] = field(default_factory=list)

    def make(self, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Make a task with the options of ``@app.task``; of `echo`, called ``proj.echo``, by default."""
        if function is None:
            function = _fresh_echo()
            options.setdefault("name", "proj.echo")
        task = self.app.task(shared=False, **options)(function)
        assert task.name  # Celery makes the task only now
        return task

    @property
    def echo(self) -> Any:
        """A task that takes everything."""
        return self.make()

    def note(self, error: BaseException) -> None:
        """Note an exception that a task got from the library."""
        self.notes.append(f"{type(error).__name__}: {error}")


def _fresh_echo() -> Callable[..., Any]:
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [args, kwargs]

    return echo


Settings = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """One call. `conf` are its settings, or a function that makes them of `Kit.api`.

    `app` are arguments of the app itself. `needs` names a part of Celery that the case is about.
    """

    name: str
    call: Callable[[Kit], Any]
    conf: Settings = field(default_factory=dict)
    app: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None

    def settings(self, api: Any) -> dict[str, Any]:
        """Return the settings to make the app with."""
        return dict(self.conf(api) if callable(self.conf) else self.conf)


def sends(
    name: str,
    args: Any = (),
    kwargs: Any = None,
    *,
    conf: Settings | None = None,
    task: Mapping[str, Any] | None = None,
    **options: Any,
) -> Case:
    """Return a case that calls `apply_async` of `echo`, made with the options `task`."""
    options.setdefault("task_id", TASK_ID)
    made = dict(task or {})
    return Case(
        name, lambda kit: kit.make(**made).apply_async(args, kwargs, **options), conf=conf or {}
    )


def made_from(
    name: str,
    function: Callable[..., Any],
    args: Any = (),
    kwargs: Any = None,
    **task: Any,
) -> Case:
    """Return a case that calls a task made of a function."""
    task.setdefault("name", "proj.made")

    def call(kit: Kit) -> Any:
        return kit.make(function, **task).apply_async(args, kwargs, task_id=TASK_ID)

    return Case(name, call)


# -- What comes of a call -----------------------------------------------------------

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")


@dataclass
class Renumber:
    """Replace ids drawn at random by numbered ones, in order of appearance, and addresses by one."""

    seen: dict[str, str] = field(default_factory=dict)

    def _replace(self, match: re.Match[str]) -> str:
        found = match.group()
        if len(set(found)) < 8:
            return found
        return self.seen.setdefault(found, f"22222222-0000-4000-8000-{len(self.seen) + 1:012d}")

    def __call__(self, value: Json) -> Json:
        """Return a JSON value with the ids in all texts and keys replaced."""
        match value:
            case str():
                return _ADDRESS.sub("0x1", _UUID.sub(self._replace, value))
            case list() | tuple():
                return [self(item) for item in value]
            case dict():
                return {self(key): self(item) for key, item in value.items()}
        return value


#: The modules that have ``decompress``, of which any will do.
_DECOMPRESS = {
    "application/x-gzip": ("zlib",),
    "application/x-bz2": ("bz2",),
    "application/x-lzma": ("lzma",),
    "application/x-brotli": ("brotli",),
    "application/zstd": ("compression.zstd", "backports.zstd", "zstandard"),
}


def _decompressed(body: bytes, compression: str) -> bytes:
    for name in _DECOMPRESS[compression]:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        decompressed: bytes = module.decompress(body)
        return decompressed
    raise ImportError(f"None of {_DECOMPRESS[compression]} is installed.")


def body_text(body: bytes, content_type: str, compression: str | None) -> str:
    """Return a body as text: JSON and YAML as they are, others as what they decode to."""
    if compression is not None:
        body = _decompressed(body, compression)
    if content_type in ("application/json", "application/x-yaml"):
        return body.decode()
    if content_type == "application/x-msgpack":
        return repr(importlib.import_module("msgpack").unpackb(body))
    if content_type == "application/x-python-serialize":
        return repr(importlib.import_module("pickle").loads(body))
    return repr(body)


def message_record(
    place: Mapping[str, Any],
    headers: Mapping[str, Any],
    properties: Mapping[str, Any],
    content: tuple[bytes, str, str],
) -> Json:
    """Return the JSON form of a message; `content` is its body, its type and its encoding."""
    body, content_type, content_encoding = content
    return {
        **place,
        "headers": dict(headers),
        "properties": dict(properties),
        "content_type": content_type,
        "content_encoding": content_encoding,
        "body": body_text(body, content_type, headers.get("compression")),
    }


def error_record(error: BaseException) -> Json:
    """Return the JSON form of an exception: its class and its text."""
    return {"class": type(error).__name__, "text": str(error)}


def outcome_of(
    case: Case, kit_of: Callable[[Case], Kit], messages: Callable[[], list[Json]]
) -> Json:
    """Make the call of a case and return what came of it; `messages` tells what was published."""
    kit: Kit | None = None
    outcome: dict[str, Any] = {}
    try:
        kit = kit_of(case)
        value = case.call(kit)
        if isinstance(value, Plain):
            outcome["value"] = value.value
    except Exception as error:  # noqa: BLE001 - the error is what the case is about
        outcome["error"] = error_record(error)
    outcome["messages"] = messages()
    if kit is not None and kit.notes:
        outcome["notes"] = kit.notes
    # Through JSON and back: tuples become lists, as in the recording.
    return Renumber()(json.loads(json.dumps(outcome)))


@dataclass(frozen=True)
class Plain:
    """A value that a case returns to be compared, where there is no message."""

    value: Json
