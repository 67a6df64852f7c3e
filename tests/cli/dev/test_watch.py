from __future__ import annotations

from pathlib import Path

import pytest

from umbel.cli.dev.watch import Watch


def test_nothing_changed(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    watch = Watch(tmp_path)
    assert len(watch) == 1
    assert watch.changed() == []


def test_changed_made_and_deleted_files_are_told_once(tmp_path: Path) -> None:
    changed, deleted, made = (tmp_path / "package" / f"{name}.py" for name in ("a", "b", "c"))
    changed.parent.mkdir()
    changed.touch()
    deleted.touch()
    watch = Watch(tmp_path)
    changed.write_text("1")
    deleted.unlink()
    made.touch()
    assert watch.changed() == [str(changed), str(deleted), str(made)]
    assert watch.changed() == []


@pytest.mark.parametrize(
    "place", ["a.txt", ".git/a.py", "__pycache__/a.py", "node_modules/x/a.py", "env/lib/a.py"]
)
def test_what_is_no_code_of_the_project_is_not_watched(tmp_path: Path, place: str) -> None:
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "pyvenv.cfg").touch()
    watch = Watch(tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).touch()
    assert watch.changed() == []


def test_files_elsewhere_are_watched_too(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    other = tmp_path / "other.py"
    other.touch()
    watch = Watch(tmp_path / "here")
    watch.add([str(other), str(tmp_path / "never there.py")])
    assert watch.changed() == []
    other.write_text("1")
    assert watch.changed() == [str(other)]
    other.unlink()
    assert watch.changed() == [str(other)]


def test_a_link_in_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "a.py").touch()
    assert len(Watch(tmp_path)) == 1
