"""The classes that packages subclass for result backends of Celery's kind; ``celery.backends.base``."""

from __future__ import annotations

from typing import Any, NoReturn

from umbel.backends.interface import Backend, get_current_task, unpickle_backend
from umbel.backends.keyvalue import BaseKeyValueStoreBackend, KeyValueStoreBackend
from umbel.backends.polling import SyncBackendMixin

__all__ = [
    "Backend",
    "BaseBackend",
    "BaseDictBackend",
    "BaseKeyValueStoreBackend",
    "DisabledBackend",
    "KeyValueStoreBackend",
    "SyncBackendMixin",
    "get_current_task",
    "unpickle_backend",
]


class BaseBackend(Backend, SyncBackendMixin):
    """Base of backends that are polled."""


BaseDictBackend = BaseBackend


class DisabledBackend(BaseBackend):
    """The backend of an app without results: stores nothing, and says so to who reads."""

    def store_result(self, *args: Any, **kwargs: Any) -> None:
        """Store nothing."""

    def _is_disabled(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError("No result backend is configured: set result_backend.")

    get_state = get_status = get_result = get_traceback = _is_disabled
    get_task_meta = wait_for = get_many = _is_disabled

    def as_uri(self, include_password: bool = False) -> str:
        """Return what ``result_backend`` is then."""
        return "disabled://"
