"""The finder with tables of its own: real Celery is installed where these tests run, and stays untouched."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest

from umbel import clock, states
from umbel.alias.finder import AliasFinder, NoSuchModule, reason

Alias = Callable[..., AliasFinder]


@pytest.fixture
def alias() -> Iterator[Alias]:
    """Put a finder in place, and take it away with all that it found."""
    placed: list[AliasFinder] = []

    def place(table: dict[str, str], **elsewhere: str) -> AliasFinder:
        finder = AliasFinder(table, elsewhere)
        sys.meta_path.insert(0, finder)
        placed.append(finder)
        return finder

    yield place
    for finder in placed:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] in finder.tops]:
            del sys.modules[name]


def test_a_module_keeps_its_own_spec(alias: Alias) -> None:
    alias({"sellery": "umbel.states"})
    spec = states.__spec__
    assert importlib.import_module("sellery") is states
    assert states.__spec__ is spec
    assert states.__name__ == "umbel.states"


def test_two_names_may_stand_for_one_module(alias: Alias) -> None:
    alias({"sellery": "umbel.states", "combo": "umbel.states"})
    spec = states.__spec__
    assert importlib.import_module("sellery") is importlib.import_module("combo") is states
    assert states.__spec__ is spec


def test_looking_for_a_module_imports_nothing(alias: Alias) -> None:
    alias({"sellery": "umbel.alias.celery.platforms"})
    sys.modules.pop("umbel.alias.celery.platforms", None)
    found = find_spec("sellery")
    assert found is not None
    assert found.name == "sellery"
    assert found.origin is not None
    assert found.origin.endswith("platforms.py")
    assert "umbel.alias.celery.platforms" not in sys.modules
    assert "def pyimplementation" in str(found.loader.get_source("sellery"))  # type: ignore[union-attr]


def test_a_module_that_is_reloaded_stays_umbels(alias: Alias) -> None:
    alias({"sellery": "umbel.alias.versions"})
    module = importlib.import_module("sellery")
    assert importlib.reload(module).__spec__.name == "umbel.alias.versions"  # type: ignore[union-attr]


def test_a_row_that_names_nothing_is_missing(alias: Alias) -> None:
    alias({"sellery": "umbel.nothing", "sellery.inner": "umbel.nothing.inner"}, sellery="is gone")
    with pytest.raises(NoSuchModule, match=r"^sellery is gone\.$") as caught:
        importlib.import_module("sellery")
    assert caught.value.name == "sellery"
    assert isinstance(caught.value, ModuleNotFoundError)
    with pytest.raises(NoSuchModule, match="sellery is gone"):
        importlib.import_module("sellery.inner")


def test_other_modules_are_others_business(alias: Alias) -> None:
    finder = alias({"sellery": "umbel.states"})
    assert finder.find_spec("umbel.clock") is None
    assert importlib.import_module("umbel.clock") is clock


def test_the_reason_nearest_to_the_name_counts() -> None:
    elsewhere = {"kombu": "is another's", "kombu.pools": "is a pool"}
    assert reason("kombu.pools.inner", elsewhere) == "is a pool"
    assert reason("kombu.mixins", elsewhere) == "is another's"
    assert reason("celery.app.builtins", {}).startswith("has Celery's built-in tasks")
    assert reason("billiard.heap", {}).startswith("is no module of billiard that umbel has")
