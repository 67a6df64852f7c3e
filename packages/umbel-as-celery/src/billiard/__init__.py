"""``billiard`` is umbel here; the distribution umbel-as-celery says so."""

import sys
from typing import Any


class _Early:
    """Finds modules below this package for threads that ask for one while umbel is being imported here."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if not name.startswith("billiard."):
            return None
        from umbel.alias.finder import FINDER  # noqa: PLC0415 - this is what is being imported

        return FINDER.find_spec(name)


sys.meta_path.insert(0, _Early)

from umbel.alias import take_the_place_of  # noqa: E402

_umbels = take_the_place_of(__name__)
sys.meta_path.remove(_Early)


def __getattr__(name: str) -> Any:
    """Return what umbel's module has: a thread that waited for this import may be given this one."""
    return getattr(_umbels, name)
