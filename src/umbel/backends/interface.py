"""`Backend`: the class of Celery's result backends, for packages that subclass it.

umbel's own stores are engines; this is only what subclasses call and override, with Celery's names, arguments
and order of calls (celery/backends/base.py). store.py makes a result store of one. No result is kept in this
process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from umbel import current, failures, kin, serialization, states
from umbel.backend import ResultBase
from umbel.backends.chords import CountsChords
from umbel.backends.groups import SavesGroups
from umbel.compression import compress, decompress
from umbel.masking import masked_url
from umbel.options import warn_once
from umbel.records import COMPRESSED
from umbel.request import Request
from umbel.result_backend import Meta

#: Seconds before a second try, and the most, after errors that are safe to retry.
FIRST_PAUSE, MOST_PAUSE = 0.01, 10.0


def get_current_task() -> Any:
    """Return the task that runs here, None outside of tasks."""
    return current.running_task()


def current_request() -> Request | None:
    """Return the request of the task that runs here, None outside of tasks."""
    return current.running.get()


class _Forgetful(dict[Any, Any]):
    """A cache that keeps nothing, for subclasses that look into theirs."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep nothing."""


class Backend(CountsChords, SavesGroups):
    """Base of result backends. A subclass has at least `_store_result` and `_get_task_meta_for`.

    `app` is the app; `serializer`, `accept` and `expires` take the place of the settings
    ``result_serializer``, ``result_accept_content`` and ``result_expires``; `url` is what ``result_backend``
    says.
    """

    #: Seconds between two looks of whoever waits; None: half a second.
    subpolling_interval: float | None = None
    supports_native_join = False
    #: What expired goes by itself: `cleanup` need not be called.
    supports_autoexpire = False
    persistent = True
    #: `set` and `get` keep any bytes, so that results may be compressed.
    supports_result_compression = False
    supports_failure_expires = False
    #: Seconds after which what is safe to retry is not tried again.
    retries_for = float("inf")
    #: One of them serves all threads, whatever ``result_backend_thread_safe`` says.
    threads_share = False
    retry_policy: Mapping[str, Any] = {
        "max_retries": 20,
        "interval_start": 0,
        "interval_step": 1,
        "interval_max": 1,
    }

    def __init__(
        self,
        app: Any,
        serializer: str | None = None,
        max_cached_results: int | None = None,
        accept: Any = None,
        expires: Any = None,
        expires_type: Callable[[Any], Any] | None = None,
        url: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.url = url
        settings = app.conf.snapshot
        self.serializer: str = serializer or settings.result_serializer
        self.compression = self.prepare_compression(settings.result_compression)
        self.expires = self.prepare_expires(expires, expires_type)
        accepted = settings.result_accept_content if accept is None else accept
        accepted = settings.accept_content if accepted is None else accepted
        self.accept = serialization.content_types(accepted)
        self.always_retry: bool = settings.result_backend_always_retry
        self.max_retries: float = settings.result_backend_max_retries
        self.thread_safe: bool = settings.result_backend_thread_safe
        self._limits = settings
        self._cache: dict[Any, Any] = _Forgetful()

    # How results are written

    @property
    def _serializer(self) -> serialization.Serializer:
        return serialization.serializer(self.serializer)

    @property
    def content_type(self) -> str:
        """The content type of what is stored."""
        return self._serializer.content_type

    @property
    def content_encoding(self) -> str:
        """``utf-8`` for a text, ``binary`` for bytes."""
        return self._serializer.content_encoding

    def encode(self, data: Any) -> Any:
        """Return a value as it is stored: a text, or bytes from pickle, msgpack or a compression."""
        _, _, payload = self._encode(data)
        if not self.compression:
            return payload
        body, content_type = compress(
            payload.encode() if isinstance(payload, str) else payload, self.compression
        )
        return b"".join((COMPRESSED, content_type.encode(), b"\x00", body))

    def _encode(self, data: Any) -> tuple[str, str, Any]:
        by = self._serializer
        payload = by.dumps(data)
        text = by.content_encoding == "utf-8"
        return by.content_type, by.content_encoding, payload.decode() if text else payload

    def decode(self, payload: Any) -> Any:
        """Read what `encode` wrote. Raises ContentDisallowed and DecodeError."""
        if payload is None:
            return None
        payload = payload or str(payload)
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if data.startswith(COMPRESSED):
            name, _, body = data[len(COMPRESSED) :].partition(b"\x00")
            most = self._limits.message_max_decompressed
            data = decompress(body, name.decode("utf-8", "replace"), most)
        return serialization.decode(data, self.content_type, self.accept, self._limits)

    def decode_result(self, payload: Any) -> Meta:
        """Read a stored result, with a real exception in it."""
        return self.meta_from_decoded(self.decode(payload))

    def prepare_value(self, result: Any) -> Any:
        """Return a value as it is written: a result that a task returned becomes its tuple."""
        if self.serializer != "pickle" and isinstance(result, ResultBase):
            return self._ids(result)
        return result

    def prepare_exception(self, exc: BaseException, serializer: str | None = None) -> Any:
        """Return an exception as it is written: as data, or itself where a pickle can hold it."""
        if (serializer or self.serializer) == "pickle":
            return failures.for_pickle(exc)
        return failures.to_data(exc, self.encode)

    def prepare_compression(self, compression: str | None) -> str | None:
        """Return the compression to use; None, with a warning, where it cannot be."""
        if compression and not self.supports_result_compression:
            warn_once(
                f"The result backend {type(self).__name__} keeps no compressed results: result_compression"
                " has no effect on it."
            )
            return None
        return compression

    def prepare_expires(self, value: Any, type: Callable[[Any], Any] | None = None) -> Any:
        """Return seconds that results are kept, by default what ``result_expires`` says."""
        if value is None:
            value = self.app.conf.snapshot.result_expires
        if isinstance(value, timedelta):
            value = value.total_seconds()
        return type(value) if value is not None and type else value

    def prepare_persistent(self, enabled: bool | None = None) -> bool:
        """Return whether results are to survive a restart of their server."""
        if enabled is not None:
            return enabled
        found = self.app.conf.snapshot.result_persistent
        return self.persistent if found is None else bool(found)

    def _get_result_meta(
        self,
        result: Any,
        state: str,
        traceback: Any,
        request: Any,
        format_date: bool = True,
        encode: bool = False,
    ) -> Meta:
        """Return Celery's document of a result; with `encode`, the arguments of the call as bytes."""
        now = self.app.now() if state in self.READY_STATES else None
        meta: Meta = {
            "status": state,
            "result": result,
            "traceback": traceback,
            "children": self.current_task_children(request),
            "date_done": now.isoformat() if now is not None and format_date else now,
        }
        for key, name in (("group_id", "group"), ("parent_id", "parent_id")):
            if getattr(request, name, None):
                meta[key] = getattr(request, name)
        if request and self.app.conf.find_value_for_key("extended", "result"):
            meta |= self._meta_of_call(request, encode)
        return meta

    def _meta_of_call(self, request: Any, encode: bool) -> Meta:
        """Return what ``result_extended`` adds."""
        names = {"name": "task", "worker": "hostname"}
        keys = ("name", "args", "kwargs", "worker", "retries")
        found = {key: getattr(request, names.get(key, key), None) for key in keys}
        found["queue"] = (getattr(request, "delivery_info", None) or {}).get("routing_key")
        stamps = getattr(request, "stamps", None)
        if stamps:
            stamped = found["stamped_headers"] = request.stamped_headers
            found |= {key: value for key, value in stamps.items() if key in (stamped or ())}
        for key in ("args", "kwargs") if encode else ():
            data = self.encode(found[key])
            found[key] = data.encode() if isinstance(data, str) else data
        return found

    def current_task_children(self, request: Any = None) -> list[Any] | None:
        """Return the calls that a task made, as tuples; of the running one without a `request`."""
        request = request or current_request()
        if not request:
            return None
        children = kin.named(getattr(request, "children", None) or ())
        return [
            self._ids(child) if isinstance(child, ResultBase) else child.as_tuple()
            for child in children
        ]

    def _ids(self, result: ResultBase) -> kin.Written:
        """Return the ids of a result as they are stored: without parents that are too far away."""
        return kin.written(result, kin.generations(self._limits, self.serializer))

    # Storing

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: str | None = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a state and a result; return that as it was written."""
        result = self.encode_result(result, state)
        # By position: subclasses have names of their own for these.
        self._ensure_retryable(
            self._store_result, task_id, result, state, traceback, request=request, **kwargs
        )
        return result

    def _store_result(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not store results: _store_result.")

    # Reading

    def get_task_meta(self, task_id: str, cache: bool = True) -> Meta:
        """Return what is stored for a task; PENDING where that is nothing."""
        found: Meta = self._ensure_retryable(self._get_task_meta_for, task_id)
        return found

    def _get_task_meta_for(self, task_id: str) -> Meta:
        raise NotImplementedError(
            f"{type(self).__name__} does not read results: _get_task_meta_for."
        )

    def metas(self, task_ids: Sequence[str]) -> dict[str, Meta] | None:
        """Return what is stored for tasks, all at once; None where each has to be asked for."""
        return None

    def task_result_exists(self, task_id: str) -> bool:
        """Tell whether anything is stored for a task."""
        return self.get_state(task_id) != states.PENDING

    def reload_task_result(self, task_id: str) -> None:
        """Do nothing: results are read each time."""

    # Deleting

    def forget(self, task_id: str) -> None:
        """Delete a result."""
        self._ensure_retryable(self._forget, task_id)

    def _forget(self, task_id: str) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not forget results: _forget.")

    def cleanup(self) -> None:
        """Delete what expired; for subclasses whose server does not."""

    def process_cleanup(self) -> None:
        """Give back what a process holds; for subclasses."""

    # Errors

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Tell whether the store may answer again; for subclasses, which know their errors."""
        return False

    def on_backend_retryable_error(self, exc: Exception) -> None:
        """Be called before a try that follows such an error; for subclasses."""

    def _ensure_retryable(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function; again after what is safe to retry, if ``result_backend_always_retry`` is set."""
        retries, clock = 0, self.app.clock
        end = clock.monotonic() + self.retries_for
        while True:
            try:
                return func(*args, **kwargs)
            except Exception as error:
                if not self.always_retry or retries >= self.max_retries or clock.monotonic() > end:
                    raise
                if not self.exception_safe_to_retry(error):
                    raise
                self.on_backend_retryable_error(error)
            clock.sleep(min(FIRST_PAUSE * 2**retries, MOST_PAUSE))
            retries += 1

    # Calling

    def on_task_call(self, producer: Any, task_id: str) -> Meta:
        """Return options to send a call with: none."""
        return {}

    def as_uri(self, include_password: bool = False) -> str:
        """Return the URL, by default without its password."""
        url = self.url or ""
        return url if include_password else masked_url(url)

    def __reduce__(self, args: Any = (), kwargs: Any = None) -> Any:
        return unpickle_backend, (type(self), args, kwargs or {})


def unpickle_backend(cls: type[Backend], args: Any, kwargs: Any) -> Backend:
    """Return a backend of the current app; what unpickling one does."""
    return cls(*args, **{**kwargs, "app": current.get_current_app()})
