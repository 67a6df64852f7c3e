"""Each row of the table, held against what there is."""

from __future__ import annotations

import json
import runpy
from importlib.util import find_spec
from pathlib import Path

import pytest

import umbel.alias
from umbel.absent import ABSENT_MODULES
from umbel.alias.finder import reason
from umbel.alias.table import ELSEWHERE, TABLE

GOLDEN = Path(__file__).parents[1] / "compat" / "golden" / "names.json"
WRITER = Path(__file__).parents[2] / "packages" / "umbel-as-celery" / "write_modules.py"
SHIMS = Path(umbel.alias.__file__).parent


def is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("name", TABLE)
def test_a_row_names_a_module_or_its_reason_is_told(name: str) -> None:
    told = any(
        word in ABSENT_MODULES or f"celery.{word}" in ELSEWHERE or name.startswith("billiard")
        for word in prefixes(name.partition(".")[2])
    )
    assert is_there(TABLE[name]) or told


def prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


@pytest.mark.parametrize("name", TABLE)
def test_what_stands_above_a_row_is_a_row(name: str) -> None:
    above = name.rpartition(".")[0]
    assert not above or above in TABLE


def test_each_module_of_our_own_for_it_has_a_row() -> None:
    files = [
        path for top in ("celery", "kombu", "billiard") for path in (SHIMS / top).rglob("*.py")
    ]
    names = {
        ".".join(path.relative_to(SHIMS).with_suffix("").parts).removesuffix(".__init__")
        for path in files
    }
    rows = {name.removeprefix("umbel.alias.") for name in TABLE.values() if "alias" in name}
    assert names == rows
    assert names <= TABLE.keys()


def test_the_distribution_has_a_file_for_each_row() -> None:
    wanted = runpy.run_path(str(WRITER))["modules"]()
    place = WRITER.parent / "src"
    found = {path.relative_to(place): path.read_text("utf-8") for path in place.rglob("*.py")}
    assert found == wanted, "run packages/umbel-as-celery/write_modules.py"


def test_a_reason_goes_on_as_a_sentence() -> None:
    for name in (*TABLE, *ELSEWHERE, "celery.bin.amqp", "kombu.transport.redis", "billiard.heap"):
        assert reason(name, ELSEWHERE).startswith(("is ", "has "))


def test_celerys_modules_are_rows_or_told() -> None:
    modules = json.loads(GOLDEN.read_text("utf-8"))["modules"]
    silent = [
        name
        for name in modules
        if name not in TABLE and reason(name, ELSEWHERE).startswith("is no module")
    ]
    assert silent == []
