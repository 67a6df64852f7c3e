import pytest

from umbel import states


def test_every_state_is_its_own_name() -> None:
    names = [name for name in vars(states) if name.isupper() and not name.endswith("STATES")]
    assert [getattr(states, name) for name in names] == names
    assert len(names) == 9


@pytest.mark.parametrize(
    ("group", "members"),
    [
        ("READY_STATES", "FAILURE REVOKED SUCCESS"),
        ("UNREADY_STATES", "PENDING RECEIVED REJECTED RETRY STARTED"),
        ("EXCEPTION_STATES", "FAILURE RETRY REVOKED"),
        ("PROPAGATE_STATES", "FAILURE REVOKED"),
        ("ALL_STATES", "FAILURE PENDING RECEIVED RETRY REVOKED STARTED SUCCESS"),
    ],
)
def test_the_sets_are_those_of_celery(group: str, members: str) -> None:
    assert " ".join(sorted(getattr(states, group))) == members


def test_no_state_is_both_final_and_not() -> None:
    assert not states.READY_STATES & states.UNREADY_STATES
    assert states.PROPAGATE_STATES < states.READY_STATES
