"""Do with the workflows of real Celery 5.7.0 what the table says, and record what comes of it.

This script is run by hand, from the root of the repository, with a Python that has ``celery==5.7.0``
installed::

    python -m tests.compat.record_workflows [output file]

It writes ``golden/workflows.json`` unless told otherwise: the shape or the text that each case in
``workflow_cases.py`` came to.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import sys
from pathlib import Path

import celery

from tests.compat.record_signatures import CELERY_VERSION, kit
from tests.compat.workflow_cases import CASES, TEXTS, outcome


def main(argv: list[str]) -> int:
    """Record the table into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "workflows.json"
    found = {
        "celery": CELERY_VERSION,
        "shapes": {name: outcome(case, kit()) for name, case in CASES.items()},
        "texts": {name: outcome(case, kit()) for name, case in TEXTS.items()},
    }
    lines = json.dumps(found, indent=None).replace('}, "', '},\n"').replace('], "', '],\n"')
    path.write_text(lines + "\n", encoding="utf-8")
    print(f"{len(CASES) + len(TEXTS)} cases, celery {celery.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
