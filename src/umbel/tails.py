"""The rest of a chain as the bytes that it came in: all but its next step is passed on unread.

A body of protocol 2 is ``[args, kwargs, {"callbacks": …, "errbacks": …, "chain": […], "chord": …}]``, and the
last of ``chain`` is the next to run. Where the body is JSON, spaced as umbel and Celery write it, `cut` reads
it but for the steps behind that one, and `around` writes what stands around them. Of any other body `cut`
says nothing, and it is read whole.

What is cut out is looked at when its turn comes: until then it costs no more than its bytes, and a step that
nobody can read fails where it would have run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from umbel.exceptions import DecodeError
from umbel.limits import Limits
from umbel.serialization import JSON, loads
from umbel.values import value

#: Bodies of fewer bytes are read whole, which is quicker.
SMALL = 2048
#: How often the place of a part is looked for before a body is read whole: what a call has of its own may
#: look like it.
_TRIES = 4

_CHAIN = b', "chain": ['
_CHORD = b'], "chord": '
_END = b"}]"
_END_OF_CHORD = b"}}]"
_NO_CHORD = b'], "chord": null}]'
#: The names of what else is embedded, in their order.
_BEFORE = ("callbacks", "errbacks")
_BEFORE_CHORD = (*_BEFORE, "chain")

#: What matters of JSON that is read backwards: strings, and brackets outside of them. A quote that has a
#: backslash before it in the text, so behind it here, belongs to what is within the string.
_TOKENS = re.compile(rb'"(?:[^"]|"(?=\\))*"|[\[\]{}]')
#: How signatures begin. Within a text the quote would have a backslash before it.
_SIGNATURE = b'{"task": "'
#: Bytes that are looked at first for the beginning of the last step.
_CHUNK = 4096


@value
class RawTail:
    """Steps of a chain in the order in which messages have them, the next one last, as JSON without brackets.

    There is at least one. `start` is where the text of the next one begins and `step` what it is, once that
    was read. To iterate is to read them all.
    """

    text: bytes
    start: int | None = None
    step: Any = None

    def __iter__(self) -> Iterator[Any]:
        return iter(loads(b"[" + self.text + b"]"))

    def after(self) -> RawTail | None:
        """Return what is behind the next step, of which nothing was read; None where that is nothing."""
        return RawTail(self.text[: self.start - 2]) if self.start else None


class Ending:
    """The chord that the last body with one ended with: all calls of its header have the same."""

    def __init__(self) -> None:
        self._last: tuple[bytes, Any] | None = None

    def cut(self, body: bytes, limits: Limits) -> tuple[Any, Any, dict[str, Any]] | None:
        """Return the parts of a body that ends with that chord, else None; the chord is not to be changed."""
        last = self._last
        if last is None or not body.endswith(last[0]):
            return None
        head = _head(body[: -len(last[0])], limits, _BEFORE_CHORD)
        if head is None:
            return None
        args, kwargs, embed = head
        return args, kwargs, {**embed, "chord": last[1]}

    def note(self, body: bytes, content: Any, limits: Limits) -> None:
        """Take note of the chord at the end of a body, which was read whole."""
        if not body.endswith(_END_OF_CHORD):  # most have none
            return
        embed = content[2] if isinstance(content, _LISTS) and len(content) == 3 else None
        chord = embed.get("chord") if isinstance(embed, dict) else None
        if not isinstance(chord, dict):
            return
        begin = len(body)
        for _ in range(_TRIES):
            begin = body.rfind(_THEN_CHORD, 0, begin)
            if begin < 0:
                return
            if _read(body[begin + len(_THEN_CHORD) : -len(_END)], limits) == chord:
                self._last = body[begin:], chord
                return


_LISTS = (list, tuple)
_THEN_CHORD = b', "chord": '


def cut(body: bytes, limits: Limits) -> tuple[Any, Any, dict[str, Any]] | None:
    """Return the parts of a body of JSON, with what is left of its chain as a `RawTail`.

    None where it has to be read whole, because it is small, written in another way, or has no chain. Raises
    nothing: who reads it whole says what is wrong with it.
    """
    if len(body) < SMALL or not body.endswith(_END):
        return None
    begin = body.find(_CHAIN)
    found = _parts(body, begin, limits) if begin > 0 else None
    if found is None:
        return None
    (args, kwargs, embed), start = found
    end, chord = _chord_of(body, start, limits)
    if end is None:
        return None
    text = body[start:end]
    at = last_start(text)
    step = None if at is None else _read(text[at:], limits)
    if at is None or not isinstance(step, dict):
        return None
    return args, kwargs, {**embed, "chain": RawTail(text, at, step), "chord": chord}


def _parts(
    body: bytes, begin: int, limits: Limits
) -> tuple[tuple[Any, Any, dict[str, Any]], int] | None:
    """Return what stands before the chain, and where the chain's first step begins.

    `begin` is the first place that may be it. Only with the right one is what stands before it complete.
    """
    for _ in range(_TRIES):
        head = _head(body[:begin], limits, _BEFORE)
        if head is not None:
            return head, begin + len(_CHAIN)
        begin = body.find(_CHAIN, begin + 1)
        if begin < 0:
            return None
    return None


def _head(
    text: bytes, limits: Limits, names: tuple[str, ...]
) -> tuple[Any, Any, dict[str, Any]] | None:
    """Return the parts of a body of which the beginning is given, if it embeds what has these names."""
    head = _read(text + _END, limits)
    if not isinstance(head, list) or len(head) != 3:
        return None
    args, kwargs, embed = head
    return (args, kwargs, embed) if isinstance(embed, dict) and (*embed,) == names else None


def _chord_of(body: bytes, start: int, limits: Limits) -> tuple[int | None, Any]:
    """Return where the chain ends, and the chord behind it."""
    if body.endswith(_NO_CHORD):
        end = len(body) - len(_NO_CHORD)
        return (end if end > start else None), None
    end = len(body)
    for _ in range(_TRIES):
        end = body.rfind(_CHORD, start, end)
        if end <= start:
            return None, None
        chord = _read(body[end + len(_CHORD) : -len(_END)], limits)
        if isinstance(chord, dict):
            return end, chord
    return None, None


def _read(text: bytes, limits: Limits) -> Any:
    """Return what a text of JSON is; None where it is none, or none that may be read."""
    try:
        return JSON.read(text, limits)
    except DecodeError:
        return None


def last_start(text: bytes) -> int | None:
    """Return where the last of several objects begins, which are separated by a comma and a space.

    None where that cannot be told. Takes as long as that object is large. That it is right shows when it is
    read: nothing else that ends there is one whole object.
    """
    likely = text.rfind(_SIGNATURE)
    if likely >= 0 and _is_one(text, likely):
        return likely
    size = _CHUNK
    while True:
        at = _opening(text[-size:])
        if at is not None:
            at += max(len(text) - size, 0)
            if at == 0 or (at > 2 and text[at - 2 : at] == b", "):
                return at
        if size >= len(text):
            return None
        size *= 4


def _is_one(text: bytes, at: int) -> bool:
    """Tell whether what begins there may be the last one, and not a part of it, which most have none of."""
    if at and text[at - 2 : at] != b", ":
        return False
    return text.count(b"{", at) == text.count(b"}", at)


def _opening(text: bytes) -> int | None:
    """Return where the object begins that ends with a text; None where the text begins later."""
    depth = 0
    for token in _TOKENS.finditer(text[::-1]):
        sign = token.group()
        if sign in b"}]":
            depth += 1
        elif sign in b"{[":
            depth -= 1
            if depth == 0:
                return len(text) - token.end()
    return None


def tail_of(content: Any) -> RawTail | None:
    """Return the tail that the content of a body has, if that is still raw."""
    tail = content[2].get("chain") if isinstance(content, tuple) and len(content) == 3 else None
    return tail if isinstance(tail, RawTail) else None


def whole(content: Any) -> Any:
    """Return the content of a body with its tail read, for whoever wants to look at it or to change it."""
    tail = tail_of(content)
    if tail is None:
        return content
    args, kwargs, embed = content
    return args, kwargs, {**embed, "chain": list(tail)}


def around(content: tuple[Any, Any, Mapping[str, Any]]) -> tuple[bytes, bytes]:
    """Return what stands before and behind the raw tail in a body of JSON, which is then written as whole.

    Raises EncodeError for what cannot be written.
    """
    args, kwargs, embed = content
    head = JSON.dumps((args, kwargs, {name: embed[name] for name in _BEFORE}))
    chord = embed["chord"]
    behind = _NO_CHORD if chord is None else _CHORD + JSON.dumps(chord) + _END
    return head[: -len(_END)] + _CHAIN, behind
