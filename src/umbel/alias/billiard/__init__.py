"""What is imported as ``billiard``: the errors of a worker's processes, and Python's `multiprocessing`.

umbel's processes are its own (worker/children.py); these names are for tasks and packages that ask for them.
"""

from __future__ import annotations

import multiprocessing

from umbel.alias.packages import attributes_of
from umbel.alias.versions import BILLIARD
from umbel.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

__version__ = BILLIARD
VERSION = (*(int(part) for part in BILLIARD.split(".")), "")
__all__ = [
    "Pool",
    "Process",
    "SoftTimeLimitExceeded",
    "TimeLimitExceeded",
    "VERSION",
    "WorkerLostError",
    "active_children",
    "cpu_count",
    "current_process",
    "get_context",
]
Pool = multiprocessing.Pool
Process = multiprocessing.Process
active_children = multiprocessing.active_children
cpu_count = multiprocessing.cpu_count
current_process = multiprocessing.current_process
get_context = multiprocessing.get_context
__getattr__ = attributes_of("billiard")
