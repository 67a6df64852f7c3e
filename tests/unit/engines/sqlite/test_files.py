from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from umbel.engines.sqlite import files
from umbel.exceptions import ImproperlyConfigured

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /home rw shared:2 - nfs4 server:/home rw
24 23 0:22 / /home/me/my\\040disk rw shared:3 - xfs /dev/vdb rw
25 22 0:23 / /homes rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/var/lib", "ext4"),
        ("/home", "nfs4"),
        ("/home/you", "nfs4"),
        ("/home/me/my disk/x", "xfs"),
        ("/homes/x", "tmpfs"),
    ],
)
def test_the_innermost_mount_tells_the_file_system(
    tmp_path: Path, directory: str, kind: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    assert files.file_system(Path(directory), mounts) == kind


def test_a_system_that_does_not_tell_is_trusted(tmp_path: Path) -> None:
    assert files.file_system(tmp_path, tmp_path / "missing") is None


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(files, "file_system", lambda directory: kind)
    with pytest.raises(ImproperlyConfigured, match=f"network file system \\({kind}\\)"):
        files.prepare(tmp_path / "umbel.db")


def test_the_directory_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    directory = tmp_path / ".umbel"
    files.prepare(directory / "umbel.db")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert (directory / ".gitignore").read_text() == "*\n"


def test_a_directory_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    files.prepare(tmp_path / "umbel.db")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert list(tmp_path.iterdir()) == []


def test_many_make_the_directory_at_the_same_time(tmp_path: Path) -> None:
    paths = [tmp_path / f"d{number}" / "umbel.db" for number in range(50)]
    with ThreadPoolExecutor(4) as executor:
        list(executor.map(files.prepare, [path for path in paths for _ in range(4)]))


def forbid(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Have the system say that this process may not write there, which root may anywhere."""
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != place)


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImproperlyConfigured, match=r"file/data cannot be made .*UMBEL_DATA_DIR"):
        files.prepare(tmp_path / "file" / "data" / "umbel.db")


def test_a_file_that_may_not_be_written_is_named_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "umbel.db"
    path.write_bytes(b"")
    forbid(monkeypatch, path)
    with pytest.raises(ImproperlyConfigured, match=r"umbel\.db belongs to .* may not write to it"):
        files.prepare(path)
    assert "umbel.db belongs to" in str(files.problem(path))


def test_a_directory_of_somebody_else_is_named_with_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, tmp_path)
    with pytest.raises(ImproperlyConfigured, match=f"{tmp_path} belongs to .* may not write to it"):
        files.prepare(tmp_path / "umbel.db")
    assert f"{tmp_path} belongs to" in str(files.problem(tmp_path / "umbel.db"))


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="needs a system that tells of its mounts")
def test_a_file_system_that_is_mounted_read_only_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    with pytest.raises(ImproperlyConfigured, match=f"{tmp_path} is on a file system .* read-only"):
        files.prepare(tmp_path / "umbel.db")


def test_a_place_in_a_directory_that_is_not_ours_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch, tmp_path)
    found = str(files.problem(tmp_path / ".umbel" / "umbel.db"))
    assert "umbel.db cannot be made (Permission denied)" in found
