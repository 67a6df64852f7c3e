"""Whether a backend of Celery's kind can store a result and count it in a chord in one step."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import Any


def one_step(backend: Any) -> AbstractContextManager[Any] | None:
    """Return what makes all that a backend writes within it true together; None where nothing does.

    Something does where results and counters are tables of Django's in one database, as those of
    django-celery-results are. In SQLite a transaction that reads first and then writes is refused while
    others write, so nothing does there.
    """
    results, package = getattr(backend, "TaskModel", None), type(backend).__module__
    transactions: Any = sys.modules.get("django.db.transaction")
    counters = getattr(sys.modules.get(package), "ChordCounter", None)
    if transactions is None or results is None or counters is None:
        return None
    databases: Any = sys.modules["django.db"]
    used, other = (databases.router.db_for_write(one) for one in (results, counters))
    if used != other or databases.connections[used].vendor == "sqlite":
        return None
    step: AbstractContextManager[Any] = transactions.atomic(using=used)
    return step
