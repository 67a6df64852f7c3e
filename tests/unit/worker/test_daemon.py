from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.exceptions import ImproperlyConfigured
from umbel.worker.daemon import Standing, become, pidfile_of, run_as, stand_as, written

ME = str(os.getuid())


@pytest.fixture(autouse=True)
def _same_mask() -> Iterator[None]:
    mask = os.umask(0o022)
    os.umask(mask)
    yield
    os.umask(mask)


def test_nothing_is_the_default() -> None:
    assert run_as(Standing(), "w1@host", None, lambda: 7) == 7


def test_a_mask() -> None:
    def run() -> int:
        mask = os.umask(0)
        os.umask(mask)
        return mask

    assert run_as(Standing(umask="027"), "w1@host", None, run) == 0o027
    for wrong in ("9", "rwx", "-1", "1777"):
        with pytest.raises(ImproperlyConfigured, match="is no octal number"):
            run_as(Standing(umask=wrong), "w1@host", None, run)


def test_a_pid_file_is_there_while_the_worker_runs(tmp_path: Path) -> None:
    path = tmp_path / "w1.pid"

    def run() -> int:
        assert path.read_text() == f"{os.getpid()}\n"
        return 3

    assert run_as(Standing(pidfile=str(tmp_path / "%n.pid")), "w1@host", None, run) == 3
    assert list(tmp_path.iterdir()) == []


def test_the_pid_file_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    dead = subprocess.Popen([sys.executable, "-S", "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):  # the latter was written before it was started again
        path.write_text(f"{pid}\n")
        with written(path):
            assert path.read_text() == f"{os.getpid()}\n"


def test_that_of_a_living_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    path.write_text(f"{os.getppid()}\n")
    with (
        pytest.raises(ImproperlyConfigured, match=f"the process {os.getppid()} runs already"),
        written(path),
    ):
        pytest.fail("not reached")
    path.write_text("important")
    with pytest.raises(ImproperlyConfigured, match="holds no pid"), written(path):
        pytest.fail("not reached")
    assert path.read_text() == "important"


def test_a_pid_file_that_cannot_be_written_is_told_of(tmp_path: Path) -> None:
    with (
        pytest.raises(ImproperlyConfigured, match="cannot be written"),
        written(tmp_path / "no" / "x"),
    ):
        pytest.fail("not reached")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
def test_rights_are_given_up_for_good() -> None:
    code = (
        "import os, umbel.worker.daemon as d; from umbel import Umbel;"
        "d.stand_as(Umbel(worker_uid='nobody').conf.snapshot);"
        "print(os.getresuid(), os.getgroups() == [os.getgid()])\n"
        "try: os.setuid(0)\nexcept OSError: print('no')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    nobody = pwd.getpwnam("nobody")
    assert run.stdout == f"({nobody.pw_uid}, {nobody.pw_uid}, {nobody.pw_uid}) True\nno\n"


@pytest.mark.parametrize("umask", [0o027, "027"])
def test_settings_say_the_same(app: Umbel, umask: object, tmp_path: Path) -> None:
    app.conf.update(worker_umask=umask, worker_uid=os.getuid(), worker_gid=os.getgid())
    stand_as(app.conf.snapshot)
    mask = os.umask(0)
    os.umask(mask)
    assert mask == 0o027
    with pidfile_of(app.conf.snapshot, "w1@host"):
        assert list(tmp_path.iterdir()) == []
    app.conf.worker_pidfile = str(tmp_path / "%n.pid")
    with pidfile_of(app.conf.snapshot, "w1@host"):
        assert (tmp_path / "w1.pid").read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []
    app.conf.worker_umask = "rwx"
    with pytest.raises(ImproperlyConfigured, match="worker_umask, is 'rwx', which is no octal"):
        stand_as(app.conf.snapshot)


def test_users_and_groups() -> None:
    become(None, None)
    become(ME, None)
    become(pwd.getpwuid(os.getuid()).pw_name, str(os.getgid()))
    with pytest.raises(ImproperlyConfigured, match=r"--uid nobody-here .*: there is no such user"):
        become("nobody-here", None)
    with pytest.raises(ImproperlyConfigured, match=r"--gid nobody-here .*: there is no such group"):
        become(None, "nobody-here")
