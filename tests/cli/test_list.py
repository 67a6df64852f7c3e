from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command
from umbel import Umbel

MORE = '''

@app.task(bind=True, name="bound")
def bound(this, name: str = "x") -> None:
    """Greet.

    At length.
    """
'''


def test_tasks(umbel: Command, tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(file.read_text() + MORE)
    first, second = umbel("list", "tasks", "--json").data
    assert (first["name"], first["parameters"]) == ("add", "(x: int, y: int = 0) -> int")
    assert (second["name"], second["about"]) == ("bound", "Greet.")
    assert second["parameters"] == "(name: str = 'x') -> None"  # a call does not give the task
    assert second["where"].startswith(f"{file}:")
    lines = umbel("list", "tasks").out.splitlines()
    assert [line.split()[0] for line in lines] == ["task", "add", "bound"]


def test_queues_and_bindings(umbel: Command, project: Umbel) -> None:
    assert umbel("list", "queues").out == ""
    for queue in ("a", "b"):
        project.tasks["add"].apply_async((1,), queue=queue)
    assert umbel("list", "queues").out == "a\nb\n"
    assert umbel("list", "queues", "--json").data == ["a", "b"]
    rows = [line.split() for line in umbel("list", "bindings").out.splitlines()[1:]]
    assert rows == [[name, name, "direct", name] for name in ("celery", "a", "b")]
    assert umbel("list", "bindings", "--json").data[2] == {
        "queue": "b",
        "exchange": "b",
        "type": "direct",
        "routing_key": "b",
    }


def test_bindings_that_the_app_declares(umbel: Command, project: Umbel) -> None:
    with Path("tasks.py").open("a") as file:
        file.write("""
from umbel import Exchange, Queue, binding
media = Exchange("media", type="topic")
app.conf.task_queues = [
    Queue("video", media, routing_key="video.#"),
    Queue("all", [binding(media, routing_key="#"), binding(Exchange("x"), routing_key="k")]),
]
""")
    rows = [line.split() for line in umbel("list", "bindings").out.splitlines()[1:]]
    assert rows == [
        ["video", "media", "topic", "video.#"],
        ["all", "media", "topic", "#"],
        ["all", "x", "direct", "k"],
    ]
