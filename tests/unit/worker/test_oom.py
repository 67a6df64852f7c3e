from __future__ import annotations

from pathlib import Path

import pytest

from tests.each import for_each
from umbel.worker import oom
from umbel.worker.oom import Kills


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells, in a directory of the test."""
    monkeypatch.setattr(oom, "_VERSION_1", f"{tmp_path}/one{{}}/memory.oom_control")
    monkeypatch.setattr(oom, "_VERSION_2", f"{tmp_path}/two{{}}/memory.events")
    monkeypatch.setattr(oom, "_SYSTEM", f"{tmp_path}/vmstat")
    (tmp_path / "vmstat").write_text("nr_free_pages 7\noom_kill 3\n")
    for name, file in (("one", "memory.oom_control"), ("two", "memory.events")):
        (tmp_path / name / "mine").mkdir(parents=True)
        (tmp_path / name / "mine" / file).write_text("under_oom 0\noom 9\noom_kill 5\n")
    return tmp_path


@for_each(
    ("groups", "counted"),
    [
        ("8:pids:/\n4:memory:/mine\n", "one/mine/memory.oom_control"),
        ("0::/mine\n", "two/mine/memory.events"),
        ("0::/elsewhere\n", "vmstat"),
        ("", "vmstat"),
    ],
)
def test_kills_of_the_own_group_count(files: Path, groups: str, counted: str) -> None:
    (files / "cgroup").write_text(groups)
    kills = Kills(files / "cgroup")
    assert not kills.are_more()
    for path in (path for path in files.rglob("*") if path.is_file()):
        before = path.read_text()
        path.write_text(before.replace("oom_kill ", "oom_kill 1"))
        assert kills.are_more() is (path == files / counted)
        path.write_text(before)
        kills.are_more()


def test_a_system_that_does_not_tell(files: Path) -> None:
    (files / "vmstat").unlink()
    kills = Kills(files / "nothing")
    assert not kills.are_more()
