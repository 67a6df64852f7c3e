from __future__ import annotations

from pathlib import Path

import pytest

from umbel import beside

PACKAGES = Path(__file__).parents[2] / "packages" / "umbel-as-celery" / "src"


def distribution(directory: Path, name: str, version: str) -> None:
    information = directory / f"{name}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    )


def test_real_celery_is_told_from_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert beside.real_on_path() == ["celery", "kombu", "billiard"]  # those of the interop tests
    monkeypatch.syspath_prepend(PACKAGES)
    assert beside.real_on_path() == []
    assert beside.facts()["kombu"].endswith(", which is umbel's, by umbel-as-celery")


def test_where_nothing_is_installed_nothing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert beside.facts() == {}
    assert beside.real_on_path() == []


def test_two_distributions_of_one_package_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution(tmp_path, "celery", "5.6.0")
    distribution(tmp_path, "celery", "5.7.0+umbel.0")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    text = beside.facts()["celery"]
    assert text.startswith("5.6.0 and 5.7.0+umbel.0; both are installed into one place")
    assert "Uninstall both, then install umbel-as-celery" in text
