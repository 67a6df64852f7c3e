"""The structure of the code, held to its rules: layers, cycles, sizes, and the map in docs/internals.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import umbel
from tests.each import for_each

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "umbel"

VALUES = (
    "absent",
    "lazy",
    "_version",
    "values",
    "exceptions",
    "dotted",
    "declared",
    "beside",
    "entities",
    "states",
    "progress",
    "clock",
    "signals",
    "hooks",
    "failpoints",
    "representation",
    "limits",
    "compression",
    "formats",
    "mappings",
    "serialization",
    "signing",
    "unsendable",
    "headers",
    "tails",
    "message",
    "writing",
    "failures",
    "records",
    "kin",
    "checks",
    "bootsteps",
    "policies",
    "links",
    "options",
    "task_options",
    "tracebacks",
    "colors",
    "nodenames",
    "masking",
    "nearest",
    "cron",
    "localtimes",
    "settings",
)
#: In this order: each may import those before it.
CLIENT = (
    "location",
    "functions",
    "arguments",
    "request",
    "current",
    "schedules",
    "loggers",
    "formatters",
    "redirected",
    "utils",
    "log",
    "topology",
    "routes",
    "routing",
    "amqp",
    "broadcasts",
    "revoking",
    "stamped",
    "publish",
    "blanks",
    "series",
    "parents",
    "waiting",
    "awaiting",
    "opened",
    "control",
    "result_backend",
    "backend",
    "result",
    "canvas",
    "calls",
    "bulk",
    "pieces",
    "dispatching",
    "outbox",
    "following",
    "backends",
    "replacing",
    "reporting",
    "drawing",
    "forked",
    "driving",
    "outcomes",
    "announcing",
    "handlers",
    "trace",
    "retrying",
    "eager",
    "annotations",
    "models",
    "definition",
    "task",
    "built_in",
    "registry",
    "finalization",
    "integrations",
    "construction",
    "connections",
    "producers",
    "received",
    "consuming",
    "discovery",
    "security",
    "programs",
    "bug_report",
    "periodic",
    "app",
)
EDGES = ("alias", "cli", "contrib", "fixups", "testing", "__main__")

LAYERS = {
    **dict.fromkeys(VALUES, 1),
    "ports": 2,
    "engines": 3,
    **dict.fromkeys(CLIENT, 4),
    "worker": 5,
    "beat": 5,
    **dict.fromkeys(EDGES, 6),
}

MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 50


@cache
def paths() -> dict[str, Path]:
    """Where all modules of the package are, by dotted name without ``umbel.``; it is ``""`` itself."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def modules() -> dict[str, ast.Module]:
    """All modules of the package, by the same names. To parse them takes a second: not on import."""
    return {
        name: ast.parse(path.read_text("utf-8"), filename=str(path))
        for name, path in paths().items()
    }


def under_type_checking(tree: ast.Module) -> set[ast.AST]:
    """All nodes that only type checkers see."""
    return {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


@cache
def imports_of(name: str, type_checking: bool = True) -> frozenset[str]:
    """The modules of the package that a module imports, as dotted names without ``umbel.``."""
    return frozenset(_imports_of(name, type_checking))


def _imports_of(name: str, type_checking: bool) -> Iterator[str]:
    tree = modules()[name]
    skipped = set() if type_checking else under_type_checking(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and part(node.module or "") == "umbel":
            module = (node.module or "").removeprefix("umbel").lstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".lstrip(".")
                yield inner if inner in modules() else module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if part(alias.name) == "umbel":
                    yield alias.name.removeprefix("umbel").lstrip(".")


def part(name: str) -> str:
    return name.partition(".")[0]


def test_every_module_belongs_to_a_layer() -> None:
    unknown = {part(name) for name in modules() if name} - LAYERS.keys()
    assert not unknown


@for_each("name", sorted(name for name in paths() if name))
def test_imports_point_down(name: str) -> None:
    for imported in imports_of(name, type_checking=False):
        if part(imported) == part(name):
            continue
        assert imported, f"{name} imports the package's head"
        mine, other = LAYERS[part(name)], LAYERS[part(imported)]
        assert other <= mine, f"{name} (layer {mine}) imports {imported} (layer {other})"
        if mine == other == 4:
            assert CLIENT.index(part(imported)) < CLIENT.index(part(name)), (
                f"{name} imports {imported}, which stands to its right"
            )
        neighbours = mine == other and mine in (3, 6) and name != "__main__"
        assert not neighbours, f"{name} imports its neighbour {imported}"


def test_engines_do_not_know_each_other() -> None:
    for name in modules():
        parts = name.split(".")
        if parts[0] == "engines" and len(parts) > 1 and (PACKAGE / "engines" / parts[1]).is_dir():
            for imported in imports_of(name):
                other = imported.split(".")
                if other[0] == "engines" and len(other) > 1:
                    assert other[1] in (parts[1], "forks", "ghosts", "pool", "sql", "texts"), (
                        f"{name} imports {imported}"
                    )


#: Modules whose reading of data runs code, and the files that may import them: the serializer alone.
CODE_FROM_DATA = {
    "pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "copyreg",
    "multiprocessing",
}
MAY_RUN_DATA = {
    "formats": {"pickle"},
    # Celery's file of last runs, by an unpickler that knows no name.
    "beat.shelf": {"pickle"},
    "worker.bootstrap": {"multiprocessing"},
    # Names that tasks of users import from billiard; umbel itself uses none of them.
    "alias.billiard": {"multiprocessing"},
    "alias.billiard.process": {"multiprocessing"},
    "alias.billiard.util": {"multiprocessing"},
}


@for_each("name", sorted(paths()))
def test_nothing_but_a_serializer_unpickles(name: str) -> None:
    found = set()
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    assert found & CODE_FROM_DATA <= MAY_RUN_DATA.get(name, set())


def test_only_the_name_of_the_process_comes_from_multiprocessing() -> None:
    users = {
        alias.name
        for node in ast.walk(modules()["worker.bootstrap"])
        if isinstance(node, ast.ImportFrom) and node.module == "multiprocessing"
        for alias in node.names
    }
    assert users == {"current_process"}


def test_the_ports_are_imported_from_their_package() -> None:
    for name in modules():
        if part(name) != "ports":
            inner = {module for module in imports_of(name) if module.startswith("ports.")}
            assert not inner, f"{name} imports {inner}; `umbel.ports` has what they define"


def test_only_what_keeps_them_open_and_the_edges_open_engines() -> None:
    users = {
        name for name in modules() for imported in imports_of(name) if part(imported) == "engines"
    }
    outside = {name for name in users if part(name) not in ("engines", "opened", *EDGES)}
    assert not outside


def test_there_are_no_cycles() -> None:
    graph = {name: set(imports_of(name, type_checking=False)) - {name} for name in modules()}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for imported in graph.get(name, ()):
            visit(imported, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


@for_each("name", sorted(paths()))
def test_files_and_functions_fit_a_readers_head(name: str) -> None:
    lines = paths()[name].read_text("utf-8").count("\n")
    assert lines <= MOST_LINES_OF_A_FILE
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            assert size <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {size} lines"


def test_the_head_of_the_package_is_its_table_of_contents() -> None:
    tree = modules()[""]
    bound = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and part(node.module or "") == "umbel"
        for alias in node.names
        if not (alias.asname or "").startswith("_")
    }
    assert bound == set(umbel.__all__)
    assert sorted(umbel.__all__) == umbel.__all__


INTERNALS = (ROOT / "docs" / "internals.md").read_text("utf-8")


def defined_in(name: str) -> set[str]:
    found = set()
    for node in modules()[name].body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}.{inner.name}"
                for inner in node.body
                if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return found


def test_the_map_names_only_files_that_exist() -> None:
    for path in re.findall(r"`([\w/]+\.py)`", INTERNALS):
        assert (PACKAGE / path).exists() or (ROOT / path).exists(), path
    for folder in re.findall(r"`([\w/]+/)`", INTERNALS):
        assert (PACKAGE / folder).is_dir(), folder


def test_the_map_names_only_functions_that_exist() -> None:
    places = re.findall(r"`([\w/]+)\.py`\s+`([\w.]+)`", INTERNALS)
    assert len(places) > 10
    for module, symbol in places:
        name = module.replace("/", ".")
        assert symbol in defined_in(name), f"{symbol} is not in {module}.py"


def test_the_map_names_every_file_of_values_ports_and_client() -> None:
    ports = [name.replace(".", "/") for name in modules() if name.startswith("ports.")]
    assert ports
    for name in (*VALUES, *ports, *CLIENT):
        named = f"{name}/" if (PACKAGE / name).is_dir() else f"{name}.py"
        assert f"`{named}`" in INTERNALS or name == "_version", name


def test_the_way_of_a_task_is_short() -> None:
    client, worker = INTERNALS.split("The worker, in a child process:")
    hops = re.compile(r"^\d+\. `", re.M)
    assert len(hops.findall(client)) == 5
    assert len(hops.findall(worker.split("## Layers")[0])) <= 9
