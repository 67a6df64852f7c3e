"""``umbel multi``: start and stop several workers of this machine, as ``celery multi`` does."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace

import click
from click.core import ParameterSource

from umbel.cli.given import Global
from umbel.cli.groups import examples
from umbel.cli.multi_nodes import Node, Words, nodes
from umbel.clock import SYSTEM
from umbel.worker.processes import is_alive

#: Seconds between two looks whether a worker has ended.
LOOK = 0.1
#: Options before ``multi`` that each worker is given, too.
PASSED_ON = ("broker", "result_backend", "config")
WHAT = (
    *("start", "stop", "stopwait", "stop_verify", "restart", "kill"),
    *("names", "show", "get", "expand", "help"),
)


@click.command(
    "multi",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "umbel multi start 3 -A tasks -l INFO -c:1 4 -Q:2,3 mails",
        "umbel multi restart mails reports -A tasks --pidfile=/run/umbel/%n.pid",
        "umbel multi stopwait 3",
    ),
)
@click.argument("action", type=click.Choice(WHAT), metavar="ACTION")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="NAME|NUMBER ... [OPTION ...]")
@click.pass_context
def command(context: click.Context, action: str, words: tuple[str, ...]) -> int:
    """Start and stop several workers of this machine.

    Actions: start, stop, stopwait, restart, kill; names, show (the commands), get NAME, expand TEXT; help.

    The nodes are named, or a number says how many: celery1, celery2 and so on. The options are those of
    `umbel worker`; one with :1, :2-3 or :mails after its name is for those nodes alone. Each node has a pid
    file (--pidfile, by default %n.pid here) by which it is found again, and a log (--logfile, %n%I.log).
    stop sends TERM, or another signal: -QUIT, -9. stopwait waits for the end.
    """
    given: Global = context.obj
    if action == "help":
        click.echo(context.get_help())
        return 0
    if action in ("get", "expand"):
        if not words:
            raise click.UsageError(f"umbel multi {action} needs a word before the nodes.")
        return _ask(action, words[0], _read(words[1:], given)[0])
    found, number = _read(words, given)
    return ACTIONS[action](found, number, given)


def _read(words: Sequence[str], given: Global) -> tuple[list[Node], signal.Signals]:
    """Return the nodes that are meant, and the signal that is named, or TERM."""
    number = signal.SIGTERM
    left = []
    for word in words:
        named = _signal(word)
        number = number if named is None else named
        left += [word] if named is None else []
    read = Words.read(left)
    return nodes(replace(read, options={**_before(given), **read.options})), number


def _before(given: Global) -> dict[str, str | None]:
    """Return what stands before ``multi`` and is meant for each node; what the environment says they read."""
    options: dict[str, str | None] = {"-A": given.app} if given.app else {}
    root = click.get_current_context().find_root()
    for parameter in root.command.params:
        name = parameter.name or ""
        if name in PASSED_ON and root.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            options[max(parameter.opts, key=len)] = root.params[name]
    return options


def _signal(word: str) -> signal.Signals | None:
    """Return the signal that ``-9``, ``-KILL`` or ``-SIGKILL`` names; None for every other word."""
    name = word[1:] if word.startswith("-") else ""
    with contextlib.suppress(ValueError):
        return signal.Signals(int(name))
    return signal.Signals.__members__.get(name if name.startswith("SIG") else f"SIG{name}")


def _ask(action: str, word: str, found: Sequence[Node]) -> int:
    """Print a text for each node, or the command of one."""
    if action == "expand":
        for node in found:
            click.echo(node.expand(word))
        return 0
    wanted = [node for node in found if word in (node.name, node.name.partition("@")[0])]
    for node in wanted:
        click.echo(shlex.join(node.command))
    return 0 if wanted else 1


def _start(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    codes = []
    for node in found:
        code = subprocess.run(node.command, check=False).returncode
        given.say(f"{node.name}: {'started' if code == 0 else f'failed with exit code {code}'}")
        codes.append(code)
    return int(any(codes))


def _signalled(node: Node, number: signal.Signals, given: Global) -> int | None:
    """Send a signal to a node; return its pid, or None where it does not run."""
    try:
        pid = int(node.pidfile.read_text())
        if pid < 1:  # these mean groups of processes, and all that there are
            raise ValueError(pid)
        os.kill(pid, number)
    except (OSError, ValueError):
        given.say(f"{node.name}: does not run ({node.pidfile})")
        return None
    given.say(f"{node.name}: {number.name} to {pid}")
    return pid


def _stop(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    for node in found:
        _signalled(node, number, given)
    return 0


def _stopwait(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    running = {node.name: _signalled(node, number, given) for node in found}
    for name, pid in running.items():
        while pid is not None and is_alive(pid, 0.0):
            SYSTEM.sleep(LOOK)
        if pid is not None:
            given.say(f"{name}: ended")
    return 0


def _restart(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    _stopwait(found, number, given)
    return _start(found, number, given)


def _kill(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    return _stop(found, signal.SIGKILL, given)


def _names(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    for node in found:
        click.echo(node.name)
    return 0


def _show(found: Sequence[Node], number: signal.Signals, given: Global) -> int:
    for node in found:
        click.echo(shlex.join(node.command))
    return 0


ACTIONS: dict[str, Callable[[Sequence[Node], signal.Signals, Global], int]] = {
    "start": _start,
    "stop": _stop,
    "stopwait": _stopwait,
    "stop_verify": _stopwait,
    "restart": _restart,
    "kill": _kill,
    "names": _names,
    "show": _show,
}
