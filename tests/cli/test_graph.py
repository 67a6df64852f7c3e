from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from umbel import Umbel
from umbel.testing import run_pending

FLOWS = """
from tasks import add

nightly = add.s(1, 1) | add.s(2)
number = 3


def made():
    return add.s(4)
"""


@pytest.fixture(autouse=True)
def flows(project: Umbel) -> None:
    Path("flows.py").write_text(FLOWS)


def test_a_workflow_by_its_name(umbel: Command) -> None:
    assert umbel("graph", "flows:nightly").out == "chain\n├─ 1 add(1, 1)\n└─ 2 add(2)\n"
    assert umbel("graph", "flows:made").out == "add(4)\n"
    assert umbel("graph", "tasks:add").out == "add()\n"
    assert umbel("graph", "flows:nightly", "--format", "dot").out.startswith("digraph")
    assert umbel("graph", "flows:nightly", "-f", "mermaid").out.startswith("flowchart LR")


def test_a_file_gets_what_its_name_says(umbel: Command) -> None:
    starts = {"a.svg": "<svg", "a.dot": "digraph", "a.mmd": "flowchart", "a.txt": "chain"}
    for name, start in starts.items():
        ended = umbel("graph", "flows:nightly", "-o", name)
        assert (ended.code, ended.out) == (0, "")
        assert Path(name).read_text("utf-8").startswith(start)


def test_what_is_no_workflow_is_told(umbel: Command) -> None:
    ended = umbel("graph", "flows:number")
    assert (ended.code, "flows:number is no workflow but of the type int" in ended.err) == (2, True)
    assert "There is no 'flows:missing'" in umbel("graph", "flows:missing").err
    ended = umbel("graph", "bootsteps")
    assert (ended.code, "umbel graph bootsteps has no meaning here" in ended.err) == (2, True)


def test_a_call_and_a_group_by_their_ids(umbel: Command, project: Umbel) -> None:
    add = project.tasks["add"]
    result = (add.s(1, 1) | add.s(2)).delay()
    run_pending(project)
    lines = umbel("graph", result.id).out.splitlines()
    assert len(lines) == 3
    assert lines[1].endswith("✔ SUCCESS  2")
    assert lines[2].endswith("✔ SUCCESS  4  ←")
    saved = project.GroupResult("shop:17", [result])
    saved.save()
    assert umbel("graph", "shop:17").out.startswith("group of 1\n")
    ended = umbel("graph", "nothing:known")
    assert ended.out == "nothing:known  · PENDING  ←\n"
    assert ended.err.startswith("nothing:known: nothing is known of this id.")
    assert ended.err.endswith("There is no module 'nothing', so this is no workflow.\n")
    waiting = add.delay(1, 1)
    assert umbel("graph", waiting.id).err.endswith(f"{waiting.id}: it waits in the queue celery.\n")
