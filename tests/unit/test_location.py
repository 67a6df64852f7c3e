"""Where an app and its data are when nothing says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.location import default_directory, worker_command


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UMBEL_DATA_DIR", raising=False)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.mark.parametrize("mark", ["pyproject.toml", "manage.py"])
def test_it_is_beside_the_nearest_mark_of_a_project(tmp_path: Path, mark: str) -> None:
    package = tmp_path / "project" / "src" / "shop"
    package.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "project" / mark).touch()
    found = default_directory("shop.tasks", str(package / "tasks.py"), None)
    assert found == tmp_path / "project" / ".umbel"


@pytest.mark.parametrize(
    ("module", "file", "expected"),
    [
        ("tasks", "place/tasks.py", "place/.umbel"),
        ("__main__", "place/tasks.py", "place/.umbel"),
        ("shop.tasks", "place/shop/tasks.py", "place/.umbel"),
        ("shop", "place/shop/__init__.py", "place/.umbel"),
        ("shop.inner.app", "place/shop/inner/app.py", "place/.umbel"),
        ("shop.tasks", "venv/lib/python3.11/site-packages/shop/tasks.py", "cwd/.umbel"),
    ],
)
def test_without_a_project_it_is_beside_the_outermost_package(
    tmp_path: Path, module: str, file: str, expected: str
) -> None:
    assert default_directory(module, str(tmp_path / file), None) == tmp_path / expected


def test_an_app_without_a_file_uses_the_working_directory(tmp_path: Path) -> None:
    assert default_directory("__main__", None, None) == tmp_path / "cwd" / ".umbel"


def test_the_setting_and_then_the_variable_count_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert default_directory("tasks", "tasks.py", "set") == tmp_path / "cwd" / "set"
    monkeypatch.setenv("UMBEL_DATA_DIR", str(tmp_path / "named"))
    assert default_directory("tasks", "tasks.py", "set") == tmp_path / "named"


@pytest.mark.parametrize(
    ("module", "file", "expected"),
    [
        ("tasks", "cwd/tasks.py", "umbel -A tasks worker"),
        ("shop.tasks", "cwd/shop/tasks.py", "umbel -A shop.tasks worker"),
        ("shop.tasks", "place/shop/tasks.py", "umbel --workdir {}/place -A shop.tasks worker"),
        ("shop", "a place/shop/__init__.py", "umbel --workdir '{}/a place' -A shop worker"),
        ("shop", "venv/lib/python3.11/site-packages/shop.py", "umbel -A shop worker"),
    ],
)
def test_the_command_that_starts_a_worker_works_where_it_is_typed(
    tmp_path: Path, module: str, file: str, expected: str
) -> None:
    assert worker_command(module, str(tmp_path / file)) == expected.format(tmp_path)


@pytest.mark.parametrize("file", [None, "<stdin>"])
def test_no_worker_can_import_an_app_that_is_in_no_file(file: str | None) -> None:
    assert worker_command("__main__", file).startswith("umbel -A MODULE worker, where MODULE has")
