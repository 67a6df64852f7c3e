"""Where an app keeps its data when nothing says where: the same place for all who import the app."""

from __future__ import annotations

import os
from pathlib import Path

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
