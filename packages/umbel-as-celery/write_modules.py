"""Writes a file for each module that umbel has under a name of Celery's; a test compares them.

Run it with umbel's Python when a row of `umbel.alias.table` has come or gone:
``.venv/bin/python packages/umbel-as-celery/write_modules.py``.

Once umbel's finder is in place, it is asked first and these files are not. Until then they are what Python
finds, which matters to threads that import celery for the first time while another is at it.
"""

from __future__ import annotations

from pathlib import Path

from umbel.alias.table import TABLE

PLACE = Path(__file__).parent / "src"
#: All import umbel first, and whole: threads that import parts of it at once could wait for each other.
CONTENT = '''"""``{name}`` is umbel's; write_modules.py wrote this."""

from umbel import alias

__getattr__ = alias.take_the_place_of(__name__)
'''


def modules() -> dict[Path, str]:
    """Return what each file says, by its path within `PLACE`."""
    packages = {name.rpartition(".")[0] for name in TABLE}
    found = {}
    for name in TABLE:
        if name.endswith(".__main__"):  # runpy asks the finder
            continue
        path = Path(*name.split("."))
        file = path / "__init__.py" if name in packages else path.with_suffix(".py")
        found[file] = CONTENT.format(name=name)
    return found


def write() -> None:
    """Write all files, and delete those that have no row any more."""
    wanted = modules()
    for file in PLACE.rglob("*.py"):
        if file.relative_to(PLACE) not in wanted:
            file.unlink()
    for path, text in wanted.items():
        (PLACE / path).parent.mkdir(parents=True, exist_ok=True)
        (PLACE / path).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
