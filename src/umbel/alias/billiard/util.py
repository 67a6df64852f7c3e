"""``billiard.util``: what to do when a process was forked, and its logger."""

from __future__ import annotations

from multiprocessing.util import Finalize, get_logger, register_after_fork

__all__ = ["Finalize", "get_logger", "register_after_fork"]
