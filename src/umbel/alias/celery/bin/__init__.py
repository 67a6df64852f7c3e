"""``celery.bin``: the command line."""

from __future__ import annotations

from umbel.alias.packages import attributes_of

__getattr__ = attributes_of("celery.bin")
