"""What of a result document has to be known without reading it: its state.

Celery keeps nothing beside the document, so its state is found where the serializers put it, and
nothing is ever unpickled for that.
"""

from __future__ import annotations

import hashlib
import json
import pickletools
import re

from umbel import states
from umbel.compression import decompress
from umbel.exceptions import UmbelError
from umbel.limits import DEFAULT
from umbel.records import COMPRESSED, ResultRecord

#: States of which a script has to know that a result is in them, and what it knows them as.
_RANKS = {states.SUCCESS: 1, states.PROGRESS: 2}

#: What JSON begins with that shows a success, as umbel and Celery write it.
_SHOWN = b'{"status": "SUCCESS"'
_JSON = re.compile(rb'^\{\s*"status":\s*"([^"\\]*)"')
_YAML = re.compile(rb"^status: '?([A-Za-z0-9_.-]+)'?\s*$", re.MULTILINE)
_MSGPACK = b"\xa6status"


def fields(record: ResultRecord) -> tuple[bytes, int, int, str]:
    """Return what lua/results_common.lua takes of a record from its third field on.

    Raises UnicodeEncodeError for a text that is not UTF-8.
    """
    document, state, expires = record.document, record.state, record.expires
    data = document.encode() if isinstance(document, str) else document
    until = 0 if expires is None else max(round(expires * 1000), 1)
    return data, _RANKS.get(state, 0), until, mark(data, state)


def mark(data: bytes, state: str) -> str:
    """Return the mark of a document that does not show its state to a script, else nothing."""
    if data.startswith(_SHOWN) and state == states.SUCCESS:
        return ""  # as most are
    if not data.startswith(COMPRESSED) and shown_state(data) == state:
        return ""
    return f"{state}:{hashlib.sha1(data, usedforsecurity=False).hexdigest()}"


def record_of(
    task_id: str, data: bytes, expires: float | None = None, marked: bytes = b""
) -> ResultRecord:
    """Return a document as a record.

    What shows no state at all counts as a failure, so that nobody waits for ever for what cannot be read.
    """
    return ResultRecord(task_id, _state(data, marked), as_written(data), expires)


def as_written(data: bytes) -> str | bytes:
    """Return a document as it was before it was stored: text where it is JSON."""
    if data[:1] == b"{":
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return data


def _state(data: bytes, marked: bytes) -> str:
    if marked:
        state, _, digest = marked.decode("utf-8", "replace").rpartition(":")
        if digest == hashlib.sha1(data, usedforsecurity=False).hexdigest():
            return state
    return shown_state(data) or states.FAILURE


def shown_state(data: bytes) -> str | None:
    """Return the state that a document shows, in JSON, pickle, msgpack or YAML, compressed or not."""
    found = _JSON.match(data)
    if found is not None:
        return found[1].decode("utf-8", "replace")
    if data.startswith(COMPRESSED):
        name, _, body = data[len(COMPRESSED) :].partition(b"\x00")
        try:
            plain = decompress(
                body, name.decode("utf-8", "replace"), DEFAULT.message_max_decompressed
            )
        except UmbelError:
            return None
        return None if plain.startswith(COMPRESSED) else shown_state(plain)
    if data[:1] == b"{":
        return _json_state(data)
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _pickled_state(data)
    if _MSGPACK in data[:16]:
        return _msgpack_state(data)
    line = _YAML.search(data)
    return line[1].decode() if line is not None else None


def _json_state(data: bytes) -> str | None:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    state = found.get("status") if isinstance(found, dict) else None
    return state if isinstance(state, str) else None


def _pickled_state(data: bytes) -> str | None:
    """Return the text that follows "status" in a pickle, by its opcodes, of which nothing is run."""
    is_next = False
    try:
        for number, (opcode, value, _) in enumerate(pickletools.genops(data)):
            if isinstance(value, str) and "UNICODE" in opcode.name:
                if is_next:
                    return value
                is_next = value == "status"
            if number > 64:  # Celery and umbel write it first
                return None
    except (ValueError, UnicodeError):
        pass
    return None


def _msgpack_state(data: bytes) -> str | None:
    """Return the short text that follows "status" in a msgpack document."""
    start = data.index(_MSGPACK) + len(_MSGPACK)
    kind = data[start] if start < len(data) else 0
    if kind == 0xD9:  # a text with its length in one byte
        start, length = start + 1, data[start + 1] if start + 1 < len(data) else 0
    else:
        length = kind & 0x1F if kind & 0xE0 == 0xA0 else 0
    return data[start + 1 : start + 1 + length].decode("utf-8", "replace") or None
