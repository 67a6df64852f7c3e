"""``billiard.process``: the process that this is."""

from __future__ import annotations

from multiprocessing import Process, active_children, current_process

__all__ = ["Process", "active_children", "current_process"]
