"""Do with the signatures of real Celery 5.7.0 what the table says, and record what comes of it.

This script is run by hand, from the root of the repository, with a Python that has ``celery==5.7.0``
installed::

    python -m tests.compat.record_signatures [output file]

It writes ``golden/signatures.json`` unless told otherwise: by the name of each case in
``signature_cases.py``, its value or the class of the exception that it raised.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import sys
from pathlib import Path

import celery
from celery import canvas

from tests.compat.signature_cases import CASES, Kit, outcome

CELERY_VERSION = "5.7.0"


def kit() -> Kit:
    """Return a kit with a Celery app."""
    app = celery.Celery("proj", broker="memory://", backend="cache+memory://")
    return Kit(app, canvas)


def main(argv: list[str]) -> int:
    """Record the table into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "signatures.json"
    found = {name: outcome(case, kit()) for name, case in CASES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(made)}" for name, made in found.items())
    text = f'{{"celery": "{CELERY_VERSION}", "signatures": {{\n{lines}\n}}}}\n'
    path.write_text(text, encoding="utf-8")
    print(f"{len(found)} cases, celery {celery.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
