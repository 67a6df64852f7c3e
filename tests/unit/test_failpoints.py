import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from umbel import failpoints
from umbel.exceptions import ImproperlyConfigured, OperationalError

NAME = failpoints.NAMES[0]
OTHER = failpoints.NAMES[1]


def test_nothing_happens_unless_a_plan_is_set() -> None:
    assert failpoints.fail_point is failpoints._inert
    failpoints.fail_point(NAME)


def test_names_are_unique_and_say_where_they_stand() -> None:
    assert len(set(failpoints.NAMES)) == len(failpoints.NAMES)
    assert all("." in name for name in failpoints.NAMES)


def test_strikes_at_the_named_place_only() -> None:
    strike = failpoints._armed(f"{NAME}=raise", None)
    strike(OTHER)
    with pytest.raises(OperationalError, match=NAME):
        strike(NAME)


def test_strikes_once_at_the_visit_asked_for() -> None:
    strike = failpoints._armed(f"{NAME}=raise@3", None)
    strike(NAME)
    strike(NAME)
    with pytest.raises(OperationalError):
        strike(NAME)
    strike(NAME)


def test_several_are_separated_by_commas() -> None:
    strike = failpoints._armed(f"{NAME}=raise, {OTHER}=raise@2,", None)
    strike(OTHER)
    for name in (NAME, OTHER):
        with pytest.raises(OperationalError):
            strike(name)


def test_only_the_first_of_several_processes_strikes(tmp_path: Path) -> None:
    once = str(tmp_path / "struck")
    first = failpoints._armed(f"{NAME}=raise", once)
    second = failpoints._armed(f"{NAME}=raise", once)
    with pytest.raises(OperationalError):
        first(NAME)
    second(NAME)
    pid, _, action = (tmp_path / "struck" / NAME).read_text().split()
    assert (int(pid), action) == (os.getpid(), "raise")


def test_each_strikes_once(tmp_path: Path) -> None:
    strike = failpoints._armed(f"{NAME}=raise,{OTHER}=raise", str(tmp_path))
    for name in (NAME, OTHER):
        with pytest.raises(OperationalError):
            strike(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted((NAME, OTHER))


@pytest.mark.parametrize(
    "plan",
    ["nowhere=kill", f"{NAME}=explode", f"{NAME}", f"{NAME}=", f"{NAME}=kill@soon", "=kill"],
)
def test_a_wrong_plan_is_refused(plan: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="UMBEL_FAILPOINTS"):
        failpoints._armed(plan, None)


def test_kill_takes_the_whole_process() -> None:
    script = f"from umbel import failpoints; failpoints.fail_point({NAME!r}); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "UMBEL_FAILPOINTS": f"{NAME}=kill"},
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")
