from __future__ import annotations

from pathlib import Path

import pytest

from umbel.worker import lifetime
from umbel.worker.lifetime import Lifetime, resident_kib


@pytest.mark.parametrize("limits", [(None, None), (0, 0)])
def test_without_limits_it_never_ends(limits: tuple[int | None, int | None]) -> None:
    life = Lifetime(*limits, measure=lambda: 10**9)
    for _ in range(100):
        life.count()
    assert (life.over(), life.affords(64)) == ("", 64)


def test_it_ends_after_so_many_tasks_and_takes_no_more() -> None:
    life = Lifetime(tasks=3)
    found = []
    for _ in range(3):
        found.append((life.affords(64), life.over()))
        life.count()
    assert found == [(3, ""), (2, ""), (1, "")]
    assert life.over() == "it ran 3 tasks (worker_max_tasks_per_child)"


def test_it_ends_when_its_memory_has_grown_so_much() -> None:
    memory = [100]
    life = Lifetime(memory=200, measure=lambda: memory[0])
    life.count()
    assert life.over() == ""
    memory[0] = 201
    assert life.over() == "it has 201 KiB of 200 (worker_max_memory_per_child)"
    assert life.affords(64) == 64


def test_even_one_that_is_too_large_from_the_start_runs_a_task() -> None:
    life = Lifetime(memory=1)
    assert life.over() == ""
    life.count()
    assert "KiB of 1 " in life.over()


def test_the_memory_of_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = resident_kib()
    more = bytearray(b"x") * (64 * 2**20)
    assert 50_000 < resident_kib() - now < 80_000
    del more
    monkeypatch.setattr(lifetime, "_STATM", tmp_path / "none")
    assert resident_kib() >= now  # the most it ever had
    monkeypatch.setattr(lifetime, "resource", None)
    assert resident_kib() == 0
