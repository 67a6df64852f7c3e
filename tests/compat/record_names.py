"""Record the names of real Celery 5.7.0: of its modules, classes, signals, commands and variables.

This script is run by hand, with a Python that has ``celery[redis]==5.7.0`` installed::

    python tests/compat/record_names.py [output file]

It writes ``golden/names.json`` next to itself unless told otherwise:

    ``modules``     all modules of Celery that are not private.
    ``exports``     by module, the public names of those that projects import from.
    ``classes``     by class, its public names and those of an instance, each with the names of its
                    parameters where it is called, in their order, else null.
    ``signals``     by signal, the names of its arguments.
    ``commands``    by command (``celery`` is the program itself), its options and its own commands.
    ``variables``   the environment variables that the code reads.
"""

# Celery has no type information, and need not be installed to type-check.
# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import inspect
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import celery
import kombu
from celery.app.task import Context
from celery.app.utils import Settings
from celery.bin.celery import celery as program
from celery.canvas import Signature
from celery.contrib.abortable import AbortableAsyncResult, AbortableTask
from celery.exceptions import MaxRetriesExceededError, Reject, Retry
from celery.result import EagerResult, GroupResult, ResultSet
from celery.signals import task_prerun
from celery.utils.dispatch import Signal

CELERY_VERSION = "5.7.0"

#: The modules whose names projects import; kombu's, too.
EXPORTING = (
    *("celery", "celery.app", "celery.app.amqp", "celery.app.log", "celery.app.registry"),
    *("celery.app.task", "celery.canvas", "celery.contrib.abortable", "celery.exceptions"),
    *("celery.result", "celery.schedules", "celery.security", "celery.signals", "celery.states"),
    *("celery.utils", "celery.utils.log", "celery.utils.nodenames", "kombu.serialization"),
)
#: How code reads a variable of the environment.
READS = re.compile(r"""(?:environ(?:\.get)?[\[(]|getenv\(|_env\(|env=)\s*['"]([A-Z_]{4,})['"]""")


def examples() -> dict[str, Any]:
    """Return an instance of each class whose names are recorded."""
    app = celery.Celery("recorded", broker="redis://", backend="redis://", set_as_current=False)

    @app.task(name="recorded.task", bind=True, base=AbortableTask)
    def task(self: Any) -> None: ...

    queues = app.amqp.queues
    return {
        "Celery": app,
        "Settings": app.conf,
        "TaskRegistry": app.tasks,
        "Task": app.tasks["recorded.task"],
        "Context": Context(),
        "AsyncResult": AbortableAsyncResult("id", app=app),
        "EagerResult": EagerResult("id", None, "SUCCESS"),
        "AMQP": app.amqp,
        "Queues": queues,
        "Backend": app.backend,
        "Logging": app.log,
        "Control": app.control,
        "Signal": task_prerun,
        "Connection": app.connection_for_read(),
        "Queue": kombu.Queue("name"),
        "Exchange": kombu.Exchange("name"),
        "binding": kombu.binding(kombu.Exchange("name")),
        "Retry": Retry(),
        "Reject": Reject(),
        "MaxRetriesExceededError": MaxRetriesExceededError(),
        "Signature": Signature("recorded.task", app=app),
        "ResultSet": ResultSet([], app=app),
        "GroupResult": GroupResult("id", [], app=app),
    }


def parameters(function: Any) -> list[str] | None:
    """Return the names of a callable's parameters; None of what is no function or does not say."""
    if not inspect.isroutine(function) and not inspect.isclass(function):
        return None
    try:
        return [str(one) for one in inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return None


def plain(names: list[str] | None) -> list[str] | None:
    """Return parameters without their types and defaults, and without `self`."""
    if names is None:
        return None
    return [found for one in names if (found := re.split(r"[:=]", one)[0].strip()) != "self"]


def members(example: Any) -> dict[str, Any]:
    """Return the public names of an instance, with the parameters of those that are methods."""
    kind = type(example)
    own = set(vars(kind)) if isinstance(example, Settings) else set(dir(example))
    found = {}
    for name in sorted(name for name in own if not name.startswith("_")):
        found[name] = plain(parameters(inspect.getattr_static(kind, name, None)))
        if isinstance(inspect.getattr_static(kind, name, None), classmethod | staticmethod):
            found[name] = plain(parameters(getattr(kind, name)))
    return {"__init__": plain(parameters(kind)), **found}


def exports(module: str) -> list[str]:
    """Return the public names of a module."""
    found = import_module(module)
    names = getattr(found, "__all__", None) or vars(found)
    return sorted(
        name
        for name in names
        if not name.startswith("_") and not inspect.ismodule(getattr(found, name))
    )


def modules() -> list[str]:
    """Return the names of Celery's modules."""
    found = pkgutil.walk_packages(celery.__path__, "celery.", onerror=lambda name: None)
    names = [module.name for module in found]
    return sorted(name for name in names if not any(part[0] == "_" for part in name.split(".")))


def commands() -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Yield the program itself and each command, with its options and its own commands."""
    for name, command in {"celery": program, **program.commands}.items():
        options = {
            option
            for parameter in command.params
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("-")
        }
        below = getattr(command, "commands", {}) if command is not program else program.commands
        yield name, {"options": sorted(options), "commands": sorted(below)}


def variables() -> list[str]:
    """Return the environment variables that Celery's code reads."""
    files = Path(celery.__path__[0]).rglob("*.py")
    return sorted({name for path in files for name in READS.findall(path.read_text("utf-8"))})


def record() -> dict[str, Any]:
    """Return all of it."""
    signals = vars(import_module("celery.signals"))
    return {
        "celery": CELERY_VERSION,
        "modules": modules(),
        "exports": {module: exports(module) for module in EXPORTING},
        "classes": {name: members(example) for name, example in examples().items()},
        "signals": {
            name: sorted(signal.providing_args)
            for name, signal in sorted(signals.items())
            if isinstance(signal, Signal)
        },
        "commands": dict(sorted(commands())),
        "variables": variables(),
    }


def text(found: dict[str, Any]) -> str:
    """Return JSON with one line for each entry of a part."""
    parts = [
        f" {json.dumps(name)}: {{\n{entries(part)}\n }}"
        if isinstance(part, dict)
        else f" {json.dumps(name)}: {json.dumps(part)}"
        for name, part in found.items()
    ]
    return "{\n" + ",\n".join(parts) + "\n}\n"


def entries(part: dict[str, Any]) -> str:
    """Return the lines of one part."""
    return ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in part.items())


def main(argv: list[str]) -> int:
    """Record the names into the file named in ``argv``."""
    if celery.__version__ != CELERY_VERSION:
        print(f"Celery {CELERY_VERSION} is needed, this is {celery.__version__}", file=sys.stderr)
        return 1
    path = Path(argv[0]) if argv else Path(__file__).parent / "golden" / "names.json"
    found = record()
    path.write_text(text(found), encoding="utf-8")
    counts = {name: len(part) for name, part in found.items() if name != "celery"}
    print(f"celery {celery.__version__}: {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
