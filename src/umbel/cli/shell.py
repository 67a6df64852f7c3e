"""``umbel shell``: Python with the app and its tasks at hand."""

from __future__ import annotations

import code
import os
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

import click

from umbel.app import Umbel
from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.task import Task
from umbel.worker.tracebacks import traceback_text

#: Names of Celery's shell that are there as soon as umbel has them.
WORKFLOWS = ("chord", "group", "chain", "chunks", "xmap", "xstarmap", "signature", "subtask")

Names = dict[str, Any]


@click.command(
    "shell",
    epilog=examples(
        "umbel -A tasks shell", "echo 'print(add.delay(2, 3).get(10))' | umbel -A tasks shell"
    ),
)
@click.option("-I", "--ipython", "wanted", flag_value="ipython", help="Use IPython.")
@click.option("-B", "--bpython", "wanted", flag_value="bpython", help="Use bpython.")
@click.option("-P", "--python", "wanted", flag_value="python", help="Use Python's own shell.")
@click.option("-T", "--without-tasks", is_flag=True, help="Do not add the tasks by their names.")
@click.option("--eventlet", is_flag=True, hidden=True)
@click.option("--gevent", is_flag=True, hidden=True)
@click.pass_obj
def command(
    given: Global, wanted: str | None, without_tasks: bool, eventlet: bool, gevent: bool
) -> None:
    """Open a Python shell with the app and its tasks.

    app and celery are the app, Task is the class, and each task has the name of its function. Without
    an option it is IPython or bpython where one is installed.
    """
    for option, unwanted in (("--eventlet", eventlet), ("--gevent", gevent)):
        if unwanted:
            click.echo(
                f"Warning: {option} has no effect: umbel needs no patched modules.", err=True
            )
    app = given.load()
    names = names_of(app, with_tasks=not without_tasks)
    shell = _shell(wanted)
    shell(names, f"{app!r}. Names: {', '.join(names)}")


def names_of(app: Umbel, with_tasks: bool) -> Names:
    """Return what the shell knows by name."""
    names: Names = {"app": app, "celery": app, "Task": Task}
    package = vars(sys.modules["umbel"])
    names |= {name: package[name] for name in WORKFLOWS if name in package}
    if with_tasks:
        # Two tasks may have functions of one name: the first one has it, and `app.tasks` has them all.
        for task in app.tasks.values():
            names.setdefault(task.name.rpartition(".")[2], task)
    return names


def _shell(wanted: str | None) -> Callable[[Names, str], None]:
    """Return the shell that is wanted, or the best there is. Raises ClickException if it is not there."""
    if wanted is None:
        # Words from a pipe need no comfort.
        found = [
            name for name in SHELLS if name == "python" or (sys.stdin.isatty() and _is_there(name))
        ]
        return SHELLS[found[0]]
    if wanted != "python" and not _is_there(wanted):
        raise click.ClickException(
            f"{wanted} is not installed. Install it with: pip install {wanted}"
        )
    return SHELLS[wanted]


def _is_there(name: str) -> bool:
    try:
        import_module("IPython" if name == "ipython" else name)
    except ImportError:
        return False
    return True


def _ipython(names: Names, banner: str) -> None:
    import_module("IPython").embed(user_ns=names, banner1=banner, colors="neutral")


def _bpython(names: Names, banner: str) -> None:
    import_module("bpython").embed(names, banner=banner)


def _python(names: Names, banner: str) -> None:
    """Start Python's own shell, with completion and the user's startup file, as `python` does."""
    if sys.stdin.isatty():
        _help_typing(names)
        code.interact(banner, local=names, exitmsg="")
    else:
        try:
            _run(sys.stdin.read(), names)
        except Exception as error:
            click.echo(traceback_text(error), err=True, nl=False)
            raise click.exceptions.Exit(1) from error


def _help_typing(names: Names) -> None:
    try:
        readline, completer = import_module("readline"), import_module("rlcompleter")
    except ImportError:  # Windows
        return
    readline.set_completer(completer.Completer(names).complete)
    readline.parse_and_bind("tab: complete")
    startup = os.environ.get("PYTHONSTARTUP")
    if startup and os.path.isfile(startup):
        with open(startup) as file:
            _run(file.read(), names)


def _run(text: str, names: Names) -> None:
    exec(compile(text, "<stdin>", "exec"), names)  # noqa: S102 - this is what a shell is for


#: The shells by name, the best first.
SHELLS: Mapping[str, Callable[[Names, str], None]] = {
    "ipython": _ipython,
    "bpython": _bpython,
    "python": _python,
}
