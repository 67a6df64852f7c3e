"""``app.autodiscover_tasks``, with packages on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel

FILES = {
    "shop_/__init__.py": "",
    "shop_/tasks.py": "NAME = 'shop'",
    "shop_/jobs.py": "",
    "shop_/apps.py": "class ShopConfig: ...",
    "blog_/__init__.py": "",
    "single_.py": "",
    "broken_/__init__.py": "",
    "broken_/tasks.py": "import there_is_no_such_module",
}


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Umbel]:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield Umbel("proj", broker="memory://")
    for name in set(sys.modules) - before:
        if name.split(".")[0].endswith("_"):
            del sys.modules[name]


def found(app: Umbel, *packages: str, related_name: str | None = "tasks") -> list[str]:
    modules = app.autodiscover_tasks(packages, related_name, force=True)
    assert modules is not None
    return [module.__name__ for module in modules]


def test_packages_that_have_tasks(app: Umbel) -> None:
    assert found(app, "shop_", "blog_", "single_") == ["shop_.tasks"]
    assert found(app, "shop_", related_name="jobs") == ["shop_.jobs"]
    assert found(app, "shop_", "single_", related_name=None) == ["shop_", "single_"]


def test_a_class_stands_for_its_package(app: Umbel) -> None:
    assert found(app, "shop_.apps.ShopConfig") == ["shop_.tasks"]


@pytest.mark.parametrize("force", [False, True])
def test_a_single_name_is_no_list(app: Umbel, force: bool) -> None:
    """Its letters used to be imported: No module named 's'."""
    with pytest.raises(TypeError, match=r"Give a list: \['shop_'\]"):
        app.autodiscover_tasks("shop_", force=force)
    with pytest.raises(TypeError, match=r"Give a list: \['shop_'\]"):
        app.autodiscover_tasks(lambda: "shop_", force=True)


@pytest.mark.parametrize("name", ["nowhere_", "shop_.nowhere", "shop_.apps.Nothing", "broken_"])
def test_what_cannot_be_imported_is_an_error(app: Umbel, name: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        found(app, name)


def test_without_force_a_worker_imports_them_and_asks_for_the_packages_then(app: Umbel) -> None:
    packages: list[str] = []
    assert app.autodiscover_tasks(lambda: packages) is None
    packages.append("shop_")
    assert "shop_.tasks" not in sys.modules
    Umbel("other", broker="memory://", set_as_current=False).import_modules()
    assert "shop_.tasks" not in sys.modules
    app.import_modules()
    assert "shop_.tasks" in sys.modules


def test_the_error_of_a_module_reaches_the_worker(app: Umbel) -> None:
    app.autodiscover_tasks(["broken_"])
    with pytest.raises(ModuleNotFoundError, match="there_is_no_such_module"):
        app.import_modules()


def test_without_packages_it_says_whose_they_would_be(
    app: Umbel, caplog: pytest.LogCaptureFixture
) -> None:
    assert found(app) == []
    app.autodiscover_tasks(force=True)
    assert "there is no Django project to ask for them" in caplog.text


def test_the_loader_imports_what_a_worker_does(app: Umbel) -> None:
    app.autodiscover_tasks(["shop_"])
    assert "shop_.tasks" not in sys.modules
    app.loader.import_default_modules()
    assert app.loader.import_task_module("shop_.tasks") is sys.modules["shop_.tasks"]
