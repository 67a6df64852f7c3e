from __future__ import annotations

import json

from tests.cli.conftest import Command
from umbel import Umbel, revoking
from umbel.ports import REVOKED, TERMINATED


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


def test_wrong_words_change_nothing(umbel: Command, project: Umbel) -> None:
    assert umbel("revoke").code == 2
    ended = umbel("revoke", "a", "--terminate", "--signal", "NONE")
    assert ended.code == 2
    assert "is no signal of this system" in ended.err
    ended = umbel("revoke", "a", "--signal", "KILL")
    assert ended.code == 2
    assert "without --terminate" in ended.err
    assert project.engines.state_store().items(REVOKED) == {}
