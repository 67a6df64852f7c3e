"""Where an app is and keeps its data when nothing says where: the same place for all who import it."""

from __future__ import annotations

import os
import shlex
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
    if file is None or _is_installed(file):
        return Path.cwd() / ".umbel"
    for directory in Path(file).absolute().parents:
        if any((directory / mark).exists() for mark in _PROJECT_MARKS):
            return directory / ".umbel"
    return _imported_from(module, file) / ".umbel"


def _imported_from(module: str, file: str) -> Path:
    """Return the directory that holds a module, or the outermost package it is in."""
    parents = Path(file).absolute().parents
    depth = module.count(".") + (Path(file).name == "__init__.py")
    return parents[min(depth, len(parents) - 1)]


def _is_installed(file: str) -> bool:
    return any(part in _INSTALLED for part in Path(file).parts)


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


def worker_command(module: str, file: str | None) -> str:
    """Return the command that starts a worker of an app, as it has to be typed in the working directory."""
    if file is None or file.startswith("<"):  # python -c, or a program on standard input
        return "umbel -A MODULE worker, where MODULE has the app: this one is in no file."
    name = script_name() if module == "__main__" else module
    directory = _imported_from(name, file)
    elsewhere = directory != Path.cwd() and not _is_installed(file)
    option = f"--workdir {shlex.quote(str(directory))} " if elsewhere else ""
    return f"umbel {option}-A {name} worker"


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
