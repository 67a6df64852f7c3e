"""Each name of Celery 5.7 is here or says why not; ``record_names.py`` recorded them.

What the names do is tested where it is built; this holds that none was forgotten: those of modules, classes,
signals, commands and environment variables, and the parameters by which the methods of classes are called.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import click
import pytest

import umbel
from tests.each import for_each
from umbel import Exchange, MaxRetriesExceededError, Queue, Reject, Retry, Umbel, binding, signals
from umbel.absent import (
    ABSENT,
    ABSENT_COMMANDS,
    ABSENT_MODULES,
    ABSENT_VARIABLES,
    NotThere,
    NotThereToImport,
)
from umbel.canvas import Signature
from umbel.cli.base import COMMANDS, group
from umbel.contrib.abortable import AbortableAsyncResult, AbortableTask
from umbel.exceptions import IncompleteStream
from umbel.options import call_options, eager_options
from umbel.request import Request
from umbel.result import EagerResult, GroupResult, ResultSet

GOLDEN = Path(__file__).parent / "golden" / "names.json"
CELERY: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
CLASSES: dict[str, dict[str, list[str] | None]] = CELERY["classes"]
SOURCES = Path(umbel.__file__).parent


def examples() -> dict[str, Any]:
    """Return an instance of each of our classes, by the name that it has in Celery."""
    app = Umbel("proj", broker="memory://", backend="memory://", set_as_current=False)

    @app.task(name="proj.task", base=AbortableTask, bind=True)
    def task(self: Any) -> None: ...

    return {
        "Celery": app,
        "Settings": app.conf,
        "TaskRegistry": app.tasks,
        "Task": task,
        "Context": Request(),
        "AsyncResult": AbortableAsyncResult("id", app=app),
        "EagerResult": EagerResult("id", None, "SUCCESS"),
        "AMQP": app.amqp,
        "Queues": app.amqp.queues,
        "Backend": app.backend,
        "Logging": app.log,
        "Control": app.control,
        "Signal": signals.task_prerun,
        "Connection": app.connection_for_read(),
        "Queue": Queue("name"),
        "Exchange": Exchange("name"),
        "binding": binding(Exchange("name")),
        "Retry": Retry(),
        "Reject": Reject(),
        "MaxRetriesExceededError": MaxRetriesExceededError(),
        "Signature": Signature("proj.task", app=app),
        "ResultSet": ResultSet([], app=app),
        "GroupResult": GroupResult("id", [], app=app),
    }


EXAMPLES = examples()
MEMBERS = [(kind, name) for kind, names in CLASSES.items() for name in names]

#: Classes that users make instances of.
MADE = ("Celery", "AsyncResult", "EagerResult", "Queue", "Exchange", "binding", "Retry", "Reject")
#: Parameters that nobody but Celery itself gives.
INTERNAL = {
    ("AMQP", "Queues"): {"autoexchange"},
    ("AMQP", "Router"): {"create_missing"},
    ("Backend", "add_pending_result"): {"start_drainer"},
    ("Backend", "get_key_for_task"): {"key"},
    ("Backend", "get_many"): {"max_iterations", "READY_STATES"},
    ("Connection", "as_uri"): {"getfields"},
    ("Signature", "fromkeys"): {"type"},
}
#: What may be given by position in Celery, and only by name here.
ONLY_BY_NAME = ("Celery", "__init__")


def found(example: Any, name: str) -> Any:
    """Return what a name stands for; None where there is something that cannot be read now."""
    try:
        return getattr(example, name)
    except IncompleteStream:
        return None


@pytest.fixture(autouse=True)
def current() -> None:
    """Let a result that runs here ask the app."""
    EXAMPLES["Celery"].set_current()


def here(module: str) -> str:
    """Return the name that one of Celery's modules has here."""
    return re.sub(r"^(celery|kombu)", "umbel", module)


def test_everything_was_recorded() -> None:
    assert {name: len(part) for name, part in CELERY.items() if name != "celery"} == {
        "modules": 156,
        "exports": 18,
        "classes": 23,
        "signals": 34,
        "commands": 19,
        "variables": 43,
    }


@for_each(("kind", "name"), MEMBERS)
def test_a_name_of_a_class_is_here_or_says_why_not(kind: str, name: str) -> None:
    try:
        found(EXAMPLES[kind], name)
    except NotThere:
        return  # what it says is tested in tests/unit/test_absent.py


@for_each(
    ("kind", "name"),
    [
        (kind, name)
        for kind, name in MEMBERS
        if CLASSES[kind][name] and (name != "__init__" or kind in MADE)
    ],
)
def test_a_method_takes_the_same_arguments(kind: str, name: str) -> None:
    example = EXAMPLES[kind]
    try:
        ours = type(example) if name == "__init__" else found(example, name)
    except NotThere:
        return
    wanted = [one for one in CLASSES[kind][name] or () if not one.startswith("*")]
    parameters = signature(ours).parameters.values()
    if not any(one.kind is Parameter.VAR_KEYWORD for one in parameters):
        taken = {one.name for one in parameters} | INTERNAL.get((kind, name), set())
        assert set(wanted) <= taken
    if (kind, name) != ONLY_BY_NAME:
        placed = [one.name for one in parameters if one.kind is Parameter.POSITIONAL_OR_KEYWORD]
        assert [one for one in placed if one in wanted] == [one for one in wanted if one in placed]


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("Celery", "send_task", call_options),
        ("Task", "apply_async", call_options),
        ("Task", "apply", eager_options),
    ],
)
def test_an_option_of_a_call_is_known(kind: str, name: str, options: Any) -> None:
    named = [one for one in CLASSES[kind][name] or () if not one.startswith("*")]
    for one in named:
        if one not in ("name", "args", "kwargs"):
            options({one: 0 if one == "replaced_task_nesting" else None})


def test_no_name_is_told_to_be_missing_that_celery_does_not_have() -> None:
    celerys = {type(example).__name__: CLASSES[kind] for kind, example in EXAMPLES.items()}
    celerys |= {"Task": CLASSES["Task"], "AsyncResult": CLASSES["AsyncResult"]}
    strange = [
        f"{kind}.{name}"
        for kind, names in ABSENT.items()
        if kind not in ("Channel", "Producer")  # kombu makes them only when it is connected
        for name in names
        if name not in celerys[kind]
    ]
    assert strange == []


@for_each("module", CELERY["modules"])
def test_a_module_is_here_or_has_a_line_in_the_documentation(module: str) -> None:
    name = module.removeprefix("celery.")
    parts = name.split(".")
    told = any(".".join(parts[:count]) in ABSENT_MODULES for count in range(1, len(parts) + 1))
    assert told or _is_module(here(module))


def test_no_module_is_told_to_be_missing_that_is_here() -> None:
    # Celery's worker is a package of its own kind; ours has its name, and nothing of it.
    assert [name for name in ABSENT_MODULES if _is_module(f"umbel.{name}")] == ["worker"]


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what it would be below is not there, or no package
        return False


@for_each(
    ("module", "name"),
    [
        (module, name)
        for module, names in CELERY["exports"].items()
        if _is_module(here(module))
        for name in names
    ],
)
def test_a_name_of_a_module_is_here_or_says_why_not(module: str, name: str) -> None:
    try:
        getattr(import_module(here(module)), name)
    except NotThereToImport:
        return


@for_each("name", CELERY["signals"])
def test_a_signal_is_here_with_its_arguments(name: str) -> None:
    assert set(CELERY["signals"][name]) <= getattr(signals, name).providing_args


def test_each_command_is_here_or_says_why_not() -> None:
    assert set(CELERY["commands"]["celery"]["commands"]) <= COMMANDS.keys() | ABSENT_COMMANDS.keys()
    assert not COMMANDS.keys() & ABSENT_COMMANDS.keys()


@pytest.mark.parametrize(
    "name",
    # `umbel migrate` and `umbel graph` are other commands than Celery's, and say so to who means those.
    [name for name in CELERY["commands"] if name not in {*ABSENT_COMMANDS, "migrate", "graph"}],
)
def test_a_command_takes_the_same_options(name: str) -> None:
    command: Any = group if name == "celery" else group.get_command(click.Context(group), name)
    ours = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {
        "-h",
        "--help",
    }
    assert set(CELERY["commands"][name]["options"]) <= ours
    if name != "celery":
        assert set(CELERY["commands"][name]["commands"]) <= set(getattr(command, "commands", ()))


@cache
def words() -> frozenset[str]:
    """Return all words of our code, but for what is absent."""
    code = (path for path in SOURCES.parent.rglob("*.py") if path.parent.name != "absent")
    return frozenset(
        word for path in code for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))
    )


@for_each("name", CELERY["variables"])
def test_a_variable_is_read_or_has_a_line_in_the_documentation(name: str) -> None:
    assert (name in words()) != (name in ABSENT_VARIABLES)
