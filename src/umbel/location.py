"""Where an app is and keeps its data when nothing says where: the same place for all who import it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from urllib.parse import quote, unquote, urlsplit

from umbel.masking import masked_url

_PROJECT_MARKS = ("pyproject.toml", "manage.py")
_INSTALLED = ("site-packages", "dist-packages")


def default_directory(module: str, file: str | None, configured: str | None) -> Path:
    """Return the directory of an app's default file.

    UMBEL_DATA_DIR, then `configured`; else ``.umbel`` beside the nearest pyproject.toml or manage.py at or
    above the app's module; else beside the module, or the outermost package it is in. An app without a
    file of its own, or an installed one, uses the working directory.
    """
    named = os.environ.get("UMBEL_DATA_DIR") or configured
    if named:
        return Path(named).expanduser().absolute()
    if file is None or any(part in _INSTALLED for part in Path(file).parts):
        return Path.cwd() / ".umbel"
    parents = Path(file).absolute().parents
    for directory in parents:
        if any((directory / mark).exists() for mark in _PROJECT_MARKS):
            return directory / ".umbel"
    depth = module.count(".") + (Path(file).name == "__init__.py")
    return parents[min(depth, len(parents) - 1)] / ".umbel"


class DefaultFile:
    """The SQLite file of an app to which no URL is said.

    It is looked for once, since each call asks: directories made later do not move it.
    """

    def __init__(self, module: str, file: str | None) -> None:
        self._module = module
        self._file = file
        self._found: tuple[str | None, str] | None = None

    def url(self, configured: str | None) -> str:
        """Return the file's URL; `configured` is the setting ``data_dir``."""
        named = os.environ.get("UMBEL_DATA_DIR") or configured
        if self._found is None or self._found[0] != named:
            directory = default_directory(self._module, self._file, configured)
            path = quote((directory / "umbel.db").as_posix(), safe="/:")
            self._found = named, f"sqlite:///{path}"
        return self._found[1]


def shown_url(url: str) -> str:
    """Return a URL for people to read: a file's path, or the URL without its secrets."""
    if url.startswith("sqlite:///"):
        return str(Path(unquote(urlsplit(url).path[1:])))
    return masked_url(url)


def script_name() -> str:
    """Return the name by which a worker imports the script that runs."""
    script = sys.modules.get("__main__")
    spec = getattr(script, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(script, "__file__", None)
    return Path(file).stem if file else "__main__"


def calling_module() -> tuple[str, str | None]:
    """Return name and file of the module that makes an app."""
    found = calling_frame().f_globals
    return found.get("__name__", "__main__"), found.get("__file__")


def calling_frame() -> FrameType:
    """Return the frame of the code that called this package."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("umbel."):
        frame = frame.f_back
    return frame
