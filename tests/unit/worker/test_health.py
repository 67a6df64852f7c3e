"""What a node says of itself, and how it is asked: by a file and by HTTP, without processes."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import umbel_health
from tests.conftest import ManualClock
from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.health import DEAF, HANGS, ChildSeen, Health, HealthFile, Seen, judge
from umbel.worker.page import Page
from umbel.worker.probes import answering, probes

NOW = 1000.0
IDLE, BUSY = ChildSeen(False, NOW), ChildSeen(True, 0.0)
WELL = Seen(NOW, NOW, started=True, wanted=2, children=(IDLE, BUSY))


@pytest.mark.parametrize(
    ("seen", "live", "ready", "why"),
    [
        (WELL, True, True, "1 of 2 children are busy."),
        (Seen(NOW, NOW, started=True), True, True, "The worker runs."),
        (None, True, False, "The worker starts."),
        (replace(WELL, started=False), True, False, "The worker starts."),
        (replace(WELL, stopping=True), True, False, "The worker stops."),
        (replace(WELL, contact=None), True, False, "The broker has not answered yet."),
        (replace(WELL, contact=NOW - 11), True, False, "The broker has not answered for 11 s."),
        (replace(WELL, contact=NOW - 9), True, True, "1 of 2 children are busy."),
        (replace(WELL, children=()), True, False, "None of 2 children runs."),
        (
            replace(WELL, step=NOW - HANGS - 1),
            False,
            False,
            "The supervisor has done nothing for 31 s.",
        ),
        (
            replace(WELL, children=(IDLE, ChildSeen(False, NOW - DEAF - 1))),
            False,
            False,
            "1 children have not fetched for 91 s, though the broker answers.",
        ),
        # Who does not ask the broker at all does not know whose fault it is.
        (
            replace(WELL, asks=False, children=(IDLE, ChildSeen(False, NOW - DEAF - 1))),
            True,
            False,
            "The broker has not answered 1 children for 91 s.",
        ),
        # Who cannot reach the broker either does not blame children.
        (
            replace(WELL, contact=NOW - 100, children=(ChildSeen(False, NOW - 100),)),
            True,
            False,
            "The broker has not answered for 100 s.",
        ),
    ],
)
def test_what_is_well(seen: Seen | None, live: bool, ready: bool, why: str) -> None:
    assert judge(seen, NOW, 10.0) == Health(live, ready, why)


def test_a_child_is_busy_while_a_task_runs_in_it(tmp_path: Path) -> None:
    page = Page.create(tmp_path / "page")
    page.identify(1, 1.0, "owner")
    page.touch(5.0)
    page.load(["a"])

    def seen() -> ChildSeen:
        found = page.read()
        assert found is not None
        return ChildSeen.of(found)

    assert seen() == ChildSeen(False, 5.0)
    page.start(0, 7.0)
    assert seen() == ChildSeen(True, 7.0)
    page.finish(0)
    assert seen() == ChildSeen(False, 7.0)
    page.remove()


# The file


def test_a_file_says_how_the_node_is(tmp_path: Path, clock: ManualClock) -> None:
    health = Health(True, False, "The worker starts.")
    file = HealthFile(tmp_path / "health", "w1@host", clock, lambda: health)
    file.open()
    text = (tmp_path / "health").read_text()
    assert json.loads(text)["node"] == "w1@host"
    now = clock.monotonic()
    assert umbel_health.answer("live", text, now) == (True, "The worker starts.")
    assert umbel_health.answer("ready", text, now) == (False, "The worker starts.")
    old = umbel_health.answer("live", text, now + umbel_health.OLD + 1)
    assert old == (False, "The worker last wrote its file 16 s ago.")
    assert not umbel_health.answer("live", text, now - 1)[0]  # the machine was started anew
    file.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"at": "now"}', '{"at": 1}'])
def test_another_file_says_nothing(text: str) -> None:
    assert umbel_health.answer("live", text, 1.0) == (
        False,
        "This is no file of a worker's health.",
    )


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"at": NOW, "live": True, "ready": False, "why": "The worker stops."}
    (tmp_path / "health").write_text(json.dumps(said))
    monkeypatch.setattr("umbel_health.time.monotonic", lambda: NOW)
    assert umbel_health.main(["live", str(tmp_path / "health")]) == 0
    assert umbel_health.main(["ready", str(tmp_path / "health")]) == 1
    assert capsys.readouterr().out == "The worker stops.\n" * 2
    assert umbel_health.main(["live", str(tmp_path / "other")]) == 1
    assert "No worker runs" in capsys.readouterr().out
    assert umbel_health.main(["dead", str(tmp_path / "health")]) == 2
    assert "live|ready FILE" in capsys.readouterr().err


# HTTP


@pytest.fixture
def health() -> list[Health]:
    """The last one is what is answered."""
    return [Health(True, True, "The worker runs.")]


@pytest.fixture
def port(health: list[Health]) -> Iterator[int]:
    with answering("127.0.0.1", 0, lambda: health[-1]) as port:
        yield port


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - it is HTTP
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_by_http(port: int, health: list[Health]) -> None:
    assert get(port, "/livez") == get(port, "/readyz?verbose") == (200, "The worker runs.\n")
    health.append(Health(True, False, "The worker stops."))
    assert get(port, "/readyz") == (503, "The worker stops.\n")
    assert get(port, "/livez") == get(port, "/healthz") == (200, "The worker stops.\n")
    assert get(port, "/readyz", "HEAD") == (503, "")
    assert get(port, "/")[0] == 404
    assert get(port, "/livez", "POST")[0] == 501


def test_a_port_that_is_taken_is_told_of(port: int, health: list[Health]) -> None:
    with (
        pytest.raises(
            ImproperlyConfigured, match=f"{port} cannot be opened on 127.0.0.1: .*in use"
        ),
        answering("127.0.0.1", port, lambda: health[-1]),
    ):
        pytest.fail("not reached")


def test_the_settings_say_what_there_is(app: Umbel, tmp_path: Path, health: list[Health]) -> None:
    app.conf.worker_health_file = str(tmp_path / "%n.health")
    with probes(app.conf.snapshot, "w1@host", app.clock, lambda: health[-1]):
        assert umbel_health.main(["ready", str(tmp_path / "w1.health")]) == 0
    app.conf.worker_health_file = str(tmp_path / "no" / "health")
    with (
        pytest.raises(ImproperlyConfigured, match=r"worker_health_file .* cannot be written"),
        probes(app.conf.snapshot, "w1@host", app.clock, lambda: health[-1]),
    ):
        pytest.fail("not reached")
