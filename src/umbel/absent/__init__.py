"""Names of Celery's interface that umbel does not have: each says why, and what to do, when it is used.

They are absent to ``hasattr``, as what is not there should be, and to type checkers.
"""

from __future__ import annotations

from umbel.absent.classes import ABSENT
from umbel.absent.modules import (
    ABSENT_COMMANDS,
    ABSENT_FROM,
    ABSENT_MODULES,
    ABSENT_VARIABLES,
    MOVING,
)
from umbel.absent.reasons import HOOKS, MEANINGLESS
from umbel.absent.telling import (
    NotThere,
    NotThereToImport,
    absent_from,
    all_absent,
    tell_of_absent,
    told_absent,
)

__all__ = [
    "ABSENT",
    "ABSENT_COMMANDS",
    "ABSENT_FROM",
    "ABSENT_MODULES",
    "ABSENT_VARIABLES",
    "HOOKS",
    "MEANINGLESS",
    "MOVING",
    "NotThere",
    "NotThereToImport",
    "absent_from",
    "all_absent",
    "tell_of_absent",
    "told_absent",
]
