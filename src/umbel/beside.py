"""Whether Celery, kombu and billiard are installed beside umbel, and whose they are."""

from __future__ import annotations

from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path

#: The packages whose names umbel can take.
NAMES = ("celery", "kombu", "billiard")
#: A file that those packages have where the distribution umbel-as-celery brought them.
MARK = "umbel_alias.txt"
#: The distribution that brings them.
DISTRIBUTION = "umbel-as-celery"


def is_marked(file: str | None) -> bool:
    """Tell whether a package's first file belongs to umbel-as-celery."""
    return file is not None and (Path(file).parent / MARK).exists()


def found_on_path(name: str) -> str | None:
    """Return the file of the package that Python would import by this name; None if there is none."""
    spec = PathFinder.find_spec(name)
    return None if spec is None else spec.origin


def real_on_path() -> list[str]:
    """Return which of the packages are there and not umbel's."""
    files = {name: found_on_path(name) for name in NAMES}
    return [name for name, file in files.items() if file is not None and not is_marked(file)]


def facts() -> dict[str, str]:
    """Return for each of the packages its version and, where it matters, whose it is.

    Two distributions that bring one package write over each other; that is said.
    """
    return {name: text for name in NAMES if (text := _fact(name))}


def _fact(name: str) -> str:
    versions = sorted({one.version for one in metadata.distributions(name=name)})
    text = " and ".join(versions)
    file = found_on_path(name)
    if file is not None and is_marked(file):
        text = f"{text or 'no version'}, which is umbel's, by {DISTRIBUTION}"
    if len(versions) > 1:
        text += (
            "; both are installed into one place, and the later has written over the first."
            f" Uninstall both, then install {DISTRIBUTION} alone"
        )
    return text
