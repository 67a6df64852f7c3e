"""Backends as other packages write them: over a mapping, one for key-value stores and one for records."""

from __future__ import annotations

from typing import Any

from umbel.backends.base import BaseDictBackend, KeyValueStoreBackend

#: What is stored, by the place that a backend's URL names.
PLACES: dict[str | None, dict[Any, Any]] = {}


class Mapped(KeyValueStoreBackend):
    """A key-value store in memory."""

    subpolling_interval = 0.01
    supports_result_compression = True
    error: Exception | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = PLACES.setdefault(self.url, {})

    def get(self, key: bytes) -> Any:
        return self.kept.get(key)

    def mget(self, keys: Any) -> list[Any]:
        return [self.kept.get(key) for key in keys]

    def set(self, key: bytes, value: Any) -> None:
        if self.error is not None:
            raise self.error
        self.kept[key] = value

    def delete(self, key: bytes) -> None:
        self.kept.pop(key, None)


class Plain(Mapped):
    """One whose keys are texts, and which reads one at a time."""

    key_t = str
    mget = KeyValueStoreBackend.mget
    supports_result_compression = False


class Recorded(BaseDictBackend):
    """Keeps records, with parameters of its own names, as django-celery-results does."""

    cleaned = 0
    closed = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept = PLACES.setdefault(self.url, {})

    def _store_result(
        self,
        task_id: str,
        result: Any,
        status: str,
        traceback: str | None = None,
        request: Any = None,
    ) -> Any:
        _, _, written = self._encode(result)
        self.kept[task_id] = {
            "status": status,
            "result": written,
            "traceback": traceback,
            "request": request,
            "children": self.current_task_children(request),
        }
        return result

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        found = self.kept.get(task_id, {"status": "PENDING", "result": None})
        return self.meta_from_decoded(
            {**found, "result": self.decode(found["result"]), "mine": "extra"}
        )

    def _forget(self, task_id: str) -> None:
        self.kept.pop(task_id, None)

    def cleanup(self) -> None:
        type(self).cleaned += 1

    def process_cleanup(self) -> None:
        type(self).closed += 1


class Counting(Mapped):
    """One that counts the results of chords, as those of a server with counters do."""

    implements_incr = True

    def incr(self, key: bytes) -> int:
        self.kept[key] = self.kept.get(key, 0) + 1
        found: int = self.kept[key]
        return found
