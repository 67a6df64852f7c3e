"""``import celery`` gives umbel: for projects, and packages they use, that shall run unchanged.

`table.py` says which of Celery's modules is which of umbel's, `finder.py` lets Python find them by it, and
`install.py` puts the finder in place. What stands under ``celery/``, ``kombu/`` and ``billiard/`` are the
modules of those names that have no counterpart of the same shape in umbel.
"""

from __future__ import annotations

from umbel.alias.install import install_as_celery, install_if_told, take_the_place_of

__all__ = ["install_as_celery", "install_if_told", "take_the_place_of"]
