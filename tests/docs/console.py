"""A Python session that a page's test drives: statements come in on standard input, what they print goes out.

Each line in is a statement as JSON, each line out the text that Python would have shown for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import traceback
from typing import Any


def shown(source: str, names: dict[str, Any]) -> str:
    """Run one statement as an interactive session does; return what it shows."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        try:
            exec(compile(source, "<stdin>", "single"), names)  # noqa: S102 - the page's own code
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            # As doctest writes errors: without the way through the code, here or in a worker.
            error.__notes__ = []
            last = "".join(traceback.format_exception_only(error))
            print(f"Traceback (most recent call last):\n  ...\n{last}", end="")
    return output.getvalue()


def main() -> None:
    """Serve until standard input ends."""
    sys.path.insert(0, "")
    names: dict[str, Any] = {"__name__": "__main__"}
    for line in sys.stdin:
        print(json.dumps(shown(json.loads(line), names)), flush=True)


if __name__ == "__main__":
    main()
