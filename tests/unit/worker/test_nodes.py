from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.worker.nodes import NodeDirectory, runtime_directory
from umbel.worker.page import Held
from umbel.worker.processes import my_start_time

NODE = """
import os, sys
from pathlib import Path
from umbel.worker.nodes import NodeDirectory
from umbel.worker.processes import my_start_time

directory = NodeDirectory(Path(sys.argv[1]), "theirs")
directory.enter("their-owner")
page = directory.new_page("child")
page.identify(os.getpid(), my_start_time(), "child-owner")
page.load(["a", "b"])
page.start(0, 1.0)
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_node(base: Path) -> Iterator[subprocess.Popen[str]]:
    """A node in a process of its own, whose child it is itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", NODE, str(base)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[NodeDirectory]:
    directory = NodeDirectory(tmp_path / "nodes", "ours")
    directory.enter("our-owner")
    yield directory
    directory.leave()


def test_a_node_is_found_when_its_process_died_and_not_before(
    tmp_path: Path, ours: NodeDirectory
) -> None:
    with another_node(tmp_path / "nodes") as process:
        assert list(ours.dead_nodes()) == []
        process.kill()
        process.wait()
        (found,) = ours.dead_nodes()
        assert (found.node, found.owner) == ("theirs", "their-owner")
        ((path, page),) = found.pages
        assert (page.pid, page.owner) == (process.pid, "child-owner")
        assert page.held == {"a": Held.RUNNING, "b": Held.WAITING}
        assert path.name == "child.page"
        assert not found.children_alive()

        # Who found it holds its lock: nobody else finds it meanwhile.
        assert list(NodeDirectory(tmp_path / "nodes", "third").dead_nodes()) == []
        found.leave()
        (again,) = ours.dead_nodes()
        again.forget()
        assert list(ours.dead_nodes()) == []
        assert not (tmp_path / "nodes" / "theirs").exists()


def left_behind(base: Path, node: str, lock: str | None) -> Path:
    """Make what a dead node left."""
    directory = base / node
    directory.mkdir(parents=True)
    if lock is not None:
        (directory / "lock").write_text(lock)
    return directory


@pytest.mark.parametrize("text", ["", '{"owner": "the', "[]"[:1], "\0\0"])
def test_a_lock_that_was_being_written_is_a_node_without_an_owner(
    tmp_path: Path, ours: NodeDirectory, text: str
) -> None:
    left_behind(tmp_path / "nodes", "theirs", text)
    (found,) = ours.dead_nodes()
    assert (found.node, found.owner, found.pages) == ("theirs", "", ())
    assert not found.children_alive()
    found.forget()


def test_pages_that_are_none_are_passed_over(tmp_path: Path, ours: NodeDirectory) -> None:
    directory = left_behind(tmp_path / "nodes", "theirs", '{"owner": "their-owner"}')
    (directory / "empty.page").write_bytes(b"")
    (directory / "short.page").write_bytes(b"x" * 100)
    other = NodeDirectory(tmp_path / "nodes", "theirs")
    other.new_page("unidentified").close()
    page = other.new_page("whole")
    page.identify(os.getpid(), my_start_time(), "whole-owner")
    page.close()
    (found,) = ours.dead_nodes()
    assert [snapshot.owner for _, snapshot in found.pages] == ["whole-owner"]
    assert found.children_alive()  # this very process
    found.forget()


def test_a_directory_without_a_lock_is_nobodys(tmp_path: Path, ours: NodeDirectory) -> None:
    left_behind(tmp_path / "nodes", "theirs", None)
    assert list(ours.dead_nodes()) == []


def test_a_node_that_is_being_made_is_not_found(tmp_path: Path, ours: NodeDirectory) -> None:
    left_behind(tmp_path / "nodes", ".theirs", "{}")
    assert list(ours.dead_nodes()) == []


def test_a_nodes_own_place(tmp_path: Path) -> None:
    base = tmp_path / "nodes"
    node = NodeDirectory(base, "ours")
    node.enter("one")
    lock = json.loads((base / "ours" / "lock").read_text())
    assert (lock["owner"], lock["pid"]) == ("one", os.getpid())
    node.enter("a-longer-owner")
    node.enter("two")
    assert json.loads((base / "ours" / "lock").read_text())["owner"] == "two"
    assert (base / "ours").stat().st_mode & 0o777 == 0o700
    node.leave()
    assert not base.exists()


def test_leaving_leaves_other_nodes_alone(tmp_path: Path) -> None:
    base = tmp_path / "nodes"
    one, two = NodeDirectory(base, "one"), NodeDirectory(base, "two")
    one.enter("1")
    two.enter("2")
    one.leave()
    assert [path.name for path in base.iterdir()] == ["two"]
    two.leave()


def test_nodes_of_a_broker_share_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = runtime_directory("sqlite:////a")
    assert found == runtime_directory("sqlite:////a") != runtime_directory("sqlite:////b")
    assert found.parent == tmp_path / f"umbel-{os.getuid()}"
    assert found.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.getuid() != 0, reason="needs a directory that belongs to another user")
def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    theirs = tmp_path / f"umbel-{os.getuid()}"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)
    with pytest.raises(ImproperlyConfigured, match="belongs to somebody else"):
        runtime_directory("sqlite:////a")
