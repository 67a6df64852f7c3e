"""The fork server's pipe, and what it keeps back."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import umbel
from umbel.testing.conformance.support import PATIENCE
from umbel.worker.bootstrap import Orders, Source
from umbel.worker.forkserver import Channel, _first_line, _silence
from umbel.worker.page import Page


def test_the_first_line_is_read_and_nothing_behind_it() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Channel(ours).send({"orders": 1})
        ours.send(b"stop")
        assert _first_line(theirs) == {"orders": 1}
        assert theirs.recv(64) == b"stop"


def test_the_end_of_the_pipe_is_no_line() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert _first_line(theirs) is None


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_messages_of_any_size_arrive_whole(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        Channel(ours).send({"text": "x" * size})
        assert _first_line(theirs) == {"text": "x" * size}


@pytest.fixture
def _disabled() -> Iterator[None]:
    """Put back what is logged at all."""
    before = logging.root.manager.disable
    yield
    logging.disable(before)


@pytest.mark.usefixtures("_disabled")
def test_warnings_are_kept_back_for_a_while(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with _silence():
            logging.warning("kept back")
            warnings.warn("kept back", stacklevel=1)
            logging.error("told")
        logging.warning("told")
    assert caplog.messages == ["told", "told"]
    assert "kept back" not in capsys.readouterr().err


@pytest.mark.usefixtures("_disabled")
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_what_a_module_disables_stays_disabled(level: int) -> None:
    with _silence():
        logging.disable(level)
    assert logging.root.manager.disable == level


APP = """
from umbel import Umbel
app = Umbel(broker="sqlite:///umbel.db")
"""


def test_a_fork_server_looks_after_what_it_forked_for_a_dead_supervisor(tmp_path: Path) -> None:
    (tmp_path / "tasks.py").write_text(APP)
    source = Source("tasks", str(tmp_path), {})
    orders = Orders(source, ("celery",), "celery@host", "node", 1, "INFO")
    page = Page.create(tmp_path / "child.page")
    ours, theirs = socket.socketpair()
    control, others = socket.socketpair()
    with (
        theirs,
        subprocess.Popen(
            [sys.executable, "-m", "umbel.worker.forkserver", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(umbel.__file__).parents[1])},
            stderr=subprocess.PIPE,
        ) as server,
    ):
        theirs.close()
        channel = Channel(ours)
        channel.send({"source": asdict(source), "argv": sys.argv, "path": sys.path})
        assert channel.receive() == [{"ready": True, "unsafe": []}]
        channel.send(
            {"page": str(page.path), "number": 1, "orders": orders.to_data()}, others.fileno()
        )
        for end in (ours, control, others):
            end.close()
        _, said = server.communicate(timeout=PATIENCE)
    assert (server.returncode, b"Traceback" in said) == (0, False), said.decode()
    page.remove()


def test_what_only_the_command_line_needs_is_not_imported() -> None:
    """Every fork server, and every child that is started from scratch, would wait for it."""
    code = "import sys, umbel.worker.forkserver as _; print({'click', 'rich'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    assert ended.stdout == "set()\n"
