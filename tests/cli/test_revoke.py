from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.conftest import Command
from umbel import Umbel, revoking
from umbel.ports import REVOKED, STAMPED, TERMINATED
from umbel.stamped import MARK, read_stamp


def test_revoke_by_ids(umbel: Command, project: Umbel) -> None:
    ended = umbel("revoke", "a", "b")
    assert (ended.code, ended.out) == (0, "Revoked 2 calls.\n")
    assert project.engines.state_store().items(REVOKED).keys() == {"a", "b"}
    assert project.engines.state_store().items(TERMINATED) == {}


def test_revoke_and_terminate(umbel: Command, project: Umbel) -> None:
    ended = umbel("revoke", "a", "--terminate", "--signal", "KILL", "--json")
    assert ended.code == 0
    assert json.loads(ended.out) == {"revoked": ["a"], "terminate": True}
    [value] = project.engines.state_store().items(TERMINATED).values()
    assert revoking.signum_of(value) == 9


def stamps(app: Umbel) -> list[tuple[str, Any, int | None]]:
    found = map(read_stamp, app.engines.state_store().items(STAMPED).values())
    return sorted(((one.name, one.value, one.signal) for one in found if one), key=repr)


def test_revoke_by_stamps(umbel: Command, project: Umbel) -> None:
    ended = umbel("revoke", "--stamp", "tenant=a", "--stamp", "order:=7", "--stamp", "tenant=b=c")
    assert ended.code == 0
    assert ended.out == "Revoked all calls with the stamps tenant='a', tenant='b=c', order=7.\n"
    assert stamps(project) == [("order", 7, None), ("tenant", "a", None), ("tenant", "b=c", None)]
    assert project.engines.state_store().items(REVOKED).keys() == {MARK}


def test_revoke_by_ids_and_stamps(umbel: Command, project: Umbel) -> None:
    ended = umbel(
        "revoke", "x", "--stamp", "order:=[7, 8]", "--terminate", "--signal", "KILL", "--json"
    )
    assert ended.code == 0
    assert json.loads(ended.out) == {
        "revoked": ["x"],
        "stamps": {"order": [7, 8]},
        "terminate": True,
    }
    assert stamps(project) == [
        *(("order", 7, 9), ("order", 7, None), ("order", 8, 9), ("order", 8, None)),
    ]
    assert project.engines.state_store().items(REVOKED).keys() == {"x", MARK}
    assert umbel("revoke", "x", "--stamp", "a=b").out == (
        "Revoked 1 call.\nRevoked all calls with the stamp a='b'.\n"
    )


@pytest.mark.parametrize("word", ["a", "=a", ":=1", "a:=null", "a:=[null]", "a:=b"])
def test_what_is_no_stamp_changes_nothing(umbel: Command, project: Umbel, word: str) -> None:
    ended = umbel("revoke", "x", "--stamp", "good=1", "--stamp", word)
    assert ended.code == 2
    assert "tenant=a" in ended.err
    assert project.engines.state_store().items(REVOKED) == {}


def test_wrong_words_change_nothing(umbel: Command, project: Umbel) -> None:
    ended = umbel("revoke")
    assert ended.code == 2
    assert "Give the ids of calls, or stamps" in ended.err
    ended = umbel("revoke", "a", "--terminate", "--signal", "NONE")
    assert ended.code == 2
    assert "is no signal of this system" in ended.err
    ended = umbel("revoke", "a", "--signal", "KILL")
    assert ended.code == 2
    assert "without --terminate" in ended.err
    assert project.engines.state_store().items(REVOKED) == {}
