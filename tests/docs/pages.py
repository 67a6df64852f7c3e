"""Runs what a page of the documentation shows, and says what the page would look like if it were true.

A page may have four kinds of code blocks, and nothing else, so that nothing on it is left unchecked:

- a block with a file's name as caption is written to that file;
- ``console``: after each ``$`` a command for the shell, below it what it prints. A worker stays, and only
  what it prints until it is ready is shown there (``pip install umbel`` is not run);
- ``pycon``: a Python session, which goes on from block to block until a file changes;
- ``text`` with a caption about the worker: what it has printed since.

A line ``...`` stands for any lines.
"""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.printed import same_everywhere
from umbel.testing.conformance.support import until

ROOT = Path(__file__).parents[2]
CONSOLE = Path(__file__).with_name("console.py")
#: Seconds that a command, or what a worker is to print, may take on a slow machine.
PATIENCE = 40

BLOCK = re.compile(
    r"^```(?:\{code-block\} )?(?P<language>\w+)\n"
    r"(?::caption: (?P<caption>.*)\n(?:\n)?)?(?P<text>(?s:.*?))^```$",
    re.MULTILINE,
)
COMMAND = re.compile(r"^\$ ", re.MULTILINE)

READY = " ready."
CHILD = "/ForkPoolWorker-"

#: What differs between runs and machines here, and what stands for it.
CHANGING = [
    (re.compile(r"(?<=succeeded in )[\d.e-]+s\b"), "0.001s"),
    (re.compile(r"(?<=Retry in )[\d.e-]+s\b"), "1s"),  # drawn by chance
    (re.compile(r"(?<=passed in )\d+\.\d\ds"), "0.12s"),
    (re.compile(r"umbel v[\w.]+"), "umbel v0.1.0"),
    (re.compile(r"ForkPoolWorker-\d+"), "ForkPoolWorker-1"),
    (re.compile(r"(?<=line )\d+"), "1"),
]


@dataclass(frozen=True)
class Block:
    """A block of code on a page: its language, its caption, and what it says."""

    language: str
    caption: str | None
    text: str


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for found in BLOCK.finditer(page):
        yield Block(found["language"], found["caption"], found["text"])


def agrees(written: str, real: str) -> bool:
    """Tell whether a text is what a page says, whose lines ``...`` stand for any lines."""
    parts = [re.escape(part) for part in re.split(r"^ *\.\.\.\n", written, flags=re.MULTILINE)]
    return re.fullmatch(r"(?:.*\n)*".join(parts), real) is not None


class Project:
    """A directory in which a page comes true: its files, its worker, its Python session."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._worker: subprocess.Popen[bytes] | None = None
        self._log = directory.parent / "log"
        self._read = 0
        self._early = ""
        self._session: subprocess.Popen[str] | None = None
        (directory / "pyproject.toml").touch()

    def close(self) -> None:
        """End whatever the page has started."""
        self._end_session()
        self._end_worker()

    def run(self, block: Block) -> str:
        """Do what a block says; return the block's text as it should be."""
        if block.language == "console":
            commands = COMMAND.split(block.text)[1:]
            return "".join("$ " + self._command(*one.partition("\n")[::2]) for one in commands)
        if block.language == "pycon":
            return "".join(self._statements(block.text))
        if block.language == "text" and block.caption and "worker" in block.caption:
            return self._printed(block.text)
        if block.caption and re.fullmatch(r"[\w/]+\.\w+", block.caption):
            self._end_session()
            path = self._directory / block.caption
            path.parent.mkdir(exist_ok=True)
            path.write_text(block.text, "utf-8")
            return block.text
        raise AssertionError(f"Nothing checks this block: {block}")

    # Commands

    def _command(self, command: str, written: str) -> str:
        if command == "pip install umbel":  # what is tested is installed already
            return f"{command}\n"
        if re.search(r"\bworker\b", command):
            self._end_worker()
            self._start_worker(command)
            return f"{command}\n{self._started(written)}"
        ended = subprocess.run(
            ["bash", "-c", command],
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        return f"{command}\n{self._kept(written, self._same(ended.stdout))}"

    def _start_worker(self, command: str) -> None:
        self._read = 0
        with self._log.open("w") as log:
            self._worker = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._directory,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.send_signal(signal.SIGTERM)
        try:
            code = worker.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            raise
        assert code == 0, self._log.read_text()

    def _started(self, written: str) -> str:
        """Return what the worker prints until it is ready.

        What its children print meanwhile, if messages were waiting for them, is left for the next block.
        """
        until(lambda: READY in self._log.read_text(), PATIENCE)
        before, ready, after = self._log.read_text().partition(READY)
        lines = before.splitlines(keepends=True)
        self._early = "".join(line for line in lines if CHILD in line)
        self._read = len(before + ready) + 1
        real = "".join(line for line in lines if CHILD not in line) + ready + "\n"
        assert after, "The line ends."
        return self._kept(written, self._same(real))

    def _printed(self, written: str) -> str:
        """Return what the worker has printed since this was asked last."""
        writes = bool(os.environ.get("UMBEL_WRITE_DOCS"))

        def new() -> str:
            return self._same(self._early + self._log.read_text()[self._read :])

        if writes:
            until(new, PATIENCE)
            _wait_until_quiet(lambda: self._log.stat().st_size)
        else:
            with suppress(pytest.fail.Exception):  # the comparison says more
                until(lambda: agrees(written, new()), PATIENCE)
        real, self._early, self._read = new(), "", len(self._log.read_text())
        return self._kept(written, real)

    # Sessions

    def _statements(self, text: str) -> Iterator[str]:
        session = self._session or self._start_session()
        assert session.stdin is not None
        assert session.stdout is not None
        for example in doctest.DocTestParser().get_examples(text):
            session.stdin.write(json.dumps(example.source) + "\n")
            session.stdin.flush()
            first, *more = example.source.splitlines()
            yield f">>> {first}\n" + "".join(f"... {line}".rstrip() + "\n" for line in more)
            answer = session.stdout.readline()
            assert answer, f"The session ended at {example.source}"
            yield self._kept(example.want, self._same(json.loads(answer)))

    def _start_session(self) -> subprocess.Popen[str]:
        self._session = subprocess.Popen(
            [sys.executable, str(CONSOLE)],
            cwd=self._directory,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self._session

    def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.communicate(timeout=PATIENCE)

    # What is the same everywhere

    def _same(self, text: str) -> str:
        text = re.sub(rf"(?:/private)?{re.escape(str(self._directory))}", "/srv/bookstore", text)
        return same_everywhere(text, CHANGING)

    def _kept(self, written: str, real: str) -> str:
        return written if agrees(written, real) else real

    @property
    def _environment(self) -> dict[str, str]:
        left_out = ("PYTHONPATH", "UMBEL_DATA_DIR", "UMBEL_APP", "BROKER_URL", "RESULT_BACKEND")
        given = {name: value for name, value in os.environ.items() if name not in left_out}
        scripts = str(Path(sys.executable).parent)
        given["PATH"] = f"{scripts}{os.pathsep}{given['PATH']}"
        given["PYTHONUNBUFFERED"] = "1"
        return given | {"COLUMNS": "100", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _wait_until_quiet(size: Callable[[], int]) -> None:
    """Wait until nothing has been written for three seconds."""
    last, since = size(), time.monotonic()

    def is_quiet() -> bool:
        nonlocal last, since
        if size() != last:
            last, since = size(), time.monotonic()
        return time.monotonic() - since > 3

    until(is_quiet, PATIENCE)
