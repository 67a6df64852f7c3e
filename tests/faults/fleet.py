"""Real workers in processes of their own, for tests that do harm to them.

A `Fleet` is one project directory with its data and its ledger, and the nodes that work on it. Each
node is the leader of a process group, so that nothing of it outlives the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self

import umbel
from tests.faults.oracles import Evidence, Figures
from umbel import Umbel
from umbel.clock import SYSTEM
from umbel.records import decode
from umbel.testing.ledger import History, Ledger, read
from umbel.worker.nodes import runtime_directory
from umbel.worker.page import Held, Page, Snapshot
from umbel.worker.processes import start_time

PROJECT = Path(__file__).with_name("project")
SOURCE = Path(umbel.__file__).parents[1]
#: Times that a scene is played for a fail point to strike.
MOST_ROUNDS = 20


def wait_until(condition: Callable[[], object], seconds: float, what: object) -> None:
    """Wait for a condition; fail when it does not come true in time.

    It is asked each 5 ms at first, later each 20 ms: asking takes the processor from what is waited for.
    """
    begun = SYSTEM.monotonic()
    while not condition():
        waited = SYSTEM.monotonic() - begun
        if waited > seconds:
            raise AssertionError(f"Waited {seconds:g} s in vain for {what}.")
        SYSTEM.sleep(min(0.005 + waited / 50, 0.02))


class Told:
    """A text that ends with what a fleet looks like when it is read."""

    def __init__(self, text: str, fleet: Fleet) -> None:
        self._text = text
        self._fleet = fleet

    def __str__(self) -> str:
        return f"{self._text}, but there is: {self._fleet}"


def lasts(seconds: float) -> Iterator[float]:
    """Give the seconds left, again and again, until `seconds` have passed."""
    deadline = SYSTEM.monotonic() + seconds
    while (left := deadline - SYSTEM.monotonic()) > 0:
        yield left


class Node:
    """One ``umbel worker`` and all its processes."""

    def __init__(self, fleet: Fleet, name: str, process: subprocess.Popen[bytes], log: Path):
        self.fleet = fleet
        self.name = name
        self.process = process
        self.log = log
        self.pid = process.pid
        self.seen: set[int] = set()

    def text(self) -> str:
        """Return all that the node has logged."""
        return self.log.read_text()

    def is_ready(self) -> bool:
        """Tell whether it said that it takes messages."""
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended at once:\n{self.text()}")
        return " ready." in self.text()

    def members(self) -> list[int]:
        """Return the pids of all its processes that live."""
        return [pid for pid, _, group in processes() if group == self.pid]

    def children(self) -> list[int]:
        """Return the pids of the child processes that have attached and live."""
        members, found = set(self.members()), []
        for directory in self.fleet.node_directories():
            if _pid_of_node(directory) == self.pid:
                found += [_pid_of_page(path) for path in directory.glob("*.page")]
        self.seen.update(found)
        return [pid for pid in found if pid in members]

    def fork_server(self) -> int:
        """Return the pid of the fork server."""
        (found,) = [pid for pid, parent, _ in processes() if parent == self.pid]
        return found

    def harm(self, how: str, number: int, pids: Sequence[int], blamed: Sequence[int]) -> float:
        """Send a signal to processes, with a note of whose tasks it may disturb; return when."""
        before = SYSTEM.monotonic()
        self.fleet.ledger.fault(how, blamed, before)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return before

    def kill_child(self, pid: int) -> float:
        """Kill one child."""
        return self.harm("child killed", signal.SIGKILL, [pid], [pid])

    def kill_supervisor(self) -> float:
        """Kill the supervisor only."""
        blamed = [self.pid, *self.children()]
        return self.harm("supervisor killed", signal.SIGKILL, [self.pid], blamed)

    def kill_all(self) -> float:
        """Kill every process of the node at once."""
        members = self.members()
        before = SYSTEM.monotonic()
        self.fleet.ledger.fault("node killed", members, before)
        os.killpg(self.pid, signal.SIGKILL)
        return before

    def freeze(self) -> float:
        """Stop every process of the node."""
        members = self.members()
        return self.harm("node frozen", signal.SIGSTOP, members, members)

    def freeze_supervisor(self) -> float:
        """Stop the supervisor only, so that nobody renews its children's leases."""
        blamed = [self.pid, *self.children()]
        return self.harm("supervisor frozen", signal.SIGSTOP, [self.pid], blamed)

    def thaw(self) -> None:
        """Let it go on."""
        for pid in self.members():
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ask for a warm shutdown."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = 15.0) -> int:
        """Wait for the end of the supervisor; return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end in {seconds:g} s.") from None

    def destroy(self) -> None:
        """Leave nothing of it alive."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


class Fleet:
    """A project and its nodes; use it in a ``with`` statement."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        shutil.copytree(PROJECT, directory, dirs_exist_ok=True)
        chosen = {
            "data_dir": str(directory / ".umbel"),
            # Longer than any experiment: what comes back sooner came back for a better reason.
            "worker_lease_ttl": 60.0,
            **settings,
        }
        (directory / "settings.json").write_text(json.dumps(chosen))
        self.tasks = _project(directory)
        self.app: Umbel = self.tasks.app
        self.ledger: Ledger = self.tasks.ledger
        self.nodes_directory = runtime_directory(self.app.show_url(self.app.broker_url))
        self.nodes: list[Node] = []
        self.strikes = directory / "strikes"
        self.follow_ups_repeat = self.copies_stay = False
        #: How many children a node has, or how many tasks each of them runs at a time.
        self.concurrency = 2
        #: Who is given figures of an experiment that does without the ledger and its oracles.
        self.keep_figures: Callable[[Figures], object] = lambda figures: None
        #: What a server has lost with its memory, by right.
        self.forgotten: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for node in self.nodes:
            node.destroy()
        self.app.close()
        self.ledger.close()
        shutil.rmtree(self.nodes_directory, ignore_errors=True)
        if error is not None:
            (self.directory / "failed").touch()
            error.add_note("The project, its ledger and its logs are in the test's tmp_path.")

    @property
    def lease(self) -> float:
        """Seconds after which whoever is silent is taken for dead."""
        return float(self.app.conf.worker_lease_ttl)

    # Nodes

    def start(self, *names: str, environment: Mapping[str, str] | None = None) -> list[Node]:
        """Start nodes of two children each and wait until all of them are ready."""
        started = [self.launch(name, environment or {}) for name in names]
        for node in started:
            wait_until(node.is_ready, 30.0, f"{node.name} to be ready")
        return started

    def launch(self, name: str, environment: Mapping[str, str]) -> Node:
        """Start a node."""
        log = self.directory / f"{name}-{len(self.nodes)}.log"
        command = [sys.executable, "-m", "umbel", "-A", "tasks", "worker"]
        options = ["-l", "INFO", "-n", name, "-c", str(self.concurrency)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command + options,
                cwd=self.directory,
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread is in C code here
            )
        self.nodes.append(Node(self, name, process, log))
        return self.nodes[-1]

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the project's processes."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith("UMBEL_")}
        return {**clean, "PYTHONPATH": str(SOURCE), **more}

    def fail_point(self, plan: str) -> dict[str, str]:
        """Return the environment in which each fail point strikes the first process that comes there."""
        return {"UMBEL_FAILPOINTS": plan, "UMBEL_FAILPOINTS_ONCE": str(self.strikes)}

    def has_struck(self, *points: str) -> bool:
        """Tell whether each of these fail points has struck, and has said whom."""
        return all(
            (self.strikes / point).exists() and (self.strikes / point).read_text().endswith("\n")
            for point in points
        )

    def struck_by(self, point: str) -> int:
        """Return the pid of the process that a fail point struck."""
        return int((self.strikes / point).read_text().split()[0])

    def until_struck(
        self, points: Sequence[str], scene: Callable[[], object], patience: float = 15.0
    ) -> None:
        """Play a scene until each of these fail points has struck; fail when one never does.

        Each time it may take so many seconds.
        """
        for _ in range(MOST_ROUNDS):
            scene()
            wait_until(
                lambda: self.has_struck(*points) or self.is_quiet(),
                patience,
                Told("an end", self),
            )
            if self.has_struck(*points):
                return
        missing = [point for point in points if not self.has_struck(point)]
        raise AssertionError(f"No process came to {', '.join(missing)}.")

    def node_directories(self) -> list[Path]:
        """Return the directories of nodes that there are; the last node takes all with it."""
        try:
            return list(self.nodes_directory.iterdir())
        except FileNotFoundError:
            return []

    # Load

    def send(self, name: str, calls: Sequence[Sequence[Any]]) -> list[str]:
        """Send calls of a task; return their ids."""
        task = self.app.tasks[name]
        ids = [result.id for result in task.delay_many(calls)]
        for id in ids:
            self.ledger.sent(id, "ok", early=name == "once")
        return ids

    def send_load(self, tasks: int, dice: random.Random, name: str = "work") -> list[str]:
        """Send tasks of 5 to 50 ms."""
        return self.send(name, [(dice.uniform(0.005, 0.05),) for _ in range(tasks)])

    # What became of it

    def is_quiet(self) -> bool:
        """Tell whether nothing waits and nothing runs."""
        depths = self.app.queues.depths().values()
        return not any(depth.ready + depth.scheduled + depth.leased for depth in depths)

    def wait_until_quiet(self, seconds: float = 30.0) -> None:
        """Wait until every message was settled."""
        wait_until(self.is_quiet, seconds, Told("the queues to be empty", self))

    def started(self) -> set[str]:
        """Return the ids of tasks that have started."""
        return {start.id for start in self.history().starts}

    def history(self) -> History:
        """Return what the ledger holds by now."""
        return read(self.directory / "ledger")

    def stop(self) -> None:
        """Stop all nodes that live, warmly; each must end with the exit code 0."""
        living = [node for node in self.nodes if node.process.poll() is None]
        for node in living:
            node.stop()
        for node in living:
            code = node.wait()
            assert code == 0, f"{node.name} ended with exit code {code}:\n{node.text()[-3000:]}"

    def evidence(self) -> Evidence:
        """Collect what is known at the end."""
        self._note_deaths()
        history = self.history()
        ids = list(history.sent)
        records = self.app.result_store().get(ids)
        results = {id: decode(record) for id, record in records.items()}
        dead = {
            str(letter.message.task_id): letter.reason
            for letter in self.app.queues.dead_letters(1_000_000)
        }
        forgotten = frozenset(self.forgotten)
        return Evidence(
            history,
            results,
            dead,
            self._in_broker(),
            self.follow_ups_repeat,
            forgotten,
            self.copies_stay,
        )

    def note_end(self, point: str) -> None:
        """Write down that the process in which a fail point raised has ended by that."""
        pid, moment, _ = (self.strikes / point).read_text().split()
        self.ledger.fault(f"ended at {point}", [int(pid)], float(moment))

    def _note_deaths(self) -> None:
        """Write down who died at a fail point. One that only raised excuses nothing."""
        for path in self.strikes.glob("*"):
            pid, moment, action = path.read_text().split()
            children = [node.seen for node in self.nodes if node.pid == int(pid)]
            if action == "kill":
                harmed = {int(pid)}.union(*children)
                self.ledger.fault(f"died at {path.name}", harmed, float(moment))

    def waits_nowhere(self, node: Node) -> bool:
        """Tell whether a node's children have nothing that they have not started."""
        for directory in self.node_directories():
            if _pid_of_node(directory) == node.pid:
                pages = [_snapshot(path) for path in directory.glob("*.page")]
                return not any(page.keys(Held.WAITING) for page in pages if page is not None)
        return True

    def leased(self) -> int:
        """Return how many messages are held by workers."""
        return sum(depth.leased for depth in self.app.queues.depths().values())

    def stored(self) -> dict[str, int]:
        """Return how much the engine keeps of each kind."""
        names = [
            name for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        return {name: self.query(f"SELECT count(*) FROM {name}")[0][0] for name in names}

    def _in_broker(self) -> dict[str, str]:
        rows = self.query("SELECT json_extract(headers, '$.id'), state FROM message")
        return {id: ("ready", "scheduled", "leased", "leased")[state] for id, state in rows}

    def _owners(self) -> list[tuple[str, int]]:
        """Return node and pid of each owner of leases."""
        return self.query("SELECT node, pid FROM owner")

    def _leased_by_nobody(self) -> list[str]:
        return [f"leased row: {row}" for row in self.query(LEASED)]

    def query(self, statement: str) -> list[Any]:
        """Ask the file itself."""
        path = self.app.broker_url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            return connection.execute(statement).fetchall()

    def __str__(self) -> str:
        return f"{self.app.queues.depths()}; {'; '.join(self.residue())}"

    def residue(self) -> list[str]:
        """Return, in words, what nodes that ended left behind: it should be nothing."""
        left = [
            f"owner of leases: node {node}, pid {pid}"
            for node, pid in self._owners()
            if start_time(pid) == 0.0
        ]
        left += self._leased_by_nobody()
        left += [
            f"directory of a node: {path.name}"
            for path in self.node_directories()
            if start_time(_pid_of_node(path)) == 0.0
        ]
        groups = {node.pid for node in self.nodes if node.process.poll() is not None}
        left += [
            f"process {pid}: {_command(pid)}" for pid, _, group in processes() if group in groups
        ]
        return left


def _die_with_parent() -> None:
    """Let a worker not outlive the tests, whatever ends them; its children leave by themselves."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


PR_SET_PDEATHSIG = 1
LEASED = "SELECT json_extract(headers, '$.id'), owner FROM message WHERE state >= 2"


def _project(directory: Path) -> ModuleType:
    """Import the tasks module of a directory, apart from all others of that name."""
    spec = importlib.util.spec_from_file_location("tasks", directory / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def processes() -> Iterator[tuple[int, int, int]]:
    """Give pid, parent and process group of every process that has not ended."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    yield int(entry.name), int(fields[1]), int(fields[2])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _pid_of_node(directory: Path) -> int:
    """Return the pid of the supervisor that made a node's directory; 0 when it is just going."""
    try:
        return int(json.loads((directory / "lock").read_text())["pid"])
    except (OSError, ValueError):
        return 0


def _pid_of_page(path: Path) -> int:
    snapshot = _snapshot(path)
    return snapshot.pid if snapshot else 0


def _snapshot(path: Path) -> Snapshot | None:
    try:
        page = Page.open(path)
    except (OSError, ValueError):  # the child is just going
        return None
    snapshot = page.read()
    page.close()
    return snapshot
