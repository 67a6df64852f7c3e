"""How ``import celery.app.trace`` finds ``umbel.trace``: the very module, under a second name.

Python keeps what it imports in `sys.modules` by name, and asks the finders in `sys.meta_path` for a name that
it does not have: https://docs.python.org/3/reference/import.html. Ours stands first there. A module keeps the
name and the spec that it has as umbel's own, so tracebacks, pickles and `importlib.reload` name the real one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, FrameType, ModuleType
from typing import Any, ClassVar

from umbel.absent import ABSENT_MODULES, NotThereToImport
from umbel.alias.table import ELSEWHERE, TABLE

#: What stands between a finder and who imports or looks.
_ON_THE_WAY = (__name__, "importlib._bootstrap", "importlib._bootstrap_external")


class NoSuchModule(NotThereToImport, ModuleNotFoundError):
    """A module of Celery's was imported that umbel does not have; the text says what to do."""


def reason(name: str, elsewhere: Mapping[str, str]) -> str:
    """Return how the sentence goes on about a module that is missing."""
    top, _, inner = name.partition(".")
    parts = inner.split(".")
    for count in range(len(parts), -1, -1):
        found = elsewhere.get(".".join((top, *parts[:count])))
        if found is None and top == "celery":
            found = ABSENT_MODULES.get(".".join(parts[:count]))
        if found is not None:
            return found
    return f"is no module of {top} that umbel has; docs/alias.md lists those that it has"


class AliasLoader(Loader):
    """Gives importlib a module that is there already, and afterwards gives the module its own spec back.

    importlib writes the spec that it works with into each module that it loads. Other threads may see that
    for a moment; they wait for the import to end, as for any module.
    """

    #: The specs of umbel's own, by module; kept before importlib first writes another.
    _own: ClassVar[dict[str, ModuleSpec | None]] = {}
    _lock = threading.Lock()

    def __init__(self, target: ModuleSpec) -> None:
        self.target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return umbel's module, imported now if it was not."""
        module = import_module(self.target.name)
        with self._lock:
            self._own.setdefault(self.target.name, module.__spec__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing but give the spec back: the module has run under its own name."""
        module.__spec__ = self._own[self.target.name]

    # What runpy asks for `python -m celery`, inspect and linecache.

    def get_code(self, name: str) -> CodeType | None:
        """Return the code of umbel's module."""
        loader: Any = self.target.loader
        code: CodeType | None = loader.get_code(self.target.name)
        return code

    def get_source(self, name: str) -> str | None:
        """Return the source of umbel's module."""
        loader: Any = self.target.loader
        source: str | None = loader.get_source(self.target.name)
        return source

    def get_filename(self, name: str) -> str:
        """Return where umbel's module is."""
        return self.target.origin or ""

    def is_package(self, name: str) -> bool:
        """Tell whether umbel's module is a package."""
        return self.target.submodule_search_locations is not None


class AliasFinder(MetaPathFinder):
    """Finds the modules of a table: by the name that they have in Celery, the name of the module here.

    A name below one of the table's first parts that is not there is said to be missing, with the reason, to
    who imports it; no other finder is asked for it, which could find real Celery's. Who only looks, by
    `importlib.util.find_spec`, gets None as of any module that is missing.
    """

    def __init__(self, table: Mapping[str, str], elsewhere: Mapping[str, str]) -> None:
        self.table = table
        self.elsewhere = elsewhere
        self.tops = frozenset(name.partition(".")[0] for name in table)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return how to load a module. Raises NoSuchModule where what is not here is imported."""
        if fullname.partition(".")[0] not in self.tops:
            return None
        try:
            found = self.target_of(fullname)
        except NoSuchModule:
            if _is_only_looked_for():
                return None
            raise
        spec = ModuleSpec(
            fullname,
            AliasLoader(found),
            origin=found.origin,
            is_package=found.submodule_search_locations is not None,
        )
        spec.has_location = found.has_location
        if found.submodule_search_locations is not None:
            spec.submodule_search_locations = list(found.submodule_search_locations)
        return spec

    def target_of(self, fullname: str) -> ModuleSpec:
        """Return the spec of umbel's module. Raises NoSuchModule when there is none, or no row."""
        name = self.table.get(fullname)
        found = None if name is None else self._own_spec(name)
        if found is None:
            raise NoSuchModule(f"{fullname} {reason(fullname, self.elsewhere)}.", name=fullname)
        return found

    def _own_spec(self, name: str) -> ModuleSpec | None:
        module = sys.modules.get(name)
        if module is not None and module.__spec__ is not None:
            return AliasLoader._own.get(name) or module.__spec__
        try:
            return find_spec(name)
        except ModuleNotFoundError:  # its package is not there
            return None


def _is_only_looked_for() -> bool:
    """Tell whether `importlib.util.find_spec` asks: it and an import call finders in the same way."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") in _ON_THE_WAY:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "importlib.util"


FINDER = AliasFinder(TABLE, ELSEWHERE)
