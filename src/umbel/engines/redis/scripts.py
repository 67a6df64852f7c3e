"""Lua scripts: one named, commented file each, in ``lua/``.

A line ``--#include NAME`` stands for the file ``NAME.lua``, so that a function that several scripts
use is written once. Where it stands within a block, its functions are made only when that block runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_INCLUDE = "--#include "


@dataclass(frozen=True, slots=True)
class Script:
    """A script by name, and the name by which a server that has loaded it knows it."""

    name: str
    source: str
    sha: str


@cache
def load(package: str, name: str) -> Script:
    """Return the script of a file of a package."""
    source = _source(package, name)
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


def _source(package: str, name: str) -> str:
    lines = []
    for line in files(package).joinpath("lua", f"{name}.lua").read_text("utf-8").splitlines():
        if line.lstrip().startswith(_INCLUDE):
            lines.append(_source(package, line.strip().removeprefix(_INCLUDE)))
        else:
            lines.append(line)
    return "\n".join(lines)
