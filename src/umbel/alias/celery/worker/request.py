"""``celery.worker.request``: the class of calls, for packages that name it."""

from __future__ import annotations

from umbel.request import Request

__all__ = ["Request"]
