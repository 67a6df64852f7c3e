"""Groups that are saved, in result backends of Celery's kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from umbel.result_backend import Meta


class SavesGroups:
    """What is called to save which results a group has, and what subclasses override for it."""

    _ensure_retryable: Callable[..., Any]

    def save_group(self, group_id: str, result: Any) -> Any:
        """Store which results a group has; return its result. Raises NotImplementedError where it cannot."""
        return self._ensure_retryable(self._save_group, group_id, result)

    def restore_group(self, group_id: str, cache: bool = True) -> Any:
        """Return the result of a group that was saved, else None."""
        meta = self.get_group_meta(group_id, cache)
        return meta["result"] if meta else None

    def get_group_meta(self, group_id: str, cache: bool = True) -> Meta | None:
        """Return a mapping with the ``result`` of a group that was saved, else None."""
        found: Meta | None = self._ensure_retryable(self._restore_group, group_id)
        return found

    def delete_group(self, group_id: str) -> Any:
        """Delete what was saved of a group."""
        return self._ensure_retryable(self._delete_group, group_id)

    # For subclasses

    def _save_group(self, group_id: str, result: Any) -> Any:
        self._no_groups("_save_group")

    def _restore_group(self, group_id: str) -> Meta | None:
        self._no_groups("_restore_group")

    def _delete_group(self, group_id: str) -> Any:
        self._no_groups("_delete_group")

    def _no_groups(self, missing: str) -> NoReturn:
        raise NotImplementedError(
            f"The result backend {type(self).__name__} saves no groups: it has no {missing}. Set"
            " result_backend to a store that does, such as sqlite:// or redis://."
        )
