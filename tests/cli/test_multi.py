"""Several workers by one command: which they are, and how each is started. None runs here."""

from __future__ import annotations

import platform
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from umbel.cli.multi_nodes import Node, Words, nodes
from umbel.exceptions import ImproperlyConfigured

HOST = platform.node()


def made(line: str) -> list[Node]:
    return nodes(Words.read(shlex.split(line)))


def arguments(node: Node) -> str:
    """Return what stands behind ``python -m umbel``."""
    assert node.command[:3] == [sys.executable, "-m", "umbel"]
    return shlex.join(node.command[3:])


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("3", [f"celery{number}@{HOST}" for number in (1, 2, 3)]),
        ("2 -n far", ["celery1@far", "celery2@far"]),
        ("2 --range-prefix=w", [f"w1@{HOST}", f"w2@{HOST}"]),
        ("a b@x", [f"a@{HOST}", "b@x"]),
        ("a 2 --prefix=shop- --suffix=x", ["shop-a@x", "shop-2@x"]),
    ],
)
def test_names(line: str, names: list[str]) -> None:
    assert [node.name for node in made(line)] == names


def test_each_node_has_its_own_options() -> None:
    first, second, third = made(
        "3 -n h -A shop -l INFO -c 2 -c:1 4 --pidfile=/run/%n.pid -Q:2-3 mails -E -- worker_lease_ttl=30"
    )
    files = "--pidfile=/run/%n.pid --logfile=%n%I.log"
    assert arguments(first) == (
        f"-A shop worker --detach -n celery1@h {files} -l INFO -c 4 -E -- worker_lease_ttl=30"
    )
    assert arguments(second) == (
        f"-A shop worker --detach -n celery2@h {files} -l INFO -c 2 -E -Q mails -- worker_lease_ttl=30"
    )
    assert "-Q mails" in arguments(third)
    assert third.pidfile == Path("/run/celery3.pid")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-l INFO", "Which nodes"),
        ("2 -c:3 4", "nodes :3, and there are 2"),
        ("2 -c:2-1 4", "nodes :2-1, and there are 2"),
        ("a b -c:x 4", "no node 'x' for the option with :x; there are a, b"),
    ],
)
def test_nodes_that_there_are_not(line: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        made(line)


def test_what_only_prints(umbel: Command) -> None:
    assert umbel("multi", "names", "2", "-n", "h").out == "celery1@h\ncelery2@h\n"
    assert umbel("multi", "expand", "%n.log", "2", "-n", "h").out == "celery1.log\ncelery2.log\n"
    shown = umbel("multi", "show", "mails@h", "-c", "3")
    assert "umbel -A tasks worker --detach -n mails@h" in shown.out
    assert umbel("multi", "get", "mails", "mails@h", "-c", "3").out == shown.out
    assert umbel("multi", "get", "other", "mails@h").code == 1
    assert "stopwait" in umbel("multi", "help").out
    assert umbel("multi", "begin").code == 2
    assert umbel("multi", "get").code == 2


def test_what_stands_before_it_is_for_each_node(
    umbel: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--config", "other", "--result-backend", "redis://r/2", "multi", "show", "mails@h")
    shown = umbel("-b", "redis://r/1", *words).out
    assert (
        "-A tasks --broker=redis://r/1 --result-backend=redis://r/2 --config=other worker" in shown
    )
    for nearer in (("-b", "redis://r/3"), ("--broker=redis://r/3",)):
        shown = umbel("-b", "redis://r/1", "multi", "show", "mails@h", *nearer).out
        assert "-A tasks --broker=redis://r/3 worker" in shown
    # Where all who ask for processes would see it.
    monkeypatch.setenv("BROKER_URL", "redis://:secret@r/1")
    assert "secret" not in umbel("multi", "show", "mails@h").out


@pytest.mark.parametrize("pid", ["0", "-1", "none"])
def test_a_pid_file_that_names_no_process(
    umbel: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pid: str
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr("umbel.cli.multi.os.kill", lambda *call: sent.append(call))
    pidfile = tmp_path / "other.pid"
    pidfile.write_text(pid)
    assert "does not run" in umbel("multi", "stop", "other@h", f"--pidfile={pidfile}").out
    assert sent == []


@pytest.fixture
def sleeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands in for a node; its pid file is where it looks for one."""
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen(["sleep", "60"])
    (tmp_path / "mails.pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("stop", "mails@h"), signal.SIGTERM),
        (("stop", "mails@h", "-QUIT"), signal.SIGQUIT),
        (("stop", "mails@h", "-9"), signal.SIGKILL),
        (("kill", "mails@h"), signal.SIGKILL),
        (("stopwait", "mails@h"), signal.SIGTERM),
    ],
)
def test_signals(
    umbel: Command,
    sleeper: subprocess.Popen[bytes],
    words: tuple[str, ...],
    number: signal.Signals,
) -> None:
    ended = umbel("multi", *words)
    assert f"mails@h: {number.name} to {sleeper.pid}\n" in ended.out
    assert ended.code == 0
    assert sleeper.wait(20) == -number


def test_a_node_that_does_not_run(umbel: Command, tmp_path: Path) -> None:
    pidfile = tmp_path / "other.pid"
    assert umbel("multi", "stop", "other@h", f"--pidfile={pidfile}").out == (
        f"other@h: does not run ({pidfile})\n"
    )


def test_a_node_that_cannot_start(umbel: Command) -> None:
    ended = umbel("multi", "start", "a@h", "--umask=rwx")
    assert (ended.code, ended.out) == (1, "a@h: failed with exit code 2\n")
