from __future__ import annotations

import platform

import pytest

from umbel.exceptions import ImproperlyConfigured
from umbel.nodenames import host_format, node_format


@pytest.mark.parametrize(
    ("text", "name", "index", "expected"),
    [
        ("%n.log", "mails@box.shop.example", 0, "mails.log"),
        ("/var/%h/%d/%p", "mails@box.example", 0, "/var/box.example/example/mails@box.example"),
        ("%n-%i.log", "mails@box", 3, "mails-3.log"),
        ("%n-%i.log", "mails@box", 0, "mails-0.log"),
        ("%n%I.log", "mails@box", 3, "mails-3.log"),
        ("%n%I.log", "mails@box", 0, "mails.log"),
        ("%n@%h", "box", 0, "celery@box"),
        ("100%%h", "a@b", 0, "100%h"),
        ("plain", "a@b", 0, "plain"),
    ],
)  # fmt: skip
def test_names_of_files(text: str, name: str, index: int, expected: str) -> None:
    assert node_format(text, name, index) == expected


@pytest.mark.parametrize("text", ["%Y.log", "50%"])
def test_what_stands_for_nothing(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"stands for nothing; there are %n, %p, %h"):
        node_format(text, "a@b")


def test_names_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: "box.shop.example")
    assert host_format("%n@%h/%d") == "box@box.shop.example/shop.example"
