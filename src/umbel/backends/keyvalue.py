"""Celery's base of key-value backends: a subclass has `get`, `set` and `delete`, and `mget` if it can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from umbel import states
from umbel.backends.chords import header_of, send_body
from umbel.backends.interface import Backend
from umbel.backends.polling import SyncBackendMixin
from umbel.canvas.signature import maybe_signature
from umbel.exceptions import ChordError
from umbel.result import GroupResult
from umbel.result_backend import Meta

logger = logging.getLogger("umbel.chords")


def ensure_bytes(text: Any) -> bytes:
    """Return a text as bytes."""
    return text if isinstance(text, bytes) else str(text).encode()


class BaseKeyValueStoreBackend(Backend):
    """Keeps Celery's documents under keys: ``celery-task-meta-`` and the id."""

    #: What keys are made with: bytes, unless a subclass says `str`, for example.
    key_t: ClassVar[Callable[..., Any]] = ensure_bytes
    task_keyprefix: Any = "celery-task-meta-"
    group_keyprefix: Any = "celery-taskset-meta-"
    chord_keyprefix: Any = "chord-unlock-"
    implements_incr = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # A function among the class's attributes is no method.
        self.__dict__["key_t"] = type(self).key_t
        super().__init__(*args, **kwargs)
        options = self.app.conf.snapshot.result_backend_transport_options or {}
        prefix = options.get("global_keyprefix") or ""
        if prefix and prefix[-1] not in ":_-.":
            prefix += "_"
        for name in ("task_keyprefix", "group_keyprefix", "chord_keyprefix"):
            setattr(self, name, self.key_t(f"{prefix}{_text(getattr(self, name))}"))

    # For subclasses

    def get(self, key: Any) -> Any:
        """Return what is stored under a key, None where nothing is."""
        raise NotImplementedError(f"{type(self).__name__} must implement the get method.")

    def mget(self, keys: Sequence[Any]) -> Any:
        """Return what is stored under keys, in their order, or as a mapping."""
        raise NotImplementedError(f"{type(self).__name__} does not read many keys at once.")

    def set(self, key: Any, value: Any) -> Any:
        """Store a value under a key."""
        raise NotImplementedError(f"{type(self).__name__} must implement the set method.")

    def delete(self, key: Any) -> Any:
        """Delete a key."""
        raise NotImplementedError(f"{type(self).__name__} must implement the delete method.")

    def incr(self, key: Any) -> int:
        """Count up; Celery's chords need it."""
        raise NotImplementedError(f"{type(self).__name__} does not count.")

    def expire(self, key: Any, value: Any) -> Any:
        """Let a key expire after some seconds; for subclasses whose server can."""

    def _set_with_state(self, key: Any, value: Any, state: str) -> Any:
        return self.set(key, value)

    # Keys

    def get_key_for_task(self, task_id: Any, key: Any = "") -> Any:
        """Return the key of a task's result. Raises ValueError without an id."""
        return self._get_key_for("task_id", self.task_keyprefix, task_id, key)

    def get_key_for_group(self, group_id: Any, key: Any = "") -> Any:
        """Return the key of a group's result. Raises ValueError without an id."""
        return self._get_key_for("group_id", self.group_keyprefix, group_id, key)

    def get_key_for_chord(self, group_id: Any, key: Any = "") -> Any:
        """Return the key of a chord's counter. Raises ValueError without an id."""
        return self._get_key_for("group_id", self.chord_keyprefix, group_id, key)

    def _get_key_for(self, name: str, prefix: Any, id: Any, key: Any) -> Any:
        if not id:
            raise ValueError(f"{name} must not be empty. Got {id} instead.")
        return self.key_t("").join([prefix, self.key_t(str(id)), self.key_t(key)])

    def _strip_prefix(self, key: Any) -> str:
        """Return the id in a key of a task or a group."""
        text = _text(key)
        for prefix in (_text(self.task_keyprefix), _text(self.group_keyprefix)):
            if text.startswith(prefix):
                return text.removeprefix(prefix)
        return text

    # Results

    def _store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        meta = self._get_result_meta(
            result=result, state=state, traceback=traceback, request=request
        )
        meta["task_id"] = _text(task_id)
        # A success stays, whatever a late duplicate says, unless that is one too.
        won = state == states.SUCCESS
        if won or not states.stays(self._get_task_meta_for(task_id)["status"], state):
            self._set_with_state(self.get_key_for_task(task_id), self.encode(meta), state)
        return result

    def _get_task_meta_for(self, task_id: str) -> Meta:
        found = self.get(self.get_key_for_task(task_id))
        if not found:
            return {"status": states.PENDING, "result": None}
        return self.decode_result(found)

    def metas(self, task_ids: Sequence[str]) -> dict[str, Meta] | None:
        """Return what is stored for tasks by one `mget`; None where a subclass has none."""
        if type(self).mget is BaseKeyValueStoreBackend.mget:
            return None
        keys = [self.get_key_for_task(task_id) for task_id in task_ids]
        found = self.mget(keys)
        if hasattr(found, "items"):
            by_id = {self._strip_prefix(key): value for key, value in found.items()}
        else:
            by_id = dict(zip(task_ids, found, strict=True))
        return {key: self.decode_result(value) for key, value in by_id.items() if value}

    def _forget(self, task_id: str) -> None:
        self.delete(self.get_key_for_task(task_id))

    def _save_group(self, group_id: str, result: Any) -> Any:
        document = self.encode({"result": self._ids(result)})
        self._set_with_state(self.get_key_for_group(group_id), document, states.SUCCESS)
        return result

    def _restore_group(self, group_id: str) -> Meta | None:
        found = self.get(self.get_key_for_group(group_id))
        if not found:
            return None
        meta = self.decode(found)
        return {**meta, "result": self.app.result_from_tuple(meta["result"])}

    def _delete_group(self, group_id: str) -> None:
        self.delete(self.get_key_for_group(group_id))

    # Chords, where `implements_incr`

    def apply_chord(
        self, header_result_args: Sequence[Any] | GroupResult, body: Any, **kwargs: Any
    ) -> None:
        """Save the header, so that whoever ends a call of it can count; without `incr` have it looked at."""
        if not self.implements_incr:
            super().apply_chord(header_result_args, body, **kwargs)
            return
        self.ensure_chords_allowed()
        header = header_of(header_result_args, self.app)
        self.save_group(header.id or "", header)

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a call of a header, and send the body after the last."""
        if not self.implements_incr or not request.group:
            return
        header = self._header_of(request)
        if header is None:
            return
        key = self.get_key_for_chord(request.group)
        count = self.incr(key)
        size = request.chord.get("chord_size") or len(header)
        if count < size:
            self.expire(key, self.expires)
        elif count > size:
            logger.warning("Chord counter incremented too many times for %r", request.group)
        else:
            try:
                send_body(self, request.chord, header)
            finally:
                self.delete_group(request.group)
                self.delete(key)

    def doubt_chord(self, group_id: str, body: Any) -> None:
        """Have it looked whether a chord stays open though its header has ended."""
        header = self.restore_group(group_id) if self.implements_incr else None
        if header is not None:
            callback = maybe_signature(dict(body), app=self.app)
            self.fallback_chord_unlock(header, callback, doubt=1)

    def end_doubtful_chord(self, group_id: str, body: Any) -> None:
        """Send the body of a chord that is open though its header has ended, and close it."""
        header = self.restore_group(group_id)
        if header is not None:
            logger.warning("A call of the chord %s was not counted: a worker died then.", group_id)
            send_body(self, body, header)
            self.delete_group(group_id)
            self.delete(self.get_key_for_chord(group_id))

    def _header_of(self, request: Any) -> GroupResult | None:
        """Return the header that was saved; without one the body fails."""
        try:
            header = self.restore_group(request.group)
            if header is None:
                raise ChordError(f"The header of chord {request.group!r} is not there any more")
        except Exception as error:
            logger.exception("Chord %r raised: %r", request.group, error)
            body = maybe_signature(request.chord, app=self.app)
            self.chord_error_from_stack(body, ChordError(f"Cannot restore group: {error!r}"))
            return None
        return cast(GroupResult, header)

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task."""
        return bool(self.get(self.get_key_for_task(task_id)))


class KeyValueStoreBackend(BaseKeyValueStoreBackend, SyncBackendMixin):
    """Base of key-value backends."""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
