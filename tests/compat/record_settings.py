"""Record the settings of real Celery 5.7.0: name, default and old names of every one.

This script is run by hand, with a Python that has ``celery==5.7.0`` installed::

    python tests/compat/record_settings.py [output file]

It writes ``golden/settings.json`` next to itself unless told otherwise: ``celery`` is the
version, ``settings`` maps each name to its ``default`` and its ``old`` names in upper case.
Defaults are JSON values; a timedelta is written as its seconds, infinity as the text ``inf``.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import math
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import celery
from celery.app.defaults import NAMESPACES, flatten

CELERY_VERSION = "5.7.0"


def plain(value: Any) -> Any:
    """Return a default as a JSON value."""
    match value:
        case timedelta():
            return value.total_seconds()
        case float() if math.isinf(value):
            return "inf"
        case tuple() | list() | set():
            return [plain(item) for item in value]
        case dict():
            return {key: plain(item) for key, item in value.items()}
    return value


def rows(namespace: str, key: str, option: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return one setting, in the form that Celery's ``flatten`` wants."""
    name = namespace + key
    # The old names of a namespace are templates such as celeryd_{0}.
    old = {template.format(key).upper() for template in option.old} or {name.upper()}
    return [(name, {"default": plain(option.default), "old": sorted(old)})]


def main(argv: list[str]) -> int:
    """Record the table into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "settings.json"
    settings = dict(sorted(flatten(NAMESPACES, keyfilter=rows)))
    text = json.dumps({"celery": CELERY_VERSION, "settings": settings}, indent=2)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{len(settings)} settings, celery {celery.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
